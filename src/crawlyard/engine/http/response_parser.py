"""Response parser: parses, decodes and caps one response as it arrives.

It does no I/O: bytes go in, a response or a failure comes out. Each piece is processed when it
arrives and nothing is queued, so the caps bound memory however fast data arrives.
"""

import ssl
from typing import NoReturn

from httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserUpgrade,
    HttpResponseParser,
)

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.engine.http.decode import DecodeError, Decoder
from crawlyard.engine.http.fetch import FetchFailed, Response, plain

LONGEST_FIELD = 64 * 1024
LONGEST_HEAD = 256 * 1024
"""Bytes of the status line, the headers and all interim responses together."""

MOST_HEADERS = 256

_LONGEST_PAUSE = 256 * 1024  # bytes in a row without body data: chunk extensions, trailers
_UPGRADE = 101


class _Refused(Exception):
    """Raised in callbacks to stop the parser when data exceeds a cap or is unacceptable."""


class ResponseParser:
    """Parser of one response with at most *max_body* bytes of body, on the wire and decoded.

    Without *decodes*, the body is left as sent, with any Content-Encoding. The response to
    a *head* request has none, and its connection is not reused: some servers send one anyway.
    When *over* is set, the response is complete, truncated or has failed. *reusable* then says
    whether the connection may carry another request: the response ended as announced and nothing
    followed.
    """

    def __init__(self, max_body: int, *, decodes: bool = True, head: bool = False) -> None:
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        # errors that servers make and every client accepts; all that affects framing stays strict
        self._parser.set_dangerous_leniencies(
            lenient_headers=True,
            lenient_optional_cr_before_lf=True,
            lenient_spaces_after_chunk_size=True,
        )
        self._max_body = max_body
        self._decodes = decodes
        self._head = head
        self._headers: list[tuple[str, str]] = []
        self._decoder: Decoder | None = None  # None until the headers are complete
        self._framed = False  # the headers say where the body ends
        self._status = 0
        self._head_size = self._wire_bytes = self._pause_bytes = 0
        self._truncated = ""
        self._failure: FetchFailed | None = None
        self._is_complete = False
        self.over = False
        self.reusable = False

    @property
    def has_head(self) -> bool:
        """True once status and headers have arrived and were accepted."""
        return self._decoder is not None

    def feed(self, data: bytes) -> bool:
        """Process the next piece off the wire; return whether the response is over."""
        if self._parser is None:
            return True
        before = self._wire_bytes
        try:
            self._parser.feed_data(data)
        except HttpParserCallbackError:
            if not self.over:
                raise
        except (HttpParserError, HttpParserUpgrade) as error:
            self._reject(error)
        if before != self._wire_bytes:
            self._pause_bytes = 0
        elif not self.over:
            self._count_pause(len(data))
        return self.over

    def end(self, error: Exception | None) -> None:
        """Handle the end of the connection; *error* is ``None`` if it closed normally."""
        if self.over:
            return
        if self._decoder is not None:
            if self._framed or error is not None:
                why = plain(error) if error else "the connection was closed"
                self._truncated = f"the body broke off: {why}"
        elif isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or ""):
            # the server's verdict on our handshake arrives after it has ended on our side
            self._failure = FetchFailed(ErrorKind.TLS, f"no trusted connection: {plain(error)}")
        else:
            why = "the server closed the connection without a response"
            why = plain(error) if error else why
            self._failure = FetchFailed(ErrorKind.CONNECT, why, transient=True)
        self.over = True

    def response(self, elapsed_ms: int) -> Response:
        """Return the response, which must be over.

        Raises:
            FetchFailed: the response is not usable.
        """
        if self._failure is not None:
            raise self._failure
        if self._decoder is None or not self.over:
            raise RuntimeError("the response is not complete")
        try:
            body = self._decoder.finish()
        except DecodeError as error:
            raise FetchFailed(ErrorKind.DECODE, str(error)) from error
        return Response(
            status=self._status,
            headers=tuple(self._headers),
            body=body,
            wire_bytes=self._wire_bytes,
            truncated=self._truncated or self._decoder.truncated,
            elapsed_ms=elapsed_ms,
        )

    def release(self) -> None:
        """Drop the parser, to break the reference cycle with it."""
        self._parser = None

    # --- callbacks of the parser

    def on_message_begin(self) -> None:
        """Detect a second response."""
        if self._is_complete:
            self.reusable = False  # a second response, to no request

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header, or check the size of a trailer."""
        if self._is_complete:
            return
        size = len(name) + len(value)
        self._head_size += size
        if size > LONGEST_FIELD or self._head_size > LONGEST_HEAD:
            self._refuse(ErrorKind.TOO_LARGE, "headers beyond the cap: too many bytes")
        if self._decoder is None and len(self._headers) >= MOST_HEADERS:
            self._refuse(ErrorKind.TOO_LARGE, f"headers beyond the cap: {MOST_HEADERS} are read")
        if b"\0" in value:
            self._refuse(ErrorKind.PROTOCOL, "not an HTTP response: a zero byte in a header")
        if self._decoder is None:
            # surrogates stand for bytes that are not UTF-8, so that these can be restored
            text = value.rstrip(b" \t").decode("utf-8", "surrogateescape")
            self._headers.append((name.decode("utf-8", "surrogateescape"), text))

    def on_headers_complete(self) -> None:
        """Check the status and headers, and prepare to decode the body."""
        if self._is_complete or self._parser is None:
            return
        self._status = self._parser.get_status_code()
        if self._status < 100:
            self._refuse(ErrorKind.PROTOCOL, f"not an HTTP response: its status is {self._status}")
        if 100 <= self._status < 200:
            self._skip_interim()
            return
        codings, transfer = [], ""
        for name, value in self._headers:
            match name.lower():
                case "content-encoding" if self._decodes:
                    codings.append(value)
                case "content-length":
                    self._framed = True
                case "transfer-encoding":
                    transfer = value
        self._framed |= transfer.rpartition(",")[2].strip().lower() == "chunked"
        try:
            self._decoder = Decoder(", ".join(codings) or None, self._max_body)
        except DecodeError as error:
            self._refuse(ErrorKind.DECODE, str(error))
        self.over = self._head

    def on_body(self, chunk: bytes) -> None:
        """Decode a piece of the body, without its framing."""
        decoder = self._decoder
        if self.over or decoder is None:
            return
        self._wire_bytes += len(chunk)
        if self._wire_bytes > self._max_body:
            chunk = chunk[: len(chunk) - (self._wire_bytes - self._max_body)]
            self._wire_bytes = self._max_body
            self._truncated = f"the body is larger than {self._max_body} bytes"
        decoder.feed(chunk)
        self.over = bool(self._truncated) or decoder.full  # the rest would be discarded

    def on_message_complete(self) -> None:
        """Mark the response as complete, unless it was an interim response."""
        if self.over or self._decoder is None or self._parser is None:
            return
        self._is_complete = self.over = True
        self.reusable = self._parser.should_keep_alive()

    # --- rejected data

    def _skip_interim(self) -> None:
        """Drop an interim response; `LONGEST_HEAD` stops an endless series."""
        if self._status == _UPGRADE:
            self._refuse(ErrorKind.PROTOCOL, "not an HTTP response: an unrequested protocol switch")
        self._headers.clear()

    def _count_pause(self, size: int) -> None:
        """Count *size* bytes without body data: headers, or data between chunks."""
        self._pause_bytes += size
        if self._decoder is None and self._pause_bytes > LONGEST_HEAD:
            why = "headers beyond the cap: no end of the headers"
            self._failure = FetchFailed(ErrorKind.TOO_LARGE, why)
            self.over = True
        elif self._decoder is not None and self._pause_bytes > _LONGEST_PAUSE:
            self._truncated = "the body broke off: what follows is too long to be a trailer"
            self.over = True

    def _reject(self, error: Exception) -> None:
        """Handle malformed HTTP: fail before the body, truncate inside it, ignore it after that."""
        self.reusable = False
        if self.over:
            return
        if self._decoder is None:
            self._failure = FetchFailed(ErrorKind.PROTOCOL, f"not an HTTP response: {plain(error)}")
        else:
            self._truncated = f"the body broke off: {plain(error)}"
        self.over = True

    def _refuse(self, kind: ErrorKind, detail: str) -> NoReturn:
        """Stop the parser, which makes `feed_data` raise. The body so far is kept."""
        if self._decoder is None:
            self._failure = FetchFailed(kind, detail)
        else:
            self._truncated = f"the body broke off: {detail}"
        self.over = True
        raise _Refused
