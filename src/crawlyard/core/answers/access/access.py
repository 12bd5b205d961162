"""The shapes of users, tokens and sessions, and what is asked about them."""

from collections.abc import Collection
from datetime import datetime
from typing import Literal

from crawlyard.core.access.credential import Credential, Given
from crawlyard.core.access.user import NO_DATE, Permit, Quota, User
from crawlyard.core.answers.base import Wire
from crawlyard.core.answers.jobs.jobs import LimitsOut


class QuotaOut(Wire, frozen=True, kw_only=True):
    """What a user may have at most; null: as much as he likes."""

    running: int | None
    pending: int | None
    pages_per_day: int | None
    bytes_per_day: int | None
    ceilings: LimitsOut

    @classmethod
    def of(cls, quota: Quota) -> "QuotaOut":
        """Return the shape of *quota*."""
        return cls.filled(quota, ceilings=LimitsOut.filled(quota.ceilings))


class UserOut(Wire, frozen=True, kw_only=True):
    """An account."""

    id: str
    object: Literal["user"] = "user"
    role: str
    quota: QuotaOut
    disabled_at: datetime | None
    version: int
    created_at: datetime | None  # null: it was always there
    updated_at: datetime | None  # null: never since

    @classmethod
    def of(cls, user: User) -> "UserOut":
        """Return the shape of *user*."""
        return cls.filled(
            user,
            object="user",
            quota=QuotaOut.of(user.quota),
            created_at=_date(user.created_at),
            updated_at=_date(user.updated_at),
        )


class MeOut(Wire, frozen=True, kw_only=True):
    """Who asks, and what he may do with what he showed."""

    object: Literal["me"] = "me"
    user: UserOut
    credential_id: str  # empty, as the kind: in the process of the yard, nothing is shown
    kind: str  # token or session
    scopes: tuple[str, ...]
    expires_at: datetime | None

    @classmethod
    def of(
        cls, user: User, permits: Collection[Permit], shown: Credential | None = None
    ) -> "MeOut":
        """Return the shape of *user*, who may do what *permits* say by what they have shown."""
        return cls(
            user=UserOut.of(user),
            credential_id="" if shown is None else shown.id,
            kind="" if shown is None else shown.kind,
            scopes=tuple(sorted(permits)),
            expires_at=None if shown is None else shown.expires_at,
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
            object="token",
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


def _date(instant: datetime) -> datetime | None:
    return None if instant == NO_DATE else instant
