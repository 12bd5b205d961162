"""Markdown in a ZIP: one file per page, with its URL and title in front matter.

Names of files follow the URLs, and are the same for a URL each time. They are safe on all systems,
and differ also where case does not count.

Source: PKWARE, «APPNOTE.TXT - .ZIP File Format Specification», version 6.3.9, 4.3 and 4.5.3.
"""

import asyncio
import re
import struct
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from datetime import datetime
from hashlib import blake2b
from tempfile import SpooledTemporaryFile
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from crawlyard.export.base import CHUNK
from crawlyard.export.jsonl import dumps

LONGEST_NAME = 60  # characters of one part of a name
DEEPEST = 8  # folders

_HIDDEN = re.compile(r"[^a-z0-9.+-]|^\.+")
_UNSAFE = re.compile(r"[^\w.-]+")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # on Windows
_IN_MEMORY = 1 << 20  # bytes of the directory of a ZIP; more are on disk
_LONG, _SHORT = 0xFFFF_FFFF, 0xFFFF  # stand for numbers that are stored with 64 bits elsewhere
_LARGE, _MANY = _LONG, _SHORT  # bytes and files from which 64 bits are needed
_MADE_BY = (3 << 8) | 45  # Unix, version 4.5
_PLAIN, _ZIP64 = 20, 45  # versions needed to read it
_UTF8, _DEFLATED = 1 << 11, 8
_MODE = 0o100644 << 16


class Document(Struct, frozen=True, kw_only=True):
    """The text of one page."""

    url: str
    title: str
    fetched_at: datetime
    text: bytes

    @property
    def content(self) -> bytes:
        """Content of its file, with front matter in YAML."""
        at = self.fetched_at.isoformat(timespec="seconds").replace("+00:00", "Z")
        head = f"url: {dumps(self.url)}\ntitle: {dumps(self.title)}\nfetched_at: {at}\n"
        return b"---\n%b---\n\n%b\n" % (head.encode(), self.text.strip())


def name_of(url: str) -> str:
    """Return the path of a page's file, following its URL: ``docs.example.org/guide/index.md``.

    If it could be the path of another page too, a hash of the URL is added.
    """
    parts = urlsplit(url)
    host = parts.netloc.replace(":", "+")
    if parts.scheme != "https":
        host = f"{parts.scheme}+{host}"
    *folders, last = parts.path.split("/")[1:] or [""]
    top = _HIDDEN.sub("-", host)
    below = [
        _safe(folder) + ("_" if folder.endswith(".md") else "") for folder in folders[:DEEPEST]
    ]
    file = _safe(last) if last else "index"
    plain = [top, *below, file] == [host, *folders, last or "index"]
    if not plain or last == "index" or "+" in parts.netloc or parts.query or url != url.lower():
        file += f"~{blake2b(url.encode(), digest_size=8).hexdigest()}"
    return "/".join((top, *below, f"{file}.md"))


def _safe(part: str) -> str:
    safe = _UNSAFE.sub("-", unquote(part))[:LONGEST_NAME].strip("-.")
    return f"_{safe}" if not safe or _RESERVED.fullmatch(safe) else safe


class ZipWriter:
    """Writes a ZIP one file at a time; its directory is buffered until the end."""

    def __init__(self) -> None:
        self._written = 0
        self._files = 0
        self._directory = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed by `end`

    def add(self, document: Document) -> bytes:
        """Return the compressed bytes of a document's file."""
        name, content = name_of(document.url).encode(), document.content
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        packed = packer.compress(content) + packer.flush()
        at = document.fetched_at
        date = (max(0, at.year - 1980) << 9) | (at.month << 5) | at.day
        time = (at.hour << 11) | (at.minute << 5) | (at.second // 2)
        sizes = zlib.crc32(content), len(packed), len(content), len(name)
        far = self._written >= _LARGE
        common = (_ZIP64 if far else _PLAIN, _UTF8, _DEFLATED, time, date, *sizes)
        extra = struct.pack("<HHQ", 1, 8, self._written) if far else b""
        offset = _LONG if far else self._written
        header = (0x02014B50, _MADE_BY, *common, len(extra), 0, 0, 0, _MODE, offset)
        self._directory.write(struct.pack("<I6H3I5H2I", *header) + name + extra)
        whole = struct.pack("<I5H3I2H", 0x04034B50, *common, 0) + name + packed
        self._written += len(whole)
        self._files += 1
        return whole

    def end(self) -> Iterator[bytes]:
        """Yield the directory; nothing may be added afterwards."""
        with self._directory as directory:
            size, offset, files = directory.tell(), self._written, self._files
            directory.seek(0)
            while part := directory.read(CHUNK):
                yield part
        if files >= _MANY or offset + size >= _LARGE:
            end_record = (0x06064B50, 44, _MADE_BY, _ZIP64, 0, 0, files, files, size, offset)
            yield struct.pack("<IQ2H2I4Q", *end_record)
            yield struct.pack("<2IQI", 0x07064B50, 0, offset + size, 1)
            files, size, offset = _SHORT, _LONG, _LONG
        yield struct.pack("<I4H2IH", 0x06054B50, 0, 0, files, files, size, offset, 0)


async def chunks(documents: AsyncGenerator[Document]) -> AsyncIterator[bytes]:
    """Yield the ZIP one file at a time, as *documents* arrive; close them at the end."""
    zip_writer = ZipWriter()
    async with aclosing(documents):
        async for document in documents:
            yield await asyncio.to_thread(zip_writer.add, document)
    for part in zip_writer.end():
        yield part
