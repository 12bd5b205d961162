"""Who asks, and whether they may: the first thing that every route does."""

from urllib.parse import urlsplit

from starlette.requests import Request

from crawlyard.core.access.credential import Caller, CredentialKind
from crawlyard.core.access.user import Permit
from crawlyard.core.answer import API
from crawlyard.core.endpoints.endpoint import OWN_ACCOUNT, Who
from crawlyard.errors import Forbidden, Unauthenticated
from crawlyard.web.problems import Problem
from crawlyard.web.rates import Bucket
from crawlyard.web.site import Site

_PREVIEW = f"{API}/jobs/preview"
_SESSIONS = f"{API}/sessions/"
_TOKENS = f"{API}/tokens/"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def site_of(request: Request) -> Site:
    """Return what all routes share."""
    site: Site = request.app.state.site
    return site


def cookie_name(request: Request) -> str:
    """Return what the session cookie is called: browsers take ``__Host-`` over TLS alone."""
    return "__Host-crawlyard" if request.url.scheme == "https" else "crawlyard"


def address_of(request: Request) -> str:
    """Return the address that asks."""
    return request.client.host if request.client is not None else ""


async def admitted(request: Request, site: Site, *who: Permit | Who) -> Caller:
    """Return who asks, if they may do what *who* says; the request counts against their rate.

    Raises:
        Unauthenticated: nobody has proved anything.
        Forbidden: what they showed does not permit it.
        Problem: they ask too often, or a page of another site asks in their name.
    """
    caller = await proved(request, site)
    bucket = Bucket.READ if request.method in _SAFE else Bucket.WRITE
    if request.url.path == _PREVIEW or (bucket is Bucket.WRITE and _logs_in(request)):
        bucket = Bucket.PREVIEW
    count(request, site, caller.credential.id, bucket)
    missing = [one for one in who if isinstance(one, Permit) and one not in caller.permits]
    if missing and not _revokes_itself(request, caller):
        why = f"needs {', '.join(missing)}, which the role {caller.user.role}"
        if caller.credential.permits is not None:
            why += " or this token"
        raise Forbidden(f"{request.method} {request.url.path} {why} does not have")
    if OWN_ACCOUNT in who and caller.credential.permits is not None:
        raise Forbidden("a token with scopes of its own cannot make tokens or keep views")
    return caller


def _revokes_itself(request: Request, caller: Caller) -> bool:
    """Return whether a token, or a session opened with it, is used to revoke that token."""
    own = {f"{_TOKENS}{id_}" for id_ in (caller.credential.id, caller.credential.parent_id)}
    return request.method == "DELETE" and request.url.path in own


def _logs_in(request: Request) -> bool:
    """Return whether a request may ask the site that a session is for."""
    return request.method == "PUT" and request.url.path.startswith(_SESSIONS)


def count(request: Request, site: Site, asker: str, bucket: Bucket) -> None:
    """Count a request against its asker's rate; its answer will say what is left.

    Raises:
        Problem: there were too many.
    """
    request.state.rate_headers = site.rates.take(asker, bucket)


async def proved(request: Request, site: Site) -> Caller:
    """Return who asks, whatever they may do; looked up once for each request.

    Raises:
        Unauthenticated: nobody has proved anything.
        Problem: a page of another site asks in their name.
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
        return await site.yard.services.access.caller(secret.strip(), CredentialKind.TOKEN)
    secret = request.cookies.get(cookie_name(request), "")
    if not secret:
        raise Unauthenticated("send 'Authorization: Bearer cyt_…', or sign in")
    caller = await site.yard.services.access.caller(secret, CredentialKind.SESSION)
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
    names = (request.headers.get("host"), urlsplit(site_of(request).options.public_url).netloc)
    netloc = urlsplit(origin).netloc if origin else ""  # none either of the origin "null"
    same = bool(netloc) and netloc in names
    if fetched_by is not None:
        same = fetched_by == "same-origin"
    if not same:
        detail = "with a cookie, expected Sec-Fetch-Site: same-origin or an Origin of this server"
        raise Problem("forbidden", detail)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in {"application/json", "application/merge-patch+json"}:
        raise Problem("unsupported_media_type", "with a cookie, expected application/json")
