"""Authentication: tokens, sessions and sign-in links."""

import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from crawlyard.clock import Clock
from crawlyard.core.access.credential import (
    LINK_LASTS,
    SECRET_BYTES,
    SESSION_LASTS,
    Caller,
    Credential,
    CredentialKind,
    Given,
    digest_of,
    kind_of,
    prefix_of,
    spelled,
)
from crawlyard.core.access.user import Actor, Permit, Role
from crawlyard.core.event import Event, EventName
from crawlyard.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from crawlyard.ids import new_id
from crawlyard.store.store import Store

Randomness = Callable[[int], bytes]


class Credentials:
    """Issues, checks and revokes tokens, sessions and sign-in links."""

    def __init__(
        self, store: Store, clock: Clock, randomness: Randomness = secrets.token_bytes
    ) -> None:
        self._store = store
        self._clock = clock
        self._randomness = randomness

    async def caller(self, secret: str, kind: CredentialKind) -> Caller:
        """Return the caller who presents *secret*, which must be of *kind*.

        Raises:
            Unauthenticated: the secret is unknown, revoked or expired, or its user is disabled.
        """
        proof = None
        if kind_of(secret) is kind:
            proof = await self._store.credentials.shown(digest_of(secret))
        now = self._clock.now()
        if proof is None or proof.credential.kind is not kind or not proof.credential.good(now):
            raise Unauthenticated(f"this {kind} is not known, expired, or revoked")
        if proof.user.disabled_at is not None:
            raise Unauthenticated(f"user {proof.user.id} is disabled")
        if proof.credential.stale(now):
            await self._store.credentials.touch(proof.credential.id, now)
        return Caller(
            user=proof.user,
            credential=proof.credential,
            permits=proof.credential.permits_of(proof.user),
        )

    async def still_good(self, caller: Caller) -> bool:
        """Return whether the caller is still authenticated; checked while a stream is open.

        False if the credential or its user is no longer valid, or the role has changed.
        """
        proof = await self._store.credentials.shown(caller.credential.digest)
        if proof is None or not proof.credential.good(self._clock.now()):
            return False
        return proof.user.disabled_at is None and proof.user.role is caller.user.role

    async def sign_in(self, secret: str) -> Given:
        """Start a session for a token, or for the code of an unused sign-in link.

        Raises:
            Unauthenticated: *secret* is neither, or is no longer valid.
        """
        kind = kind_of(secret)
        if kind not in (CredentialKind.TOKEN, CredentialKind.LINK):
            raise Unauthenticated("expected a token (cyt_…) or the code of a sign-in link (cyl_…)")
        caller = await self.caller(secret, kind)
        own = caller.credential
        given = self._made(
            CredentialKind.SESSION,
            caller.user.id,
            label=own.label or f"by {kind}",
            lasts=self._session_lasts(own),
            permits=own.permits,
            parent_id=own.id,
        )
        if kind is CredentialKind.LINK:
            if not await self._store.credentials.spend(own.id, given.credential):
                raise Unauthenticated("this sign-in link has been used")
            return given
        try:
            await self._store.credentials.add(given.credential)
        except Conflict:
            raise Unauthenticated("this token has just been revoked") from None
        return given

    def _session_lasts(self, shown: Credential) -> timedelta:
        """Return how long a session lasts: no longer than the token it was started with."""
        if shown.kind is not CredentialKind.TOKEN or shown.expires_at is None:
            return SESSION_LASTS
        return min(SESSION_LASTS, shown.expires_at - self._clock.now())

    async def sign_out(self, caller: Caller) -> None:
        """End the caller's session."""
        await self._store.credentials.revoke(caller.credential.id, self._clock.now())

    async def link(self, user_id: str) -> Given:
        """Issue the code of a sign-in link for a user: valid once, within `LINK_LASTS`.

        Raises:
            NotFound: no such user.
        """
        await self._store.users.get(user_id)
        given = self._made(CredentialKind.LINK, user_id, label="sign-in link", lasts=LINK_LASTS)
        await self._store.credentials.add(given.credential)
        return given

    async def create_token(
        self,
        actor: Actor,
        label: str,
        *,
        user_id: str | None = None,
        permits: frozenset[Permit] | None = None,
        lasts: timedelta | None = None,
    ) -> Given:
        """Issue a token for the actor, or, if they are an admin, for another user.

        If *permits* is ``None``, the token has all permits of the user's role, as it is at
        the time of each call.

        Raises:
            Invalid: the label is blank or not valid, or *lasts* is not positive or too long.
            Forbidden: the token would be for another user, and the actor is not an admin.
            NotFound: no such user.
        """
        owner = user_id or actor.id
        if owner != actor.id and actor.role is not Role.ADMIN:
            raise Forbidden(f"{actor.id} may make tokens of his own alone")
        if not label.strip():
            raise Invalid("name", "expected a name that says where the token is used, got nothing")
        if lasts is not None and lasts <= timedelta(0):
            raise Invalid("expires_in_s", f"expected more than 0, got {lasts.total_seconds():g}")
        await self._store.users.get(owner)
        given = self._made(CredentialKind.TOKEN, owner, label=label, lasts=lasts, permits=permits)
        event = self._told(EventName.TOKEN_CREATED, given.credential, actor)
        await self._store.credentials.add(given.credential, event)
        return given

    async def tokens(
        self, actor: Actor, *, before: str | None = None, limit: int = 50
    ) -> Sequence[Credential]:
        """Return the tokens of the actor, or of all users for an admin, newest first."""
        owner = None if actor.role is Role.ADMIN else actor.id
        return await self._store.credentials.find(owner, CredentialKind.TOKEN, before, limit)

    async def token(self, actor: Actor, token_id: str) -> Credential:
        """Return a token.

        Raises:
            NotFound: no such token, or it belongs to another user.
        """
        token = await self._store.credentials.get(token_id)
        if token.kind is not CredentialKind.TOKEN or not actor.may_see(token.user_id):
            raise NotFound(f"no token {token_id}")
        return token

    async def revoke_token(self, actor: Actor, token_id: str) -> None:
        """Revoke a token and the sessions that were started with it.

        Viewers may revoke their own tokens as well.

        Raises:
            NotFound: no such token, it belongs to another user, or it is already revoked.
        """
        token = await self.token(actor, token_id)
        if token.revoked_at is not None:
            raise NotFound(f"no token {token_id}")
        now = self._clock.now()
        event = self._told(EventName.TOKEN_REVOKED, token, actor)
        await self._store.credentials.revoke(token.id, now, event)

    async def any_token(self) -> bool:
        """Return whether any token is valid."""
        now = self._clock.now()
        before: str | None = None
        find = self._store.credentials.find
        while found := await find(None, CredentialKind.TOKEN, before, 200):
            if any(token.good(now) for token in found):
                return True
            before = found[-1].id
        return False

    def _made(
        self,
        kind: CredentialKind,
        user_id: str,
        *,
        label: str,
        lasts: timedelta | None,
        permits: frozenset[Permit] | None = None,
        parent_id: str | None = None,
    ) -> Given:
        secret, now = spelled(kind, self._randomness(SECRET_BYTES)), self._clock.now()
        credential = Credential(
            id=new_id(),
            kind=kind,
            user_id=user_id,
            label=label,
            prefix=prefix_of(secret),
            digest=digest_of(secret),
            permits=permits,
            parent_id=parent_id,
            created_at=now,
            expires_at=_end(now, lasts),
        )
        return Given(credential=credential, secret=secret)

    def _told(self, name: EventName, token: Credential, actor: Actor) -> Event:
        return Event(
            name=name,
            subject=token.id,
            owner=token.user_id,
            at=self._clock.now(),
            actor=actor.id,
            data={"name": token.label, "prefix": token.prefix},
        )


def _end(now: datetime, lasts: timedelta | None) -> datetime | None:
    try:
        return None if lasts is None else now + lasts
    except OverflowError:
        raise Invalid("expires_in_s", "expected an end before the year 10000") from None
