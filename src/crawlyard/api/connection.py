"""HTTP client of one server, with retries."""

import asyncio
import random
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Self

import httpx

from crawlyard.api.problems import check_answer
from crawlyard.api.server import Server, server_of, tls_context
from crawlyard.errors import Unavailable
from crawlyard.ids import new_id

_MAX_ATTEMPTS = 4
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.25, 30.0

_NOTHING: Mapping[str, object] = {}
_PLAIN: Mapping[str, str] = {}


class Connection:
    """Sends requests to one server; its problems are raised as `crawlyard.errors`.

    Use it as an async context manager. *server* defaults to the environment. A *transport*
    replaces the network.

    Raises:
        Invalid: no server or token is set, or one is malformed.
    """

    def __init__(
        self, server: Server | None = None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.server = own = server or server_of()
        self._http = httpx.AsyncClient(
            headers=own.headers, timeout=own.timeout_s, transport=transport, verify=tls_context()
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, object] = _NOTHING,
        body: object = None,
        headers: Mapping[str, str] = _PLAIN,
        silence_s: float | None = None,
    ) -> httpx.Response:
        """Send a request, and retry while the server responds that it is busy.

        *path* is below ``/api/v1`` unless it begins with a slash. A POST is retried with the same
        Idempotency-Key, so it is carried out once. *silence_s* is the read timeout; it defaults
        to the server's timeout.

        Raises:
            CrawlyardError: the problem in the response, or `Unavailable` if there was none.
        """
        request = self._request(method, path, params, body, headers, silence_s)
        attempt = 0
        while True:
            answer = None
            try:
                answer = await self._http.send(request)
            except httpx.TransportError as error:
                wait = _wait_s(attempt, None) if _may_retry(method, error) else None
                if wait is None:
                    raise self._unreachable(error) from None
            else:
                wait = _wait_s(attempt, answer)
                if wait is None:
                    return check_answer(answer)
            await asyncio.sleep(wait)
            attempt += 1

    @asynccontextmanager
    async def stream(
        self,
        path: str,
        *,
        params: Mapping[str, object] = _NOTHING,
        headers: Mapping[str, str] = _PLAIN,
        silence_s: float | None = None,
    ) -> AsyncGenerator[httpx.Response]:
        """Open a response to GET that is read in pieces.

        Raises:
            CrawlyardError: as for `send`; `Unavailable` also if the response breaks off.
        """
        request = self._request("GET", path, params, None, headers, silence_s)
        try:
            answer = await self._open(request)
        except httpx.TransportError as error:
            raise self._unreachable(error) from None
        try:
            if not answer.is_success:
                await answer.aread()
                check_answer(answer)
            yield answer
        except httpx.TransportError as error:
            raise self._unreachable(error) from None
        finally:
            await answer.aclose()

    async def _open(self, request: httpx.Request) -> httpx.Response:
        attempt = 0
        while True:
            answer = await self._http.send(request, stream=True)
            wait = _wait_s(attempt, answer) if answer.status_code in {429, 503} else None
            if wait is None:
                return answer
            await answer.aclose()
            await asyncio.sleep(wait)
            attempt += 1

    def _request(
        self,
        method: str,
        path: str,
        params: Mapping[str, object],
        body: object,
        headers: Mapping[str, str],
        silence_s: float | None,
    ) -> httpx.Request:
        server = self.server
        base = server.url.rstrip("/") if path.startswith("/") else f"{server.base}/"
        key = {"Idempotency-Key": new_id()} if method == "POST" else {}
        return self._http.build_request(
            method,
            f"{base}{path}",
            params=_query(params),
            headers={**key, **headers},
            json=body,
            timeout=httpx.Timeout(server.timeout_s, read=silence_s or server.timeout_s),
        )

    def _unreachable(self, error: httpx.HTTPError) -> Unavailable:
        reason = str(error) or type(error).__name__
        return Unavailable(f"{self.server.url} cannot be reached: {reason}")


def _wait_s(attempt: int, answer: httpx.Response | None) -> float | None:
    """Return the seconds before a retry; ``None``: no retry.

    *attempt* counts from 0; *answer* is ``None`` if there was none.
    """
    if attempt + 1 >= _MAX_ATTEMPTS:
        return None
    if answer is not None:
        if answer.status_code not in {429, 503} and not _is_in_progress(answer):
            return None
        retry_after_s = _seconds(answer.headers.get("retry-after", ""))
        if retry_after_s is not None:
            return retry_after_s if retry_after_s <= _LONGEST_WAIT_S else None
    return min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0**attempt) * (0.75 + random.random() / 2)


def _is_in_progress(answer: httpx.Response) -> bool:
    """Return whether an earlier request with the same key is still in progress."""
    return answer.status_code == 409 and "idempotency-in-progress" in answer.text[:300]


def _seconds(header: str) -> float | None:
    if header.isdigit():
        return float(header[:9])
    try:
        parsedate_to_datetime(header)
    except (ValueError, OverflowError, TypeError):
        return None
    return _LONGEST_WAIT_S + 1  # a date: the clocks may differ


def _may_retry(method: str, error: httpx.TransportError) -> bool:
    """Return whether a request without a response may be retried.

    It may if there was no connection, or if repeating it is safe: GET, and POST with its
    idempotency key.
    """
    not_connected = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
    return not_connected or method in {"GET", "HEAD", "POST"}


def _query(params: Mapping[str, object]) -> httpx.QueryParams | None:
    """Return query parameters without ``None``, with a pair for each value of a list.

    Returns ``None`` if there are none: an empty list would remove the query of the path.
    """
    pairs: list[tuple[str, str | int | float | bool | None]] = []
    for name, value in params.items():
        several = isinstance(value, Iterable) and not isinstance(value, str)
        values: Iterable[object] = value if several else (value,)  # type: ignore[assignment]  # checked above
        pairs += [(name, _word(item)) for item in values if item is not None]
    return httpx.QueryParams(pairs) if pairs else None


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, datetime) else str(value)
