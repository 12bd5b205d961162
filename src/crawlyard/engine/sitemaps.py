"""Sitemap parser.

Source: sitemaps.org, protocol 0.9; it also allows RSS 2.0 and Atom (RFC 4287).
"""

import codecs
import re
from collections.abc import Mapping
from datetime import datetime
from xml.parsers import expat

from msgspec import Struct, field

from crawlyard.core.crawl.lastmod import instant_of
from crawlyard.core.quantity import count_noun
from crawlyard.engine.http.decode import DecodeError, Decoder
from crawlyard.engine.urls import Base, canonical
from crawlyard.errors import Invalid

MAX_ENTRIES = 50_000
MAX_BYTES = 50 * 1024 * 1024
"""Size of a decoded sitemap. Both are limits of the protocol."""

MAX_ELEMENTS = 1_000_000
"""More than a real sitemap of 50 MB has; parsing a file that has only tags takes seconds."""

_GZIP_MAGIC = b"\x1f\x8b"
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_DECLARED = re.compile(rb"""<\?xml[^>]{1,99}?encoding\s*=\s*["']([\w.-]{1,40})""")
# The parser handles single-byte encodings itself; these are the multibyte ones of the web
_MULTIBYTE = {"big5", "euc-jp", "euc-kr", "gb18030", "gb2312", "gbk", "iso-2022-jp", "shift_jis"}
_TEXT_ELEMENTS = {("link", "item"), ("lastmod", "url")}
_ROOTS = {"urlset", "sitemapindex", "rss", "feed", "rdf"}


class Sitemap(Struct, frozen=True):
    """Contents of one file: canonical URLs in file order, without duplicates."""

    urls: tuple[str, ...] = ()  # of pages
    sitemaps: tuple[str, ...] = ()  # of further sitemaps, in an index
    credentials: int = 0  # entries whose user name or password was dropped
    problem: str = ""  # the defect of the file; the rest was read anyway
    lastmods: Mapping[str, datetime] = field(default_factory=dict)  # of the pages that have one


def parse(body: bytes, url: str) -> Sitemap:
    """Return the URLs in the sitemap *body* at *url*.

    It may be XML (urlset or index), RSS, Atom or a text file, optionally gzipped. Entities
    are not expanded and nothing is loaded. Relative URLs are resolved against *url*. At
    most `MAX_ENTRIES` entries and `MAX_BYTES` of text are read.
    """
    body, problem = _plain(body)
    entries = _Entries(url)
    body, encoding = _decode_text(body)
    try:
        if body.startswith(b"<"):
            _Reader(entries).read(body, encoding)
        else:
            _read_text(body, entries, whole=not problem)
    except _Stopped as stopped:
        # truncated XML is malformed at its end too, which is not a second problem
        problem = problem or str(stopped)
    if entries.dropped:
        every = count_noun(entries.count, "entry", "entries")
        dropped = f"{entries.dropped:,} of {every} named no http(s) URL"
        problem = f"{problem}; {dropped}" if problem else dropped
    return Sitemap(
        tuple(entries.pages),
        tuple(entries.sitemaps),
        entries.credentials,
        problem,
        entries.lastmods,
    )


class _Stopped(Exception):
    """Raised to stop reading; the message says why."""


class _Entries:
    """Collected entries and their counts."""

    def __init__(self, url: str) -> None:
        self._base = Base(url)
        self._room = MAX_BYTES  # for characters of URLs, which can be longer than the file
        self.count = 0
        self.dropped = 0
        self.pages: dict[str, None] = {}
        self.sitemaps: dict[str, None] = {}
        self.lastmods: dict[str, datetime] = {}

    @property
    def credentials(self) -> int:
        return self._base.credentials

    def add(self, text: str, *, sitemap: bool = False, relative: bool = True) -> str | None:
        """Add one entry and return its URL; *relative* says whether it may be relative."""
        text = text.strip()
        if not text:
            return None
        if self.count == MAX_ENTRIES:
            raise _Stopped(f"more than {MAX_ENTRIES:,} entries: the rest was not read")
        if self._room <= 0:
            raise _Stopped(f"URLs of over {MAX_BYTES:,} characters: the rest was not read")
        self.count += 1
        url = self._base.join(text) if relative or _is_absolute(text) else None
        if url is None:
            self.dropped += 1
        else:
            self._room -= len(url)
            (self.sitemaps if sitemap else self.pages)[url] = None
        return url

    def date(self, url: str, lastmod: datetime) -> None:
        """Add the date of a page; the latest of several counts."""
        self.lastmods[url] = max(lastmod, self.lastmods.get(url, lastmod))


