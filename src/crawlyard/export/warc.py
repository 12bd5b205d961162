"""WARC for archives: stored pages, one compressed record after another.

A job stores the content of a page and its response headers, not the bytes of the connection. The
first record of each file says what is reconstructed.

Source: ISO 28500:2017, "WARC file format" (WARC/1.1), with its annex D on compression.
"""

import asyncio
import re
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from http import HTTPStatus
from io import BytesIO

from msgspec import Struct
from warcio.statusandheaders import (  # type: ignore[import-untyped]  # it ships no types
    StatusAndHeaders,
)
from warcio.warcwriter import WARCWriter  # type: ignore[import-untyped]  # it ships no types

from crawlyard.about import VERSION

REBUILT = (
    "Reconstructed from the stored pages of a job. Response headers are as received; HTTP/1.1 "
    "and the reason phrase are generated. The body has no content coding and no chunks, so the "
    "original Content-Encoding, Transfer-Encoding and Content-Length are X-Archive-Orig-* "
    "headers, and Content-Length is that of the stored body. Requests, redirects, failures and "
    "content other than HTML are not stored."
)

_NOT_MODIFIED = "http://netpreserve.org/warc/1.1/revisit/server-not-modified"
_NO_LONGER_TRUE = frozenset({"content-encoding", "transfer-encoding", "content-length"})
_BREAKS = re.compile("[\r\n\0]+")


class Capture(Struct, frozen=True, kw_only=True):
    """One page with its body."""

    key: str  # unique among all pages of all instances
    url: str  # the URL that answered
    at: datetime  # when the body was sent
    status: int
    content_type: str
    headers: Sequence[tuple[str, str]] | None  # of the response, in order; None: not stored
    body: bytes  # without content coding
    truncated: bool = False
    seen_at: datetime | None = None  # when the site last confirmed that it had not changed
    etag: str = ""


class Warc:
    """Creates the records of one file, each a separate gzip member."""

    def __init__(self, title: str, name: str, *, robots: bool) -> None:
        self._title = title
        self._name = name  # of the file
        self._robots = robots  # true if robots.txt was obeyed
        self._data = BytesIO()
        self._writer = WARCWriter(self._data, gzip=True, warc_version="WARC/1.1")
        self._info_id = ""

    def head(self) -> bytes:
        """Return the record that describes the file."""
        info = {
            "software": f"Crawlyard/{VERSION}",
            "format": "WARC File Format 1.1",
            "conformsTo": "http://iipc.github.io/warc-specifications/specifications/warc-format/warc-1.1/",
            "isPartOf": _line(self._title),
            "robots": "obey" if self._robots else "ignore",
            "description": REBUILT,
        }
        record = self._writer.create_warcinfo_record(self._name, info)
        self._info_id = record.rec_headers.get_header("WARC-Record-ID")
        return self._serialize(record)

    def record(self, capture: Capture) -> bytes:
        """Return the record of one page: a response, or a resource if there are no headers.

        For an unchanged page, a revisit record follows, so that the file is complete by itself.
        """
        about = self._about(capture.key, capture.at)
        if capture.truncated:
            about["WARC-Truncated"] = "unspecified"
        headers = _headers(capture)
        record = self._writer.create_warc_record(
            capture.url,
            "resource" if headers is None else "response",
            payload=BytesIO(capture.body),
            length=len(capture.body),
            warc_headers_dict=about,
            warc_content_type=_line(capture.content_type) if headers is None else "",
            http_headers=headers,
        )
        data = self._serialize(record)
        if capture.seen_at is None:
            return data
        return data + self._revisit(capture, capture.seen_at, about)

    def _revisit(self, capture: Capture, seen_at: datetime, sent: Mapping[str, str]) -> bytes:
        """Return the record of a 304, which refers to the record of the body.

        Source: ISO 28500:2017, section 6.7.3, profile "server not modified".
        """
        about = self._about(f"{capture.key}/revisit", seen_at) | {
            "WARC-Profile": _NOT_MODIFIED,
            "WARC-Refers-To": sent["WARC-Record-ID"],
            "WARC-Refers-To-Target-URI": capture.url,
            "WARC-Refers-To-Date": sent["WARC-Date"],
        }
        etag = [("ETag", _line(capture.etag))] if capture.etag else []
        record = self._writer.create_warc_record(
            capture.url,
            "revisit",
            warc_headers_dict=about,
            http_headers=StatusAndHeaders("304 Not Modified", etag, protocol="HTTP/1.1"),
        )
        return self._serialize(record)

    def _about(self, key: str, at: datetime) -> dict[str, str]:
        """Return the headers common to all records of a page."""
        return {
            "WARC-Record-ID": f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, key)}>",
            "WARC-Warcinfo-ID": self._info_id,
            "WARC-Date": f"{at.astimezone(UTC).isoformat('T', 'milliseconds')[:-6]}Z",
        }

    def _serialize(self, record: object) -> bytes:
        self._writer.write_record(record)
        data = self._data.getvalue()
        self._data.seek(0)
        self._data.truncate()
        return data


async def chunks(captures: AsyncGenerator[Capture], writer: Warc) -> AsyncIterator[bytes]:
    """Yield the file one record at a time, as *captures* arrive; close them at the end."""
    yield writer.head()
    async with aclosing(captures):
        async for capture in captures:
            yield await asyncio.to_thread(writer.record, capture)


def _headers(capture: Capture) -> StatusAndHeaders | None:
    if capture.headers is None:
        return None
    headers = [
        (f"X-Archive-Orig-{name}" if name.lower() in _NO_LONGER_TRUE else _name(name), _line(value))
        for name, value in capture.headers
    ]
    headers.append(("Content-Length", str(len(capture.body))))
    status = f"{capture.status} {_PHRASES.get(capture.status, '')}"
    return StatusAndHeaders(status, headers, protocol="HTTP/1.1")


def _name(text: str) -> str:
    """Return *text* as a valid header name: warcio fails on any other."""
    return _line(text).encode("ascii", "replace").decode()


def _line(text: str) -> str:
    """Return *text* as one line that can be encoded as UTF-8."""
    return _BREAKS.sub(" ", text).encode("utf-8", "replace").decode()


_PHRASES: Mapping[int, str] = {status.value: status.phrase for status in HTTPStatus}
