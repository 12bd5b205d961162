"""The dashboard: one page for each address, which its scripts fill from the public API."""

import re
from collections.abc import Callable, Coroutine, Iterator, Mapping
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from posixpath import dirname, join, normpath
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import rjsmin  # type: ignore[import-untyped]  # it ships no types
from jinja2 import Environment, PackageLoader, StrictUndefined
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from crawlyard.about import browser_install
from crawlyard.core.access.credential import Caller
from crawlyard.core.access.user import Permit
from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.job import actions_of
from crawlyard.core.jobs.lifecycle import LIFECYCLE
from crawlyard.core.schedules.schedule import MISFIRE_HELP, OVERLAP_HELP
from crawlyard.core.templates.template import ParameterType
from crawlyard.core.words import STATES, TABLES
from crawlyard.errors import NotFound, StoreUnavailable, Unauthenticated
from crawlyard.web.auth import proved, site_of
from crawlyard.web.crawl_form import GROUPS, STARTS
from crawlyard.web.live.sse import event_word
from crawlyard.web.routes import OneMethod

# --- style sheets, scripts and icons, under a path that changes with them

_MEDIA = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_IMPORT = re.compile(r'\b(?:import|export)\s*(?:[\w{},$*\s]+?from\s*)?"(\.[^"]+)"')


class Asset(Struct, frozen=True):
    """One file, as it is sent."""

    media_type: str
    content: bytes


def _sent(ending: str, content: bytes) -> bytes:
    """Return *content* without what only the readers of scripts need: comments, indentation."""
    return rjsmin.jsmin(content) if ending == ".js" else content


def _found(folder: Traversable, inside: str = "") -> Iterator[tuple[str, Asset]]:
    for entry in sorted(folder.iterdir(), key=lambda one: one.name):
        path = f"{inside}{entry.name}"
        ending = f".{entry.name.rpartition('.')[2]}"
        if entry.is_dir():
            yield from _found(entry, f"{path}/")
        elif ending in _MEDIA:
            yield path, Asset(_MEDIA[ending], _sent(ending, entry.read_bytes()))


_WORDS_JS = f"export const WORDS = {msgspec.json.encode(TABLES).decode()};"

ASSETS: Mapping[str, Asset] = {
    **dict(_found(files("crawlyard.web").joinpath("static"))),
    "js/core/words.js": Asset("text/javascript", _WORDS_JS.encode()),  # no file: `core.words`
}
"""By path."""

_TOLD = b"".join(path.encode() + asset.content for path, asset in ASSETS.items())
VERSION = sha256(_TOLD).hexdigest()[:12]
"""A hash of all of them: what is cached under it is never stale."""

ROOT = f"/static/{VERSION}"
"""The path under which they are served."""


def modules_of(entry: str) -> tuple[str, ...]:
    """Return the paths of the scripts that *entry* imports, and those that they import.

    A page names them, so that a browser asks for all at once and not for one after the other.
    """
    seen: dict[str, None] = {}
    waiting = [entry]
    while waiting:
        path = waiting.pop()
        for found in _IMPORT.findall(ASSETS[path].content.decode()):
            imported = normpath(join(dirname(path), found))
            if imported not in seen:
                seen[imported] = None
                waiting.append(imported)
    return tuple(sorted(seen))


def sheets_of(entry: str) -> tuple[str, ...]:
    """Return the paths of the style sheets of the page of *entry*: of all, its own, of its scripts.

    What ``js/parts/diff.js`` draws looks as ``css/parts/diff.css`` says, if there is one.
    """
    scripts = (path.removeprefix("js/").removesuffix(".js") for path in modules_of(entry))
    own = entry.removeprefix("js/pages/").removesuffix(".js")
    paths = ("app.css", *(f"css/{name}.css" for name in (*scripts, own)))
    return tuple(path for path in paths if path in ASSETS)


# --- pages

_MAY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "frame-src": "'self'",  # of pages that a crawl has kept, which are sandboxed
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
POLICY = "; ".join(f"{what} {whence}" for what, whence in _MAY.items())
"""What a page may load: what is ours. Nothing inline, nothing of others.

Source: Content Security Policy Level 3, W3C.
"""

