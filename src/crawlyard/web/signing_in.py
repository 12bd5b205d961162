"""Signing in and out, for browsers; programs send their token with each request."""

from typing import Annotated, Any

from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from crawlyard.core.access.credential import SESSION_LASTS, CredentialKind
from crawlyard.core.answers.access.access import MeOut
from crawlyard.core.endpoint import ANYBODY, NOBODY, Endpoint, endpoint
from crawlyard.web.asking import address_of, cookie_name, count, proved, site_of
from crawlyard.web.endpoints import answer
from crawlyard.web.rates import Bucket

Code = Annotated[str, Meta(min_length=1, max_length=200, examples=["cyl_…"])]


class SigningIn:
    """Begins and ends the session of the browser that sent a request, and keeps its cookie."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._site = site_of(request)
        self._secret: str | None = None  # of the session that has begun
        self._ended = False

    @endpoint("POST /auth/login", NOBODY, noun="account", group="auth", example={"code": "cyl_…"})
    async def login(self, code: Code) -> MeOut:
        """Sign in with a token, or once with the code of a sign-in link: sets a session cookie."""
        count(self._request, self._site, address_of(self._request), Bucket.LOGIN)
        given = await self._site.yard.services.access.sign_in(code)
        self._secret = given.secret
        caller = await self._site.yard.services.access.caller(given.secret, CredentialKind.SESSION)
        return MeOut.of(caller.user, caller.permits, caller.credential)

    @endpoint("POST /auth/logout", ANYBODY, status=204, noun="account", group="auth")
    async def logout(self) -> None:
        """End the session; a token stays good."""
        caller = await proved(self._request, self._site)
        if caller.credential.kind is CredentialKind.SESSION:
            await self._site.yard.services.access.sign_out(caller)
            self._site.live.drop(caller.credential.id)
        self._ended = True

    def mark(self, response: Response) -> None:
        """Let *response* set the cookie of a session that has begun, or take it away."""
        name = cookie_name(self._request)
        if self._ended:
            response.delete_cookie(name, path="/")
        if self._secret is not None:
            response.set_cookie(
                name,
                self._secret,
                max_age=int(SESSION_LASTS.total_seconds()),
                path="/",
                secure=self._request.url.scheme == "https",
                httponly=True,
                samesite="lax",
            )


async def answer_with_cookie(request: Request, one: Endpoint, _service: Any) -> Response:
    """Answer a browser that signs in or out."""
    signing = SigningIn(request)
    response = await answer(request, one, signing)
    signing.mark(response)
    return response
