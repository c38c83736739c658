"""What surrounds every request: the limit of its body, and one shape for everything that goes wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import astuple

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cds_service.audit.metrics import RequestRecord
from cds_service.cdshooks.response import CardCoding, Issue, IssueDetails, Refusal, encode
from cds_service.errors import Problem, RequestError
from cds_service.http.capacity import HeldBodies
from cds_service.log import log

JSON = "application/json"
# The caller was gone before there was an answer.
_GONE = 499
_HEADERS = {
    408: {"Connection": "close"},
    401: {"WWW-Authenticate": "Bearer"},
    429: {"Retry-After": "60"},
    503: {"Retry-After": "1"},
}
_MOST_TOLD = 20
_LONGEST_TOLD = 500
ERROR_CODE_SYSTEM = "https://leg-cramps.example/error-codes"


def operation_outcome(error: RequestError, headers: Mapping[str, str] | None = None) -> Response:
    """An OperationOutcome with one issue a problem, the place as `expression`, and our stable code.

    Of many the first are told, and how many more there are: an answer must not be larger than what it refuses.
    """
    more = len(error.problems) - _MOST_TOLD
    told = [_shortened(item) for item in error.problems[:_MOST_TOLD]]
    if more > 0:
        told.append(Problem(told[-1].place, f"{more} more are wrong, which are not told", "mend these first"))
    issues = [
        Issue(
            "error",
            error.code,
            IssueDetails((CardCoding(system=ERROR_CODE_SYSTEM, code=error.slug),), f"{item.place}: {item.message}"),
            item.remedy or item.message,
            (item.place,),
        )
        for item in told
    ]
    body = encode(Refusal(tuple(issues)))
    return Response(body, error.status, dict(headers or {}), JSON)


def _shortened(item: Problem) -> Problem:
    """A place holds names that a caller gave."""
    return Problem(*(text if len(text) <= _LONGEST_TOLD else f"{text[:_LONGEST_TOLD]}…" for text in astuple(item)))


class ErrorsAndLimits:
    """Pure ASGI, as a middleware that wraps each request in a task costs more than the answer."""

    def __init__(self, app: ASGIApp, body_limit: int, receive_timeout: float, served: Callable[[RequestRecord], None]) -> None:
        self.app, self.body_limit, self.receive_timeout, self.served = app, body_limit, receive_timeout, served
        self._bodies = HeldBodies()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), _GONE

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._answer(scope, receive, noting)
        finally:
            service_id = scope.get("path_params", {}).get("service_id", "")
            self.served(RequestRecord(_route(scope), service_id, status, time.perf_counter() - started))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._refuse_declared(scope)
            with self._bodies.one() as take:
                await self.app(scope, self._limited(receive, take), send)
        except RequestError as error:
            # The places and ids of a refusal, never the values that stood there.
            log.info("refused", status=error.status, code=error.slug, path=_route(scope), places=_places(error))
            await operation_outcome(error, _HEADERS.get(error.status))(scope, receive, send)
        except ClientDisconnect:
            log.info("gone", path=_route(scope))
        except Exception as error:
            log.exception("failed", path=_route(scope), error=type(error).__name__)
            problem = Problem("service", "failed to answer; the log of the service says where", "report it to its maintainers")
            await operation_outcome(RequestError(500, "internal-error", "exception", [problem]))(scope, receive, send)

    def _refuse_declared(self, scope: Scope) -> None:
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self.body_limit:
            raise self._too_large()

    def _limited(self, receive: Receive, take: Callable[[int], None]) -> Receive:
        """A body in bounds: of size, of the time in which it comes, and of what others hold."""
        received, is_whole = 0, False
        until = asyncio.get_running_loop().time() + self.receive_timeout

        async def limited() -> Message:
            nonlocal received, is_whole
            if is_whole:
                # Whoever listens on waits for the caller to leave.
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                problem = Problem("body", f"did not come within {self.receive_timeout:g} s", "send it at once")
                raise RequestError(408, "body-too-slow", "timeout", [problem]) from None
            received += len(message.get("body", b""))
            if received > self.body_limit:
                raise self._too_large()
            take(len(message.get("body", b"")))
            is_whole = not message.get("more_body", False)
            return message

        return limited

    def _too_large(self) -> RequestError:
        problem = Problem("body", f"is larger than {self.body_limit} bytes", "send less, or raise CDS_BODY_LIMIT")
        return RequestError(413, "body-too-large", "too-long", [problem])


def _route(scope: Scope) -> str:
    """The name of what took the request, without what a caller wrote into the address."""
    return str(getattr(scope.get("endpoint"), "__name__", "unknown"))


def _places(error: RequestError) -> list[str]:
    return [problem.place[:_LONGEST_TOLD] for problem in error.problems[:10]]
