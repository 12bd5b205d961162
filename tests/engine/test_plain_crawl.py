"""Calls of a plain crawl: none to features that it does not use."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import crawlyard
from crawlyard import Limits, Yard
from tests.engine.rig import a_spec, crawled, opened
from tests.jobs import submit
from tests.site import GraphSite, Serve

SRC = str(Path(crawlyard.__file__).parent) + "/"
UNUSED = (
    "core/crawl/lastmod.py",
    "engine/conditional.py",
    "engine/form_login.py",
    "engine/http/cookies.py:CookieJar.receive",
    "engine/http/proxied.py",
    "engine/http/proxy.py",
    "engine/http/tunnel.py",
    "engine/recrawl.py",
    "engine/render/",
    "engine/rendering.py",
    "engine/site_session.py",
    "engine/sitemaps.py",
    "engine/visit/confirming.py:Confirming",
    "engine/visit/external.py:ExternalLinks.check",
    "engine/visit/sitemap.py:SitemapReader.read",
)
"""Files of features that a crawl has to ask for, or their functions."""

UNUSED_BY_WORKER = (
    "services/access/sealing.py",
    "services/workers/channel.py",
    "services/workers/claiming.py:Claiming._age",
    "services/workers/claiming.py:Claiming._preempt",
    "services/workers/fork_server.py:ForkServer.fork",
    "services/workers/fork_server.py:ForkServer.usage",
    "services/search/indexer.py:Indexer.",
    "services/workers/isolation.py:IsolatedRun",
    "services/workers/scheduled_runs.py:ScheduledRuns.ended",
    "store/jobs/spread.py:SpreadStore.leave",
    "store/jobs/spread.py:SpreadStore.lose",
)
"""The same of a worker, whose job is neither isolated nor scheduled nor spread."""


class Trace:
    """Calls of our functions, and how often a visit was entered from another module."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.entries: Counter[str] = Counter()
        self._entered: set[FrameType] = set()  # a coroutine is called again when it goes on

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        """Count a call; see `sys.setprofile`."""
        del arg
        name = _name(frame.f_code)
        if event != "call" or not name:
            return
        self.calls[name] += 1
        caller = frame.f_back and _name(frame.f_back.f_code)
        inside = caller and caller.startswith("engine/visit/")
        if name.startswith("engine/visit/visitor.py") and not inside and frame not in self._entered:
            self._entered.add(frame)
            self.entries[name] += 1


def _name(code: CodeType) -> str:
    file = code.co_filename
    return f"{file.removeprefix(SRC)}:{code.co_qualname}" if file.startswith(SRC) else ""


@contextmanager
def traced() -> Iterator[Trace]:
    trace = Trace()
    sys.setprofile(trace)
    try:
        yield trace
    finally:
        sys.setprofile(None)


async def trace_of(serve: Serve, yard: Yard, pages: int) -> Trace:
    """Return the trace of a worker that crawls *pages* pages of a site."""
    ring = {f"/{n}": [f"/{(n + step) % 60}" for step in (1, 2, 3)] for n in range(60)}
    site = await serve(GraphSite(ring))
    with traced() as trace:
        crawl = await crawled(
            yard, a_spec(f"{site.url}/0", render="auto", limits=Limits(pages=pages))
        )
    assert crawl.usage.pages == pages
    assert trace.calls["engine/extract/record.py:response_outcome"] == pages
    return trace


async def test_a_page_calls_no_feature_that_its_crawl_does_not_use(
    site_server: Serve, yard: Yard
) -> None:
    few = await trace_of(site_server, yard, 10)
    more = await trace_of(site_server, yard, 30)
    calls = more.calls - few.calls  # without those of a worker that starts
    assert {name: count for name, count in calls.items() if name.startswith(UNUSED)} == {}


async def test_a_worker_calls_no_feature_that_is_off_or_that_its_job_does_not_use(
    tmp_path: Path, site_server: Serve
) -> None:
    async with opened(tmp_path, database_url="", preempt_after_s=0, age_after_s=0) as yard:
        await submit(yard, a_spec((await site_server(GraphSite({"/": []}))).url))
        with traced() as trace:
            await yard.worker(slots=1).run(drain=True)
    assert trace.calls["services/workers/runs.py:Runs.begin"] == 1
    unused = {name for name in trace.calls if name.startswith(UNUSED_BY_WORKER)}
    assert unused <= {"services/search/indexer.py:Indexer.__init__"}


async def test_a_page_enters_its_visit_once(site_server: Serve, yard: Yard) -> None:
    trace = await trace_of(site_server, yard, 20)
    entries = {name: count for name, count in trace.entries.items() if count > 1}
    assert entries == {"engine/visit/visitor.py:Visitor.visit": 20}
