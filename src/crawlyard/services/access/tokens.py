"""API tokens: creation, listing and revocation."""

import secrets
from datetime import datetime, timedelta
from typing import Annotated

from msgspec import Meta

from crawlyard.core.access.answers import NewTokenOut, TokenOut
from crawlyard.core.access.credential import (
    MAX_LABEL,
    SECRET_BYTES,
    Caller,
    Credential,
    CredentialKind,
    IssuedCredential,
    permits_named,
)
from crawlyard.core.access.user import MAX_USER_ID, Permit, Role
from crawlyard.core.endpoints.endpoint import (
    OWN_ACCOUNT,
    Cursor,
    IdempotencyKey,
    Limit,
    Slice,
    endpoint,
    make_slice,
)
from crawlyard.core.events.event import Event, EventName
from crawlyard.errors import Forbidden, Invalid, NotFound
from crawlyard.ids import new_id
from crawlyard.services.noun import Noun

Name = Annotated[str, Meta(min_length=1, max_length=MAX_LABEL, examples=["nightly import"])]
Owner = Annotated[str, Meta(max_length=MAX_USER_ID)]
Scopes = Annotated[
    tuple[Annotated[str, Meta(max_length=50)], ...],
    Meta(
        max_length=50,
        description="What it is good for, `jobs:*` too; none: all that the role has.",
        examples=[["jobs:read", "results:read"]],
    ),
]
Lifetime = Annotated[float, Meta(gt=0, le=3650 * 86_400)]


class Tokens(Noun):
    """Creates, lists and revokes tokens; their secrets are not stored."""

    @endpoint("GET /tokens", Permit.TOKENS_READ)
    async def list(self, *, limit: Limit = 50, cursor: Cursor = None) -> Slice[TokenOut]:
        """List your tokens, newest first; with the permit `admin`, those of all users."""
        owner = None if Permit.ADMIN in self._permits else self._actor.id
        find = self._services.store.credentials.find
        tokens = await find(owner, CredentialKind.TOKEN, cursor, limit + 1)
        return make_slice(tokens, limit, TokenOut.of, lambda token: token.id)

    @endpoint(
        "POST /tokens",
        OWN_ACCOUNT,
        "404",  # there is no such user
        status=201,
        example={
            "name": "nightly import",
            "scopes": ["jobs:write", "results:read"],
            "expires_in_s": 7_776_000,
        },
    )
    async def create(
        self,
        name: Name,
        *,
        user: Annotated[Owner | None, Meta(description="Another user's, for admins.")] = None,
        scopes: Scopes = (),
        expires_in_s: Annotated[
            Lifetime | None, Meta(description="Null: it does not expire.")
        ] = None,
        idempotency_key: IdempotencyKey = None,  # noqa: ARG002 - its callers read it
    ) -> NewTokenOut:
        """Create a token; its secret is only in this response.

        The credential used must have no scopes; if it expires, the new token expires no later.
        """
        permits = permits_named(scopes) if scopes else None
        lifetime = limit_lifetime(
            None if expires_in_s is None else timedelta(seconds=expires_in_s),
            self._caller,
            self._services.clock.now(),
        )
        owner, store = user or self._actor.id, self._services.store
        if owner != self._actor.id and self._actor.role is not Role.ADMIN:
            raise Forbidden(f"{self._actor.id} may only create tokens of their own")
        if not name.strip():
            raise Invalid("name", "expected a name that says where the token is used, got nothing")
        if lifetime is not None and lifetime <= timedelta(0):
            raise Invalid("expires_in_s", f"expected more than 0, got {lifetime.total_seconds():g}")
        await store.users.get(owner)
        token = IssuedCredential.issue(
            CredentialKind.TOKEN,
            secrets.token_bytes(SECRET_BYTES),
            self._services.clock.now(),
            lifetime,
            id=new_id(),
            user_id=owner,
            label=name,
            permits=permits,
        )
        event = self._event(EventName.TOKEN_CREATED, token.credential)
        await store.credentials.add(token.credential, event)
        return NewTokenOut.with_secret(token)

    @endpoint("GET /tokens/{token_id}", Permit.TOKENS_READ)
    async def get(self, token_id: str) -> TokenOut:
        """Return a token without its secret."""
        return TokenOut.of(await self._get(token_id))

    @endpoint("DELETE /tokens/{token_id}", Permit.TOKENS_WRITE, status=204)
    async def revoke(self, token_id: str) -> None:
        """Revoke a token at once, with the sessions opened with it; its streams end.

        A token needs no scope to revoke itself.
        """
        token = await self._get(token_id)
        if token.revoked_at is not None:
            raise NotFound(f"no token {token_id}")
        event = self._event(EventName.TOKEN_REVOKED, token)
        await self._services.store.credentials.revoke(token.id, event.at, event)

    async def _get(self, token_id: str) -> Credential:
        token = await self._services.store.credentials.get(token_id)
        visible = token.user_id == self._actor.id or Permit.ADMIN in self._permits
        if token.kind is not CredentialKind.TOKEN or not visible:
            raise NotFound(f"no token {token_id}")
        return token

    def _event(self, name: EventName, token: Credential) -> Event:
        return Event(
            name=name,
            subject=token.id,
            owner=token.user_id,
            at=self._services.clock.now(),
            actor=self._actor.id,
            data={"name": token.label, "prefix": token.prefix},
        )


def limit_lifetime(
    lifetime: timedelta | None, caller: Caller | None, now: datetime
) -> timedelta | None:
    """Return the lifetime of a new credential, which may not outlive the token in use."""
    credential = None if caller is None else caller.credential
    if credential is None or credential.kind is not CredentialKind.TOKEN:
        return lifetime
    if credential.expires_at is None:
        return lifetime
    remaining = credential.expires_at - now
    return remaining if lifetime is None else min(lifetime, remaining)
