"""The answer to one request as it comes off the wire: parsed, decoded and capped.

Pure: bytes go in, a response or a failure comes out. All is done with each piece when it
arrives and nothing is queued, so memory is bounded by the caps alone, however fast it comes.
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
from crawlyard.engine.http.errors import FetchFailed, plain
from crawlyard.engine.http.fetch import Response

LONGEST_FIELD = 64 * 1024
LONGEST_HEAD = 256 * 1024
"""Bytes of a status line, the headers and all interim answers together."""

MOST_HEADERS = 256

_LONGEST_PAUSE = 256 * 1024  # bytes that bring nothing of a body: chunk extensions, trailers
_UPGRADE = 101


class _Refused(Exception):
    """What came is beyond a cap, or not to be; the parser must see no more of it."""


class ResponseParser:
    """One answer, whose body has at most *max_body* bytes on the wire and decoded.

    Without *decodes*, the body stays as it was sent, whatever its Content-Encoding.
    Once *over*, it is whole or has failed. *reusable* then says whether its connection may
    carry another request: the answer ended where it said, and nothing followed.
    """

    def __init__(self, max_body: int, *, decodes: bool = True) -> None:
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        # what servers get wrong and everyone takes; what framing hangs on stays strict
        self._parser.set_dangerous_leniencies(
            lenient_headers=True,
            lenient_optional_cr_before_lf=True,
            lenient_spaces_after_chunk_size=True,
        )
        self._max_body = max_body
        self._decodes = decodes
        self._headers: list[tuple[str, str]] = []
        self._decoder: Decoder | None = None  # until the headers are complete
        self._framed = False  # it says itself where it ends
        self._status = 0
        self._head_size = self._wire_bytes = self._pause = 0
        self._truncated = ""
        self._failure: FetchFailed | None = None
        self._whole = False
        self.over = False
        self.reusable = False

    @property
    def has_head(self) -> bool:
        """Whether status and headers have come, and are none that was refused."""
        return self._decoder is not None

    def feed(self, data: bytes) -> bool:
        """Take the next piece off the wire; tell whether it is over."""
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
            self._pause = 0
        elif not self.over:
            self._wait_longer(len(data))
        return self.over

    def end(self, error: Exception | None) -> None:
        """Take note that the connection has ended, by *error* or in order."""
        if self.over:
            return
        if self._decoder is not None:
            if self._framed or error is not None:
                why = plain(error) if error else "the connection was closed"
                self._truncated = f"the body broke off: {why}"
        elif isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or ""):
            # what it thinks of our end of the handshake comes when that is over for us
            self._failure = FetchFailed(ErrorKind.TLS, f"no trusted connection: {plain(error)}")
        else:
            why = "the server closed the connection without an answer"
            why = plain(error) if error else why
            self._failure = FetchFailed(ErrorKind.CONNECT, why, transient=True)
        self.over = True

    def response(self, elapsed_ms: int) -> Response:
        """Return the answer that is over.

        Raises:
            FetchFailed: it is none that can be used.
        """
        if self._failure is not None:
            raise self._failure
        if self._decoder is None or not self.over:
            raise RuntimeError("an answer was asked for before it was there")
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
        """Let go of the parser, which refers back here: no cycle waits for the collector."""
        self._parser = None

    # --- what the parser calls

    def on_message_begin(self) -> None:
        """Take note that something comes."""
        if self._whole:
            self.reusable = False  # a second answer, to nobody's question

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer."""
        if self._whole:
            return
        size = len(name) + len(value)
        self._head_size += size
        if size > LONGEST_FIELD or self._head_size > LONGEST_HEAD:
            self._refuse(ErrorKind.TOO_LARGE, "headers beyond the cap: too many bytes")
        if self._decoder is None and len(self._headers) >= MOST_HEADERS:
            self._refuse(ErrorKind.TOO_LARGE, f"headers beyond the cap: {MOST_HEADERS} are read")
        if b"\0" in value:
            self._refuse(ErrorKind.PROTOCOL, "not an HTTP answer: a zero byte in a header")
        if self._decoder is None:
            # as bytes that are no UTF-8 come back out of it: with surrogates in their place
            text = value.rstrip(b" \t").decode("utf-8", "surrogateescape")
            self._headers.append((name.decode("utf-8", "surrogateescape"), text))

    def on_headers_complete(self) -> None:
        """Judge the head, and make ready for the body."""
        if self._whole or self._parser is None:
            return
        self._status = self._parser.get_status_code()
        if self._status < 100:
            self._refuse(ErrorKind.PROTOCOL, f"not an HTTP answer: its status is {self._status}")
        if 100 <= self._status < 200:
            self._pass_over()
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

    def on_body(self, chunk: bytes) -> None:
        """Take a piece of the body, without what frames it."""
        decoder = self._decoder
        if self.over or decoder is None:
            return
        self._wire_bytes += len(chunk)
        if self._wire_bytes > self._max_body:
            chunk = chunk[: len(chunk) - (self._wire_bytes - self._max_body)]
            self._wire_bytes = self._max_body
            self._truncated = f"the body is larger than {self._max_body} bytes"
        decoder.feed(chunk)
        self.over = bool(self._truncated) or decoder.full  # the rest would be thrown away

    def on_message_complete(self) -> None:
        """Take note that this was all, unless it was an interim answer."""
        if self.over or self._decoder is None or self._parser is None:
            return
        self._whole = self.over = True
        self.reusable = self._parser.should_keep_alive()

    # --- what must not be

    def _pass_over(self) -> None:
        """Forget an interim answer; `LONGEST_HEAD` ends those that do not end."""
        if self._status == _UPGRADE:
            self._refuse(ErrorKind.PROTOCOL, "not an HTTP answer: a switch nobody asked for")
        self._headers.clear()

    def _wait_longer(self, size: int) -> None:
        """Count *size* bytes that brought the answer no further: of a head, between chunks."""
        self._pause += size
        if self._decoder is None and self._pause > LONGEST_HEAD:
            why = "headers beyond the cap: they do not end"
            self._failure = FetchFailed(ErrorKind.TOO_LARGE, why)
            self.over = True
        elif self._decoder is not None and self._pause > _LONGEST_PAUSE:
            self._truncated = "the body broke off: what follows is too long to be a trailer"
            self.over = True

    def _reject(self, error: Exception) -> None:
        """Judge what is no HTTP: before the body all is lost, after it nothing."""
        self.reusable = False
        if self.over:
            return
        if self._decoder is None:
            self._failure = FetchFailed(ErrorKind.PROTOCOL, f"not an HTTP answer: {plain(error)}")
        else:
            self._truncated = f"the body broke off: {plain(error)}"
        self.over = True

    def _refuse(self, kind: ErrorKind, detail: str) -> NoReturn:
        """Stop the parser: `feed` gets an error of its own from it. A body so far is kept."""
        if self._decoder is None:
            self._failure = FetchFailed(kind, detail)
        else:
            self._truncated = f"the body broke off: {detail}"
        self.over = True
        raise _Refused
