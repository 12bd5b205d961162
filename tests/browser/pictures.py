"""Pictures of all pages, of a yard that has really crawled something.

``CRAWLYARD_TEST_DOCS=FOLDER python -m tests.browser.pictures docs/img`` writes them anew, light
and dark; names after the folder choose some of them. Without the folder of a documentation,
the demo's own site is crawled.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from playwright.async_api import BrowserContext

from crawlyard.core.access.user import LOCAL, Role
from crawlyard.demo.server import SiteServer
from crawlyard.demo.site import DemoSite
from tests.browser.rig import NARROW, WIDE, Stage, a_browser, a_stage, chromium
from tests.site import served_elsewhere

PAGES: Mapping[str, str] = {
    "overview": "/",
    "jobs": "/jobs",
    "group": "/jobs?q=group_id:{group}",
    "new": "/jobs/new?template={template}",
    "job": "/jobs/{running}",
    "job-pages": "/jobs/{done}/pages",
    "job-map": "/jobs/{done}/map",
    "job-links": "/jobs/{done}/links",
    "page": "/jobs/{done}/pages/{page}",
    "changes": "/jobs/{changed}/changes",
    "job-problems": "/jobs/{done}/problems",
    "job-log": "/jobs/{running}/log",
    "job-history": "/jobs/{done}/history",
    "job-settings": "/jobs/{together}/settings",
    "schedules": "/schedules",
    "calendar": "/schedules/calendar",
    "schedule": "/schedules/{schedule}",
    "templates": "/templates",
    "template": "/templates/{template}",
    "results": "/results?q=asyncio",
    "workers": "/workers",
    "events": "/events",
    "tokens": "/settings/tokens",
    "triggers": "/settings/triggers",
    "webhooks": "/settings/webhooks",
    "sessions": "/settings/sessions",
    "limits": "/settings/limits",
    "users": "/settings/users",
    "audit": "/settings/audit",
    "signin": "/signin",
}
LIVELY = 30
"""Pages that the running job has by then: its charts have a course to show."""

SETTLED_MS = 2_500  # after which a page shows all that it has asked for
PHONE = (
    *("overview", "jobs", "group", "job", "page", "changes", "schedules", "schedule", "new"),
    "triggers",
)
SLOW: dict[str, Any] = {"delay_s": 0.4, "per_host": 2}
OPENED: dict[str, Any] = {"allow_private": True}
FAST: dict[str, Any] = {"delay_s": 0, "per_host": 8, "concurrency": 8}
_SESSIONS: Mapping[str, Mapping[str, str]] = {
    "shop": {
        "kind": "cookies",
        "cookies": "shop.example.org\tFALSE\t/\tTRUE\t0\tsid\t1\n"
        ".example.org\tTRUE\t/\tTRUE\t0\tcart\t2\n",
    },
    "wiki": {"kind": "basic", "url": "https://wiki.example.org/", "user": "mara", "secret": "-"},
    "build-logs": {"kind": "bearer", "url": "https://ci.example.net/", "secret": "-"},
}


@asynccontextmanager
async def _site() -> AsyncIterator[str]:
    folder = os.environ.get("CRAWLYARD_TEST_DOCS")
    options = ("--folder", folder) if folder else ()
    async with served_elsewhere(*options) as url:
        yield url


async def _filled(stage: Stage, url: str) -> dict[str, str]:
    """Fill the yard; return the ids that the addresses of pages name."""
    ask = stage.ask
    await ask("PUT", "/settings/grants", {"addresses": True, "private": True})
    await ask("PUT", "/settings/ceilings", {"pages": 1_000_000, "duration_s": 86_400})
    await stage.user("mara")
    await stage.user("devi", Role.VIEWER)
    docs = await ask(
        "POST",
        "/templates",
        {
            "name": "docs-site",
            "description": "A documentation site: titles and main text, politely",
            "spec": FAST | OPENED | {"urls": ["{{ start }}"], "text": "main"},
            "parameters": [
                {"name": "start", "type": "url", "description": "Where the crawl begins"}
            ],
        },
    )
    for name, description in (
        ("news", "Front pages, every hour"),
        ("prices", "Product pages of shops"),
    ):
        schedule = {
            "name": name,
            "description": description,
            "spec": {"urls": ["https://example.com/"]},
        }
        await ask("POST", "/templates", schedule)
    await ask("POST", f"/templates/{docs['id']}/publish", {})
    whole = {"template": "docs-site", "params": {"start": url}, "name": "Python docs"}
    done = await ask("POST", "/jobs", whole | {"tags": ["docs"]})
    pages = {"pages": 60}
    for name in ("Library reference", "Tutorial", "How-to guides", "C API"):
        await stage.job(name=name, urls=[url], limits=pages, text="main", **FAST, **OPENED)
    await stage.job(name="Unreachable", urls=["http://127.0.0.1:9/"], **OPENED)
    await _until_ended(stage)
    schedules = {}
    for name, when, zone in (
        ("Nightly docs", "0 3 * * *", "Europe/Berlin"),
        ("Price watch", "30 8-18/2 * * mon-fri", "Europe/Berlin"),
        ("News sweep", "0 */6 * * *", "UTC"),
        ("Weekly archive", "0 4 * * sun", "America/New_York"),
    ):
        spec = {"urls": [url], "limits": {"pages": 5}, **FAST, **OPENED}
        form = {"name": name, "when": when, "zone": zone, "overrides": spec, "pause_after": 3}
        schedule = await ask("POST", "/schedules", form)
        schedules[name] = schedule["id"]
        week = (stage.yard.clock.now() - timedelta(days=7)).isoformat()
        await ask("POST", f"/schedules/{schedule['id']}/backfill", {"from": week, "dry_run": False})
    await ask(
        "POST", f"/schedules/{schedules['News sweep']}/pause", {"reason": "the site is moving"}
    )
    await _until_ended(stage)
    hooked = {
        "url": "http://127.0.0.1:8090/crawls",
        "allow_addresses": ["127.0.0.1"],
        "events": ["job.completed", "job.failed"],
    }
    await ask("POST", "/webhooks", hooked | {"description": "To the team's chat"})
    await ask(
        "POST", "/tokens", {"name": "nightly import", "scopes": ["jobs:write", "results:read"]}
    )
    await ask("POST", "/triggers", {"name": "CMS", "schedule": schedules["News sweep"]})
    target = {"template": "docs-site", "params": {"start": url}, "mapping": {"start": "/page"}}
    await ask("POST", "/triggers", {"name": "Build pipeline"} | target)
    changed = await _changed(stage)
    for name, login in _SESSIONS.items():
        await ask("PUT", f"/sessions/{name}", login)
    running = await stage.job(
        name="Price watch", urls=[url], tags=["prices"], limits={"pages": 2_000}, **SLOW, **OPENED
    )
    paused = await stage.job(name="Museum collection", urls=[url], **SLOW, **OPENED)
    await ask("POST", f"/jobs/{paused['id']}/pause", {"reason": "until the evening"})
    hook = {"url": hooked["url"], "metadata": {"build": 42}}
    form = {"urls": [url], "webhooks": [hook], **SLOW, **OPENED}
    levels = {"Wiki snapshot": "low", "Blog archive": "normal", "Help centre": "urgent"}
    forms = [form | {"name": name, "priority": level} for name, level in levels.items()]
    batch = await ask("POST", "/jobs/batch", {"jobs": forms})
    later = (stage.yard.clock.now() + timedelta(hours=2)).isoformat()
    await stage.job(name="Forum threads", urls=["https://forum.example.net/"], start_at=later)
    [page] = (await ask("GET", f"/jobs/{done['id']}/pages?limit=1"))["items"]
    await ask("GET", f"/jobs/{done['id']}/check/findings?limit=1")  # so that it is known soon
    return {
        "running": running["id"],
        "done": done["id"],
        "changed": changed,
        "group": batch["group_id"],
        "together": batch["results"][0]["id"],
        "page": page["id"],
        "schedule": schedules["Price watch"],
        "template": docs["id"],
    }


async def _changed(stage: Stage) -> str:
    """Return the id of a run of a schedule, which found a small site edited."""
    async with SiteServer(DemoSite(pages=120, faults=False)) as there:
        spec = {"urls": [f"{there.url}/"], "text": "main", **FAST, **OPENED}
        watch = {"name": "Handbook", "when": "0 4 * * *", "overrides": spec}
        schedule = await stage.ask("POST", "/schedules", watch)
        runs = []
        for edition in (1, 2):
            there.site = DemoSite(pages=120, faults=False, edition=edition)
            run = await stage.ask("POST", f"/schedules/{schedule['id']}/run")
            while not (await stage.ask("GET", f"/jobs/{run['id']}/wait?timeout_s=20"))["ended_at"]:
                pass
            runs.append(str(run["id"]))
    await stage.ask("GET", f"/jobs/{'/diff/'.join(runs)}?sort=-share")  # so that it is known soon
    return runs[-1]


async def _until_ended(stage: Stage) -> None:
    waiting = "/jobs?state=pending,running&limit=1"
    while jobs := (await stage.ask("GET", waiting))["items"]:
        await stage.ask("GET", f"/jobs/{jobs[0]['id']}/wait?timeout_s=20")


async def _take(context: BrowserContext, path: str, file: Path) -> None:
    page = await context.new_page()
    await page.goto(path)
    await page.wait_for_timeout(SETTLED_MS)
    await page.screenshot(path=file)
    await page.close()


async def take(folder: Path, names: Sequence[str]) -> None:
    """Write the pictures of these pages (none: of all) into *folder*."""
    path = chromium()
    if path is None:
        raise SystemExit("there is no chromium: apt-get install chromium")
    async with AsyncExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        browser = await stack.enter_async_context(a_browser(path))
        url = await stack.enter_async_context(_site())
        works = ("worker", "scheduler", "operations")
        stage = await stack.enter_async_context(a_stage(data, browser, works=works))
        ids = await _filled(stage, url)
        await stage.yard.indexer.catch_up()
        lively = f"/jobs/{ids['running']}/wait?timeout_s=1"
        while (await stage.ask("GET", lively))["usage"]["pages"] < LIVELY:
            pass
        looks: list[tuple[str, dict[str, Any]]] = [
            ("light", {"size": WIDE}),
            ("dark", {"size": WIDE, "dark": True}),
            ("phone", {"size": NARROW}),
        ]
        for look, options in looks:
            async with stage.context(LOCAL.id, **options) as context:
                for name, address in PAGES.items():
                    if (names and name not in names) or (look == "phone" and name not in PHONE):
                        continue
                    await _take(context, address.format(**ids), folder / f"{name}-{look}.png")


if __name__ == "__main__":
    into = Path(sys.argv[1])
    into.mkdir(parents=True, exist_ok=True)
    asyncio.run(take(into, sys.argv[2:]))
