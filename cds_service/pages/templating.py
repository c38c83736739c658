"""Templates to pages, also of errors: HTML that escapes what it is given, and runs no script but ours."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from cds_service.errors import Problem

if TYPE_CHECKING:
    from jinja2 import Environment

Answer = Callable[[Request, Any], Awaitable[Response]]

_FOLDER = Path(__file__).parent
_KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: then a browser does not say that a form of ours was sent from here.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
SIGNS = {"critical": "◆", "warning": "▲", "info": "●"}
URGENCY = {"critical": "Urgent", "warning": "Warning", "info": "Information"}
# Where programs ask, whatever they accept, there is one shape.
_FOR_PROGRAMS = "/cds-services"
_PAGES = ("try", "rules", "statements", "dashboard", "leaflets")
_LONGEST_NAME, _MOST_NEAR = 80, 5
_TAGS = {"p", "br", "strong", "em", "s", "code", "pre", "ul", "ol", "li", "a", "blockquote", "table", "thead", "tbody", "tr"}
_TAGS |= {"th", "td", "hr", "h1", "h2", "h3", "h4", "h5", "h6"}


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    found = Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals |= {"signs": SIGNS, "urgency": URGENCY, "brand": "Recurrent leg cramps"}
    found.filters["markdown"] = markdown
    return found


def page(template: str, status: int = 200, **given: Any) -> Response:
    # Half a surrogate pair can be written in JSON and in no page.
    content = _environment().get_template(template).render(given).encode(errors="replace")
    return Response(content, status, HEADERS, "text/html")


def problem_page(status: int, problems: Iterable[Problem], near: Mapping[str, str] = MappingProxyType({})) -> Response:
    """`near`: pages that may have been meant, by address."""
    return page(
        "problem.html", status, title=HTTPStatus(status).phrase, problems=list(problems), is_missing=status == 404, near=near
    )


def near_names(word: str, known: Iterable[str]) -> list[str]:
    """The few of what is known that hold the word or are written much like it."""
    names, word = list(known), word.lower()[:_LONGEST_NAME]
    holding = [name for name in names if len(word) > 1 and word in name]
    return list(dict.fromkeys([*holding, *get_close_matches(word, names, _MOST_NEAR)]))[:_MOST_NEAR]


def pages_for_browsers(otherwise: Answer) -> Answer:
    """What the router refuses: a page for who asks for HTML, for anyone else as `otherwise` has it."""

    async def decision(request: Request, error: Any) -> Response:
        if not _is_for_a_browser(request):
            return await otherwise(request, error)
        message = "is none of these pages" if error.status_code == HTTPStatus.NOT_FOUND else "cannot be asked for in this way"
        near = {f"/{name}": f"/{name}" for name in near_names(request.url.path.strip("/").partition("/")[0], _PAGES)}
        shown = problem_page(error.status_code, [Problem("address", message, "begin at the first page")], near)
        shown.headers.update(error.headers or {})
        return shown

    return decision


def _is_for_a_browser(request: Request) -> bool:
    path = request.url.path
    for_programs = path == _FOR_PROGRAMS or path.startswith(f"{_FOR_PROGRAMS}/")
    return not for_programs and "text/html" in request.headers.get("accept", "")


def markdown(text: str) -> Any:
    """GitHub's Markdown as an EHR shows it: no HTML of the text's own, no picture, no address but of the web."""
    import nh3
    from markdown_it import MarkdownIt
    from markupsafe import Markup

    reader = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).disable("image")
    cleaned = nh3.clean(reader.render(text), tags=_TAGS, attributes={"a": {"href"}}, url_schemes={"https", "http"})
    return Markup(cleaned)  # noqa: S704  nh3 has cleaned it


@lru_cache(maxsize=8)
def _static(name: str) -> tuple[bytes, str, str] | None:
    known = {path.name: path for path in (_FOLDER / "static").iterdir()}
    if name not in known:
        return None
    content = known[name].read_bytes()
    return content, _KINDS[known[name].suffix], f'"{hashlib.sha256(content).hexdigest()[:16]}"'


def static(request: Request) -> Response:
    """Our style and our script, and no other file."""
    found = _static(str(request.path_params["name"]))
    if found is None:
        return Response(status_code=404, headers=HEADERS)
    content, kind, tag = found
    headers = {**HEADERS, "Cache-Control": "no-cache", "ETag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=kind)