_FOREVER = "public, max-age=31536000, immutable"
_THEMES = frozenset({"light", "dark"})
_HEADERS = {"Content-Security-Policy": POLICY, "Vary": "Cookie"}
_AGAIN_S = "5"  # a page tries again by itself while the store is away
_SNAPSHOTS = ("hello", "ping", "bye", "resync", "counts", "workers", "jobs.progress")
_WORDS = dict.fromkeys((*_SNAPSHOTS, *map(event_word, EventName)))
_ACTIONS = " ".join(
    f"{state}:{','.join(actions_of([move.value for move in moves]))}"
    for state, moves in LIFECYCLE.items()
)


_JOB_ROW = ",".join(
    (
        *("id", "version", "owner", "state", "state_reason", "outcome", "detail", "damaged", "url"),
        *("created_at", "queued_at", "due_at", "due_in_s", "started_at", "ended_at", "retry_of"),
        *("source", "origin", "waits_for", "spec.name", "spec.tags", "spec.priority"),
        *("progress.done", "progress.discovered", "progress.failed", "progress.pages"),
        *("progress.bytes", "progress.elapsed_s", "progress.rate", "progress.eta"),
    )
)
"""Fields of a job that a row of the list and the peek beside it show."""


class Page(Struct, frozen=True):
    """A page: its address, what fills it, and where it stands in the navigation."""

    path: str
    module: str  # of its script and its template
    nav: str
    title: str
    asks: tuple[str, ...] = ()  # of the API at once, before its script is there
    passes: tuple[str, ...] = ()  # parameters of its address that go with that, or "name=default"


PAGES = (
    Page("/", "overview", "Overview", "Overview", ("/workers", "/attention")),
    Page(
        "/jobs",
        "jobs",
        "Jobs",
        "Jobs",
        ("/jobs",),
        ("q", "state", "sort", "group=state", "limit", f"fields={_JOB_ROW}"),
    ),
    Page("/jobs/new", "new", "Jobs", "New crawl"),
    Page("/jobs/{job}", "job", "Jobs", "Job", ("/jobs/{job}?expand=template,schedule",)),
    Page(
        "/jobs/{job}/changes",
        "changes",
        "Jobs",
        "Changes",
        ("/jobs/{job}?expand=schedule",),
    ),
    Page("/jobs/{job}/{tab}", "job", "Jobs", "Job", ("/jobs/{job}?expand=template,schedule",)),
    Page("/results", "results", "Pages", "Pages"),
    Page(
        "/jobs/{job}/pages/{page}",
        "page",
        "Jobs",
        "Page",
        ("/jobs/{job}/pages/{page}", "/jobs/{job}"),
    ),
    Page(
        "/schedules",
        "schedules",
        "Schedules",
        "Schedules",
        ("/schedules?expand=recent&limit=50",),
    ),
    Page("/schedules/calendar", "calendar", "Schedules", "Calendar"),
    Page("/schedules/new", "schedule", "Schedules", "New schedule"),
    Page("/schedules/{schedule}", "schedule", "Schedules", "Schedule"),
    Page("/templates", "templates", "Templates", "Templates"),
    Page("/templates/new", "template", "Templates", "New template"),
    Page("/templates/{template}", "template", "Templates", "Template"),
    Page("/workers", "workers", "Workers and hosts", "Workers and hosts"),
    Page("/events", "events", "Activity", "Activity"),
    Page("/settings", "settings", "Settings", "Settings"),
    Page("/settings/{section}", "settings", "Settings", "Settings"),
)
"""All pages for those who have signed in; of two that fit, the first."""

SIGN_IN = Page("/signin", "signin", "", "Sign in")
_FIRST = {page.nav: page for page in reversed(PAGES)}
_NAV = tuple(
    {"name": name, "href": _FIRST[name].path, "icon": _FIRST[name].module}
    for name in dict.fromkeys(page.nav for page in PAGES)
)
"""What the navigation leads to: of each name in it, the first page."""

