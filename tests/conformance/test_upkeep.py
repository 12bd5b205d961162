"""`UpkeepStore`: expired rows are found, deleted in small steps, and their space freed."""

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.checkpoint import Batch
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import Move, State
from crawlyard.core.quantity import FOREVER_S
from crawlyard.core.schedules.schedule import TickOutcome
from crawlyard.core.webhooks.delivery_limits import DeliveryRoom, Traffic
from crawlyard.core.webhooks.webhook import Delivery, DeliveryState, JobWebhook
from crawlyard.store.queries import WebhookQuery
from crawlyard.store.store import Store
from tests.builders import (
    NOW,
    a_batch,
    a_job,
    a_spec,
    a_target,
    done,
    its_event,
)
from tests.builders_schedules import a_firing, a_schedule, a_tick, its_job, ran, schedule_event
from tests.builders_webhooks import SECOND, stored_webhook, switched
from tests.conformance.conftest import Backend
from tests.conformance.purging import deleted, purged, with_pages
from tests.conformance.steps import added, claimed, in_state, moved, recorded, stored

DAY = timedelta(days=1)
MONTH = timedelta(days=30)
ROOMY = DeliveryRoom(to_receiver=100)


async def ended_at(store: Store, at: datetime, retention_s: float | None = None) -> Job:
    """Return a completed job that ended at *at*."""
    spec = a_spec(retention_s=retention_s)
    return await added(store, in_state(State.COMPLETED, spec=spec, ended_at=at))


def ids(jobs: Iterable[Job]) -> list[str]:
    return [job.id for job in jobs]


class TestExpired:
    async def test_ended_jobs_are_found_when_their_retention_is_over_the_longest_ended_first(
        self, store: Store
    ) -> None:
        young = await ended_at(store, NOW - MONTH + SECOND)
        old, older = await ended_at(store, NOW - MONTH), await ended_at(store, NOW - 2 * MONTH)

        jobs = await store.upkeep.find_expired(NOW, MONTH, 10)

        assert ids(jobs) == [older.id, old.id]
        assert ids(await store.upkeep.find_expired(NOW, MONTH, 1)) == [older.id]
        assert ids(await store.upkeep.find_expired(NOW + SECOND, MONTH, 10))[-1] == young.id
        assert jobs == [older, old]

    async def test_a_jobs_own_retention_counts_more_than_the_yards(self, store: Store) -> None:
        await ended_at(store, NOW - 2 * MONTH, retention_s=(3 * MONTH).total_seconds())
        await ended_at(store, NOW - 100 * MONTH, retention_s=FOREVER_S)
        short = await ended_at(store, NOW - DAY, retention_s=DAY.total_seconds())
        at_once = await ended_at(store, NOW, retention_s=0)

        jobs = await store.upkeep.find_expired(NOW, MONTH, 10)

        assert ids(jobs) == [short.id, at_once.id]

    async def test_without_a_retention_of_the_yard_only_those_with_their_own_expire(
        self, store: Store
    ) -> None:
        await ended_at(store, NOW - 100 * MONTH)
        own = await ended_at(store, NOW - DAY, retention_s=DAY.total_seconds())

        jobs = await store.upkeep.find_expired(NOW, None, 10)

        assert ids(jobs) == [own.id]

    @pytest.mark.parametrize("state", [State.PENDING, State.RUNNING, State.PAUSED])
    async def test_a_job_that_goes_on_never_expires(self, store: Store, state: State) -> None:
        await added(store, in_state(state, since=NOW - 100 * MONTH))

        assert await store.upkeep.find_expired(NOW, MONTH, 10) == []

    async def test_a_deleted_job_does_not_expire_again(self, store: Store) -> None:
        job = await ended_at(store, NOW - 2 * MONTH)
        await deleted(store, job)

        assert await store.upkeep.find_expired(NOW, MONTH, 10) == []

    async def test_an_edited_retention_holds(self, store: Store) -> None:
        job = await ended_at(store, NOW - 2 * MONTH)
        spec = replace(job.spec, retention_s=FOREVER_S)

        await store.jobs.save(*job.edit(spec, NOW, actor="ada", changed={}))

        assert await store.upkeep.find_expired(NOW, MONTH, 10) == []


