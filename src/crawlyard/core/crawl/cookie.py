"""Cookies that a site has set in a crawl."""

import hashlib
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum, auto
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Struct

from crawlyard.core.fields import Panel, about

MAX_PAIR = 4_096  # bytes of name and value
MAX_ATTRIBUTE = 1_024  # bytes of a domain or a path
MAX_OF_DOMAIN = 180  # cookies, as in browsers; RFC 6265 requires at least 50
MAX_OF_JAR = 3_000  # cookies; the minimum of RFC 6265
MAX_BYTES = 1 << 20  # names and values of a jar


class CookieMode(StrEnum):
    """Handling of cookies that sites set."""

    OFF = auto()  # ignores them
    JOB = auto()  # keeps them for the job, and sends them back


Cookies: TypeAlias = Annotated[
    CookieMode,
    about(
        "cookies that sites set: job keeps them for the job, off ignores them",
        help="Ignore the cookies that sites set, or keep them for the job",
        label="Cookies",
        words={"job": "Keep for this crawl", "off": "Ignore"},
        panel=Panel.ACCESS,
        secret=True,  # users may put cookies here
    ),
]


class Cookie(Struct, frozen=True, kw_only=True):
    """One cookie; its value is a secret, so it is stored sealed and never part of an answer."""

    name: str
    value: str
    domain: str  # in lower case, without a dot in front
    host_only: bool = True  # sent to this host only, not to its subdomains
    path: str = "/"
    secure: bool = False
    expires: datetime | None = None  # None: with the jar
    created: datetime

    def __repr__(self) -> str:
        """Return a text without the value, which must not get into logs."""
        return f"Cookie({self.name!r}, domain={self.domain!r}, path={self.path!r})"

    @property
    def place(self) -> tuple[str, str, str, bool]:
        """The parts that are unique in a jar."""
        return self.domain, self.path, self.name, self.host_only

    @property
    def key(self) -> str:
        """Hash of `place`, which reveals neither the site nor the name."""
        return hashlib.sha256("\0".join(map(str, self.place)).encode()).hexdigest()[:32]

    @property
    def size(self) -> int:
        """Bytes of its name and value."""
        return len(self.name.encode()) + len(self.value.encode())


_decoder = msgspec.json.Decoder(tuple[Cookie, ...])


def encode_cookies(cookies: Iterable[Cookie]) -> bytes:
    """Return cookies with their values, ready to be sealed."""
    return msgspec.json.encode(list(cookies))


def decode_cookies(data: bytes) -> tuple[Cookie, ...]:
    """Return the cookies that `encode_cookies` wrote."""
    return _decoder.decode(data)
