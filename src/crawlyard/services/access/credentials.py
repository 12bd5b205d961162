"""Authentication of callers by tokens and sessions, and the start and end of sessions."""

import secrets
from contextlib import suppress
from datetime import timedelta
from typing import Any

from crawlyard.clock import Clock
from crawlyard.core.access.credential import (
    LINK_LASTS,
    SECRET_BYTES,
    SESSION_LASTS,
    Caller,
    Credential,
    CredentialKind,
    IssuedCredential,
    digest_of,
    kind_of,
)
from crawlyard.core.events.event import UNKNOWN, Event, EventName, request_address
from crawlyard.errors import Conflict, StoreUnavailable, Unauthenticated
from crawlyard.ids import new_id
from crawlyard.store.queries import Proof
from crawlyard.store.store import Store

_REFUSALS_LAST_S = 60.0
_MOST_REFUSALS = 60  # events in that time


class Credentials:
    """Checks credentials, and issues sessions and sign-in links; `Tokens` issues tokens."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._refusals_since = -_REFUSALS_LAST_S
        self._refused_addresses: set[str] = set()  # since then

    async def caller(self, secret: str, kind: CredentialKind) -> Caller:
        """Return the caller who presents *secret*, which must be of *kind*.

        Raises:
            Unauthenticated: the secret is unknown, revoked or expired, or its user is disabled.
        """
        proof = None
        if kind_of(secret) is kind:
            proof = await self._store.credentials.get_by_digest(digest_of(secret))
        now = self._clock.now()
        if proof is None or proof.credential.kind is not kind or not proof.credential.good(now):
            await self._note_refusal(kind, proof, "unknown" if proof is None else "ended")
            raise Unauthenticated(f"this {kind} is unknown, expired or revoked")
        if proof.user.disabled_at is not None:
            await self._note_refusal(kind, proof, "disabled")
            raise Unauthenticated(f"user {proof.user.id} is disabled")
        if proof.credential.stale(now):
            await self._store.credentials.touch(proof.credential.id, now)
        return Caller(
            user=proof.user,
            credential=proof.credential,
            permits=proof.credential.permits_of(proof.user),
            sees_shared=proof.sees_shared,
        )

    async def still_good(self, caller: Caller) -> bool:
        """Return whether the caller is still authenticated; checked while a stream is open.

        False if the credential or its user is no longer valid, or the role or what users see of
        each other has changed.
        """
        proof = await self._store.credentials.get_by_digest(caller.credential.digest)
        if proof is None or not proof.credential.good(self._clock.now()):
            return False
        same = proof.user.role is caller.user.role and proof.sees_shared == caller.sees_shared
        return same and proof.user.disabled_at is None

    async def sign_in(self, secret: str) -> IssuedCredential:
        """Start a session for a token, or for the code of an unused sign-in link.

        Raises:
            Unauthenticated: *secret* is neither, or is no longer valid.
        """
        kind = kind_of(secret)
        if kind not in (CredentialKind.TOKEN, CredentialKind.LINK):
            raise Unauthenticated("expected a token (cyt_…) or the code of a sign-in link (cyl_…)")
        caller = await self.caller(secret, kind)
        own = caller.credential
        session = self._new_credential(
            CredentialKind.SESSION,
            caller.user.id,
            own.label or f"by {kind}",
            self._session_lasts(own),
            permits=own.permits,
            parent_id=own.id,
        )
        event = self._event(EventName.USER_SIGNED_IN, caller.user.id, own, by=str(kind))
        if kind is CredentialKind.LINK:
            if not await self._store.credentials.spend(own.id, session.credential, event):
                raise Unauthenticated("this sign-in link has been used")
            return session
        try:
            await self._store.credentials.add(session.credential, event)
        except Conflict:
            raise Unauthenticated("this token has just been revoked") from None
        return session

    def _session_lasts(self, credential: Credential) -> timedelta:
        """Return how long a session lasts: no longer than the token it was started with."""
        if credential.kind is not CredentialKind.TOKEN or credential.expires_at is None:
            return SESSION_LASTS
        return min(SESSION_LASTS, credential.expires_at - self._clock.now())

    async def sign_out(self, caller: Caller) -> None:
        """End the caller's session."""
        await self._store.credentials.revoke(caller.credential.id, self._clock.now())

    async def link(self, user_id: str) -> IssuedCredential:
        """Issue the code of a sign-in link for a user: valid once, within `LINK_LASTS`.

        Raises:
            NotFound: no such user.
        """
        await self._store.users.get(user_id)
        link = self._new_credential(CredentialKind.LINK, user_id, "sign-in link", LINK_LASTS)
        await self._store.credentials.add(link.credential)
        return link

    async def _note_refusal(self, kind: CredentialKind, proof: Proof | None, reason: str) -> None:
        """Add an event, at most one a minute for each address, and `_MOST_REFUSALS` in all.

        Any client can send credentials that are refused, and each event is a row. Sessions of
        browsers end all the time, and are left out.
        """
        now, address = self._clock.monotonic(), request_address.get()
        if now - self._refusals_since >= _REFUSALS_LAST_S:
            self._refusals_since = now
            self._refused_addresses.clear()
        if kind is CredentialKind.SESSION or address in self._refused_addresses:
            return
        if len(self._refused_addresses) < _MOST_REFUSALS:
            self._refused_addresses.add(address)
            user_id, credential = UNKNOWN, None
            if proof is not None:
                user_id, credential = proof.user.id, proof.credential
            event = self._event(
                EventName.USER_REFUSED, user_id, credential, kind=str(kind), reason=reason
            )
            with suppress(StoreUnavailable):  # the refusal is what matters
                await self._store.events.add(event)

    def _event(
        self, name: EventName, user_id: str, credential: Credential | None, **data: str
    ) -> Event:
        return Event(
            name=name,
            subject=credential.id if credential else "",
            owner=user_id,
            at=self._clock.now(),
            actor=user_id,
            data={"prefix": credential.prefix if credential else "", **data},
        )

    async def any_token(self) -> bool:
        """Return whether any token is valid."""
        now = self._clock.now()
        before: str | None = None
        find = self._store.credentials.find
        while tokens := await find(None, CredentialKind.TOKEN, before, 200):
            if any(token.good(now) for token in tokens):
                return True
            before = tokens[-1].id
        return False

    def _new_credential(
        self, kind: CredentialKind, user_id: str, label: str, lasts: timedelta, **fields: Any
    ) -> IssuedCredential:
        random, now = secrets.token_bytes(SECRET_BYTES), self._clock.now()
        return IssuedCredential.issue(
            kind, random, now, lasts, id=new_id(), user_id=user_id, label=label, **fields
        )
