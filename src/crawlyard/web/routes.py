"""Shared behaviour of API routes: body checks, idempotency, field selection."""

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from math import isfinite
from typing import Any

from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from crawlyard.core.answer import encode_answer, only
from crawlyard.core.endpoints.endpoint import Slice, reply
from crawlyard.core.endpoints.idempotency import MAX_KEY, SHOWN_ONCE, StoredReply, is_key
from crawlyard.services.idempotency import run_once
from crawlyard.web.auth import authenticate, site_of
from crawlyard.web.problems import Problem

MAX_FIELDS = 200
"""Limit of the fields that `fields` names."""

DEEPEST = 32
"""Limit of the nesting of a JSON body."""


_JSON = frozenset({"application/json", "application/merge-patch+json"})
_KEPT_HEADERS = ("content-type", "location", "etag")

_NO_NUMBERS = re.compile(r"NaN|Infinity|\d[eE]\+?\d{3}|\d{300}")
"""Possible numbers that Python parses but JSON or the database does not allow."""

_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""An escaped NUL in JSON, after an even number of backslashes."""

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class OneMethod(Route):
    """A route of one method: Starlette's own lets HEAD do what GET does.

    Most routes are ruled out by their start or their depth: to try the pattern of each took 61 µs
    for `GET /jobs/ID`.
    """

    def __init__(
        self, path: str, endpoint: Callable[[Request], Awaitable[Response]], method: str
    ) -> None:
        super().__init__(path, endpoint, methods=[method])
        self.methods = {method}
        self._start = path.partition("{")[0]
        self._depth = None if ":path}" in path else path.count("/")

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether this is the route of a request, and its path parameters."""
        path: str = scope["path"]
        if not path.startswith(self._start) or self._depth not in (None, path.count("/")):
            return Match.NONE, {}
        return super().matches(scope)


async def respond(request: Request, handler: Handler, *, signed_in: bool = True) -> Response:
    """Return the response of *handler*, after body checks and idempotency.

    An Idempotency-Key belongs to the *signed_in* caller; otherwise it is ignored.
    """
    if request.method == "GET":
        return await handler(request)
    await check_body(request)
    once = signed_in and request.method == "POST" and "idempotency-key" in request.headers
    answer = await (_answer_once(request, handler) if once else handler(request))
    await site_of(request).yard.bus.notify_events_stored()  # it may have stored an event
    return answer


async def check_body(request: Request) -> None:
    """Check a body before it is parsed.

    Raises:
        Problem: not JSON, nested too deeply, or with text that cannot be encoded.
    """
    body = await request.body()
    if not body:
        return
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _JSON:
        raise Problem("unsupported_media_type", f"expected application/json, got {kind!r}")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise Problem("malformed", f"the body is not UTF-8: {error.reason}") from None
    if depth_of(text) > DEEPEST:
        raise Problem("malformed", f"expected at most {DEEPEST} levels of JSON")
    if _NUL.search(text):
        raise Problem("malformed", "NUL (\\u0000) in the body")  # Postgres cannot store it in text
    if _NO_NUMBERS.search(text):
        _check_numbers(text)
    if "\\u" in text:
        try:
            json.dumps(json.loads(text), ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise Problem("malformed", "lone surrogate (half a character) in the body") from None
        except ValueError:
            pass  # not JSON: the parser reports it


def _check_numbers(text: str) -> None:
    def number(word: str) -> float:
        value = float(word)
        if not isfinite(value):
            raise Problem("malformed", f"{word[:40]} is not a JSON number, or is too large")
        return value

    with suppress(ValueError):  # not JSON: the parser reports it
        json.loads(text, parse_constant=number, parse_float=number)


def depth_of(text: str) -> int:
    """Return the nesting depth of JSON, in linear time; brackets in strings do not count."""
    deepest = depth = 0
    quoted = escaped = False
    for char in text:
        if quoted:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                quoted = False
        elif char == '"':
            quoted = True
        elif char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]}":
            depth -= 1
    return deepest


async def _answer_once(request: Request, handler: Handler) -> Response:
    """Answer a request that may be sent again with the same Idempotency-Key.

    Source: draft-ietf-httpapi-idempotency-key-header.
    """
    key = request.headers["idempotency-key"].strip()
    if not is_key(key):
        raise Problem("malformed", f"expected an Idempotency-Key of 1 to {MAX_KEY} characters")
    site = site_of(request)
    # authenticate first: a revoked token must not read its earlier responses
    asker = (await authenticate(request, site)).credential.id
    digest, now = await _digest(request), site.yard.clock.now()
    call = StoredReply(asker=asker, key=key, request=digest, created_at=now)

    def reply_of(response: Response) -> StoredReply | None:
        if reply().dry_run:
            return None
        headers = tuple((n, v) for n, v in response.headers.items() if n in _KEPT_HEADERS)
        body = _without_secrets(bytes(getattr(response, "body", b"")))
        return replace(call, status=response.status_code, headers=headers, body=body)

    result = await run_once(site.yard.store.replies, call, partial(handler, request), reply_of)
    return _replay(call, result) if isinstance(result, StoredReply) else result


async def _digest(request: Request) -> str:
    hashed = hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query}\0".encode())
    hashed.update(await request.body())
    return hashed.hexdigest()


def _without_secrets(body: bytes) -> bytes:
    """Remove secrets from a response before it is stored: only the first response has them."""
    if not any(f'"{name}"'.encode() in body for name in SHOWN_ONCE):
        return body
    data = json.loads(body)
    if isinstance(data, dict):
        data |= {name: None for name in SHOWN_ONCE if name in data}
    return json.dumps(data, ensure_ascii=False).encode()


def _replay(call: StoredReply, earlier: StoredReply) -> Response:
    if earlier.request != call.request:
        raise Problem("idempotency_key_reused", "the key was used for another request; use another")
    if not earlier.status:
        detail = "the first request with this key is in progress; wait for its response"
        raise Problem("idempotency_in_progress", detail, headers={"Retry-After": "1"})
    headers = dict(earlier.headers) | {"Idempotency-Replayed": "true"}
    return Response(earlier.body, earlier.status, headers)


def json_answer(
    request: Request,
    result: object,
    listed: Sequence[str] = (),
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return *result* as JSON; ``?fields=a,b.c`` of a GET selects fields.

    The items of a list have the fields *listed* unless the request names others.
    """
    paths = request.query_params.get("fields", "").split(",")[:MAX_FIELDS]
    paths = [path.strip() for path in paths if path.strip()] or list(listed)
    if paths and request.method == "GET" and status == 200:
        names: dict[str, Any] = {}
        for path in paths:
            place = names
            for name in filter(None, path.split(".")):
                place = place.setdefault(name, {})
        if isinstance(result, Slice):
            result = replace(result, items=only(result.items, names))
        else:
            result = only(result, names)
    return Response(encode_answer(result), status, headers, "application/json")