class TestPaused:
    async def test_jobs_are_found_by_how_long_they_have_been_paused(self, store: Store) -> None:
        await added(store, in_state(State.PAUSED, since=NOW + SECOND))
        await added(store, in_state(State.CANCELLED, since=NOW - DAY, ended_at=NOW - DAY))
        now = await added(store, in_state(State.PAUSED, since=NOW))
        long = await added(store, in_state(State.PAUSED, since=NOW - DAY))
        deleted_job = await added(store, in_state(State.PAUSED, since=NOW - DAY))
        await deleted(store, deleted_job)

        jobs = await store.upkeep.find_paused(NOW, 10)

        assert jobs == [long, now]

    async def test_they_are_read_on_behind_the_last_one(self, store: Store) -> None:
        since = [NOW - DAY, NOW - DAY, NOW - DAY, NOW]
        every = [await added(store, in_state(State.PAUSED, since=at)) for at in since]

        jobs, after = [], None
        while portion := await store.upkeep.find_paused(NOW, 2, after):
            jobs += portion
            after = portion[-1]

        assert ids(jobs) == [*sorted(ids(every[:3])), every[3].id]


class TestForget:
    async def test_old_events_go_and_the_newest_stays(self, store: Store) -> None:
        for days in (3, 2, 1, 0):
            job = a_job()
            event = replace(its_event(job), at=NOW - days * DAY)
            await store.jobs.add(job, event)

        count = await store.upkeep.forget(NOW - DAY)

        assert count == 2
        assert [e.at for e in await store.events.events()] == [NOW - DAY, NOW]
        assert await store.upkeep.forget(NOW + DAY) == 1
        assert await store.events.last() == 4

    async def test_they_go_in_steps_of_so_many_rows(self, store: Store) -> None:
        for _ in range(8):
            await added(store)

        steps = [await store.upkeep.forget(NOW + DAY, rows=3) for _ in range(4)]

        assert steps == [3, 3, 1, 0]

    async def test_a_reader_goes_on_where_it_was(self, store: Store) -> None:
        for _ in range(3):
            await added(store)
        last_seq = await store.events.last()

        await store.upkeep.forget(NOW + DAY)
        job = await added(store)

        assert await store.events.last() == last_seq + 1
        assert [e.subject for e in await store.events.events(after=last_seq)] == [job.id]

    async def test_a_delivery_that_waits_keeps_its_event(self, store: Store) -> None:
        webhook = await stored_webhook(store, events=("job.created",))
        await added(store)
        await store.deliveries.fan_out(NOW)
        await added(store)

        count = await store.upkeep.forget(NOW + DAY)

        [delivery] = await store.deliveries.find(webhook.id, None, None, 10)
        [event] = await store.deliveries.events([delivery])
        assert count == 1  # of the webhook
        assert event is not None
        assert event.name is EventName.CREATED

    async def test_events_not_fanned_out_are_kept_while_a_webhook_is_active(
        self, store: Store
    ) -> None:
        await added(store)
        webhook = await stored_webhook(store, events=("job.created",))
        await store.deliveries.fan_out(NOW)
        for _ in range(3):
            await added(store)

        forgotten = await store.upkeep.forget(NOW + DAY)
        remaining = len(await store.events.events())
        await store.deliveries.fan_out(NOW)
        waiting = await store.deliveries.find(webhook.id, None, None, 10)

        assert (forgotten, remaining, len(waiting)) == (2, 3, 3)
        assert None not in await store.deliveries.events(waiting)

    async def test_events_are_deleted_without_an_active_webhook(self, store: Store) -> None:
        webhook = await stored_webhook(store)
        for _ in range(3):
            await added(store)
        await switched(store, webhook, on=False)

        assert await store.upkeep.forget(NOW + DAY) == 4
        assert len(await store.events.events()) == 1

    async def test_deliveries_that_waited_do_not_keep_younger_events(self, store: Store) -> None:
        await stored_webhook(store, events=("job.created",))
        for _ in range(5):
            await added(store)
        await store.deliveries.fan_out(NOW)
        paused = await added(store, owner="bob")
        for _ in range(2):
            paused = await moved(store, paused.id, Move.PAUSE)
            paused = await moved(store, paused.id, Move.RESUME)
        await store.deliveries.fan_out(NOW)

        count = await store.upkeep.forget(NOW + DAY, rows=3)

        assert count == 3

    async def test_what_was_delivered_goes_with_its_event(self, store: Store) -> None:
        webhook = await stored_webhook(store, events=("job.created",))
        await added(store)
        await store.deliveries.fan_out(NOW)
        await delivered(store)
        await added(store)

        kept_ = await store.upkeep.forget(NOW - DAY), await store.upkeep.forget(NOW)
        count = await store.upkeep.forget(NOW + SECOND)

        assert kept_ == (0, 0)
        assert count == 3  # the delivery, its event, and that of the webhook
        assert await store.deliveries.find(webhook.id, None, None, 10) == []

    async def test_what_was_forgotten_is_not_delivered_again(self, store: Store) -> None:
        webhook = await stored_webhook(store, events=("job.created",))
        await added(store)
        await store.deliveries.fan_out(NOW)
        await delivered(store)
        await store.upkeep.forget(NOW + DAY)

        job = await added(store)
        await store.deliveries.fan_out(NOW)

        deliveries = await store.deliveries.find(webhook.id, None, None, 10)
        [event] = await store.deliveries.events(deliveries)
        assert event is not None
        assert event.subject == job.id

    async def test_old_rows_of_the_ledger_go_but_not_one_that_waits(self, store: Store) -> None:
        schedule = a_schedule()
        await store.schedules.add(schedule, schedule_event(schedule))
        job = its_job(schedule, NOW - 3 * DAY)
        old = [
            ran(schedule, job, decided_at=NOW - 3 * DAY),
            a_tick(schedule, NOW - 2 * DAY, decided_at=NOW - 2 * DAY, outcome=TickOutcome.WAITING),
        ]
        young = a_tick(schedule, NOW - 3 * DAY + SECOND, decided_at=NOW)
        await store.ticks.fire([a_firing(schedule, [*old, young], [job])])

        count = await store.upkeep.forget(NOW)

        assert count == 1
        assert await store.ticks.ticks(schedule.id) == [old[1], young]

    async def test_two_janitors_forget_everything_once(
        self, store: Store, backend: Backend
    ) -> None:
        other = await backend.open()
        for _ in range(60):
            await added(store)

        counts = await asyncio.gather(forgotten(store, rows=10), forgotten(other, rows=10))
        if backend.sql:
            await other.close()

        assert sum(counts) == 59
        assert len(await store.events.events()) == 1


