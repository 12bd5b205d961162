"""The parts of a worker, each by itself."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from msgspec.structs import replace

from crawlyard import LOCAL, Move, State, Yard
from crawlyard.core.jobs.checkpoint import Asker, Claim
from crawlyard.errors import StoreUnavailable, Unavailable
from crawlyard.services.jobs.lookup import find_job
from crawlyard.services.workers.claiming import ClaimRules
from crawlyard.services.workers.completion import Completion
from crawlyard.services.workers.liveness import Liveness
from crawlyard.services.workers.permit import PermitKeeper
from crawlyard.services.workers.reclaim import Reclaimer
from crawlyard.services.workers.run import WorkerContext
from crawlyard.services.workers.runs import Runs
from crawlyard.services.workers.scheduled_runs import ScheduledRuns
from tests.engine.rig import a_spec
from tests.engine.test_crawl import tree
from tests.engine.test_worker import Locks, around
from tests.jobs import submit
from tests.site import GraphSite, Serve, until

LEASE = timedelta(seconds=30)


@dataclass
class Calls:
    """Calls of a part to its worker."""

    wakes: int = 0
    ends: int = 0
    compared: list[str] = field(default_factory=list)
    errors: list[Unavailable] = field(default_factory=list)

    def wake(self) -> None:
        self.wakes += 1

    def run_over(self) -> None:
        self.ends += 1

    async def compare(self, schedule_id: str) -> None:
        self.compared.append(schedule_id)


def runs_of(context: WorkerContext, calls: Calls) -> Runs:
    scheduled = ScheduledRuns(calls.run_over, calls.compare, calls.wake)
    return Runs(context, None, scheduled, 0, wake=calls.wake, fail=calls.errors.append)


async def claimed(yard: Yard, url: str = "http://127.0.0.1:1/") -> Claim:
    """Return the claim of a new job."""
    await submit(yard, a_spec(url))
    claim = await yard.store.leases.claim(Asker("w"), yard.clock.now(), LEASE)
    assert claim is not None
    return claim


async def test_a_job_is_released_once_its_unavailable_store_responds(yard: Yard) -> None:
    async def fail() -> None:
        raise StoreUnavailable("away")

    runs, claim = runs_of(yard.worker_context(), Calls()), await claimed(yard)
    leases = yard.store.leases
    around(yard, "leases", "settle", fail)
    runs.begin(claim)
    runs.drain()
    await runs.wait()
    failure, again = runs.take_failure(), runs.take_failure()
    was_busy = runs.busy
    vars(yard.store)["leases"] = leases
    await runs.release_lost()

    assert isinstance(failure, StoreUnavailable)
    assert again is None
    assert (was_busy, runs.busy) == (True, False)
    job = (await find_job(yard.store, LOCAL, claim.job.id)).job
    assert (job.state, job.losses) == (State.PENDING, 0)


async def test_the_runs_of_a_schedule_are_compared_unless_the_worker_stops(
    yard: Yard, site_server: Serve
) -> None:
    server, calls = await site_server(GraphSite({"/": []})), Calls()
    runs = runs_of(yard.worker_context(), calls)
    for stops in (False, True):
        claim = await claimed(yard, f"{server.url}/")
        origin = replace(claim.job.origin, schedule_id="nightly")
        runs.begin(replace(claim, job=replace(claim.job, origin=origin)))
        if stops:
            runs.drain()
        async with asyncio.timeout(30):
            await until(lambda: not runs.busy)

    assert calls.ends == 2
    assert calls.compared == ["nightly"]
    assert calls.wakes == 3, "a slot became free twice, and a comparison ended"


async def test_a_failed_comparison_is_logged_and_leaves_the_worker_idle(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(schedule_id: str) -> None:
        raise ZeroDivisionError(schedule_id)

    calls = Calls()
    scheduled = ScheduledRuns(calls.run_over, fail, calls.wake)
    scheduled.finish("nightly", compare=True)
    await until(lambda: not scheduled.busy)

    assert "the runs of schedule nightly cannot be compared" in caplog.text
    assert calls.wakes == 1


async def test_a_lock_that_is_lost_again_while_orders_are_read_permits_no_request(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(GraphSite(tree(6, 3)), latency_s=0.05)
    context, calls, locks = yard.worker_context(), Calls(), Locks()
    runs, liveness = runs_of(context, calls), Liveness("w", locks, None)
    keeper = PermitKeeper(context, liveness, runs, calls.wake)

    async def lose() -> None:
        locks.hold(holding=False)

    async with liveness.presence(keeper.update):
        runs.begin(await claimed(yard, f"{server.url}/"))
        locks.hold(holding=False)
        leases = yard.store.leases
        around(yard, "leases", "orders", lose)
        locks.hold(holding=True)
        await until(lambda: not liveness.holding)
        await asyncio.sleep(0.05)
        after_loss = context.permit.good
        vars(yard.store)["leases"] = leases
        locks.hold(holding=True)
        await until(lambda: context.permit.good)
        runs.drain()
        await runs.wait()

    assert not after_loss
    assert calls.wakes == 2, "the worker may claim again, and a slot became free"


async def test_a_single_job_worker_is_done_unless_its_job_may_still_run_there(yard: Yard) -> None:
    claim = await claimed(yard)
    rules = ClaimRules(slots=1, lease=LEASE, only=claim.job.id)
    liveness = Liveness("other", Locks(), None)
    reclaimer = Reclaimer("other", yard.store, yard.clock, liveness)
    completion = Completion(yard.store, yard.clock, rules, reclaimer)

    assert await completion.is_reached(None, drain=False), "another worker runs it"
    with pytest.raises(ZeroDivisionError):
        await completion.is_reached(ZeroDivisionError(), drain=False)
    job, event = claim.job.yield_slot(yard.clock.now(), actor="worker:w")
    await yard.store.leases.settle(claim.lease, job, event)
    assert not await completion.is_reached(None, drain=False), "it waits in the queue"
    await yard.services.writer.move(LOCAL, job.id, Move.PAUSE)
    assert await completion.is_reached(None, drain=False), "it is paused"


async def test_a_worker_is_done_once_the_queue_is_empty_only_if_it_drains(yard: Yard) -> None:
    liveness = Liveness("w", Locks(), None)
    reclaimer = Reclaimer("w", yard.store, yard.clock, liveness)
    rules = ClaimRules(slots=1, lease=LEASE)
    completion = Completion(yard.store, yard.clock, rules, reclaimer)

    assert await completion.is_reached(ZeroDivisionError(), drain=True)
    assert not await completion.is_reached(None, drain=False)
    await submit(yard, a_spec("http://127.0.0.1:1/"))
    assert not await completion.is_reached(None, drain=True)
