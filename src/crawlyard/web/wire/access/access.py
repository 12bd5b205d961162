"""The shapes of users, tokens and sessions, and what is asked about them."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from crawlyard.core.access.credential import MAX_LABEL, Caller, Credential, Given
from crawlyard.core.access.user import MAX_USER_ID, NO_DATE, Quota, Role, User
from crawlyard.core.jobs.limits import Limits
from crawlyard.web.wire.base import Ask, Instant, Wire, example
from crawlyard.web.wire.jobs.jobs import LimitsOut


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
        return cls.filled(quota, ceilings=LimitsOut.of(quota.ceilings))


class UserOut(Wire, frozen=True, kw_only=True):
    """An account."""

    id: str
    object: Literal["user"] = "user"
    role: str
    quota: QuotaOut
    disabled_at: Instant | None
    version: int
    created_at: Instant | None  # null: it was always there
    updated_at: Instant | None  # null: never since

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
    credential_id: str
    kind: str  # token or session
    scopes: tuple[str, ...]
    expires_at: Instant | None

    @classmethod
    def of(cls, caller: Caller) -> "MeOut":
        """Return the shape of *caller*."""
        own = caller.credential
        return cls(
            user=UserOut.of(caller.user),
            credential_id=own.id,
            kind=own.kind,
            scopes=tuple(sorted(caller.permits)),
            expires_at=own.expires_at,
        )


class TokenOut(Wire, frozen=True, kw_only=True):
    """A token, without its secret."""

    id: str
    object: Literal["token"] = "token"
    user: str
    name: str
    prefix: str  # by which its owner knows it again
    scopes: tuple[str, ...]  # empty: all that the user's role has, now and later
    created_at: Instant
    expires_at: Instant | None
    last_used_at: Instant | None  # to the minute
    revoked_at: Instant | None

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


class SignInAsk(Ask):
    """A token, or the code of a sign-in link."""

    model_config = example(code="cyl_…")

    code: Annotated[str, Field(min_length=1, max_length=200, examples=["cyl_…"])]


class TokenAsk(Ask):
    """A token to be made."""

    model_config = example(
        name="nightly import", scopes=["jobs:write", "results:read"], expires_in_s=7_776_000
    )

    name: Annotated[str, Field(min_length=1, max_length=MAX_LABEL, examples=["nightly import"])]
    user: Annotated[
        str | None, Field(max_length=MAX_USER_ID, description="Another user's, for admins.")
    ] = None
    scopes: Annotated[
        tuple[Annotated[str, Field(max_length=50)], ...],
        Field(
            max_length=50,
            description="What it is good for, `jobs:*` too; none: all that the role has.",
            examples=[["jobs:read", "results:read"]],
        ),
    ] = ()
    expires_in_s: Annotated[
        float | None, Field(gt=0, le=3650 * 86_400, description="Null: it does not expire.")
    ] = None


class CeilingsAsk(Ask):
    """Ceilings of one job; null is none."""

    pages: Annotated[int | None, Field(ge=1, le=10**15)] = None
    bytes: Annotated[int | None, Field(ge=1, le=10**18)] = None
    duration_s: Annotated[float | None, Field(gt=0, le=10**9)] = None
    errors: Annotated[int | None, Field(ge=1, le=10**15)] = None

    @property
    def limits(self) -> Limits:
        """Return what is asked for."""
        return Limits(
            pages=self.pages, bytes=self.bytes, duration_s=self.duration_s, errors=self.errors
        )


class QuotaAsk(Ask):
    """What a user may have at most; null is as much as he likes."""

    running: Annotated[int | None, Field(ge=0, le=10**6)] = None
    pending: Annotated[int | None, Field(ge=0, le=10**9)] = None
    pages_per_day: Annotated[int | None, Field(ge=0, le=10**15)] = None
    bytes_per_day: Annotated[int | None, Field(ge=0, le=10**18)] = None
    ceilings: CeilingsAsk = CeilingsAsk()

    @property
    def quota(self) -> Quota:
        """Return what is asked for."""
        return Quota(
            running=self.running,
            pending=self.pending,
            pages_per_day=self.pages_per_day,
            bytes_per_day=self.bytes_per_day,
            ceilings=self.ceilings.limits,
        )


class UserAsk(Ask):
    """A user to be made."""

    model_config = example(
        id="grace", role="operator", quota={"running": 4, "pages_per_day": 100_000}
    )

    id: Annotated[str, Field(min_length=1, max_length=MAX_USER_ID, examples=["ada"])]
    role: Role = Role.OPERATOR
    quota: QuotaAsk = QuotaAsk()


class UserPatch(Ask):
    """What is to be changed of a user; a quota replaces the one before."""

    model_config = example(role="viewer")

    role: Role | None = None
    quota: QuotaAsk | None = None
    disabled: bool | None = None


def _date(instant: datetime) -> datetime | None:
    return None if instant == NO_DATE else instant