async def forgotten(store: Store, rows: int) -> int:
    """Forget to the end, as far as it is left to us, and return how many that were."""
    total = 0
    while count := await store.upkeep.forget(NOW + DAY, rows):
        total += count
    return total


async def delivered(store: Store) -> list[Delivery]:
    """Settle what is due as delivered."""
    due = [c.delivery for c in await store.deliveries.claim(NOW, SECOND, Traffic(ROOMY))]
    for delivery in due:
        after = replace(delivery, state=DeliveryState.DELIVERED, ended_at=NOW)
        await store.deliveries.settle(delivery, after)
    return due


class TestPurge:
    @pytest.mark.parametrize("step", [1, 2, 5, 1000])
    async def test_the_webhooks_of_a_job_go_with_it(self, store: Store, step: int) -> None:
        other = await stored_webhook(store, events=("job.created",))
        job_webhooks = tuple(
            JobWebhook(url=f"https://a.example/{n}", events=("*",)) for n in range(2)
        )
        deleted_job = await added(store, spec=a_spec(webhooks=job_webhooks))
        remaining = await added(store, spec=a_spec(webhooks=job_webhooks))
        await store.deliveries.fan_out(NOW)
        assert await of(store, f"{deleted_job.id}:0") == await of(store, f"{deleted_job.id}:1") == 1

        await deleted(store, deleted_job)
        steps = await purged(store, step)

        rows = [freed.rows for freed in steps]
        assert max(rows) <= step
        assert sum(rows) >= 1 + 2 + 2  # the job, its webhooks, a delivery for each
        assert await store.webhooks.find(WebhookQuery(job_id=deleted_job.id), 10) == []
        assert len(await store.webhooks.find(WebhookQuery(job_id=remaining.id), 10)) == 2
        assert await of(store, f"{remaining.id}:0") == 1
        assert await of(store, other.id) == 2

    async def test_cookies_go_with_their_job(self, store: Store) -> None:
        bare, with_cookies = await claimed(store), await claimed(store)
        set_by_sites = {f"{n}": b"sealed" for n in range(40)}
        await recorded(store, with_cookies.lease, Batch(cookies=set_by_sites))

        freed = []
        for claim in (bare, with_cookies):
            await deleted(store, claim.job)
            freed.append(sum(step.rows for step in await purged(store)))

        assert freed[1] == freed[0] + 40

    async def test_large_bodies_make_a_step_small(
        self, store: Store, backend: Backend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("crawlyard.store.crawl.purge.MOST_BYTES", 10_000)
        claim = await with_pages(store, 20, size=3_000)
        await deleted(store, claim.job)

        steps = await purged(store)

        bodies_first = [freed.rows for freed in steps if freed.rows][:6]
        assert not backend.sql or bodies_first == [3, 3, 3, 3, 3, 3]
        assert sum(freed.rows for freed in steps) >= 20 + 20 + 20

    async def test_one_body_that_is_larger_than_a_step_goes_too(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("crawlyard.store.crawl.purge.MOST_BYTES", 1_000)
        claim = await with_pages(store, 2, size=3_000)
        await deleted(store, claim.job)

        steps = await purged(store)

        assert sum(freed.rows for freed in steps) >= 2 + 2 + 2
        assert not await store.upkeep.purge()

    async def test_a_crawl_goes_on_between_the_small_steps_of_a_large_purge(
        self, store: Store
    ) -> None:
        large = await with_pages(store, 20_000, size=10)
        crawl = await claimed(store)
        await deleted(store, large.job)

        steps, lease = 0, crawl.lease
        while freed := await store.upkeep.purge():
            assert freed.rows <= 1000
            target = a_target(f"beside/{steps}")
            answer = await recorded(store, lease, a_batch([target], [done(target)]))
            assert answer.order == "go_on"
            lease, steps = answer.lease, steps + 1

        assert steps >= 3 * 20  # bodies, pages, targets: each thousand in a step of its own
        assert (await store.jobs.get(crawl.job.id)).shard.usage.pages == steps

    async def test_two_janitors_purge_two_jobs_and_neither_waits_for_the_other(
        self, store: Store, backend: Backend
    ) -> None:
        other = await backend.open()
        for _ in range(2):
            await deleted(store, (await with_pages(store, 300)).job)
        crawl = await with_pages(store, 10)

        rows = await asyncio.gather(purged(store, 100), purged(other, 100))
        if backend.sql:
            await other.close()

        assert sum(freed.rows for steps in rows for freed in steps) >= 2 * (300 + 300 + 300 + 1)
        assert len(await stored(store, crawl.job.id)) == 10
        assert not await store.upkeep.purge()


async def of(store: Store, webhook_id: str) -> int:
    """Return how many deliveries a webhook has."""
    return len(await store.deliveries.find(webhook_id, None, None, 10))


async def test_the_size_grows_with_what_is_stored(store: Store) -> None:
    before = await store.upkeep.size()

    await with_pages(store, 200, size=10_000)

    assert await store.upkeep.size() - before > 2_000_000
