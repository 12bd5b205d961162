"""Tokens of programs: made, listed, revoked."""

from datetime import datetime, timedelta

from fastapi import APIRouter, Response

from crawlyard.core.access.credential import Credential, CredentialKind, permits_named
from crawlyard.core.answers.access.access import NewTokenOut, TokenOut
from crawlyard.core.answers.lists import ListOut
from crawlyard.web.asking import Anybody, OwnAccount, SiteOf
from crawlyard.web.documenting import problems
from crawlyard.web.paging import Pages
from crawlyard.web.routes import Route
from crawlyard.web.wire.access.access_asks import TokenAsk

router = APIRouter(prefix="/tokens", tags=["tokens"], route_class=Route)


@router.get("", responses=problems(401, 422))
async def list_(caller: Anybody, site: SiteOf, pages: Pages) -> ListOut[TokenOut]:
    """List your tokens, an admin's all, newest first; their secrets are not kept."""
    before = str(pages.position[0]) if pages.position else None
    found = await site.access.tokens(caller.actor, before=before, limit=pages.more)
    return pages.page(found, TokenOut.of, lambda token: [token.id])


@router.post("", status_code=201, responses=problems(401, 403, 404, 409, 422, 429))
async def create(
    ask: TokenAsk, caller: OwnAccount, site: SiteOf, response: Response
) -> NewTokenOut:
    """Make a token; its secret is in this answer and nowhere else.

    What makes it must have no scopes of its own, and if it expires, so does the new one, no
    later.
    """
    permits = permits_named(ask.scopes) if ask.scopes else None
    given = await site.access.create_token(
        caller.actor,
        ask.name,
        user_id=ask.user,
        permits=permits,
        lasts=_lasts(ask, caller.credential, site.yard.clock.now()),
    )
    response.headers["Location"] = f"/api/v1/tokens/{given.credential.id}"
    return NewTokenOut.given(given)


@router.get("/{token_id}", responses=problems(401, 404))
async def get(token_id: str, caller: Anybody, site: SiteOf) -> TokenOut:
    """Return a token without its secret."""
    return TokenOut.of(await site.access.token(caller.actor, token_id))


@router.delete("/{token_id}", status_code=204, responses=problems(401, 404))
async def revoke(token_id: str, caller: Anybody, site: SiteOf) -> Response:
    """Revoke a token at once, with the sessions that were had by it; streams of it end."""
    await site.access.revoke_token(caller.actor, token_id)
    return Response(status_code=204)


def _lasts(ask: TokenAsk, maker: Credential, now: datetime) -> timedelta | None:
    """Return how long a new token lasts: one that makes another may not outlive itself so."""
    asked = None if ask.expires_in_s is None else timedelta(seconds=ask.expires_in_s)
    if maker.kind is not CredentialKind.TOKEN or maker.expires_at is None:
        return asked
    left = maker.expires_at - now
    return left if asked is None else min(asked, left)
