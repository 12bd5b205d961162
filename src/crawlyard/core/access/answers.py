"""Answers about users, tokens, sessions at sites and settings."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from crawlyard.core.access.credential import Credential, Given
from crawlyard.core.access.policy import Section
from crawlyard.core.access.site_session import SiteSession
from crawlyard.core.access.user import NO_DATE, Permit, User
from crawlyard.core.answer import Wire, derived


@derived
class UserOut(User, Wire, frozen=True, kw_only=True):
    """An account."""

    object: Literal["user"] = "user"
    created_at: datetime | None  # type: ignore[assignment]  # null: it was always there
    updated_at: datetime | None  # type: ignore[assignment]  # null: never since

    @classmethod
    def of(cls, user: User) -> "UserOut":
        """Return the shape of *user*."""
        return cls.filled(
            user,
            created_at=_date(user.created_at),
            updated_at=_date(user.updated_at),
        )


class MeOut(Wire, frozen=True, kw_only=True):
    """Who asks, and what their credential lets them do."""

    object: Literal["me"] = "me"
    user: UserOut
    credential_id: str  # empty, as the kind: in the process of the yard, nothing is shown
    kind: str  # token or session
    scopes: tuple[str, ...]
    expires_at: datetime | None
    admins: tuple[str, ...] = ()  # whom to ask for what you may not do; not told at a sign-in

    @classmethod
    def of(
        cls,
        user: User,
        permits: Collection[Permit],
        shown: Credential | None = None,
        admins: Sequence[str] = (),
    ) -> "MeOut":
        """Return the shape of *user*, who may do what *permits* say by what they have shown."""
        return cls(
            user=UserOut.of(user),
            credential_id="" if shown is None else shown.id,
            kind="" if shown is None else shown.kind,
            scopes=tuple(sorted(permits)),
            expires_at=None if shown is None else shown.expires_at,
            admins=tuple(admins),
        )


class TokenOut(Wire, frozen=True, kw_only=True):
    """A token, without its secret."""

    id: str
    object: Literal["token"] = "token"
    user: str
    name: str
    prefix: str  # by which its owner knows it again
    scopes: tuple[str, ...]  # empty: all that the user's role has, now and later
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None  # to the minute
    revoked_at: datetime | None

    @classmethod
    def of(cls, token: Credential) -> "TokenOut":
        """Return the shape of *token*."""
        return cls.filled(
            token,
            user=token.user_id,
            name=token.label,
            scopes=tuple(sorted(token.permits or ())),
            last_used_at=token.used_at,
        )


class NewTokenOut(TokenOut, frozen=True, kw_only=True):
    """A token with its secret: shown this once."""

    token: str | None  # null where an answer is repeated for its Idempotency-Key

    @classmethod
    def given(cls, given: Given) -> "NewTokenOut":
        """Return the shape of a token that was just made."""
        return cls.filled(TokenOut.of(given.credential), token=given.secret)


class SectionOut(Wire, frozen=True, kw_only=True):
    """One section: *value* is what was written, *effective* what holds, all fields named."""

    object: Literal["settings"] = "settings"
    section: str
    value: Mapping[str, Any]
    effective: Mapping[str, Any]
    version: int  # 0: never written
    updated_at: datetime | None
    updated_by: str  # a user's id; empty: nobody has

    @classmethod
    def of(cls, section: Section, effective: Mapping[str, Any]) -> "SectionOut":
        """Return the shape of *section* with the values that hold."""
        return cls(
            section=section.name,
            value=section.value,
            effective=effective,
            version=section.version,
            updated_at=section.updated_at,
            updated_by=section.actor,
        )


SECTION_EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "grants": {"addresses": True, "private": False, "ignore_robots": False},
    "ceilings": {"pages": 1_000_000, "duration_s": 86_400},
    "retention": {"retention_days": 14, "paused_ttl_days": 3},
    "defaults": {"delay_s": 1, "limits": {"pages": 10_000}},
}
"""A body for each section, for the document."""


def _date(instant: datetime) -> datetime | None:
    return None if instant == NO_DATE else instant


@derived
class SessionOut(SiteSession, Wire, frozen=True, kw_only=True):
    """A session, without its credentials."""

    object: Literal["session"] = "session"
