"""API tokens: creation, listing and revocation."""

import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, ClassVar

from msgspec import Meta

from crawlyard.core.access.answers import NewTokenOut, TokenOut
from crawlyard.core.access.credential import (
    MAX_LABEL,
    SECRET_BYTES,
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


class IssuedCredentials(Noun):
    """Credentials of one kind: their owner and admins see and revoke them."""

    _kind: ClassVar[CredentialKind]

    async def _find(self, limit: int, cursor: str | None) -> Sequence[Credential]:
        """Return at most *limit* + 1 of them, newest first."""
        owner = None if Permit.ADMIN in self._permits else self._actor.id
        find = self._services.store.credentials.find
        return await find(owner, self._kind, cursor, limit + 1)

    async def _add(self, issued: IssuedCredential) -> None:
        event = self._event(EventName.TOKEN_CREATED, issued.credential)
        await self._services.store.credentials.add(issued.credential, event)

    async def _get(self, credential_id: str) -> Credential:
        credential = await self._services.store.credentials.get(credential_id)
        visible = credential.user_id == self._actor.id or Permit.ADMIN in self._permits
        if credential.kind is not self._kind or not visible:
            raise NotFound(f"no {self._kind} {credential_id}")
        return credential

    async def _revoke(self, credential_id: str) -> None:
        credential = await self._get(credential_id)
        if credential.revoked_at is not None:
            raise NotFound(f"no {self._kind} {credential_id}")
        event = self._event(EventName.TOKEN_REVOKED, credential)
        await self._services.store.credentials.revoke(credential.id, event.at, event)

    def _lifetime(self, expires_in_s: float | None) -> timedelta | None:
        """Return the lifetime of a new one, which may not outlive the token in use."""
        lifetime = None if expires_in_s is None else timedelta(seconds=expires_in_s)
        credential = None if self._caller is None else self._caller.credential
        if (
            credential is None
            or credential.kind is not CredentialKind.TOKEN
            or credential.expires_at is None
        ):
            return lifetime
        remaining = credential.expires_at - self._services.clock.now()
        return remaining if lifetime is None else min(lifetime, remaining)

    def _event(self, name: EventName, credential: Credential) -> Event:
        return Event(
            name=name,
            subject=credential.id,
            owner=credential.user_id,
            at=self._services.clock.now(),
            actor=self._actor.id,
            data={"name": credential.label, "prefix": credential.prefix},
        )


class Tokens(IssuedCredentials):
    """Creates, lists and revokes tokens; their secrets are not stored."""

    _kind = CredentialKind.TOKEN

    @endpoint("GET /tokens", Permit.TOKENS_READ)
    async def list(self, *, limit: Limit = 50, cursor: Cursor = None) -> Slice[TokenOut]:
        """List your tokens, newest first; with the permit `admin`, those of all users."""
        tokens = await self._find(limit, cursor)
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
        lifetime = self._lifetime(expires_in_s)
        owner = user or self._actor.id
        if owner != self._actor.id and self._actor.role is not Role.ADMIN:
            raise Forbidden(f"{self._actor.id} may only create tokens of their own")
        if not name.strip():
            raise Invalid("name", "expected a name that says where the token is used, got nothing")
        if lifetime is not None and lifetime <= timedelta(0):
            raise Invalid("expires_in_s", f"expected more than 0, got {lifetime.total_seconds():g}")
        await self._services.store.users.get(owner)
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
        await self._add(token)
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
        await self._revoke(token_id)
