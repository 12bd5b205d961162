"""Problem details: all errors of the API, and their pages.

Source: RFC 9457, Problem Details for HTTP APIs.
"""

import html
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match

from crawlyard.core.answer import as_dict
from crawlyard.core.endpoints.problem import FieldErrorOut, ProblemOut
from crawlyard.core.instance import ProblemKindOut
from crawlyard.core.jobs.job import actions_of
from crawlyard.errors import (
    Conflict,
    CrawlyardError,
    Forbidden,
    IllegalMove,
    Invalid,
    NotFound,
    NotPublic,
    QuotaExceeded,
    Refused,
    Stale,
    StoreFull,
    Unauthenticated,
    Unavailable,
    Unconfirmed,
)

MEDIA_TYPE = "application/problem+json"

RETRY_AFTER_S = "2"
"""Retry-After while the store is unavailable, connections are exhausted, or a yard drains."""

_LONGEST = 2_000  # characters of a detail: a response must not grow with the request

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kind:
    """Status, title and meaning of a problem code."""

    status: int
    title: str
    meaning: str  # and what to do


KINDS: Mapping[str, Kind] = {
    "validation_failed": Kind(
        422,
        "The request is not valid",
        "A field or a parameter is not valid. `errors` names each one by its JSON pointer or "
        "its name. Correct them and send the request again.",
    ),
    "malformed": Kind(
        400,
        "The request cannot be read",
        "The body is not JSON in UTF-8, is nested too deep, or a header cannot be read.",
    ),
    "invalid_cursor": Kind(
        400,
        "The cursor does not belong to this list",
        "A cursor continues the list that it came from, with the same filters. Start the list "
        "again, without a cursor.",
    ),
    "unauthenticated": Kind(
        401,
        "Sign in, or send a token",
        "The server does not know who you are. Send 'Authorization: Bearer cyt_…' with a "
        "token that is neither expired nor revoked, or sign in.",
    ),
    "forbidden": Kind(
        403,
        "Not allowed",
        "You may see the resource, but your role or the scopes of your token do not allow "
        "this action; or a page of another site sent the request in your name.",
    ),
    "not_found": Kind(
        404,
        "Not found",
        "There is no such resource, or it belongs to another user.",
    ),
    "method_not_allowed": Kind(
        405,
        "The method is not allowed here",
        "The address exists, but not for this method; Allow lists those that it takes.",
    ),
    "not_acceptable": Kind(
        406,
        "No such format",
        "The server has no format that Accept asks for; the OpenAPI document lists the formats.",
    ),
    "invalid_transition": Kind(
        409,
        "The state does not allow it",
        "The state of the resource does not allow the action. `allowed_actions` lists those "
        "that it does allow.",
    ),
    "conflict": Kind(
        409,
        "Conflict with another change",
        "It was changed at the same time, or the name is taken. Read it again and retry.",
    ),
    "confirmation_required": Kind(
        409,
        "Confirmation required",
        "The change also affects the schedules listed in `schedules`. Nothing was changed; "
        "repeat the request with `confirm=true` to go ahead.",
    ),
    "idempotency_in_progress": Kind(
        409,
        "A request with this Idempotency-Key is in progress",
        "The first request with this key has not been answered yet. Wait as long as "
        "Retry-After says, and send it again.",
    ),
    "gone": Kind(
        410,
        "Deleted",
        "The resource existed and has been deleted.",
    ),
    "precondition_failed": Kind(
        412,
        "The version does not match",
        "If-Match names another version than the current one, which is in `current_version`. "
        "Read it again and retry.",
    ),
    "too_slow": Kind(
        408,
        "The request took too long to arrive",
        "The whole request must arrive within a minute. Send it again, over a faster "
        "connection or in smaller parts.",
    ),
    "payload_too_large": Kind(
        413,
        "The body is too large",
        "The body has more bytes than the server accepts.",
    ),
    "unsupported_media_type": Kind(
        415,
        "The body must be JSON",
        "Send the body as application/json.",
    ),
    "idempotency_key_reused": Kind(
        422,
        "The Idempotency-Key was used for another request",
        "The key belongs to another request, whose answer is kept for a day. Use a new key "
        "for a new request.",
    ),
    "misdirected": Kind(
        421,
        "The Host is not one of this server's",
        "The Host header is not a name of this server. The operator of the server can allow "
        "more names.",
    ),
    "precondition_required": Kind(
        428,
        "If-Match is missing",
        "Send If-Match with the ETag that you read, so that no other change is lost; * "
        "matches every version.",
    ),
    "limit_exceeded": Kind(
        429,
        "A quota is used up",
        "You have reached a quota or the limit of open streams. `quota` names it.",
    ),
    "rate_limited": Kind(
        429,
        "Too many requests",
        "Too many requests. Wait as long as Retry-After says.",
    ),
    "refused": Kind(
        409,
        "It cannot be done",
        "The request cannot be carried out; the detail says why.",
    ),
    "head_too_large": Kind(
        431,
        "The URL or the headers are too long",
        "The URL and the headers together have more bytes than the server accepts. Send fewer "
        "parameters, or use POST where that is possible.",
    ),
    "internal": Kind(
        500,
        "Internal server error",
        "The server has a bug. Its log has the details, under the `request_id`.",
    ),
    "unavailable": Kind(
        503,
        "Not available now",
        "The store is unreachable, the server is shutting down, or it has too many connections. "
        "Wait as long as Retry-After says, and send the request again.",
    ),
}
"""All codes; their pages are under ``/problems/``."""


