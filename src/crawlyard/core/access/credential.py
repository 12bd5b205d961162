"""Credentials: API tokens, browser sessions, sign-in links, triggers and share links.

Only the SHA-256 of a secret is stored. A secret has 256 random bits, so a slow hash would
add nothing.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum, auto
from typing import Annotated, Any

from msgspec import Struct, field
from msgspec.structs import replace

from crawlyard.core.access.user import PERMITS_OF, Actor, Permit, User
from crawlyard.core.fields import HIDDEN, answer_name
from crawlyard.errors import Invalid

SECRET_BYTES = 32
MAX_LABEL = 100
SESSION_LASTS = timedelta(days=14)
LINK_LASTS = timedelta(minutes=15)

TOUCH_EVERY = timedelta(minutes=1)
"""Resolution of `Credential.used_at`, so that not every request causes a write."""


class CredentialKind(StrEnum):
    """Kinds of secrets, by the holder."""

    TOKEN = auto()  # for a program: sent with each request
    SESSION = auto()  # for a browser: its cookie
    LINK = auto()  # signs in once
    TRIGGER = auto()  # starts one schedule or template: in the URL that another program calls
    SHARE = auto()  # shows one job: in the URL that anyone may open


_PREFIXES: Mapping[CredentialKind, str] = {
    CredentialKind.TOKEN: "cyt_",
    CredentialKind.SESSION: "cys_",
    CredentialKind.LINK: "cyl_",
    CredentialKind.TRIGGER: "cyh_",
    CredentialKind.SHARE: "cyv_",
}
_SHOWN = 12  # characters


class CredentialTarget(Struct, frozen=True, kw_only=True):
    """The schedule or template that a trigger starts, or the job that a share link shows."""

    schedule_id: str | None = None
    template_id: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)  # of the template
    # parameters of the template that the body of a request sets: a JSON Pointer for each
    mapping: Mapping[str, str] = field(default_factory=dict)
    job_id: str | None = None
    downloads: bool = False  # the pages of the job can be downloaded


class Credential(Struct, frozen=True, kw_only=True):
    """An issued credential, without its secret."""

    id: str
    kind: Annotated[CredentialKind, HIDDEN]
    user_id: Annotated[str, answer_name("user")]
    label: Annotated[str, answer_name("name")] = ""
    prefix: str  # the first characters of the secret
    digest: Annotated[str, HIDDEN]  # SHA-256 of the secret, hex
    # None: all of the role's permits, now and later
    permits: Annotated[frozenset[Permit] | None, answer_name("scopes")] = None
    # of a session: the token or link it was opened with
    parent_id: Annotated[str | None, HIDDEN] = None
    target: Annotated[CredentialTarget | None, HIDDEN] = None  # of a trigger or a share link
    created_at: datetime
    expires_at: datetime | None = None
    used_at: Annotated[datetime | None, answer_name("last_used_at")] = None  # to the minute
    revoked_at: datetime | None = None

    def __post_init__(self) -> None:
        if len(self.label) > MAX_LABEL or not self.label.isprintable():
            expected = f"expected at most {MAX_LABEL} characters on one line"
            raise Invalid("name", f"{expected}, got {self.label!r}")

    def good(self, now: datetime) -> bool:
        """Return whether it is valid at *now*."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def permits_of(self, user: User) -> frozenset[Permit]:
        """Return the permits of *user* with this credential: their role's, narrowed by its own."""
        own = PERMITS_OF[user.role]
        return own if self.permits is None else own & self.permits

    def stale(self, now: datetime) -> bool:
        """Return whether `used_at` should be updated for a use at *now*."""
        return self.used_at is None or now - self.used_at >= TOUCH_EVERY


def format_secret(kind: CredentialKind, random: bytes) -> str:
    """Return the secret made of *random* bytes, with the prefix of its kind."""
    return _PREFIXES[kind] + base64.urlsafe_b64encode(random).decode().rstrip("=")


def digest_of(secret: str) -> str:
    """Return the digest under which a secret is stored."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def prefix_of(secret: str) -> str:
    """Return the part of a secret that is shown, so that its owner can recognize it."""
    return secret[:_SHOWN]


def kind_of(secret: str) -> CredentialKind | None:
    """Return the kind of *secret* by its prefix; ``None`` if it isn't one of ours."""
    return next((kind for kind, prefix in _PREFIXES.items() if secret.startswith(prefix)), None)


def permits_named(words: Iterable[str]) -> frozenset[Permit]:
    """Return the permits with these names; ``jobs:*`` means all permits for jobs.

    Raises:
        Invalid: no permit has that name; the message lists all of them.
    """
    all_permits: set[Permit] = set()
    for word in words:
        area = word.removesuffix("*") if word.endswith(":*") else None
        permits = {p for p in Permit if (p.startswith(area) if area else p == word)}
        if not permits:
            names = ", ".join(Permit)
            raise Invalid("scopes", f"expected some of {names}, got {word!r}")
        all_permits |= permits
    return frozenset(all_permits)


class Caller(Struct, frozen=True, kw_only=True):
    """An authenticated user and the permits of their credential."""

    user: User
    credential: Credential
    permits: frozenset[Permit]
    sees_shared: bool = False

    @property
    def actor(self) -> Actor:
        """The user as an actor of the services."""
        return replace(self.user.actor, sees_shared=self.sees_shared)


class IssuedCredential(Struct, frozen=True, kw_only=True):
    """A new credential with its secret, which is shown only this once."""

    credential: Credential
    secret: str

    @classmethod
    def issue(
        cls,
        kind: CredentialKind,
        random: bytes,
        now: datetime,
        lasts: timedelta | None,
        **fields: Any,
    ) -> "IssuedCredential":
        """Return a credential with a secret of *random* bytes, good for *lasts*.

        Raises:
            Invalid: the label is not valid, or there is no such end.
        """
        secret = format_secret(kind, random)
        try:
            ends = None if lasts is None else now + lasts
        except OverflowError:
            raise Invalid("expires_in_s", "expected an end before the year 10000") from None
        credential = Credential(
            kind=kind,
            prefix=prefix_of(secret),
            digest=digest_of(secret),
            created_at=now,
            expires_at=ends,
            **fields,
        )
        return cls(credential=credential, secret=secret)
