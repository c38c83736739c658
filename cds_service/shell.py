"""What surrounds every request: the limit of its body, and one shape for everything that goes wrong."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cds_service.errors import Problem, RequestError
from cds_service.hooks import encode
from cds_service.log import log

JSON = "application/json"
CODES = "https://leg-cramps.example/error-codes"


def outcome(error: RequestError, headers: Mapping[str, str] | None = None) -> Response:
    """An OperationOutcome with one issue a problem, the place as `expression`, and our stable code."""
    issues = [
        {
            "severity": "error",
            "code": error.code,
            "details": {"coding": [{"system": CODES, "code": error.slug}], "text": f"{item.place}: {item.message}"},
            "diagnostics": item.remedy or item.message,
            "expression": [item.place],
        }
        for item in error.problems
    ]
    body = encode({"resourceType": "OperationOutcome", "issue": issues})
    return Response(body, error.status, dict(headers or {}), JSON)


class Shell:
    """Pure ASGI, as a middleware that wraps each request in a task costs more than the answer."""

    def __init__(self, app: ASGIApp, body_limit: int) -> None:
        self.app, self.body_limit = app, body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            self._refuse_declared(scope)
            await self.app(scope, self._limited(receive), send)
        except RequestError as error:
            # The places and ids of a refusal, never the values that stood there.
            log.info("refused", status=error.status, code=error.slug, path=_route(scope), places=_places(error))
            challenge = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
            await outcome(error, challenge)(scope, receive, send)
        except Exception as error:
            log.exception("failed", path=_route(scope), error=type(error).__name__)
            problem = Problem("service", "failed to answer; the log of the service says where", "report it to its maintainers")
            await outcome(RequestError(500, "internal-error", "exception", [problem]))(scope, receive, send)

    def _refuse_declared(self, scope: Scope) -> None:
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self.body_limit:
            raise self._too_large()

    def _limited(self, receive: Receive) -> Receive:
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.body_limit:
                raise self._too_large()
            return message

        return limited

    def _too_large(self) -> RequestError:
        problem = Problem("body", f"is larger than {self.body_limit} bytes", "send less, or raise CDS_BODY_LIMIT")
        return RequestError(413, "body-too-large", "too-long", [problem])


def _route(scope: Scope) -> str:
    """The route without what a caller wrote into it."""
    route = scope.get("route")
    return str(getattr(route, "path", "unknown"))


def _places(error: RequestError) -> list[str]:
    return [problem.place for problem in error.problems][:10]
