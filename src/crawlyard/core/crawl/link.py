"""Links of a page: targets and link texts."""

from collections.abc import Iterable, Sequence
from enum import StrEnum, auto

import msgspec
from msgspec import Struct

MAX_TEXT = 100  # characters of a link's text
MAX_LINKS = 10_000  # of one page; the rest is only counted
MAX_BYTES = 4 << 20  # of these, as they are stored; usual ones take 150 bytes each


class LinkKind(StrEnum):
    """The element that a link comes from."""

    A = auto()
    AREA = auto()  # of an image map
    FRAME = auto()  # <iframe> and <frame>
    REFRESH = auto()  # <meta http-equiv=refresh>


class Link(Struct, frozen=True, array_like=True):
    """One link of a page. Links with equal fields are one."""

    url: str  # canonical, without fragment
    fragment: str = ""
    kind: LinkKind = LinkKind.A
    rel: str = ""  # in lower case, words apart by one space; nofollow also if the page says so
    text: str = ""  # at most `MAX_TEXT` characters; of a picture its alt text


class FoundLink(Struct, frozen=True, kw_only=True):
    """A link of a job, and the page that it is on."""

    source: str  # the URL of the page, after redirects
    target: str
    fragment: str
    kind: str
    rel: str
    text: str

    @classmethod
    def of(cls, source: str, link: Link) -> "FoundLink":
        """Return *link* as the page *source* has it."""
        return cls(
            source=source,
            target=link.url,
            fragment=link.fragment,
            kind=link.kind.value,
            rel=link.rel,
            text=link.text,
        )


_decoder = msgspec.json.Decoder(tuple[Link, ...])
_ids = msgspec.json.Decoder(tuple[str, ...])


def encode_links(links: Iterable[Sequence[str]]) -> bytes:
    """Return links, given as the values of their fields, for the store."""
    return msgspec.json.encode(list(links))


def decode_links(data: bytes) -> tuple[Link, ...]:
    """Return the links that `encode_links` wrote, in the order of the page."""
    return _decoder.decode(data)


def encode_ids(ids: Iterable[str]) -> bytes:
    """Return what the fragments of links to a page can name, for the store."""
    return msgspec.json.encode(list(ids))


def decode_ids(data: bytes) -> tuple[str, ...]:
    """Return what `encode_ids` wrote."""
    return _ids.decode(data)


def select_followed(links: Iterable[Link], *, nofollow: bool) -> tuple[str, ...]:
    """Return the URLs that a crawl follows, each once; with *nofollow*, the others as well."""
    return tuple(
        {
            link.url: None
            for link in links
            if link.kind is not LinkKind.REFRESH
            and (nofollow or not link.rel or "nofollow" not in link.rel.split())
        }
    )