def _is_absolute(text: str) -> bool:
    try:
        canonical(text)
    except Invalid:
        return False
    return True


def _plain(body: bytes) -> tuple[bytes, str]:
    """Return *body* decompressed, up to `MAX_BYTES`, and its problem."""
    if not body.startswith(_GZIP_MAGIC):
        if len(body) <= MAX_BYTES:
            return body, ""
        return body[:MAX_BYTES], f"more than {MAX_BYTES:,} bytes: the rest was not read"
    decoder = Decoder("gzip", MAX_BYTES)
    decoder.feed(body)
    try:
        return decoder.finish(), decoder.truncated
    except DecodeError as error:
        return b"", str(error)


def _decode_text(body: bytes) -> tuple[bytes, str | None]:
    """Return *body* without a BOM and leading white space, and its encoding.

    ``None`` leaves the encoding to the XML declaration.
    """
    body = body.removeprefix(codecs.BOM_UTF8).lstrip()
    declared = _DECLARED.match(body)
    name = declared[1].decode().lower() if declared else ""
    if body.startswith(_UTF_16):
        name = "utf-16"
    elif name not in _MULTIBYTE:
        return body, None
    return body.decode(name, "replace").lstrip().encode("utf-8", "replace"), "utf-8"


def _read_text(body: bytes, entries: _Entries, *, whole: bool) -> None:
    lines = body.splitlines()
    for line in lines if whole else lines[:-1]:  # half a line may look like a URL
        entries.add(line.decode("utf-8", "replace"), relative=False)


def _is_page(atom_link: dict[str, str]) -> bool:
    return atom_link.get("rel", "alternate") == "alternate"


class _Reader:
    """XML reader that compares local names and ignores prefixes, declared or not."""

    def __init__(self, entries: _Entries) -> None:
        self._entries = entries
        self._parents: list[str] = []
        self._elements = 0
        self._text: list[str] | None = None  # of the current element, if it is read
        self._url: str | None = None  # of the current entry
        self._lastmod: datetime | None = None

    def read(self, body: bytes, encoding: str | None) -> None:
        """Read *body* up to its end, its first error or the limit of entries.

        Raises:
            _Stopped: reading stopped before the end.
        """
        parser = expat.ParserCreate(encoding)
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        # Entity declarations are refused before anything could be expanded. Undeclared
        # entities (&nbsp; in a feed) are skipped, as if an unread DTD declared them.
        parser.EntityDeclHandler = self._entity
        parser.UseForeignDTD()
        try:
            parser.Parse(body, True)  # noqa: FBT003  # it has no keyword arguments
        except (expat.ExpatError, LookupError, ValueError) as error:
            # all but ExpatError mean an encoding that doesn't exist or cannot be decoded
            raise _Stopped(f"malformed XML: {error}") from None

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        name = name.rpartition(":")[2].lower()
        parent = self._parents[-1] if self._parents else ""
        if not parent and name not in _ROOTS:
            raise _Stopped(f"not a sitemap: its root element is <{name[:50]}>")
        self._elements += 1
        if self._elements > MAX_ELEMENTS:
            raise _Stopped(f"more than {MAX_ELEMENTS:,} elements: the rest was not read")
        self._parents.append(name)
        # an image's <loc> is inside <image:image> and doesn't count
        if (name == "loc" and parent in {"url", "sitemap"}) or (name, parent) in _TEXT_ELEMENTS:
            self._text = []
        elif (name, parent) == ("link", "entry") and _is_page(attributes):
            self._entries.add(attributes.get("href", ""))

    def _characters(self, text: str) -> None:
        if self._text is not None:
            self._text.append(text)

    def _end(self, name: str) -> None:
        self._parents.pop()
        text, name = self._text, name.rpartition(":")[2].lower()
        if name == "url":
            if self._url is not None and self._lastmod is not None:
                self._entries.date(self._url, self._lastmod)
            self._url = self._lastmod = None
        elif text is not None and name in {"loc", "link"}:
            self._text = None
            self._url = self._entries.add("".join(text), sitemap=self._parents[-1] == "sitemap")
        elif text is not None and name == "lastmod":
            self._text = None
            self._lastmod = instant_of("".join(text))

    @staticmethod
    def _entity(name: str, *_: object) -> None:
        raise _Stopped(f"declares the entity {name[:50]!r}, which is not allowed")
