"""One run: jobs and schedules are given to a fleet that is harassed, and their history is read."""

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, time
from typing import TypeVar

from crawlyard import (
    CrawlSchedule,
    Event,
    EventName,
    JobQuery,
    JobSpec,
    Limits,
    Misfire,
    Overlap,
    Priority,
    State,
    Yard,
)
from crawlyard.core.jobs.job import Standing
from crawlyard.core.jobs.lifecycle import StateReason
from crawlyard.core.schedules.timetable import timetable
from crawlyard.demo.hits import read_log
from crawlyard.errors import Conflict, StoreUnavailable
from crawlyard.services.jobs.lookup import read_all_events
from crawlyard.services.results.records import page_records
from crawlyard.store.queries import EventQuery, PageQuery
from tests.chaos.fleet import Fleet
from tests.chaos.history import (
    Acknowledgement,
    Asked,
    Found,
    History,
    JobEvent,
    Ledger,
    Pace,
    Wanted,
)
from tests.chaos.site import FAILING, MEND, fails, hosts_of, reachable, request_of, start_path
from tests.jobs import submit
from tests.surfaces import as_user

T = TypeVar("T")

PACE = Pace(delay_s=0.1, at_once=2)
HOSTS = 16
FIRST = 12
"""Jobs that begin before there are others: long ones, that have to make room for urgent ones."""

EVERY_S = 10
"""Schedules are due this often, the shortest that is allowed."""

_UNDER_WAY = 20  # requests
_SETTLE_S = 420.0
"""After the last fault, the jobs that are left have this long to complete."""


@dataclass(frozen=True, slots=True)
class ExpectedPages:
    pages: int  # of each host
    hosts: int
    spread: int = 0
    priorities: Sequence[Priority] = (Priority.LOW, Priority.LOW, Priority.NORMAL, Priority.HIGH)


