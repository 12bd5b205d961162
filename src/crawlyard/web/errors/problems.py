"""Every answer that is an error, as one shape.

Source: RFC 9457, Problem Details for HTTP APIs.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match

from crawlyard.core.answers.base import as_dict
from crawlyard.core.answers.problems import FieldErrorOut, ProblemOut
from crawlyard.core.jobs.actions import actions_of
from crawlyard.errors import (
    Conflict,
    CrawlyardError,
    Forbidden,
    IllegalMove,
    Invalid,
    NotFound,
    QuotaExceeded,
    Refused,
    Stale,
    StoreFull,
    Unauthenticated,
    Unavailable,
    Unconfirmed,
)

MEDIA_TYPE = "application/problem+json"

_RETRY_AFTER_S = "2"  # while the store is away, or the yard drains
_LONGEST = 2_000  # characters of a detail: an answer must not grow with what was sent

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kind:
    """What all problems of one code share."""

    status: int
    title: str


KINDS: Mapping[str, Kind] = {
    "validation_failed": Kind(422, "The request is not valid"),
    "malformed": Kind(400, "The request cannot be read"),
    "invalid_cursor": Kind(400, "The cursor does not belong to this list"),
    "unauthenticated": Kind(401, "Sign in, or send a token"),
    "forbidden": Kind(403, "Not allowed"),
    "not_found": Kind(404, "There is no such thing"),
    "method_not_allowed": Kind(405, "The method is not allowed here"),
    "not_acceptable": Kind(406, "No such format"),
    "invalid_transition": Kind(409, "The state does not allow it"),
    "conflict": Kind(409, "It was changed meanwhile"),
    "confirmation_required": Kind(409, "Confirmation required"),
    "idempotency_in_progress": Kind(409, "A request with this Idempotency-Key is under way"),
    "gone": Kind(410, "It is no longer here"),
    "precondition_failed": Kind(412, "It is at another version"),
    "too_slow": Kind(408, "The request did not come in time"),
    "payload_too_large": Kind(413, "The body is too large"),
    "unsupported_media_type": Kind(415, "The body must be JSON"),
    "idempotency_key_reused": Kind(422, "The Idempotency-Key was used for another request"),
    "misdirected": Kind(421, "The Host is not one of this server's"),
    "precondition_required": Kind(428, "If-Match is missing"),
    "limit_exceeded": Kind(429, "A quota is used up"),
    "rate_limited": Kind(429, "Too many requests"),
    "refused": Kind(409, "It cannot be done"),
    "head_too_large": Kind(431, "The URL or the headers are too long"),
    "internal": Kind(500, "An error of the server"),
    "unavailable": Kind(503, "Not available now"),
}
"""All codes; their pages are served under ``/problems/``."""


@dataclass(slots=True)
class Problem(Exception):
    """An error that only HTTP knows of."""

    code: str
    detail: str
    more: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


def install(app: Starlette) -> None:
    """Let *app* answer every error as a problem, Starlette's own included."""
    app.add_exception_handler(Problem, _of_problem)
    app.add_exception_handler(CrawlyardError, _of_ours)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(Exception, _of_bug)


def answer(
    request: Request,
    code: str,
    detail: str,
    *,
    more: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the answer that tells of a problem; *more* are members of its own."""
    request_id = getattr(request.state, "request_id", "")
    content = told(code, detail, request.url.path, request_id, more)
    return JSONResponse(content, KINDS[code].status, dict(headers or {}), MEDIA_TYPE)


def told(
    code: str,
    detail: str,
    instance: str,
    request_id: str,
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the body of the answer that tells of a problem."""
    kind = KINDS[code]
    shape = ProblemOut(
        type=f"/problems/{code.replace('_', '-')}",
        title=kind.title,
        status=kind.status,
        code=code,
        detail=detail[:_LONGEST],
        instance=instance,
        request_id=request_id,
        **(more or {}),
    )
    return {name: value for name, value in as_dict(shape).items() if value is not None}


def code_of(error: CrawlyardError) -> str:
    """Return the code that *error* is answered with."""
    match error:
        case Invalid() | NotFound() | Forbidden() | Unauthenticated() | IllegalMove():
            return error.code
        case Conflict() | QuotaExceeded():
            return error.code
        case Unavailable():
            return "unavailable"
        case Refused():
            return "refused"
        case _:
            return "internal"


def pointer(path: str | Iterable[str | int]) -> str:
    """Return the JSON pointer (RFC 6901) of a field: ``/limits/pages``."""
    parts = path.split(".") if isinstance(path, str) else [str(part) for part in path]
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts if part)


async def _of_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)  # noqa: S101 - as it was registered
    return answer(request, error.code, error.detail, more=error.more, headers=error.headers)


async def _of_ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, CrawlyardError)  # noqa: S101 - as it was registered
    code = code_of(error)
    more: dict[str, Any] = {}
    headers: dict[str, str] = {}
    match error:
        case Invalid():
            where, at = pointer(error.field), error.position
            one = FieldErrorOut(pointer=where, code="invalid", detail=str(error), position=at)
            more["errors"] = (one,)
        case IllegalMove():
            more["allowed_actions"] = actions_of(error.allowed)
        case Stale():
            more["current_version"] = error.current
        case Unconfirmed():
            more["schedules"] = error.schedules
        case QuotaExceeded():
            more["quota"] = error.quota
        case Unauthenticated():
            headers["WWW-Authenticate"] = 'Bearer realm="crawlyard"'
        case StoreFull() | Unavailable():
            headers["Retry-After"] = _RETRY_AFTER_S
    if code == "internal":
        _log.error("request %s failed", request.url.path, exc_info=error)
    return answer(request, code, str(error), more=more, headers=headers)


_CODES_OF_STATUS = {
    400: "malformed",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "payload_too_large",
    415: "unsupported_media_type",
}


async def _of_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - as it was registered
    code = _CODES_OF_STATUS.get(error.status_code, "internal")
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_methods_of(request))
    return answer(request, code, str(error.detail), headers=headers)


def _methods_of(request: Request) -> list[str]:
    """Return the methods that a path takes: of all its routes, not of the first alone."""
    methods = ("GET", "POST", "PUT", "PATCH", "DELETE")
    scopes = ({**request.scope, "method": method} for method in methods)
    return [
        scope["method"]
        for scope in scopes
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)
    ]


async def _of_bug(request: Request, error: Exception) -> Response:
    _log.error("request %s %s failed", request.method, request.url.path, exc_info=error)
    return answer(request, "internal", "an error of the server, which its log tells of")
