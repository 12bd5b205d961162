"""A yard's webhooks in memory, with their deliverer and a clock that a test moves."""

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from crawlyard.clock import Clock
from crawlyard.config import Settings
from crawlyard.core.access.user import LOCAL, Actor
from crawlyard.core.events.event import Event, EventName
from crawlyard.core.jobs.job import Job
from crawlyard.core.webhooks.webhook import Delivery, Webhook
from crawlyard.engine.http.dns import LookUp, Resolver, addresses_of, look_up
from crawlyard.engine.http.webhook_post import Poster
from crawlyard.services.webhooks.delivery import Deliverer, DeliveryOptions
from crawlyard.services.webhooks.receivers import Resolve
from crawlyard.services.webhooks.webhooks import Webhooks
from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.store.queries import EventQuery
from crawlyard.store.store import Store
from crawlyard.yard import IN_MEMORY, Yard
from tests.builders import a_job, its_event
from tests.clock import FakeClock, settle
from tests.receiver import Receiver

PATIENCE_S = 120  # real ones: more than any of these tests takes


class JumpingClock(FakeClock):
    """A clock that stands still for the yard, with the real wall time for the public library."""

    def wall(self) -> datetime:
        return datetime.now(UTC)

    async def jump(self, duration: timedelta) -> None:
        """Advance the clock at once, then wake all sleepers that are due."""
        self._now += duration
        while self._sleepers and self._sleepers[0][0] <= self._now:
            _, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)
        await settle()


@dataclass
class WebhookRig:
    """A store, a deliverer and a clock for tests of webhooks."""

    store: Store = field(default_factory=open_in_memory)
    clock: JumpingClock = field(default_factory=JumpingClock)
    timeout: timedelta = timedelta(seconds=5)
    options: DeliveryOptions = field(default_factory=DeliveryOptions)
    lookup: Resolve = addresses_of
    look: LookUp = look_up  # up a name that is connected to
    most_names: int = 256

    def webhooks(self, actor: Actor = LOCAL) -> Webhooks:
        return webhooks_of(self.store, self.clock, actor, self.lookup)

    def deliverer(self) -> Deliverer:
        poster = Poster("Crawlyard/test", self.timeout, Resolver(self.most_names, self.look))
        return Deliverer(self.store, poster, self.clock, self.options, chance=lambda: 0.5)

    @asynccontextmanager
    async def delivering(self) -> AsyncIterator[None]:
        """Run the deliverer during the block."""
        task = asyncio.create_task(self.deliverer().run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled(), task.exception()

    async def hooked(self, receiver: Receiver, actor: Actor = LOCAL, **fields: Any) -> Webhook:
        """Create a webhook to a receiver on loopback, subscribed to new jobs."""
        settings = {"events": ("job.created",), "allow_addresses": (receiver.authority,)} | fields
        webhook = await self.webhooks(actor).create(receiver.url, **settings)
        return await self.store.webhooks.get(webhook.id)

    async def happened(self, owner: str = "local", **fields: Any) -> Job:
        """Return a job that was just added."""
        job = a_job(owner=owner, **fields)
        await self.store.jobs.add(job, its_event(job))
        await self.clock.jump(timedelta(seconds=1))  # a deliverer looks once a second
        return job

    async def log(self, webhook: Webhook) -> list[Delivery]:
        """Return the deliveries of a webhook, the oldest first."""
        return (await self.store.deliveries.find(webhook.id, None, None, 1000))[::-1]

    async def attempts(self, webhook: Webhook, count: int) -> Delivery:
        """Return the only delivery of a webhook after *count* attempts."""

        def tried(log: Sequence[Delivery]) -> bool:
            return bool(log) and len(log[0].attempts) == count

        return (await self.logged(webhook, tried))[0]

    async def ended(self, webhook: Webhook, count: int) -> list[Delivery]:
        """Wait until *count* deliveries of a webhook have ended; return them all."""
        return await self.logged(
            webhook, lambda log: sum(d.ended_at is not None for d in log) == count
        )

    async def logged(
        self, webhook: Webhook, fits: Callable[[Sequence[Delivery]], bool]
    ) -> list[Delivery]:
        """Wait until the deliveries of a webhook fulfil *fits*; return them."""
        async with asyncio.timeout(PATIENCE_S):
            while not fits(log := await self.log(webhook)):  # noqa: ASYNC110 - no event to wait for
                await asyncio.sleep(0)
        return log

    async def switched_off(self, webhook: Webhook) -> None:
        """Wait until a webhook is disabled."""
        async with asyncio.timeout(PATIENCE_S):
            while (await self.store.webhooks.get(webhook.id)).active:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0)

    async def events_named(self, name: EventName) -> list[Event]:
        return await self.store.events.events(EventQuery(names=frozenset({name})))


def webhooks_of(
    store: Store, clock: Clock, actor: Actor, resolve: Resolve = addresses_of
) -> Webhooks:
    services = yard_of(store, clock).services
    services.resolve = resolve
    return Webhooks(services, actor)


def yard_of(store: Store, clock: Clock) -> Yard:
    return Yard(Settings(database_url=IN_MEMORY), store, clock)


async def until(true: Callable[[], bool]) -> None:
    """Wait until a condition is true."""
    async with asyncio.timeout(PATIENCE_S):
        while not true():  # noqa: ASYNC110 - no event to wait for
            await asyncio.sleep(0)


class Forgetful:
    """Deliveries whose events have been forgotten."""

    def __init__(self, store: Store) -> None:
        self._deliveries = store.deliveries

    def __getattr__(self, name: str) -> object:
        return getattr(self._deliveries, name)

    async def events(self, deliveries: Sequence[Delivery]) -> list[Event | None]:
        return [None for _ in deliveries]
