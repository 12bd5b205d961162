"""A site whose version changes, and a schedule that crawls it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from crawlyard import LOCAL, Yard
from crawlyard.api.near import NearSurface
from crawlyard.core.crawl.change_answers import DiffOut
from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.demo.server import SiteServer
from crawlyard.demo.site import HTML, Answer
from crawlyard.services.workers.run import JobRun
from tests.engine.rig import run
from tests.site import Serve
from tests.surfaces import as_user


@dataclass(frozen=True)
class Leaf:
    """One page: a paragraph of its own, and where it leads."""

    text: str
    links: tuple[str, ...] = ()
    status: int = 200


@dataclass
class VersionedSite:
    """A site of leaves, each with a clock and a menu around its content."""

    leaves: Mapping[str, Leaf]
    moved: Mapping[str, str] = field(default_factory=dict)  # redirects
    hits: int = 0

    def answer(self, method: str, path: str, host: str) -> Answer:
        self.hits += 1
        if (to := self.moved.get(path)) is not None:
            return Answer(301, (("Location", to),))
        leaf = self.leaves.get(path)
        if leaf is None or leaf.status != 200:
            return Answer(404 if leaf is None else leaf.status)
        links = "".join(f'<li><a href="{to}">{to}</a>' for to in leaf.links)
        body = (
            f"<!doctype html><title>{path}</title><nav>Request {self.hits}</nav><main>"
            f"<h1>A page</h1><p>{leaf.text}</p><p>{'It has more to say. ' * 9}</p>"
            f"<ul>{links}</ul></main><footer>Served as number {self.hits}</footer>"
        )
        return Answer(200, (("Content-Type", HTML),), body.encode())


@dataclass
class WatchedSchedule:
    """A schedule of a site whose version changes."""

    yard: Yard
    server: SiteServer
    id: str

    async def run(self, **overrides: Any) -> str:
        """Return the id of one more run, which has ended; *overrides* stay."""
        if overrides:
            schedules = NearSurface(self.yard.services, LOCAL).schedules
            await schedules.edit(self.id, overrides=overrides)
        job = await as_user(self.yard).schedules.run(self.id)
        await run(self.yard, job.id)
        return job.id

    async def alone(self) -> str:
        """Return the id of a run whose worker died when it had ended."""
        job = await as_user(self.yard).schedules.run(self.id)
        asker = Asker("w", only=job.id)
        now, lease = self.yard.clock.now(), timedelta(seconds=60)
        claim = await self.yard.store.leases.claim(asker, now, lease)
        assert claim is not None
        await JobRun(claim, self.yard.worker_context()).run()
        return job.id

    async def diff(self, first: str, second: str, **options: Any) -> DiffOut:
        return await NearSurface(self.yard.services, LOCAL).results.diff(
            first, second, limit=200, **options
        )

    def by_kind(self, diff: DiffOut) -> dict[str, set[str]]:
        """Return the paths that changed, by kind."""
        kinds: dict[str, set[str]] = {}
        for change in diff.items:
            kinds.setdefault(change.kind, set()).add(change.url.removeprefix(self.server.url))
        return kinds


async def watch(yard: Yard, serve: Serve, leaves: Mapping[str, Leaf]) -> WatchedSchedule:
    """Return a schedule of a site of *leaves* that is served."""
    server = await serve(VersionedSite(leaves))
    overrides = {
        "urls": [f"{server.url}/"],
        "allow_private": True,
        "delay_s": 0,
        "per_host": 16,
        "url_retries": 0,
    }
    schedule = await as_user(yard).schedules.create("site", "@yearly", overrides=overrides)
    return WatchedSchedule(yard, server, schedule.id)
