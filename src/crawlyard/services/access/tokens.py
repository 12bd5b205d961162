"""Tokens of programs: made, listed, revoked."""

from datetime import datetime, timedelta
from typing import Annotated

from msgspec import Meta

from crawlyard.core.access.credential import (
    MAX_LABEL,
    Credential,
    CredentialKind,
    permits_named,
)
from crawlyard.core.access.user import MAX_USER_ID
from crawlyard.core.answers.access import NewTokenOut, TokenOut
from crawlyard.core.endpoint import (
    ANYBODY,
    OWN_ACCOUNT,
    Cursor,
    Limit,
    Slice,
    endpoint,
    sliced,
)
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
    """Makes tokens, and lists and revokes those that exist; their secrets are not kept."""

    @endpoint("GET /tokens", ANYBODY)
    async def list(self, *, limit: Limit = 50, cursor: Cursor = None) -> Slice[TokenOut]:
        """List your tokens, an admin's all, newest first; their secrets are not kept."""
        found = await self._services.access.tokens(self._actor, before=cursor, limit=limit + 1)
        return sliced(found, limit, TokenOut.of, lambda token: token.id)

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
    ) -> NewTokenOut:
        """Make a token; its secret is in this answer and nowhere else.

        What makes it must have no scopes of its own, and if it expires, so does the new one, no
        later.
        """
        asked = None if expires_in_s is None else timedelta(seconds=expires_in_s)
        given = await self._services.access.create_token(
            self._actor,
            name,
            user_id=user,
            permits=permits_named(scopes) if scopes else None,
            lasts=self._lasts(asked),
        )
        return NewTokenOut.given(given)

    @endpoint("GET /tokens/{token_id}", ANYBODY)
    async def get(self, token_id: str) -> TokenOut:
        """Return a token without its secret."""
        return TokenOut.of(await self._services.access.token(self._actor, token_id))

    @endpoint("DELETE /tokens/{token_id}", ANYBODY, status=204)
    async def revoke(self, token_id: str) -> None:
        """Revoke a token at once, with the sessions that were had by it; streams of it end."""
        await self._services.access.revoke_token(self._actor, token_id)

    def _lasts(self, asked: timedelta | None) -> timedelta | None:
        """Return how long a new token lasts: one that makes another may not outlive itself so."""
        if self._caller is None:
            return asked
        return _within(asked, self._caller.credential, self._services.clock.now())


def _within(asked: timedelta | None, maker: Credential, now: datetime) -> timedelta | None:
    if maker.kind is not CredentialKind.TOKEN or maker.expires_at is None:
        return asked
    left = maker.expires_at - now
    return left if asked is None else min(asked, left)
