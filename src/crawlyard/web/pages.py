"""Dashboard pages: a shell for each path, filled by its scripts from the public API."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from crawlyard.about import browser_install
from crawlyard.core.access.credential import Caller
from crawlyard.core.access.user import Permit, Role
from crawlyard.core.events.event import EventName
from crawlyard.core.schedules.schedule import MISFIRE_HELP, OVERLAP_HELP
from crawlyard.core.templates.template import ParameterType
from crawlyard.core.words import STATES
from crawlyard.errors import NotFound, StoreUnavailable, Unauthenticated
from crawlyard.web.assets import ASSETS, FAVICON, ROOT, VERSION, sheets_of
from crawlyard.web.auth import authenticate, site_of
from crawlyard.web.crawl_form import GROUPS, STARTS
from crawlyard.web.live.sse import event_word
from crawlyard.web.routes import OneMethod

# --- pages

_DIRECTIVES = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "frame-src": "'self'",  # stored pages, which are sandboxed
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
POLICY = "; ".join(f"{name} {sources}" for name, sources in _DIRECTIVES.items())
"""Content-Security-Policy of pages: own files only, nothing inline.

Source: Content Security Policy Level 3, W3C.
"""

_FOREVER = "public, max-age=31536000, immutable"
_THEMES = frozenset({"light", "dark"})
HEADERS = {"Content-Security-Policy": POLICY, "Vary": "Cookie"}
"""Headers of all pages."""
_RELOAD_S = "5"  # a page reloads itself while the store is unavailable
_SNAPSHOTS = ("hello", "ping", "bye", "resync", "counts", "workers", "jobs.progress")
_WORDS = dict.fromkeys((*_SNAPSHOTS, *map(event_word, EventName)))


_JOB_ROW = ",".join(
    (
        *("id", "version", "owner", "state", "allowed_actions", "state_reason", "outcome"),
        *("detail", "damaged", "url", "created_at", "queued_at", "due_at", "due_in_s"),
        *("started_at", "ended_at", "retry_of", "source", "origin", "waits_for"),
        *("spec.name", "spec.tags", "spec.priority"),
        *("progress.done", "progress.discovered", "progress.failed", "progress.pages"),
        *("progress.bytes", "progress.elapsed_s", "progress.rate", "progress.eta"),
    )
)
"""Fields of a job that a row of the list and the peek beside it show."""


_RUNNING = (
    "state=running&limit=50&fields=id,version,owner,state,allowed_actions,url,progress,spec.name"
)
"""Query for the running crawls of the overview, as its script sends it."""


class DashboardPage(Struct, frozen=True):
    """A page of the dashboard: path, script, place in the navigation."""

    path: str
    module: str  # name of its script and its template
    nav: str
    title: str
    asks: tuple[str, ...] = ()  # API paths that the shell preloads for its script
    passes: tuple[str, ...] = ()  # parameters passed on to them, or "name=default"


PAGES = (
    DashboardPage("/", "overview", "Overview", "Overview", (f"/jobs?{_RUNNING}", "/attention")),
    DashboardPage(
        "/jobs",
        "jobs",
        "Jobs",
        "Jobs",
        ("/jobs",),
        ("q", "state", "sort", "group=state", "limit", f"fields={_JOB_ROW}"),
    ),
    DashboardPage("/jobs/new", "new", "Jobs", "New crawl"),
    DashboardPage("/jobs/{job}", "job", "Jobs", "Job", ("/jobs/{job}?expand=template,schedule",)),
    DashboardPage(
        "/jobs/{job}/changes",
        "changes",
        "Jobs",
        "Changes",
        ("/jobs/{job}?expand=schedule",),
    ),
    DashboardPage(
        "/jobs/{job}/{tab}", "job", "Jobs", "Job", ("/jobs/{job}?expand=template,schedule",)
    ),
    DashboardPage("/results", "results", "Pages", "Pages"),
    DashboardPage(
        "/jobs/{job}/pages/{page}",
        "page",
        "Jobs",
        "DashboardPage",
        ("/jobs/{job}/pages/{page}", "/jobs/{job}"),
    ),
    DashboardPage(
        "/schedules",
        "schedules",
        "Schedules",
        "Schedules",
        ("/schedules?expand=recent&limit=50",),
    ),
    DashboardPage("/schedules/calendar", "calendar", "Schedules", "Calendar"),
    DashboardPage("/schedules/new", "schedule", "Schedules", "New schedule"),
    DashboardPage("/schedules/{schedule}", "schedule", "Schedules", "Schedule"),
    DashboardPage("/templates", "templates", "Templates", "Templates"),
    DashboardPage("/templates/new", "template", "Templates", "New template"),
    DashboardPage("/templates/{template}", "template", "Templates", "Template"),
    DashboardPage("/workers", "workers", "Workers and hosts", "Workers and hosts"),
    DashboardPage("/events", "events", "Activity", "Activity"),
    DashboardPage("/settings", "settings", "Settings", "Settings"),
    DashboardPage("/settings/{section}", "settings", "Settings", "Settings"),
)
"""Pages that need a sign-in; the first match is served."""

SIGN_IN = DashboardPage("/signin", "signin", "", "Sign in")
_FIRST = {page.nav: page for page in reversed(PAGES)}
_NAV = tuple(
    {"name": name, "href": _FIRST[name].path, "icon": _FIRST[name].module}
    for name in dict.fromkeys(page.nav for page in PAGES)
)
"""Entries of the navigation: the first page of each name."""
_OWN = {"jobs": "?q=owner:me", "schedules": "?owner=me"}
_OWN_NAV = tuple(item | {"href": item["href"] + _OWN.get(item["icon"], "")} for item in _NAV)
"""The same, with lists of what the user owns."""

_templates = Environment(
    loader=PackageLoader("crawlyard.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.globals |= {"states": STATES, "favicon": FAVICON}
_templates.globals |= {"overlaps": OVERLAP_HELP, "misfires": MISFIRE_HELP}
_templates.globals |= {"crawl_groups": GROUPS, "crawl_starts": STARTS}
_templates.globals |= {"parameter_types": tuple(ParameterType)}
_templates.globals |= {"browser_install": browser_install()}


def render(template: str, **values: Any) -> str:
    """Return a file in `templates` as HTML."""
    return _templates.get_template(template).render(**values)


def theme_of(request: Request) -> dict[str, str]:
    """Return what every page needs: the path of static files, and the theme of the browser."""
    theme = request.cookies.get("crawlyard_theme", "")
    return {"static": ROOT, "theme": theme if theme in _THEMES else ""}


def _shell(page: DashboardPage, request: Request, **more: Any) -> Response:
    sheets = sheets_of(f"js/pages/{page.module}.js")
    html = render(
        f"{page.module}.html", page=page, sheets=sheets, **{"nav": _NAV} | theme_of(request) | more
    )
    return HTMLResponse(html, headers=HEADERS)


def _page_values(page: DashboardPage, request: Request, caller: Caller) -> dict[str, Any]:
    """Return the values that a page passes to its script."""
    path_params, query = request.path_params, request.query_params
    named = {name: quote(value, safe="") for name, value in path_params.items()}
    defaults = (param.partition("=") for param in page.passes)
    params = {name: value for name, _, to in defaults if (value := query.get(name, to))}
    passed = f"?{urlencode(params)}" if params else ""
    return {
        "asks": tuple(path.format_map(named) + passed for path in page.asks),
        "fields": params.get("fields", ""),
        "path_params": path_params,
        "user": caller.user,
        # an operator who sees all jobs begins with the own ones; a viewer has none
        "nav": _OWN_NAV if caller.sees_shared and caller.user.role is Role.OPERATOR else _NAV,
        "permits": " ".join(sorted(caller.permits)),
        "events": " ".join(_WORDS),
        # only an admin may allow a non-public address
        "sample": site_of(request).options.sample if Permit.ADMIN in caller.permits else "",
    }


def _handler_of(page: DashboardPage) -> Callable[..., Coroutine[Any, Any, Response]]:
    async def show(request: Request) -> Response:
        try:
            caller = await authenticate(request, site_of(request))
            seq = await site_of(request).yard.store.events.last()
        except Unauthenticated:
            target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            url = site_of(request).options.public_url + SIGN_IN.path
            return RedirectResponse(f"{url}?next={quote(target, safe='/')}", 303)
        except StoreUnavailable as error:
            reload_headers = {"Refresh": _RELOAD_S, "Retry-After": _RELOAD_S}
            detail = f"{str(error)[:1].upper()}{str(error)[1:]}."
            return message_page(request, 503, "Not available now", detail, reload_headers)
        return _shell(page, request, seq=seq, **_page_values(page, request, caller))

    return show


def message_page(
    request: Request,
    status: int,
    title: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a page with one sentence, without store or scripts."""
    more = headers or {}
    html = render(
        "plain.html", title=title, detail=detail, reloads="Refresh" in more, **theme_of(request)
    )
    return HTMLResponse(html, status, HEADERS | {**more})


def is_for_people(request: Request) -> bool:
    """Return whether a browser requests a page of the dashboard, existing or not."""
    accepts = "text/html" in request.headers.get("accept", "")
    return request.method == "GET" and accepts and not request.url.path.startswith("/api/")


def not_found_page(request: Request) -> Response:
    """Return the 404 page."""
    return message_page(request, 404, "Not found", "There is no page at this address.")


async def sign_in(request: Request) -> Response:
    """Serve the page that exchanges a token or a link's code for a session."""
    return _shell(SIGN_IN, request)


async def static(request: Request) -> Response:
    """Serve a static file."""
    version, path = request.path_params["version"], request.path_params["path"]
    asset = ASSETS.get(path)
    if asset is None or version != VERSION:
        raise NotFound(f"no file {path[:100]}")
    return Response(
        asset.content,
        media_type=asset.media_type,
        headers={"Cache-Control": _FOREVER, "Content-Security-Policy": POLICY},
    )


ROUTES = (
    *(OneMethod(page.path, _handler_of(page), "GET") for page in PAGES),
    OneMethod(SIGN_IN.path, sign_in, "GET"),
    OneMethod("/static/{version}/{path:path}", static, "GET"),
)
"""Routes of all pages and static files."""
