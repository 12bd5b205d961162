"""A job that has come some way, and the parts of its page."""

import json
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from msgspec.structs import replace
from playwright.async_api import Page, expect

from crawlyard.core.crawl.page import Body, ErrorKind, Skipped
from crawlyard.core.jobs.checkpoint import Claim
from crawlyard.core.jobs.job_log import Course, Level, LogLine, Point
from crawlyard.core.jobs.pulse import Pulse
from crawlyard.engine.urls import packed_fingerprints
from tests.browser.crawls import LEASE, begun
from tests.browser.rig import Stage
from tests.builders import a_batch, a_target, done, failed

HOSTILE = "<img src=x onerror=alert(1)> Ünïcode 価格 «тест»"
HOST = "docs.example.org"
HEADERS = (
    ("Content-Type", "text/html; charset=utf-8"),
    ("X-Powered-By", "<script>alert(2)</script>"),
)
HTML = "<!doctype html><h1>Kept</h1><script>top.document.title = 'taken'</script>"


@dataclass
class Crawl:
    """A running job of some pages, and how to go on with it."""

    id: str
    claim: Claim


async def crawled(stage: Stage, *, pages: int = 30, **form: Any) -> Crawl:
    """Return a job of *pages* pages, five failures, two URLs kept out by rules, 40 that wait."""
    store, now = stage.yard.store, stage.yard.clock.now()
    job = await stage.job(**{"name": "Docs of the yard", "keep_html": True, **form})
    claim = await begun(stage, job)
    bodies = {
        Body.TEXT: b"A guide.",
        Body.HTML: b"<h1>A guide</h1>",
        Body.HEADERS: json.dumps(HEADERS).encode(),
    }
    hostile = bodies | {Body.TEXT: HOSTILE.encode(), Body.HTML: HTML.encode()}
    targets = [a_target(f"guide/page-{n}", host=HOST, depth=n % 4) for n in range(pages)]
    good = [
        done(
            target,
            bodies if n else hostile,
            title=HOSTILE if n == 0 else f"How to bound a crawl, part {n}",
            content_type="text/html; charset=utf-8",
            fetched_at=now - timedelta(seconds=pages - n),
            elapsed_ms=41 + n,
            bytes=18_000 + 311 * n,
        )
        for n, target in enumerate(targets)
    ]
    slow = [a_target(f"slow/{n}", host=HOST, depth=2) for n in range(3)]
    missing = [a_target(f"gone/{n}", host=HOST, depth=1) for n in range(2)]
    broken = packed_fingerprints(target.url for target in missing)
    good[1:3] = [replace(outcome, targets=broken) for outcome in good[1:3]]
    bad = [failed(target, fetched_at=now, detail="no answer within 30 s") for target in slow]
    bad += [failed(target, ErrorKind.HTTP_4XX, status=404, fetched_at=now) for target in missing]
    waiting = [replace(a_target(f"print/{n}", host=HOST), parent=targets[0].fp) for n in range(40)]
    skipped = [
        Skipped(a_target("secret", host=HOST), "robots: Disallow: /secret"),
        Skipped(a_target("x", host="other.example"), "scope: other host"),
    ]
    log = [
        LogLine(at=now, level=level, message=message, url=f"https://{HOST}/{path}")
        for level, message, path in (
            (Level.INFO, "robots.txt allows all but /secret", "robots.txt"),
            (Level.DEBUG, "sitemap has 40 URLs", "sitemap.xml"),
            (Level.WARNING, "no answer within 30 s, tried again", "slow/0"),
            (Level.ERROR, f"given up: {HOSTILE}", "slow/1"),
        )
    ]
    course = Course(
        points=tuple(
            Point(
                at=now - timedelta(seconds=10 * (24 - n)),
                seconds=10,
                pages=150 + (n * 37) % 90,
                bytes=2_000_000,
                errors=n % 3,
                statuses={"2xx": 140 + n, "4xx": n % 3, "5xx": n % 2},
                latency_ms=48.0,
                waiting=600 + (n * 53) % 400 - 10 * n,
            )
            for n in range(24)
        )
    )
    outcomes = [*good, *bad]
    batch = a_batch(
        [*targets, *slow, *missing, *waiting],
        outcomes,
        skipped,
        log=tuple(log),
        course=course,
        current_url=f"https://{HOST}/guide/page-31",
        pulse=Pulse(rate=19.5, spread=4, pages_rate=19, bytes_rate=4e5, samples=20),
    )
    batch = replace(batch, usage=replace(batch.usage, duration_s=95))
    [answer] = await store.frontier.record([(claim.lease, batch)], now, LEASE)
    return Crawl(job["id"], Claim(lease=answer.lease, job=claim.job, shard=claim.shard))


def button(page: Page, name: str) -> Any:
    return page.locator(".acts").get_by_role("button", name=name)


def tab(page: Page, name: str) -> Any:
    # of a job that has ended, the queue is what was never fetched
    named = re.compile("^(Queue|Never fetched)") if name == "Queue" else name
    return page.get_by_label("About this job").get_by_role("link", name=named)


def toast(page: Page) -> Any:
    return page.locator("#toasts")


async def menu(page: Page, name: str, item: str) -> None:
    """Choose something of a menu in the head."""
    summary = page.locator(".acts summary")
    await (summary.last if name == "More" else summary.filter(has_text=name)).click()
    await page.locator(".acts details[open]").get_by_text(item).click()


async def come(stage: Stage, crawl: Crawl, *paths: str, **fields: Any) -> None:
    """Let pages of these paths come."""
    now = stage.yard.clock.now()
    targets = [a_target(path, host=HOST) for path in paths]
    outcomes = [done(target, fetched_at=now, **fields) for target in targets]
    entry = (crawl.claim.lease, a_batch(targets, outcomes))
    [answer] = await stage.yard.store.frontier.record([entry], now, LEASE)
    crawl.claim = replace(crawl.claim, lease=answer.lease)


TABS = {  # content of a visible tab
    "Overview": "#timeline li",
    "Pages": "section[data-tab=pages] tbody tr",
    "Problems": "section[data-tab=problems] .err",
    "Queue": "section[data-tab=queue] tbody tr",
    "Log": "#log > div",
    "History": "section[data-tab=history] tbody tr",
    "Settings": "#config tbody tr",
}


async def turned(page: Page, name: str) -> None:
    """Open a tab, and wait for what it shows."""
    await tab(page, name).click()
    await expect(page.locator(TABS[name]).first).to_be_visible()


async def state_of(stage: Stage, crawl: Crawl) -> str:
    return str((await stage.ask("GET", f"/jobs/{crawl.id}"))["state"])
