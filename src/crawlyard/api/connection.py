"""Requests to one server: sent, sent again where that is right, and answered."""

import asyncio
import random
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Self

import httpx

from crawlyard.api.problems import checked
from crawlyard.api.server import Server, server_of, verified
from crawlyard.errors import Unavailable
from crawlyard.ids import new_id

_TRIES = 4
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.25, 30.0

_NOTHING: Mapping[str, object] = {}
_PLAIN: Mapping[str, str] = {}


class Connection:
    """Asks one server. What it refuses is raised as the errors of `crawlyard.errors`.

    Use it as an async context manager. Without a *server*, the environment names it. A *transport*
    takes the place of the network.

    Raises:
        Invalid: nobody names a server or a token for it, or it cannot be right.
    """

    def __init__(
        self, server: Server | None = None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.server = own = server or server_of()
        self._http = httpx.AsyncClient(
            headers=own.headers, timeout=own.timeout_s, transport=transport, verify=verified()
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
        """Return the answer to a request, sent again while the server asks to wait.

        *path* is below ``/api/v1`` unless it begins with a slash. A POST carries the same
        Idempotency-Key each time: it is done once. *silence_s* is for how long nothing may come;
        ``None``: as long as the server is said to take.

        Raises:
            CrawlyardError: what the server answered, or `Unavailable` if nobody did.
        """
        request = self._request(method, path, params, body, headers, silence_s)
        attempt = 0
        while True:
            answer = None
            try:
                answer = await self._http.send(request)
            except httpx.TransportError as error:
                wait = _wait_s(attempt, None) if _again(method, error) else None
                if wait is None:
                    raise self._unreachable(error) from None
            else:
                wait = _wait_s(attempt, answer)
                if wait is None:
                    return checked(answer)
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
        """Give out an answer to GET that is read piece by piece.

        Raises:
            CrawlyardError: as for `send`; `Unavailable` as well if the answer breaks off.
        """
        request = self._request("GET", path, params, None, headers, silence_s)
        try:
            answer = await self._opened(request)
        except httpx.TransportError as error:
            raise self._unreachable(error) from None
        try:
            if not answer.is_success:
                await answer.aread()
                checked(answer)
            yield answer
        except httpx.TransportError as error:
            raise self._unreachable(error) from None
        finally:
            await answer.aclose()

    async def _opened(self, request: httpx.Request) -> httpx.Response:
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
        said = str(error) or type(error).__name__
        return Unavailable(f"{self.server.url} cannot be reached: {said}")


def _wait_s(attempt: int, answer: httpx.Response | None) -> float | None:
    """Return how long to wait before a request is sent again; ``None``: it is not.

    *attempt* counts from 0; *answer* of ``None``: nobody answered.
    """
    if attempt + 1 >= _TRIES:
        return None
    if answer is not None:
        if answer.status_code not in {429, 503} and not _under_way(answer):
            return None
        asked = _seconds(answer.headers.get("retry-after", ""))
        if asked is not None:
            return asked if asked <= _LONGEST_WAIT_S else None
    return min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0**attempt) * (0.75 + random.random() / 2)


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
    return _LONGEST_WAIT_S + 1  # a date: our clocks need not agree


def _again(method: str, error: httpx.TransportError) -> bool:
    """Tell whether a request without an answer may be sent once more.

    It may where nobody was there to take it, and where a second time does no harm: GET, and POST,
    which is known again by its key.
    """
    found_nobody = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
    return found_nobody or method in {"GET", "HEAD", "POST"}


def _query(given: Mapping[str, object]) -> httpx.QueryParams | None:
    """Return the query of a URL: no ``None``, a pair for each of several values.

    Without any it is ``None``: an empty list would wipe the query that the path has.
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
