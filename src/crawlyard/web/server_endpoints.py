"""Endpoints of the server itself: sign-in, health, pages of problems."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from crawlyard.core.access.answers import MeOut, TriggeredOut
from crawlyard.core.access.credential import SESSION_LASTS, CredentialKind
from crawlyard.core.endpoints.endpoint import ANYBODY, NOBODY, Endpoint, Rest, endpoint
from crawlyard.core.fields import SECRET
from crawlyard.core.instance import HealthOut, ProblemKindOut, ReadyOut
from crawlyard.errors import NotFound, Unauthenticated, Unavailable
from crawlyard.services.access import triggers
from crawlyard.services.instance.meta import ready
from crawlyard.web.auth import address_of, authenticate, cookie_name, count_request, site_of
from crawlyard.web.endpoints import answer
from crawlyard.web.problems import KINDS, kind_of, page_of
from crawlyard.web.rates import Bucket
from crawlyard.web.routes import json_answer

Code = Annotated[str, Meta(min_length=1, max_length=200, examples=["cyl_…"]), SECRET]

Token = Annotated[str, Meta(max_length=200, examples=["cyh_…"]), SECRET]
Body = Annotated[Mapping[str, Any], Rest("trigger")]
_NO_BODY: Mapping[str, Any] = {}

_READY_WITHIN_S = 5

_log = logging.getLogger(__name__)


class SigningIn:
    """Starts and ends the session of a browser; programs send their token with each request."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._site = site_of(request)
        self._secret: str | None = None  # of the session that was started
        self._ended = False

    @endpoint(
        "POST /auth/login",
        NOBODY,
        "401",
        "429",
        noun="account",
        group="auth",
        example={"code": "cyl_…"},
    )
    async def login(self, code: Code) -> MeOut:
        """Sign in with a token, or once with the code of a sign-in link: sets a session cookie."""
        count_request(self._request, self._site, address_of(self._request), Bucket.LOGIN)
        session = await self._site.yard.services.access.sign_in(code)
        self._secret = session.secret
        caller = await self._site.yard.services.access.caller(
            session.secret, CredentialKind.SESSION
        )
        return MeOut.of(caller.user, caller.permits, caller.credential)

    @endpoint("POST /auth/logout", ANYBODY, status=204, noun="account", group="auth")
    async def logout(self) -> None:
        """End the session; a token stays valid."""
        caller = await authenticate(self._request, self._site)
        if caller.credential.kind is CredentialKind.SESSION:
            await self._site.yard.services.access.sign_out(caller)
            self._site.live.drop(caller.credential.id)
        self._ended = True

    def mark(self, response: Response) -> None:
        """Set the cookie of a new session on *response*, or delete that of an ended one."""
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


class TriggerCalls:
    """Receives the calls of other programs to triggers."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._site = site_of(request)

    @endpoint(
        "POST /hooks/{token}",
        NOBODY,
        "root",
        "401",
        "403",
        "404",
        "409",
        "429",
        status=202,
        noun="triggers",
        name="start",
        example={"page": {"url": "https://docs.example.org/new"}},
    )
    async def start(self, token: Token, body: Body = _NO_BODY) -> TriggeredOut:
        """Start the schedule or template of a trigger.

        The token in the path is the only credential. Its user needs to have the permissions. The
        body is any JSON object; the trigger says which of its values are parameters.
        """
        services = self._site.yard.services
        try:
            caller = await services.access.caller(token, CredentialKind.TRIGGER)
        except Unauthenticated:
            count_request(self._request, self._site, address_of(self._request), Bucket.LOGIN)
            raise
        count_request(self._request, self._site, caller.credential.id, Bucket.WRITE)
        return await triggers.start(services, caller, body)


class ServerStatus:
    """Health of the server and meaning of its problems; needs no credential."""

    def __init__(self, request: Request) -> None:
        self._site = site_of(request)

    @endpoint("GET /healthz", NOBODY, "root", noun="monitoring")
    async def healthz(self) -> HealthOut:
        """Check that the process is alive."""
        return HealthOut()

    @endpoint("GET /readyz", NOBODY, "root", noun="monitoring")
    async def readyz(self) -> ReadyOut:
        """Check that the server can answer requests: the store is reachable and has its tables.

        Without Redis, a server is slower but ready.
        """
        if self._site.live.closed:
            raise Unavailable("the server is shutting down")
        try:
            async with asyncio.timeout(_READY_WITHIN_S):
                await self._site.yard.store.check()
        except (Unavailable, TimeoutError) as error:
            # this endpoint is public: don't disclose the name of the store
            _log.warning("not ready: %s", str(error) or "the store does not answer in time")
            raise Unavailable("the store does not answer, or has another schema") from None
        return ready(self._site.yard.bus.reach)

    @endpoint("GET /problems/{kind}", NOBODY, "root", "html", noun="problems", name="get")
    async def problem(self, kind: str) -> ProblemKindOut:
        """Explain a type of problem and what to do about it: a page, or JSON by Accept."""
        code = kind.replace("-", "_")
        if code not in KINDS:
            raise NotFound(f"no problem {kind[:64]}")
        return kind_of(code)


async def answer_with_cookie(request: Request, endpoint: Endpoint, _service: Any) -> Response:
    """Answer a sign-in or sign-out, with its cookie."""
    signing = SigningIn(request)
    response = await answer(request, endpoint, signing)
    signing.mark(response)
    return response


async def answer_hook(request: Request, endpoint: Endpoint, _service: Any) -> Response:
    """Answer the call of a trigger."""
    return await answer(request, endpoint, TriggerCalls(request))


async def answer_health(request: Request, endpoint: Endpoint, _service: Any) -> Response:
    """Answer a health check; unknown parameters are ignored."""
    return json_answer(request, await endpoint.call(ServerStatus(request)))


async def answer_problem(request: Request, _endpoint: Endpoint, _service: Any) -> Response:
    """Answer with an explanation, as JSON if Accept prefers it."""
    kind = await ServerStatus(request).problem(str(request.path_params["kind"]))
    accept = request.headers.get("accept", "")
    if "json" in accept and "text/html" not in accept:
        return json_answer(request, kind)
    return HTMLResponse(page_of(kind), headers={"Vary": "Accept"})
