"""Signing in and out, for browsers; programs send their token with each request."""

from fastapi import APIRouter, Request, Response

from crawlyard.core.access.credential import SESSION_LASTS, CredentialKind
from crawlyard.core.answers.access.access import MeOut
from crawlyard.web.asking import Anybody, SiteOf, address_of, cookie_name, count
from crawlyard.web.documenting import problems
from crawlyard.web.rates import Bucket
from crawlyard.web.routes import Route
from crawlyard.web.wire.access.access_asks import SignInAsk

router = APIRouter(prefix="/auth", tags=["auth"], route_class=Route)


@router.post("/login", responses=problems(401, 422, 429))
async def login(ask: SignInAsk, request: Request, response: Response, site: SiteOf) -> MeOut:
    """Sign in with a token, or once with the code of a sign-in link: sets a session cookie."""
    count(request, site, address_of(request), Bucket.LOGIN)
    given = await site.access.sign_in(ask.code)
    secure = request.url.scheme == "https"
    response.set_cookie(
        cookie_name(request),
        given.secret,
        max_age=int(SESSION_LASTS.total_seconds()),
        path="/",
        secure=secure,
        httponly=True,
        samesite="lax",
    )
    return MeOut.of(await site.access.caller(given.secret, CredentialKind.SESSION))


@router.post("/logout", status_code=204, responses=problems(401))
async def logout(caller: Anybody, request: Request, site: SiteOf) -> Response:
    """End the session; a token stays good."""
    if caller.credential.kind is CredentialKind.SESSION:
        await site.access.sign_out(caller)
        site.live.drop(caller.credential.id)
    response = Response(status_code=204)
    response.delete_cookie(cookie_name(request), path="/")
    return response


@router.get("/me", responses=problems(401))
async def me(caller: Anybody) -> MeOut:
    """Return who asks, and what he may do."""
    return MeOut.of(caller)
