"""Cookies that a site has set in a crawl."""

import hashlib
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum, auto
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Struct

from crawlyard.core.fields import Panel, about

MAX_PAIR_BYTES = 4_096  # name and value
MAX_ATTRIBUTE_BYTES = 1_024  # a domain or a path
MAX_PER_DOMAIN = 180  # cookies, as in browsers; RFC 6265 requires at least 50
MAX_PER_JAR = 3_000  # cookies; the minimum of RFC 6265
MAX_JAR_BYTES = 1 << 20  # all names and values of a jar


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
    """A cookie; its value is a secret: it is stored encrypted, and the API never returns it."""

    name: str
    value: str
    domain: str  # in lower case, without a dot in front
    host_only: bool = True  # sent to this host only, not to its subdomains
    path: str = "/"
    secure: bool = False
    expires: datetime | None = None  # None: kept as long as the jar
    created: datetime

    def __repr__(self) -> str:
        """Return a text without the value, which must not get into logs."""
        return f"Cookie({self.name!r}, domain={self.domain!r}, path={self.path!r})"

    @property
    def identity(self) -> tuple[str, str, str, bool]:
        """Attributes that identify the cookie in a jar."""
        return self.domain, self.path, self.name, self.host_only

    @property
    def key(self) -> str:
        """Hash of `identity`, which reveals neither the site nor the name."""
        return hashlib.sha256("\0".join(map(str, self.identity)).encode()).hexdigest()[:32]

    @property
    def size(self) -> int:
        """Bytes of its name and value."""
        return len(self.name.encode()) + len(self.value.encode())


_decoder = msgspec.json.Decoder(tuple[Cookie, ...])


def encode_cookies(cookies: Iterable[Cookie]) -> bytes:
    """Return cookies with their values as JSON, which must be encrypted before it is stored."""
    return msgspec.json.encode(list(cookies))


def decode_cookies(data: bytes) -> tuple[Cookie, ...]:
    """Return the cookies that `encode_cookies` wrote."""
    return _decoder.decode(data)
