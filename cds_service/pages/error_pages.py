"""What cannot be shown, as a page: also where the router finds nothing for a browser."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from cds_service.errors import Problem

Answer = Callable[[Request, Any], Awaitable[Response]]
# Where programs ask, whatever they accept, there is one shape.
_FOR_PROGRAMS = "/cds-services"


def problem_page(status: int, problems: Iterable[Problem]) -> Response:
    from cds_service.pages.templating import page

    return page("problem.html", status, title=HTTPStatus(status).phrase, problems=list(problems))


def pages_for_browsers(otherwise: Answer) -> Answer:
    """What the router refuses: a page for who asks for HTML, for anyone else as `otherwise` has it."""

    async def decision(request: Request, error: Any) -> Response:
        if not _is_for_a_browser(request):
            return await otherwise(request, error)
        message = "is none of these pages" if error.status_code == HTTPStatus.NOT_FOUND else "cannot be asked for in this way"
        shown = problem_page(error.status_code, [Problem("address", message, "begin at the first page")])
        shown.headers.update(error.headers or {})
        return shown

    return decision


def _is_for_a_browser(request: Request) -> bool:
    path = request.url.path
    for_programs = path == _FOR_PROGRAMS or path.startswith(f"{_FOR_PROGRAMS}/")
    return not for_programs and "text/html" in request.headers.get("accept", "")
