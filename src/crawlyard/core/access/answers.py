"""Answers about users, tokens, sessions at sites and settings."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from crawlyard.core.access.credential import Credential, CredentialTarget, IssuedCredential
from crawlyard.core.access.policy import Section
from crawlyard.core.access.site_session import SiteSession
from crawlyard.core.access.user import NO_DATE, Permit, User
from crawlyard.core.answer import Wire, derive_answer
from crawlyard.core.fields import after


@derive_answer
class UserOut(User, Wire, frozen=True, kw_only=True):
    """An account with its role and quota."""

    object: Literal["user"] = "user"
    created_at: datetime | None  # type: ignore[assignment]  # null: existed from the start
    updated_at: datetime | None  # type: ignore[assignment]  # null: never updated

    @classmethod
    def of(cls, user: User) -> "UserOut":
        """Return the answer; unknown dates are null."""
        dates = {"created_at": _date(user.created_at), "updated_at": _date(user.updated_at)}
        return cls.filled(user, **dates)


class MeOut(Wire, frozen=True, kw_only=True):
    """The caller, and what their credential permits."""

    object: Literal["me"] = "me"
    user: UserOut
    credential_id: str  # empty, as is the kind: an in-process caller has no credential
    kind: str  # token or session
    scopes: tuple[str, ...]
    expires_at: datetime | None
    admins: tuple[str, ...] = ()  # admins to ask for more permissions; left out at sign-in

    @classmethod
    def of(
        cls,
        user: User,
        permits: Collection[Permit],
        credential: Credential | None = None,
        admins: Sequence[str] = (),
    ) -> "MeOut":
        """Return the answer for *user*, whose credential gives them *permits*."""
        return cls(
            user=UserOut.of(user),
            credential_id="" if credential is None else credential.id,
            kind="" if credential is None else credential.kind,
            scopes=tuple(sorted(permits)),
            expires_at=None if credential is None else credential.expires_at,
            admins=tuple(admins),
        )


@derive_answer
class TokenOut(Credential, Wire, frozen=True, kw_only=True):
    """A token, without its secret."""

    object: Literal["token"] = "token"
    user: str
    name: str
    scopes: tuple[str, ...]  # empty: all permits of the user's role, including later ones
    last_used_at: datetime | None

    @classmethod
    def of(cls, token: Credential) -> "TokenOut":
        """Return the answer without the secret."""
        return cls.filled(token, scopes=tuple(sorted(token.permits or ())))


class NewTokenOut(TokenOut, frozen=True, kw_only=True):
    """A token with its secret: shown this once."""

    token: str | None  # null if the answer is repeated for its Idempotency-Key

    @classmethod
    def with_secret(cls, issued: IssuedCredential) -> "NewTokenOut":
        """Return the answer for a new token: the only one that shows its secret."""
        return cls.filled(TokenOut.of(issued.credential), token=issued.secret)


class TriggerOut(Wire, frozen=True, kw_only=True):
    """A trigger, without its token."""

    object: Literal["trigger"] = "trigger"
    id: str
    user: str  # it acts with their permissions
    name: str
    prefix: str  # the first characters of the token
    schedule_id: str | None
    template_id: str | None
    params: Mapping[str, Any]
    mapping: Mapping[str, str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None  # to the minute
    revoked_at: datetime | None

    @classmethod
    def of(cls, credential: Credential) -> "TriggerOut":
        """Return the answer without the token."""
        target = credential.target or CredentialTarget()
        return cls.filled(
            credential,
            user=credential.user_id,
            name=credential.label,
            last_used_at=credential.used_at,
            schedule_id=target.schedule_id,
            template_id=target.template_id,
            params=target.params,
            mapping=target.mapping,
        )


class NewTriggerOut(TriggerOut, frozen=True, kw_only=True):
    """A trigger with its token: shown this once."""

    token: str | None  # null if the answer is repeated for its Idempotency-Key

    @classmethod
    def with_secret(cls, issued: IssuedCredential) -> "NewTriggerOut":
        """Return the answer for a new trigger: the only one that shows its token."""
        return cls.filled(TriggerOut.of(issued.credential), token=issued.secret)


class ShareOut(Wire, frozen=True, kw_only=True):
    """A share link, without its token."""

    object: Literal["share"] = "share"
    id: str
    user: str  # it shows the job for as long as they may change it
    name: str
    prefix: str  # the first characters of the token
    job_id: str
    downloads: bool  # the pages of the job can be downloaded
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None  # to the minute
    revoked_at: datetime | None

    @classmethod
    def of(cls, credential: Credential) -> "ShareOut":
        """Return the answer without the token."""
        target = credential.target or CredentialTarget()
        return cls.filled(
            credential,
            user=credential.user_id,
            name=credential.label,
            last_used_at=credential.used_at,
            job_id=target.job_id,
            downloads=target.downloads,
        )


class NewShareOut(ShareOut, frozen=True, kw_only=True):
    """A share link with its token: shown this once."""

    token: str | None  # null if the answer is repeated for its Idempotency-Key
    share_url: str | None  # the address to open in a browser; null as *token* is

    @classmethod
    def with_secret(cls, issued: IssuedCredential, public_url: str) -> "NewShareOut":
        """Return the answer for a new link: the only one that shows its token."""
        url = f"{public_url}/shared/{issued.secret}"
        return cls.filled(ShareOut.of(issued.credential), token=issued.secret, share_url=url)


class TriggeredOut(Wire, frozen=True, kw_only=True):
    """The job that a trigger started, or an existing one with the same `unique_key`."""

    object: Literal["triggered"] = "triggered"
    job_id: str
    state: str


@derive_answer
class SectionOut(Section, Wire, frozen=True, kw_only=True):
    """One section: *value* as stored, *effective* with defaults filled in."""

    object: Literal["settings"] = "settings"
    section: str
    effective: Annotated[Mapping[str, Any], after("value")]


SECTION_EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "grants": {"addresses": True, "private": False, "ignore_robots": False},
    "ceilings": {"pages": 1_000_000, "duration_s": 86_400},
    "retention": {"retention_days": 14, "paused_ttl_days": 3},
    "defaults": {"delay_s": 1, "limits": {"pages": 10_000}},
}
"""Request bodies of the sections, for the OpenAPI document."""


def _date(instant: datetime) -> datetime | None:
    return None if instant == NO_DATE else instant


@derive_answer
class SessionOut(SiteSession, Wire, frozen=True, kw_only=True):
    """A session, without its credentials."""

    object: Literal["session"] = "session"
