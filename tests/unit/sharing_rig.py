"""Processes that share the slots of a host, on one fake clock."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import repeat
from typing import Any

from crawlyard.core.events.event import Event, EventName
from crawlyard.core.hosts.hosts import HostRule, HostState
from crawlyard.core.hosts.slots import LAST, HostTerms, SlotRequest
from crawlyard.core.jobs.checkpoint import Booking
from crawlyard.engine.hosts.rate_limiter import RateLimiter, Slot
from crawlyard.errors import StoreUnavailable
from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.store.store import Store
from tests.builders import NOW
from tests.clock import FakeClock, settle

HOST = "a.example"
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


@dataclass
class Line:
    """One process's connection to the hosts of the store: counts calls, and can be cut off."""

    store: Store
    clock: FakeClock
    slow: timedelta = timedelta(0)  # each way
    cut: bool = False
    renewals: list[int] = field(default_factory=list)  # number of hosts of each

    async def book(self, bookings: Sequence[Booking], now: datetime) -> list[datetime]:
        self._check()
        return await self.store.hosts.book(bookings, now)

    async def renew_slots(
        self, asker: str, wishes: Sequence[SlotRequest], now: datetime, until: datetime
    ) -> list[HostTerms]:
        self._check()
        self.renewals.append(len(wishes))
        if not self.slow:
            return await self.store.hosts.renew_slots(asker, wishes, now, until)
        await self.clock.sleep(self.slow)
        terms = await self.store.hosts.renew_slots(asker, wishes, now, until)
        await self.clock.sleep(self.slow)
        return terms

    async def release_slots(self, *askers: str, unused: Sequence[Booking] = ()) -> None:
        self._check()
        await self.store.hosts.release_slots(*askers, unused=unused)

    async def hold(
        self, host: str, until: datetime, strikes: int = 0, struck_at: datetime | None = None
    ) -> None:
        self._check()
        await self.store.hosts.hold(host, until, strikes, struck_at)

    async def reset_refusals(self, host: str) -> None:
        self._check()
        await self.store.hosts.reset_refusals(host)

    def _check(self) -> None:
        if self.cut:
            raise StoreUnavailable("cut off")


@dataclass
class SharedSite:
    """A host that counts the concurrent requests of all processes."""

    clock: FakeClock
    began: list[float] = field(default_factory=list)
    under_way: int = 0
    most: int = 0

    async def respond(self, takes_s: float) -> None:
        self.began.append(self.clock.monotonic())
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.clock.sleep(timedelta(seconds=takes_s))
        finally:
            self.under_way -= 1


@dataclass
class Process:
    """A process with its own rate limiter, and crawls that send requests without a pause."""

    clock: FakeClock
    store: Store
    site: SharedSite
    delay_s: float = 0.0
    at_once: int = 4
    crawls: int = 4
    name: str | None = None
    lease: timedelta = LAST
    sent: int = 0
    prepares_s: Iterator[float] = field(default_factory=lambda: repeat(0.0))
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.line = Line(self.store, self.clock)
        self.limiter = RateLimiter(self.clock, self.line, self.name, self.lease)
        self.limiter.set_limits("job", HOST, self.delay_s, self.at_once)

    def begin(self, takes_s: float = 0.25) -> None:
        loop = asyncio.get_running_loop()
        self.tasks = [loop.create_task(self._crawl(takes_s)) for _ in range(self.crawls)]

    async def _crawl(self, takes_s: float) -> None:
        while True:
            slot = await self.limiter.acquire(HOST)
            try:
                if prepares_s := next(self.prepares_s):
                    await self.clock.sleep(timedelta(seconds=prepares_s))
                await slot.wait_to_send()
                self.sent += 1
                await self.site.respond(takes_s)
            finally:
                slot.release()

    async def end(self) -> None:
        """Stop as on a signal: cancel requests in flight and release the slots."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.limiter.close()

    async def die(self) -> None:
        """Stop as by kill -9: without a message to the store."""
        self.line.cut = True
        await self.end()


class SharingRig:
    """A clock, a store and a site for processes."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = open_in_memory()
        self.site = SharedSite(self.clock)
        self.processes: list[Process] = []

    def process(self, **fields: Any) -> Process:
        process = Process(self.clock, self.store, self.site, **fields)
        self.processes.append(process)
        return process

    async def rule(self, version: int = 1, **fields: Any) -> None:
        rule = HostRule(host=HOST, version=version, updated_at=NOW, **fields)
        event = Event(name=EventName.HOST_UPDATED, subject=HOST, owner="", at=NOW, actor="ada")
        await self.store.host_rules.save(rule, event)

    async def barred(self) -> Process:
        """Return a process that knows that the host is blocked."""
        await self.rule(state=HostState.BLOCKED)
        process = self.process()
        process.limiter.ready_in(HOST)
        await settle()
        assert process.limiter.is_blocked(HOST)
        return process

    async def sent_in(self, duration: timedelta, *of: Process) -> list[int]:
        """Return how many requests each process sends while time passes."""
        before = [process.sent for process in of]
        await self.clock.advance(duration)
        return [process.sent - was for process, was in zip(of, before, strict=True)]

    async def take_slot(self, process: Process) -> Slot:
        """Take a slot that is free, and send a request."""
        taking = asyncio.get_running_loop().create_task(process.limiter.acquire(HOST))
        await settle()
        assert taking.done()
        slot = await taking
        await slot.wait_to_send()
        return slot

    async def end(self) -> None:
        for process in self.processes:
            await process.end()
