"""Authentication and authorization: the first step of every route."""

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

_PREVIEW_PATH = f"{API}/jobs/preview"
_SESSIONS_PREFIX = f"{API}/sessions/"
_TOKENS_PREFIX = f"{API}/tokens/"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def site_of(request: Request) -> Site:
    """Return the state that all routes share."""
    site: Site = request.app.state.site
    return site


def cookie_name(request: Request) -> str:
    """Return the name of the session cookie: browsers accept ``__Host-`` over TLS only."""
    return "__Host-crawlyard" if request.scope["scheme"] == "https" else "crawlyard"


def address_of(request: Request) -> str:
    """Return the IP address of the client; empty if unknown."""
    return request.client.host if request.client is not None else ""


async def authorize(request: Request, site: Site, *needs: Permit | Who) -> Caller:
    """Return the caller, who must have what the route *needs*.

    The request counts against the rate limit of their credential.

    Raises:
        Unauthenticated: no valid credential was sent.
        Forbidden: the credential does not permit the request.
        Problem: too many requests, or a page of another site sent the request.
    """
    caller = await authenticate(request, site)
    bucket = Bucket.READ if request.method in _SAFE_METHODS else Bucket.WRITE
    if request.scope["path"] == _PREVIEW_PATH or (bucket is Bucket.WRITE and _may_sign_in(request)):
        bucket = Bucket.PREVIEW
    count_request(request, site, caller.credential.id, bucket)
    missing = [
        permit for permit in needs if isinstance(permit, Permit) and permit not in caller.permits
    ]
    if missing and not _revokes_itself(request, caller):
        reason = f"needs {', '.join(missing)}, which the role {caller.user.role}"
        if caller.credential.permits is not None:
            reason += " or this token"
        raise Forbidden(f"{request.method} {request.url.path} {reason} does not have")
    if OWN_ACCOUNT in needs and caller.credential.permits is not None:
        raise Forbidden("a token with its own scopes cannot create tokens or save views")
    return caller


def _revokes_itself(request: Request, caller: Caller) -> bool:
    """Return whether a token, or a session opened with it, is used to revoke that token."""
    own_paths = {
        f"{_TOKENS_PREFIX}{id_}" for id_ in (caller.credential.id, caller.credential.parent_id)
    }
    return request.method == "DELETE" and request.url.path in own_paths


def _may_sign_in(request: Request) -> bool:
    """Return whether a request may sign in to the site that a session is for."""
    return request.method == "PUT" and request.url.path.startswith(_SESSIONS_PREFIX)


def count_request(request: Request, site: Site, client: str, bucket: Bucket) -> None:
    """Count a request against the rate limit of *client*, and keep the headers of its response.

    Raises:
        Problem: too many requests.
    """
    if site.rates.on:
        request.state.rate_headers = site.rates.take(client, bucket)


async def authenticate(request: Request, site: Site) -> Caller:
    """Return the caller, with any permits; looked up once per request.

    Raises:
        Unauthenticated: no valid credential was sent.
        Problem: a page of another site sent the request.
    """
    caller: Caller | None = getattr(request.state, "caller", None)
    if caller is None:
        caller = request.state.caller = await _check_credentials(request, site)
    return caller


async def _check_credentials(request: Request, site: Site) -> Caller:
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
    if request.method not in _SAFE_METHODS:
        check_same_origin(request)
    return caller


def is_own_origin(request: Request, origin: str) -> bool:
    """Return whether *origin* is this server."""
    own_hosts = (request.headers.get("host"), urlsplit(site_of(request).options.public_url).netloc)
    netloc = urlsplit(origin).netloc  # empty for the origin "null" too
    return bool(netloc) and netloc in own_hosts


def check_same_origin(request: Request) -> None:
    """Check that the request was not sent by a page of another site (CSRF).

    Raises:
        Problem: it may have been.
    """
    fetch_site = request.headers.get("sec-fetch-site")
    is_same = is_own_origin(request, request.headers.get("origin", ""))
    if fetch_site is not None:
        is_same = fetch_site == "same-origin"
    if not is_same:
        detail = "with a cookie, expected Sec-Fetch-Site: same-origin or an Origin of this server"
        raise Problem("forbidden", detail)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in {"application/json", "application/merge-patch+json"}:
        raise Problem("unsupported_media_type", "with a cookie, expected application/json")
