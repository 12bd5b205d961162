"""Small HTTP/1.1 server on asyncio streams, for demo and test sites."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate, parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeAlias, runtime_checkable

from msgspec.structs import replace

from crawlyard.demo.hits import Hit, Journal
from crawlyard.demo.request import BadRequest, HttpRequest, parse
from crawlyard.demo.site import Answer

MAX_HEAD = 64 * 1024  # bytes of a request head
LINGER_S = 1.0  # for which a client may still send after a response that closes the connection

Raw: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""An answer that writes its own bytes, possibly none or malformed; the connection then closes."""

_log = logging.getLogger(__name__)
_KEPT_IF_UNCHANGED = frozenset({"etag", "last-modified", "cache-control", "vary"})
_NO_BODY = frozenset({204, 304})
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class SiteContent(Protocol):
    """The content that a server serves."""

    def answer(self, method: str, path: str, host: str) -> Answer | Raw:
        """Return the answer to a request; *path* includes the query, *host* is the Host header."""
        ...


@runtime_checkable
class HeaderSite(Protocol):
    """A site whose answers depend on headers such as cookies; preferred over `Site.answer`."""

    def answer_request(self, request: HttpRequest) -> Answer | Raw:
        """Answer a request by its method, path and headers."""
        ...


@runtime_checkable
class FormSite(Protocol):
    """A site that takes POST requests, with their bodies."""

    def answer_post(self, request: HttpRequest) -> Answer:
        """Answer a POST request, whose body was read."""
        ...


