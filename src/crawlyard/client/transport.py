"""What both clients share: where a server is, what is sent, and what its answers mean."""

import json
import os
import random
import ssl
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import httpx
import msgspec
from msgspec import Struct

from crawlyard.about import VERSION
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
    Version,
)
from crawlyard.ids import new_id
from crawlyard.trust import CA_FILE, trust_also

PREFIX = "/api/v1"

TRIES = 4
"""Of a request that may be sent again: one that found nobody, or was told to come later."""

LONGEST_WAIT_S = 30.0
_FIRST_WAIT_S = 0.25

M = TypeVar("M", bound=Struct)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where a yard is served, and what proves who asks."""

    url: str  # http://127.0.0.1:8700
    token: str = field(repr=False)
    timeout_s: float = 30.0

    def __post_init__(self) -> None:
        check_url(self.url)
        if not self.token.isascii() or not self.token.isprintable() or " " in self.token:
            raise Invalid("token", "expected a token: cyt_ and letters; got something else")

    @property
    def base(self) -> str:
        """Return the URL that paths are added to."""
        return self.url.rstrip("/") + PREFIX

    @property
    def headers(self) -> dict[str, str]:
        """Return what is sent with every request."""
        return {
            "Authorization": f"Bearer {self.token}",
            "User-Agent": f"crawlyard-client/{VERSION}",
            "Accept": "application/json",
        }


def check_url(url: str, source: str = "server") -> None:
    """Check that *url* can be that of a server.

    Raises:
        Invalid: it cannot; *source* is the option or setting that it came from.
    """
    try:
        parts = urlsplit(url)
        whole = parts.scheme in {"http", "https"} and bool(parts.hostname)
        why = "" if whole and parts.port != 0 else "expected"
    except ValueError as error:  # a port out of range, an address without its bracket
        why = f"{error}; expected"
    if why:
        said = f"{url!r} is not the URL of a server: {why} one such as http://127.0.0.1:8700"
        raise Invalid(source, said)


def server_of(url: str | None = None, token: str | None = None) -> Server:
    """Return the server that is meant: what is given, else ``CRAWLYARD_SERVER`` and its token.

    A token comes from ``CRAWLYARD_TOKEN``, else from the file that ``CRAWLYARD_TOKEN_FILE`` names.

    Raises:
        Invalid: no server is named, or no token for it.
    """
    url = url or os.environ.get("CRAWLYARD_SERVER", "")
    if not url:
        raise Invalid("server", "expected the URL of a yard; CRAWLYARD_SERVER names one as well")
    token = token or token_given()
    if not token:
        raise Invalid("token", "expected a token; CRAWLYARD_TOKEN or CRAWLYARD_TOKEN_FILE has one")
    return Server(url=url, token=token)


def verified() -> ssl.SSLContext | bool:
    """Return what certificates are verified with.

    It is what httpx trusts; with ``CRAWLYARD_CA_FILE``, also the system's and those of the file.

    Raises:
        Invalid: ``CRAWLYARD_CA_FILE`` names no file of certificates.
    """
    name = os.environ.get(CA_FILE, "")
    if not name:
        return True
    context = httpx.create_ssl_context()  # has the authorities of certifi
    context.load_default_certs()
    trust_also(context, Path(name))
    return context


def token_given() -> str:
    """Return the token that the environment has, or names a file of; nothing: there is none.

    Raises:
        Invalid: that file cannot be read.
    """
    return os.environ.get("CRAWLYARD_TOKEN", "") or _filed()


def _filed() -> str:
    name = os.environ.get("CRAWLYARD_TOKEN_FILE", "")
    if not name:
        return ""
    try:
        return Path(name).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid("CRAWLYARD_TOKEN_FILE", f"{name} cannot be read: {error}") from None


def extra_headers(method: str) -> dict[str, str]:
    """Return what one request carries beside: a key by which a repeated POST is known again."""
    return {"Idempotency-Key": new_id()} if method == "POST" else {}


def wait_s(attempt: int, answer: httpx.Response | None) -> float | None:
    """Return how long to wait before a request is sent again; ``None``: it is not.

    *attempt* counts from 0; *answer* of ``None``: nobody answered.
    """
    if attempt + 1 >= TRIES:
        return None
    if answer is not None:
        if answer.status_code not in {429, 503} and not _under_way(answer):
            return None
        asked = _seconds(answer.headers.get("retry-after", ""))
        if asked is not None:
            return asked if asked <= LONGEST_WAIT_S else None
    return min(LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0**attempt) * (0.75 + random.random() / 2)


def _under_way(answer: httpx.Response) -> bool:
    """Tell whether the first of two requests with one key is still being answered."""
    return answer.status_code == 409 and "idempotency-in-progress" in answer.text[:300]


def _seconds(header: str) -> float | None:
    if header.isdigit():
        return float(header[:9])
    try:
        parsedate_to_datetime(header)
    except (ValueError, OverflowError, TypeError):
        return None
    return LONGEST_WAIT_S + 1  # a date: our clocks need not agree


def checked(answer: httpx.Response) -> httpx.Response:
    """Return an answer that is no problem.

    Raises:
        CrawlyardError: the one that the problem stands for; ``problem`` of it is the whole body.
    """
    if answer.is_success or answer.status_code == 304:
        return answer
    raise error_of(answer)


def error_of(answer: httpx.Response) -> CrawlyardError:
    """Return the error that an answer tells of."""
    try:
        told: Any = json.loads(answer.content)
    except ValueError:
        told = {}
    problem: dict[str, Any] = told if isinstance(told, dict) else {}
    code, detail = str(problem.get("code", "")), str(problem.get("detail", ""))
    if not code:
        url = f"{answer.request.method} {answer.request.url}"
        detail = f"{url} answered {answer.status_code}, and not as a yard does"
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
    "internal": CrawlyardError,  # to try again is of no use
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
    errors = problem.get("errors") or [{}]
    first = errors[0] if isinstance(errors, list) and isinstance(errors[0], dict) else {}
    place = str(first.get("pointer") or first.get("parameter") or "request")
    name = place.strip("/").replace("/", ".")
    said = str(first.get("detail") or detail)
    return Invalid(name, said.removeprefix(f"{name}: "))


def read(shape: type[M], answer: httpx.Response) -> M:
    """Return the shape that an answer has.

    Raises:
        Unavailable: it has another: what answered is no yard, or a much older one.
    """
    return shaped(shape, answer.content, answer)


def shaped(shape: type[M], data: bytes | str, answer: httpx.Response) -> M:
    """Return the shape that some JSON has, *data* being a part of *answer*.

    Raises:
        Unavailable: as for `read`.
    """
    try:
        return msgspec.json.decode(data, type=shape)
    except msgspec.DecodeError as error:
        raise _other(shape, error, answer) from None


def portion(shape: type[M], answer: httpx.Response) -> tuple[Sequence[M], str | None]:
    """Return what one page of a list has, and the cursor of the next; ``None``: there is none.

    Raises:
        Unavailable: as for `read`.
    """
    page = read(_Page, answer)
    try:
        return [msgspec.convert(item, shape) for item in page.items], page.next_cursor
    except msgspec.ValidationError as error:
        raise _other(shape, error, answer) from None


class _Page(Struct):
    items: Sequence[Any]
    next_cursor: str | None = None


def _other(shape: type[Struct], error: Exception, answer: httpx.Response) -> Unavailable:
    url = answer.request.url
    return Unavailable(f"{url} answered with what is no {shape.__name__}: {error}")


def again(method: str, error: httpx.TransportError) -> bool:
    """Tell whether a request without an answer may be sent once more.

    It may where nobody was there to take it, and where a second time does no harm: what
    only reads, and a POST, which is known again by its key.
    """
    found_nobody = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
    return found_nobody or method in {"GET", "HEAD", "POST"}


def params_of(given: Mapping[str, object]) -> httpx.QueryParams | None:
    """Return what goes into a URL: no ``None``, a pair for each of several values.

    Nothing at all is ``None``: an empty list would wipe what the path itself asks.
    """
    pairs: list[tuple[str, str | int | float | bool | None]] = []
    for name, value in given.items():
        several = isinstance(value, Iterable) and not isinstance(value, str)
        values: Iterable[object] = value if several else (value,)  # type: ignore[assignment]  # told apart above
        pairs += [(name, _word(one)) for one in values if one is not None]
    return httpx.QueryParams(pairs) if pairs else None


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, datetime) else str(value)


def without_none(given: Mapping[str, object]) -> dict[str, object]:
    """Return what of a body was given."""
    return {name: value for name, value in given.items() if value is not None}


def if_match(version: Version, *, required: bool = False) -> dict[str, str]:
    """Return the header by which a change is made to one version alone.

    ``None`` is whichever there is; where a server wants it said (*required*), it is said.
    """
    if version is None:
        return {"If-Match": "*"} if required else {}
    versions = version if isinstance(version, tuple) else (version,)
    return {"If-Match": ", ".join(f'"v{each}"' for each in versions)}


def part(word: str) -> str:
    """Return *word* as one segment of a path: an id, or a name with whatever is in it."""
    return quote(word, safe="")


def unreachable(server: Server, error: httpx.HTTPError) -> Unavailable:
    """Return what to raise when nobody answered."""
    said = str(error) or type(error).__name__
    return Unavailable(f"{server.url} cannot be reached: {said}")
