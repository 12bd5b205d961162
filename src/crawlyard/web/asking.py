"""Who asks, and whether he may: the first thing that every route does."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie, HTTPBearer, SecurityScopes

from crawlyard.core.access.credential import Caller, CredentialKind
from crawlyard.core.access.user import Actor, Permit
from crawlyard.core.endpoint import OWN_ACCOUNT, Who
from crawlyard.errors import Forbidden, Unauthenticated
from crawlyard.web.errors.problems import Problem
from crawlyard.web.rates import Bucket
from crawlyard.web.site import Site

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

BEARER = HTTPBearer(auto_error=False, description="A token: `cyt_…`", scheme_name="token")
COOKIE = APIKeyCookie(
    name="__Host-crawlyard",
    auto_error=False,
    description="The session of a browser, had by `POST /auth/login`",
    scheme_name="session",
)


def site_of(request: Request) -> Site:
    """Return what all routes share."""
    site: Site = request.app.state.site
    return site


SiteOf = Annotated[Site, Depends(site_of)]


def cookie_name(request: Request) -> str:
    """Return what the session cookie is called: browsers take ``__Host-`` over TLS alone."""
    return "__Host-crawlyard" if request.url.scheme == "https" else "crawlyard"


def address_of(request: Request) -> str:
    """Return the address that asks."""
    return request.client.host if request.client is not None else ""


async def caller_of(
    request: Request,
    scopes: SecurityScopes,
    site: SiteOf,
    _bearer: Annotated[object, Depends(BEARER)] = None,  # for the document
    _cookie: Annotated[object, Depends(COOKIE)] = None,  # the same
) -> Caller:
    """Return who asks.

    Raises:
        Unauthenticated: nobody has proved anything.
        Forbidden: what he showed does not permit this route.
        Problem: he asks too often, or a page of another site asks in his name.
    """
    return await admitted(request, site, *map(Permit, scopes.scopes))


async def admitted(request: Request, site: Site, *who: Permit | Who) -> Caller:
    """Return who asks, if they may do what *who* says; the request counts against their rate.

    Raises:
        Unauthenticated, Forbidden, Problem: as for `caller_of`.
    """
    caller = await proved(request, site)
    bucket = Bucket.READ if request.method in _SAFE else Bucket.WRITE
    count(request, site, caller.credential.id, bucket)
    missing = [one for one in who if isinstance(one, Permit) and one not in caller.permits]
    if missing:
        why = f"needs {', '.join(missing)}, which the role {caller.user.role}"
        if caller.credential.permits is not None:
            why += " or this token"
        raise Forbidden(f"{request.method} {request.url.path} {why} does not have")
    return _unnarrowed(caller) if OWN_ACCOUNT in who else caller


def count(request: Request, site: Site, asker: str, bucket: Bucket) -> None:
    """Count a request against its asker's rate; its answer will say what is left.

    Raises:
        Problem: there were too many.
    """
    request.state.rate_headers = site.rates.take(asker, bucket)


async def proved(request: Request, site: Site) -> Caller:
    """Return who asks, whatever he may do; looked up once for each request.

    Raises:
        Unauthenticated: nobody has proved anything.
        Problem: a page of another site asks in his name.
    """
    known: Caller | None = getattr(request.state, "caller", None)
    if known is None:
        known = request.state.caller = await _looked_up(request, site)
    return known


async def _looked_up(request: Request, site: Site) -> Caller:
    header = request.headers.get("authorization")
    if header is not None:
        scheme, _, secret = header.partition(" ")
        if scheme.lower() != "bearer" or not secret.strip():
            raise Unauthenticated("expected 'Authorization: Bearer cyt_…'")
        return await site.access.caller(secret.strip(), CredentialKind.TOKEN)
    secret = request.cookies.get(cookie_name(request), "")
    if not secret:
        raise Unauthenticated("send 'Authorization: Bearer cyt_…', or sign in")
    caller = await site.access.caller(secret, CredentialKind.SESSION)
    if request.method not in _SAFE:
        check_same_origin(request)
    return caller


def check_same_origin(request: Request) -> None:
    """Check that no page of another site makes a browser ask in its user's name.

    Raises:
        Problem: it may be so.
    """
    fetched_by = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    same = urlsplit(origin).netloc == request.headers.get("host") if origin else False
    if fetched_by is not None:
        same = fetched_by == "same-origin"
    if not same:
        detail = "with a cookie, expected Sec-Fetch-Site: same-origin or an Origin of this server"
        raise Problem("forbidden", detail)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in {"application/json", "application/merge-patch+json"}:
        raise Problem("unsupported_media_type", "with a cookie, expected application/json")


def _needs(permit: Permit) -> Callable[..., Coroutine[Any, Any, Actor]]:
    async def actor_of(
        caller: Annotated[Caller, Security(caller_of, scopes=[permit.value])],
    ) -> Actor:
        return caller.actor

    return actor_of


Anybody = Annotated[Caller, Security(caller_of, scopes=[])]
"""Whoever has signed in, whatever his role."""


def _unnarrowed(caller: Caller) -> Caller:
    """Return who asks with all that his role permits: his account is not a narrow token's.

    Raises:
        Forbidden: what he showed was made for less.
    """
    if caller.credential.permits is not None:
        raise Forbidden("a token with scopes of its own cannot make tokens or keep views")
    return caller


FollowsJobs = Annotated[Caller, Security(caller_of, scopes=[Permit.JOBS_READ.value])]
"""Who may read jobs, with what he showed: streams end when that is not good any more."""

ReadsJobs = Annotated[Actor, Depends(_needs(Permit.JOBS_READ))]
WritesJobs = Annotated[Actor, Depends(_needs(Permit.JOBS_WRITE))]
ReadsResults = Annotated[Actor, Depends(_needs(Permit.RESULTS_READ))]
ReadsTemplates = Annotated[Actor, Depends(_needs(Permit.TEMPLATES_READ))]
WritesTemplates = Annotated[Actor, Depends(_needs(Permit.TEMPLATES_WRITE))]
ReadsSchedules = Annotated[Actor, Depends(_needs(Permit.SCHEDULES_READ))]
WritesSchedules = Annotated[Actor, Depends(_needs(Permit.SCHEDULES_WRITE))]
ReadsWebhooks = Annotated[Actor, Depends(_needs(Permit.WEBHOOKS_READ))]
WritesWebhooks = Annotated[Actor, Depends(_needs(Permit.WEBHOOKS_WRITE))]
ReadsWorkers = Annotated[Actor, Depends(_needs(Permit.WORKERS_READ))]
WritesWorkers = Annotated[Actor, Depends(_needs(Permit.WORKERS_WRITE))]
IsAdmin = Annotated[Actor, Depends(_needs(Permit.ADMIN))]