@dataclass(slots=True)
class Problem(Exception):
    """An error of HTTP alone."""

    code: str
    detail: str
    more: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


def install(app: Starlette) -> None:
    """Make *app* answer all errors as problems, including Starlette's own."""
    app.add_exception_handler(Problem, _answer_problem)
    app.add_exception_handler(CrawlyardError, _answer_error)
    app.add_exception_handler(HTTPException, answer_http_error)
    app.add_exception_handler(Exception, _answer_bug)


def answer(
    request: Request,
    code: str,
    detail: str,
    *,
    more: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the response for a problem; *more* are additional members."""
    request_id = getattr(request.state, "request_id", "")
    content = problem_body(code, detail, path_shown(request), request_id, more)
    return JSONResponse(content, KINDS[code].status, dict(headers or {}), MEDIA_TYPE)


def path_shown(request: Request) -> str:
    """Return the path of a request for logs and problems, without the token in it."""
    return _TOKEN.sub(r"\1…", request.url.path)


_TOKEN = re.compile(r"^(/hooks/|/shared/)[^/]+")


def problem_body(
    code: str,
    detail: str,
    instance: str,
    request_id: str,
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the JSON members of a problem, without empty ones."""
    kind = KINDS[code]
    shape = ProblemOut(
        type=_type_of(code),
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
    """Map *error* to a code of `KINDS`."""
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


async def _answer_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)  # noqa: S101 - as it was registered
    return answer(request, error.code, error.detail, more=error.more, headers=error.headers)


async def _answer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, CrawlyardError)  # noqa: S101 - as it was registered
    code = code_of(error)
    more: dict[str, Any] = {}
    headers: dict[str, str] = {}
    match error:
        case Invalid():
            more["errors"] = tuple(
                FieldErrorOut(
                    pointer=pointer(fault.field),
                    code="not_public" if isinstance(fault, NotPublic) else "invalid",
                    detail=str(fault),
                    position=fault.position,
                )
                for fault in error.faults
            )
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
            headers["Retry-After"] = RETRY_AFTER_S
    if code == "internal":
        _log.error("request %s failed", path_shown(request), exc_info=error)
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


async def answer_http_error(request: Request, error: Exception) -> Response:
    """Return the response to an error raised by Starlette."""
    assert isinstance(error, HTTPException)  # noqa: S101 - as it was registered
    code = _CODES_OF_STATUS.get(error.status_code, "internal")
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_methods_of(request))
    return answer(request, code, str(error.detail), headers=headers)


def _methods_of(request: Request) -> list[str]:
    """Return the methods of all routes of a path, not of the first only."""
    methods = ("GET", "POST", "PUT", "PATCH", "DELETE")
    scopes = ({**request.scope, "method": method} for method in methods)
    return [
        scope["method"]
        for scope in scopes
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)
    ]


async def _answer_bug(request: Request, error: Exception) -> Response:
    _log.error("request %s %s failed", request.method, path_shown(request), exc_info=error)
    return answer(
        request, "internal", "internal server error; its log has the details under the request_id"
    )


# --- the pages of problems


def kind_of(code: str) -> ProblemKindOut:
    """Return the explanation of a code.

    Raises:
        KeyError: there is no such code.
    """
    kind = KINDS[code]
    return ProblemKindOut(
        type=_type_of(code), code=code, status=kind.status, title=kind.title, detail=kind.meaning
    )


def page_of(kind: ProblemKindOut) -> str:
    """Render the page of a kind, in HTML that loads nothing."""
    title, detail = html.escape(kind.title), html.escape(kind.detail)
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{title} · Crawlyard</title></head>\n<body><main>\n<h1>{title}</h1>\n"
        f"<p>Status {kind.status}, code <code>{kind.code}</code></p>\n<p>{detail}</p>\n"
        "</main></body>\n</html>\n"
    )


def _type_of(code: str) -> str:
    return f"/problems/{code.replace('_', '-')}"