@dataclass(slots=True)
class Campaign:
    """Orders given to the yard, and the site that it crawls."""

    yard: Yard
    log: Path
    port: int
    chance: random.Random
    wanted: dict[str, Wanted] = field(default_factory=dict)  # by name
    names: dict[str, str] = field(default_factory=dict)  # by id
    schedules: list[CrawlSchedule] = field(default_factory=list)
    said: list[Acknowledgement] = field(default_factory=list)

    def _kind(self, number: int) -> tuple[str, ExpectedPages]:
        """Return the name of a job and its size: some are spread, some fail, some are urgent."""
        pages = self.chance.choice((6, 6, 12, 12, 24))
        if number < FIRST:
            return f"j{number}", ExpectedPages(30, 1, priorities=(Priority.LOW,))
        urgent = ("u", ExpectedPages(6, 1, priorities=(Priority.URGENT,)))
        kinds = {
            1: ("p", ExpectedPages(4, 10, spread=4)),
            3: urgent,
            4: (FAILING, ExpectedPages(12, 1)),
            7: urgent,
        }
        initial, size = kinds.get(
            number % 8, ("j", ExpectedPages(pages, self.chance.choice((1, 1, 2))))
        )
        return f"{initial}{number}", size

    async def submit(self, number: int) -> None:
        """Submit a job of a size, a limit and a priority that come by chance."""
        name, size = self._kind(number)
        hosts = self.chance.sample(hosts_of(self.port, HOSTS), size.hosts)
        reach = reachable(name, size.pages, hosts)
        failing = fails(name, size.pages, hosts)
        limit = None if failing else self.chance.choice((None, None, len(reach) // 2))
        priority = self.chance.choice(size.priorities)
        spec = JobSpec(
            urls=tuple(f"http://{host}{start_path(name, size.pages)}" for host in hosts),
            name=name,
            priority=priority,
            limits=Limits(pages=limit),
            delay_s=PACE.delay_s,
            per_host=PACE.at_once,
            url_retries=0,
            spread=size.spread,
            allow_private=True,
        )
        job = await patiently(lambda: submit(self.yard, spec))
        self.wanted[name] = Wanted(
            job=name,
            urls=reach,
            pages=limit,
            spread=bool(size.spread),
            priority=priority,
            fails=failing,
        )
        self.names[job.id] = name

    async def schedule(self, number: int, seconds: float) -> None:
        """Make a schedule that is due every few seconds, from now on and for *seconds*."""
        name = f"s{number}"
        host = hosts_of(self.port, HOSTS)[number % HOSTS]
        now = self.yard.clock.wall()
        schedule = await as_user(self.yard).schedules.create(
            name,
            f"every {EVERY_S}s",
            overlap=Overlap.ALLOW,
            misfire=Misfire.RUN_ALL,
            ends_at=now + timedelta(seconds=seconds),
            overrides={
                "urls": [f"http://{host}{start_path(name, 3)}"],
                "delay_s": PACE.delay_s,
                "per_host": PACE.at_once,
                "allow_private": True,
            },
        )
        self.schedules.append(await self.yard.store.schedules.get(schedule.id))

    async def under_way(self) -> None:
        """Return once the fleet asks the site."""
        async with asyncio.timeout(120):
            while not self.log.exists() or len(read_log(self.log)) < _UNDER_WAY:  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    async def settled(self, until: datetime) -> None:
        """Return once every instant up to *until* is decided and all jobs have ended, or late."""
        end = monotonic() + _SETTLE_S
        while monotonic() < end and not await self._is_over(until):  # noqa: ASYNC110
            await asyncio.sleep(0.5)

    async def _is_over(self, until: datetime) -> bool:
        if self.yard.clock.wall() < until or await self.yard.store.ticks.find_due(until, 1):
            return False
        counts = await patiently(self.yard.store.jobs.counts)
        return all(state.ended for state, _ in counts)

    async def history(self, fleet: Fleet) -> History:
        """Read what is left: from the store, its events, and the server's log."""
        jobs = await self.yard.store.jobs.find(JobQuery(), 1_000_000)
        events = await read_all_events(self.yard.store.events, EventQuery())
        apart = time() - monotonic()
        entries = [
            entry for event in events if (entry := self._entry_of(event, fleet, apart)) is not None
        ]
        ledgers = [await self._ledger(schedule, jobs) for schedule in self.schedules]
        return History(
            wanted=[*self.wanted.values(), *self._ticked(jobs)],
            found=[await self._result_of(standing) for standing in jobs],
            told=entries,
            asked=self._requests(),
            faults=fleet.faults,
            said=self.said,
            ledgers=ledgers,
            pace=PACE,
        )

    def _name(self, job_id: str) -> str:
        return self.names.get(job_id, job_id)

    def _ticked(self, jobs: Sequence[Standing]) -> list[Wanted]:
        """Return what the jobs of schedules are to reach."""
        sites = {s.id: s for s in self.schedules}
        expected = []
        for standing in jobs:
            schedule = sites.get(standing.job.origin.schedule_id or "")
            if schedule is not None:
                number = int(schedule.name[1:])
                hosts = [hosts_of(self.port, HOSTS)[number % HOSTS]]
                urls = reachable(schedule.name, 3, hosts)
                expected.append(Wanted(job=standing.job.id, urls=urls))
        return expected

    async def _result_of(self, standing: Standing) -> Found:
        job = standing.job
        urls = [
            stored.page.url
            async for stored, _ in page_records(self.yard.store, job.id, PageQuery())
        ]
        pages = standing.shard.usage.pages
        return Found(job=self._name(job.id), state=job.state, urls=urls, counted=pages)

    def _entry_of(self, event: Event, fleet: Fleet, apart: float) -> JobEvent | None:
        if event.name.kind != "job" or event.name is EventName.DELETED:
            return None
        kind, _, worker = event.actor.partition(":")
        pid = int(worker.split("-")[-2]) if kind == "worker" else 0
        return JobEvent(
            job=self._name(event.subject),
            name=event.name,
            state=State(str(event.data["state"])),
            at=event.at.timestamp() - apart,
            worker=fleet.names.get(pid, ""),
            reason=StateReason(str(event.data["reason"])),
        )

    def _requests(self) -> list[Asked]:
        hits = read_log(self.log)
        return [request_of(hit) for hit in hits if not hit.path.startswith(MEND)]

    async def _ledger(self, schedule: CrawlSchedule, jobs: Sequence[Standing]) -> Ledger:
        table = timetable(schedule.when, schedule.zone, schedule.anchor)
        due, at = [], table.after(schedule.created_at)
        while at is not None and schedule.ends_at is not None and at < schedule.ends_at:
            due.append(at)
            at = table.after(at)
        ticks = await self.yard.store.ticks.ticks(schedule.id, limit=10_000)
        origins = (standing.job.origin for standing in jobs)
        ran = [o.tick_at for o in origins if o.schedule_id == schedule.id and o.tick_at]
        return Ledger(
            schedule=schedule.name,
            due=frozenset(at.isoformat() for at in due),
            rows=[tick.due_at.isoformat() for tick in ticks],
            jobs=[at.isoformat() for at in ran],
        )


async def patiently(work: Callable[[], Awaitable[T]]) -> T:
    """Do *work* again while the store is away, or a job is changed by others."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await work()
            except (StoreUnavailable, Conflict):
                await asyncio.sleep(0.2)


@asynccontextmanager
async def site(folder: Path) -> AsyncIterator[tuple[Path, int]]:
    """Serve the site from a process of its own; give its log and its port."""
    log = folder / "hits.jsonl"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.chaos.site", str(log), str(HOSTS)),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        if process.stdout is None:
            raise RuntimeError("the process has no output")
        yield log, int(await process.stdout.readline())
    finally:
        process.terminate()
        await process.wait()


def later(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)
