"""Links of a page: where it leads, and in which words."""

from collections.abc import Iterable, Sequence
from enum import StrEnum, auto

import msgspec
from msgspec import Struct

MAX_TEXT = 100  # characters of a link's text
MAX_LINKS = 10_000  # of one page; the rest is only counted


class LinkKind(StrEnum):
    """The element that a link comes from."""

    A = auto()
    AREA = auto()  # of an image map
    FRAME = auto()  # <iframe> and <frame>
    REFRESH = auto()  # <meta http-equiv=refresh>


class Link(Struct, frozen=True, array_like=True):
    """One link of a page. Links that are alike in all fields are one."""

    url: str  # canonical, without fragment
    fragment: str = ""
    kind: LinkKind = LinkKind.A
    rel: str = ""  # in lower case, words apart by one space; nofollow also if the page says so
    text: str = ""  # at most `MAX_TEXT` characters; of a picture its alt text


_decoder = msgspec.json.Decoder(tuple[Link, ...])


def encoded(links: Iterable[Sequence[str]]) -> bytes:
    """Return links, given as the values of their fields, for the store."""
    return msgspec.json.encode(list(links))


def decoded(data: bytes) -> tuple[Link, ...]:
    """Return the links that `encoded` wrote, in the order of the page."""
    return _decoder.decode(data)


def followed(links: Iterable[Link], *, nofollow: bool) -> tuple[str, ...]:
    """Return the URLs that a crawl follows, each once; with *nofollow*, the others as well."""
    plain = (link for link in links if link.kind is not LinkKind.REFRESH)
    return tuple(
        dict.fromkeys(li.url for li in plain if nofollow or "nofollow" not in li.rel.split())
    )