class SiteServer:
    """Serves *site* while it is open: ``async with SiteServer(site) as server``.

    Every answer is delayed by *latency_s* in addition to its own delay. Each request is
    added to `hits` when it arrives, and to *log* if there is one (see `hits.read_log`).
    """

    def __init__(
        self,
        site: SiteContent,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        latency_s: float = 0.0,
        log: Path | None = None,
    ) -> None:
        self.site = site
        self.host = host
        self.port = port  # 0: any free port; once the server is open, the one in use
        self.latency_s = latency_s
        self._log_path = log
        self._journal = Journal()
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._connections = 0
        self._date = (0, "")

    @property
    def hits(self) -> list[Hit]:
        """All requests so far, in order of arrival; the list grows."""
        return self._journal.hits

    @property
    def authority(self) -> str:
        """Host and port as in a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """URL of the site without a trailing slash, so that a path can be appended."""
        return f"http://{self.authority}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._accept, self.host, self.port, limit=MAX_HEAD, backlog=1024
        )
        try:
            self._journal = Journal(self._log_path)
        except OSError:
            self._server.close()
            raise
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()
            open_ = dict(self._open)
            for task, writer in open_.items():
                task.cancel()
                writer.transport.abort()
            await asyncio.gather(*open_, return_exceptions=True)
            await self._server.wait_closed()
        self._journal.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Our own task: one created by asyncio streams logs an error if cancelled (Python 3.11).
        self._connections += 1
        task = asyncio.create_task(self._serve(reader, writer, self._connections))
        self._open[task] = writer
        task.add_done_callback(self._open.pop)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int
    ) -> None:
        # An answer counts as written when the kernel has all of it, not when it is buffered here.
        writer.transport.set_write_buffer_limits(high=0)
        try:
            while await self._serve_one(reader, writer, connection):
                pass
        except OSError:
            writer.transport.abort()  # the client has gone
        finally:
            writer.close()

    async def _serve_one(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int
    ) -> bool:
        """Answer one request; return whether the connection stays open."""
        try:
            request = parse(await reader.readuntil(b"\r\n\r\n"))
        except asyncio.IncompleteReadError:
            return False  # the client closed, possibly in the middle of a head
        except asyncio.LimitOverrunError:
            return await self._refuse(reader, writer, 431, "the head of the request is too large")
        except BadRequest as bad:
            return await self._refuse(reader, writer, bad.status, str(bad))
        hit = self._journal.record_request(
            request.method, request.path, request.host, request.headers, connection
        )
        try:
            if request.method == "POST" and isinstance(self.site, FormSite):
                size = min(int(request.headers.get("content-length", "0")), MAX_HEAD)
                request = replace(request, body=await reader.readexactly(size))
            return await self._reply(reader, writer, request, hit)
        finally:
            if hit.answered_at is None:
                self._journal.record_disconnect(hit)

    async def _reply(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        request: HttpRequest,
        hit: Hit,
    ) -> bool:
        answer = self._answer(request)
        if not isinstance(answer, Answer):
            await answer(reader, writer)
            self._journal.record_response(hit, None)
            return False
        delay_s = self.latency_s + answer.delay_s
        if delay_s > 0:
            await asyncio.sleep(delay_s)
        # A client that closed while waiting may have closed only its sending half: it is sent
        # the answer, but whether it read it is unknown.
        is_disconnected = reader.at_eof()
        writer.write(self._wire(answer, request.method, keep_alive=request.keep_alive))
        await writer.drain()
        if not is_disconnected:
            self._journal.record_response(hit, answer.status)
        if request.has_body:
            await _drain_input(reader, writer)
        return request.keep_alive and not is_disconnected

    def _answer(self, request: HttpRequest) -> Answer | Raw:
        posted = request.method == "POST" and isinstance(self.site, FormSite)
        if request.method not in {"GET", "HEAD"} and not posted:
            return Answer(405, (("Allow", "GET, HEAD"),))
        try:
            if posted and isinstance(self.site, FormSite):
                return self.site.answer_post(request)
            if isinstance(self.site, HeaderSite):
                answer = self.site.answer_request(request)
            else:
                answer = self.site.answer(request.method, request.path, request.host)
            return _apply_conditions(answer, request) if isinstance(answer, Answer) else answer
        except Exception:  # noqa: BLE001 - a faulty site must not stop the server
            _log.exception("the site failed at %s", request.path)
            return Answer(500)

    async def _refuse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, status: int, words: str
    ) -> bool:
        answer = Answer(status, (("Content-Type", "text/plain"),), f"{words}\n".encode())
        writer.write(self._wire(answer, "GET", keep_alive=False))
        await writer.drain()
        await _drain_input(reader, writer)
        return False

    def _wire(self, answer: Answer, method: str, *, keep_alive: bool) -> bytes:
        """Return the bytes of *answer*; header values are sent as latin-1, unchanged."""
        status = answer.status
        head = [f"HTTP/1.1 {status} {_PHRASES.get(status, '')}", f"Date: {self._now()}"]
        head += [f"{name}: {value}" for name, value in answer.headers]
        names = {name.lower() for name, _ in answer.headers}
        if not names & {"content-length", "transfer-encoding"} and status not in _NO_BODY:
            head.append(f"Content-Length: {len(answer.body)}")
        if not keep_alive and "connection" not in names:
            head.append("Connection: close")
        body = b"" if method == "HEAD" or status in _NO_BODY else answer.body
        return "\r\n".join((*head, "", "")).encode("latin-1") + body

    def _now(self) -> str:
        """Return the Date header, cached for a second: it costs as much as the rest of the head."""
        second = int(time.time())
        if second != self._date[0]:
            self._date = (second, formatdate(second, usegmt=True))
        return self._date[1]


def _apply_conditions(answer: Answer, request: HttpRequest) -> Answer:
    """Return *answer*, or a 304 in place of a 200 that has not changed.

    Source: RFC 9110, section 13.2.2.
    """
    if answer.status != 200 or not _is_unchanged(answer, request):
        return answer
    headers = tuple(header for header in answer.headers if header[0].lower() in _KEPT_IF_UNCHANGED)
    return replace(answer, status=304, headers=headers, body=b"")


def _is_unchanged(answer: Answer, request: HttpRequest) -> bool:
    has = {name.lower(): value for name, value in answer.headers}
    if (if_none_match := request.headers.get("if-none-match")) is not None:
        etag = has.get("etag", "").removeprefix("W/")
        tags = (tag.strip().removeprefix("W/") for tag in if_none_match.split(","))
        return bool(etag) and any(tag in {etag, "*"} for tag in tags)
    try:
        since = parsedate_to_datetime(request.headers["if-modified-since"])
        return parsedate_to_datetime(has["last-modified"]) <= since
    except (KeyError, ValueError, TypeError):
        return False


async def _drain_input(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read and discard input of the client, so that a reset does not lose the response.

    Source: RFC 9112, section 9.6.
    """
    writer.write_eof()
    try:
        async with asyncio.timeout(LINGER_S):
            while await reader.read(MAX_HEAD):
                pass
    except TimeoutError:
        return
