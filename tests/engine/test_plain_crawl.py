"""Calls of a plain crawl: none to features that it does not use."""

from collections import Counter
from pathlib import Path
from types import FrameType

from crawlyard import Limits, Yard
from tests.engine.rig import a_spec, crawled, opened
from tests.jobs import submit
from tests.site import GraphSite, Serve
from tests.tracing import Trace, name_of, traced

UNUSED = (
    "core/crawl/lastmod.py",
    "engine/conditional.py",
    "engine/form_login.py",
    "engine/http/cookies.py:CookieJar.__len__",
    "engine/http/cookies.py:CookieJar.header",
    "engine/http/cookies.py:CookieJar.receive",
    "engine/http/proxied.py",
    "engine/http/proxy.py",
    "engine/http/tunnel.py",
    "engine/recrawl.py",
    "engine/render/",
    "engine/rendering.py",
    "engine/shard.py:Part._",
    "engine/site_session.py",
    "engine/sitemaps.py",
    "engine/visit/confirming.py:Confirming",
    "engine/visit/external.py:ExternalLinks.check",
    "engine/visit/redirects.py",
    "engine/visit/retries.py",
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


class VisitTrace(Trace):
    """Calls of our functions, and how often a visit was entered from another module."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: Counter[str] = Counter()
        self._entered: set[FrameType] = set()  # a coroutine is called again when it goes on

    def enter(self, frame: FrameType, name: str) -> None:
        """Count the entries into visits."""
        caller = frame.f_back and name_of(frame.f_back.f_code)
        inside = caller and caller.startswith("engine/visit/")
        if name.startswith("engine/visit/visitor.py") and not inside and frame not in self._entered:
            self._entered.add(frame)
            self.entries[name] += 1


async def trace_of(serve: Serve, yard: Yard, pages: int) -> VisitTrace:
    """Return the trace of a worker that crawls *pages* pages of a site."""
    ring = {f"/{n}": [f"/{(n + step) % 60}" for step in (1, 2, 3)] for n in range(60)}
    site = await serve(GraphSite(ring))
    with traced(trace := VisitTrace()):
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
        with traced(trace := Trace()):
            await yard.worker(slots=1).run(drain=True)
    assert trace.calls["services/workers/runs.py:Runs.begin"] == 1
    unused = {name for name in trace.calls if name.startswith(UNUSED_BY_WORKER)}
    assert unused <= {"services/search/indexer.py:Indexer.__init__"}


async def test_a_page_enters_its_visit_once(site_server: Serve, yard: Yard) -> None:
    trace = await trace_of(site_server, yard, 20)
    entries = {name: count for name, count in trace.entries.items() if count > 1}
    assert entries == {"engine/visit/visitor.py:Visitor.visit": 20}


async def test_a_page_enters_at_most_40_files(site_server: Serve, yard: Yard) -> None:
    few = await trace_of(site_server, yard, 20)
    more = await trace_of(site_server, yard, 60)
    more.calls.subtract(few.calls)  # those of a worker that starts
    files = {file for file in more.files(60 - 20) if not file.startswith("demo/")}
    assert len(files) <= 40, sorted(files)