_shells = Environment(
    loader=PackageLoader("crawlyard.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_shells.globals |= {"states": STATES}
_shells.globals |= {"overlaps": OVERLAP_HELP, "misfires": MISFIRE_HELP}
_shells.globals |= {"crawl_groups": GROUPS, "crawl_starts": STARTS}
_shells.globals |= {"parameter_types": tuple(ParameterType)}
_shells.globals |= {"browser_install": browser_install()}


def render(template: str, **values: Any) -> str:
    """Return the HTML of a file in `templates`."""
    return _shells.get_template(template).render(**values)


def _shell(page: Page, request: Request, **more: Any) -> Response:
    theme, entry = request.cookies.get("crawlyard_theme", ""), f"js/pages/{page.module}.js"
    html = render(
        f"{page.module}.html",
        page=page,
        static=ROOT,
        sheets=sheets_of(entry),
        modules=modules_of(entry),
        theme=theme if theme in _THEMES else "",
        nav=_NAV,
        **more,
    )
    return HTMLResponse(html, headers=_HEADERS)


def _told(page: Page, request: Request, caller: Caller) -> dict[str, Any]:
    """Return what a page says to its script of who looks at what."""
    path_params, query = request.path_params, request.query_params
    named = {name: quote(value, safe="") for name, value in path_params.items()}
    named_so = (one.partition("=") for one in page.passes)
    given = {name: value for name, _, to in named_so if (value := query.get(name, to))}
    passed = f"?{urlencode(given)}" if given else ""
    return {
        "asks": tuple(path.format_map(named) + passed for path in page.asks),
        "fields": given.get("fields", ""),
        "path_params": path_params,
        "user": caller.user,
        "permits": " ".join(sorted(caller.permits)),
        "events": " ".join(_WORDS),
        "actions": _ACTIONS,
        # only an admin may let a job have an address that is not public
        "sample": site_of(request).options.sample if Permit.ADMIN in caller.permits else "",
    }


def _showing(page: Page) -> Callable[..., Coroutine[Any, Any, Response]]:
    async def show(request: Request) -> Response:
        try:
            caller = await proved(request, site_of(request))
            seq = await site_of(request).yard.store.events.last()
        except Unauthenticated:
            asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            place = site_of(request).options.public_url + SIGN_IN.path
            return RedirectResponse(f"{place}?next={quote(asked, safe='/')}", 303)
        except StoreUnavailable as error:
            again = {"Refresh": _AGAIN_S, "Retry-After": _AGAIN_S}
            detail = f"{str(error)[:1].upper()}{str(error)[1:]}."
            return _plain(request, 503, "Not available now", detail, again)
        return _shell(page, request, seq=seq, **_told(page, request, caller))

    return show


def _plain(
    request: Request, status: int, title: str, detail: str, again: Mapping[str, str] | None = None
) -> Response:
    """Return a page of one sentence, which needs neither a store nor a script."""
    theme = request.cookies.get("crawlyard_theme", "")
    html = render(
        "plain.html",
        static=ROOT,
        theme=theme if theme in _THEMES else "",
        title=title,
        detail=detail,
        again=again,
    )
    return HTMLResponse(html, status, _HEADERS | {**(again or {})})


def is_for_people(request: Request) -> bool:
    """Return whether a browser asks for a page of ours, there or not."""
    accepts = "text/html" in request.headers.get("accept", "")
    return request.method == "GET" and accepts and not request.url.path.startswith("/api/")


def nowhere(request: Request) -> Response:
    """Return the page of an address that has none."""
    return _plain(request, 404, "Not found", "There is no page at this address.")


async def sign_in(request: Request) -> Response:
    """Return the page where a token or a link's code is given for a session."""
    return _shell(SIGN_IN, request)


async def static(request: Request) -> Response:
    """Return what pages load."""
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
    *(OneMethod(page.path, _showing(page), "GET") for page in PAGES),
    OneMethod(SIGN_IN.path, sign_in, "GET"),
    OneMethod("/static/{version}/{path:path}", static, "GET"),
)
"""The routes of all pages and of what they load."""
