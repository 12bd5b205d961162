# made of asynchronous/calls.py by `python -m tests.sync_client`; a test compares it
"""Requests to one server: sent, sent again where that is right, and read."""

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import httpx
from msgspec import Struct

from crawlyard.client.transport import (
    Server,
    again,
    checked,
    extra_headers,
    params_of,
    portion,
    read,
    unreachable,
    wait_s,
)

M = TypeVar("M", bound=Struct)

_PAGE = 200  # items that are asked for at once: the most that a server gives
_NOTHING: Mapping[str, object] = {}
_PLAIN: Mapping[str, str] = {}


class Calls:
    """Asks one server. What it refuses is raised as the errors of `crawlyard.errors`."""

    def __init__(self, server: Server, http: httpx.Client) -> None:
        self.server = server
        self._http = http

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, object] = _NOTHING,
        body: object = None,
        headers: Mapping[str, str] = _PLAIN,
        silence_s: float | None = None,
    ) -> httpx.Response:
        """Return the answer to a request, sent again while the server is to be waited for.

        A POST carries the same Idempotency-Key each time: it is done once. *silence_s* is
        for how long nothing may come; else as the server was said to be.

        Raises:
            CrawlyardError: what the server answered, or `Unavailable` if nobody did.
        """
        attempt = 0
        request = self._request(method, path, params, body, headers)
        self._be_patient(request, silence_s)
        while True:
            answer = None
            try:
                answer = self._http.send(request)
            except httpx.TransportError as error:
                wait = wait_s(attempt, None) if again(method, error) else None
                if wait is None:
                    raise unreachable(self.server, error) from None
            else:
                wait = wait_s(attempt, answer)
                if wait is None:
                    return checked(answer)
            time.sleep(wait)
            attempt += 1

    def one(
        self,
        shape: type[M],
        method: str,
        path: str,
        *,
        params: Mapping[str, object] = _NOTHING,
        body: object = None,
        headers: Mapping[str, str] = _PLAIN,
    ) -> M:
        """Return the thing that a request is answered with. Raises as `send` does."""
        answer = self.send(method, path, params=params, body=body, headers=headers)
        return read(shape, answer)

    def every(
        self,
        shape: type[M],
        path: str,
        params: Mapping[str, object] = _NOTHING,
        limit: int | None = None,
    ) -> Generator[M]:
        """Yield the items of a list, at most *limit*, from as many requests as it takes."""
        left = limit
        cursor = None
        while left is None or left > 0:
            page = _PAGE if left is None else min(left, _PAGE)
            asked = {**params, "limit": page, "cursor": cursor}
            answer = self.send("GET", path, params=asked)
            items, cursor = portion(shape, answer)
            for item in items:
                yield item
            left = None if left is None else left - len(items)
            if cursor is None:
                return

    def whole(
        self, shape: type[M], path: str, params: Mapping[str, object] = _NOTHING
    ) -> Generator[M]:
        """Yield the items of a list that is always answered as a whole."""
        items, _ = portion(shape, self.send("GET", path, params=params))
        for item in items:
            yield item

    @contextmanager
    def stream(
        self,
        path: str,
        *,
        params: Mapping[str, object] = _NOTHING,
        headers: Mapping[str, str] = _PLAIN,
        silence_s: float | None = None,
    ) -> Generator[httpx.Response]:
        """Give out an answer that is read piece by piece, for the block.

        *silence_s* is for how long nothing may come; else as for other requests.

        Raises:
            CrawlyardError: as for `send`; `Unavailable` as well if the answer breaks off.
        """
        request = self._request("GET", path, params, None, headers)
        self._be_patient(request, silence_s)
        try:
            answer = self._opened(request)
        except httpx.TransportError as error:
            raise unreachable(self.server, error) from None
        try:
            if not answer.is_success:
                answer.read()
                checked(answer)
            yield answer
        except httpx.TransportError as error:
            raise unreachable(self.server, error) from None
        finally:
            answer.close()

    def _opened(self, request: httpx.Request) -> httpx.Response:
        attempt = 0
        while True:
            answer = self._http.send(request, stream=True)
            wait = wait_s(attempt, answer) if answer.status_code in {429, 503} else None
            if wait is None:
                return answer
            answer.close()
            time.sleep(wait)
            attempt += 1

    def _be_patient(self, request: httpx.Request, silence_s: float | None) -> None:
        if silence_s is not None:
            patience = httpx.Timeout(self.server.timeout_s, read=silence_s)
            request.extensions = {**request.extensions, "timeout": patience.as_dict()}

    def _request(
        self,
        method: str,
        path: str,
        params: Mapping[str, object],
        body: object,
        headers: Mapping[str, str],
    ) -> httpx.Request:
        base = self.server.url.rstrip("/") if path.startswith("/") else f"{self.server.base}/"
        url = f"{base}{path}"
        sent = {**extra_headers(method), **headers}
        asked = params_of(params)
        if body is None:
            return self._http.build_request(method, url, params=asked, headers=sent)
        return self._http.build_request(method, url, params=asked, headers=sent, json=body)
