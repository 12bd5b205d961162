"""Site sessions: named credentials with which a crawl is logged in to a site."""

import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum, auto
from typing import Annotated

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from crawlyard.core.access.logged_out import MAX_SESSION_NAME
from crawlyard.core.crawl.cookie import Cookie
from crawlyard.core.events.event import Event, EventName
from crawlyard.core.fields import HIDDEN
from crawlyard.errors import Invalid

MAX_COOKIES_BYTES = 1 << 20
"""Size of a file of cookies. Browsers keep some 3,000 cookies, most of them short."""

_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_SESSION_NAME - 1}}}")


class LoginKind(StrEnum):
    """Ways to log in to a site."""

    BASIC = auto()  # a user name and a password, sent with each request
    BEARER = auto()  # a token, sent with each request
    COOKIES = auto()  # browser cookies, from a file
    FORM = auto()  # the login form of the site, which we fill in and submit


class FormMark(Struct, frozen=True, kw_only=True):
    """Identity of a login form, to recognise it in other pages."""

    page: str  # URL of the page where it was filled in
    action: str  # where it was sent, without a query
    fields: tuple[str, ...]  # names of its fields for the user name and the password


class SessionState(Struct, frozen=True, kw_only=True):
    """The credentials of a session. They are stored sealed and never returned by the API."""

    cookies: tuple[Cookie, ...] = ()
    form: FormMark | None = None  # None: no form was sent, or a browser sent it
    authorization: Mapping[str, str] = field(default_factory=dict)  # header by origin

    def encoded(self) -> bytes:
        """Return the state as bytes, secrets included, ready to be sealed."""
        return msgspec.json.encode(self)

    @classmethod
    def decoded(cls, data: bytes) -> "SessionState":
        """Return the state that `encoded` wrote."""
        return _decoder.decode(data)


_decoder = msgspec.json.Decoder(SessionState)


class SiteSession(Struct, frozen=True, kw_only=True):
    """A named session of one user. Each login replaces its credentials and raises its version.

    Raises:
        Invalid: the name is not valid.
    """

    id: str
    owner: Annotated[str, HIDDEN]  # always the caller
    name: str
    version: int = 1
    kind: LoginKind
    url: str = ""  # login URL: for a form its page, otherwise any URL of the site
    user: str = ""
    submit: str = ""  # CSS selector of the form or its button
    fields: tuple[str, ...] = ()  # names of further fields of the form
    origins: tuple[str, ...] = ()  # origins that receive its credentials
    cookies: int = 0
    sealed: Annotated[bytes, HIDDEN] = b""  # a `SessionState`
    made_at: datetime  # the last login
    used_at: datetime | None = None  # when a worker last started a job with it
    used_by: str | None = None  # the id of that job
    created_at: datetime

    def __post_init__(self) -> None:
        check_session_name("name", self.name)

    @property
    def label(self) -> str:
        """Name and version, as in page records."""
        return f"{self.name}@{self.version}"

    def renewed(self, by: "SiteSession") -> "SiteSession":
        """Return the next version of this session, with the login and the credentials of *by*."""
        return replace(
            by,
            id=self.id,
            version=self.version + 1,
            used_at=self.used_at,
            used_by=self.used_by,
            created_at=self.created_at,
        )

    def event(self, name: EventName, now: datetime, actor: str) -> Event:
        """Return an event about this session; it contains no secrets."""
        data = {"name": self.name, "version": self.version, "kind": self.kind.value}
        return Event(name=name, subject=self.id, owner=self.owner, at=now, actor=actor, data=data)


def check_session_name(path: str, name: str) -> None:
    """Check the name of a session.

    Raises:
        Invalid: it is not valid; *path* is the field that has it.
    """
    if not _NAME.fullmatch(name):
        expected = f"expected 1 to {MAX_SESSION_NAME} letters, digits or . _ -"
        raise Invalid(path, f"{expected}, a letter or digit first, got {name[:100]!r}")
