"""Problems of a server as errors of `crawlyard.errors`."""

import json
from collections.abc import Mapping
from typing import Any

import httpx

from crawlyard.errors import (
    Conflict,
    CrawlyardError,
    Forbidden,
    IllegalMove,
    Invalid,
    NotFound,
    QuotaExceeded,
    RateLimited,
    Refused,
    Stale,
    Unauthenticated,
    Unavailable,
    Unconfirmed,
)


def check_answer(answer: httpx.Response) -> httpx.Response:
    """Return *answer* if it is a success.

    Raises:
        CrawlyardError: the error for its problem; the attribute ``problem`` is the whole body.
    """
    if answer.is_success or answer.status_code == 304:
        return answer
    raise error_of(answer)


def error_of(answer: httpx.Response) -> CrawlyardError:
    """Return the error for a problem response."""
    try:
        body: Any = json.loads(answer.content)
    except ValueError:
        body = {}
    problem: dict[str, Any] = body if isinstance(body, dict) else {}
    code, detail = str(problem.get("code", "")), str(problem.get("detail", ""))
    if not code:
        url = f"{answer.request.method} {answer.request.url}"
        detail = f"{url} returned {answer.status_code}, not from a Crawlyard server"
    error = _error(code, detail, problem)
    error.problem = problem
    return error


_KINDS: Mapping[str, type[CrawlyardError]] = {
    "not_found": NotFound,
    "unauthenticated": Unauthenticated,
    "forbidden": Forbidden,
    "conflict": Conflict,
    "idempotency_in_progress": Conflict,
    "rate_limited": RateLimited,
    "unavailable": Unavailable,
    "internal": CrawlyardError,  # retrying is of no use
    "": Unavailable,
}


def _error(code: str, detail: str, problem: Mapping[str, Any]) -> CrawlyardError:
    if code in {"validation_failed", "malformed", "invalid_cursor"}:
        return _invalid(detail, problem)
    if code == "invalid_transition":
        return IllegalMove(detail, tuple(problem.get("allowed_actions") or ()))
    if code == "limit_exceeded":
        return QuotaExceeded(str(problem.get("quota", "")), detail)
    if code == "confirmation_required":
        return Unconfirmed(detail, problem.get("schedules") or ())
    if code == "precondition_failed":
        current = problem.get("current_version")
        return Stale(detail, current if isinstance(current, int) else 0)
    return _KINDS.get(code, Refused)(detail)


def _invalid(detail: str, problem: Mapping[str, Any]) -> Invalid:
    errors = problem.get("errors")
    faults = [each for each in errors if isinstance(each, dict)] if isinstance(errors, list) else []
    return Invalid.of(_fault(detail, each) for each in faults or [{}])


def _fault(detail: str, fault: Mapping[str, Any]) -> Invalid:
    place = str(fault.get("pointer") or fault.get("parameter") or "request")
    name = place.strip("/").replace("/", ".")
    message = str(fault.get("detail") or detail)
    return Invalid(name, message.removeprefix(f"{name}: "))
