"""A job whose site is out of reach is tried again by its policy, at the instants it says."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from crawlyard import (
    LOCAL,
    EventName,
    Job,
    Limits,
    Move,
    RetryPolicy,
    Scope,
    Settings,
    State,
    StateReason,
    Yard,
)
from crawlyard.core.crawl.page import UNREACHABLE
from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.core.jobs.retry import RetryReason
from crawlyard.demo.server import SiteServer
from crawlyard.demo.site import Answer
from crawlyard.engine.robots.cache import RobotsCache
from crawlyard.engine.robots.rules import RobotsRules
from crawlyard.errors import IllegalMove
from crawlyard.services.jobs.lookup import find_job
from crawlyard.services.workers.run import JobRun
from crawlyard.store.crawl.frontier import FrontierStore
from tests.clock import SteppedClock
from tests.engine.rig import a_spec, outcome
from tests.jobs import events_of, submit
from tests.site import GraphSite, Serve

FIRST, FACTOR = timedelta(hours=1), 3
PATIENT = RetryPolicy(
    attempts=3,
    first_s=FIRST.total_seconds(),
    factor=FACTOR,
    jitter=0,
    cap_s=timedelta(days=1).total_seconds(),
)
A_MOMENT = timedelta(minutes=1)  # more than the machine may be busy with others
START_UNREACHABLE = RetryReason.START_UNREACHABLE


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
async def yard(tmp_path: Path, clock: SteppedClock) -> AsyncIterator[Yard]:
    async with Yard.open(Settings(data_dir=tmp_path / "data"), clock) as yard:
        yield yard


async def attempted(yard: Yard, job_id: str) -> Job:
    """Run one attempt of a job that is due, and return the job as it is then."""
    worker = yard.worker(only=job_id)
    attempts = (await find_job(yard.store, LOCAL, job_id)).shard.attempt + 1
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(120):
        while True:
            standing = await find_job(yard.store, LOCAL, job_id)
            if standing.shard.attempt == attempts and standing.job.state is not State.RUNNING:
                break
            await asyncio.sleep(0)
    worker.stop()
    await running
    return standing.job


async def claimable(yard: Yard, job_id: str) -> bool:
    """Tell whether a worker would get the job now; it gives it back at once."""
    now = yard.clock.now()
    claim = await yard.store.leases.claim(Asker("w", only=job_id), now, timedelta(seconds=8))
    if claim is None:
        return False
    back = claim.job.apply_move(Move.REQUEUE, now, actor="w", reason=StateReason.WORKER_STOPPED)
    await yard.store.leases.settle(claim.lease, *back)
    return True


class TroubledSite(GraphSite):
    """A site whose start page answers with each of *statuses* once before it answers well."""

    def __init__(self, *statuses: int) -> None:
        super().__init__({"/": ["/a"], "/a": []})
        self._statuses = list(statuses)

    def answer(self, method: str, path: str, host: str) -> Answer:
        if path == "/" and self._statuses:
            return Answer(self._statuses.pop(0))
        return super().answer(method, path, host)


async def test_a_job_that_fails_twice_and_then_works_waits_as_its_policy_says(
    yard: Yard, clock: SteppedClock, site_server: Serve
) -> None:
    server = await site_server(TroubledSite(503, 500))
    job = await submit(yard, a_spec(f"{server.url}/", retry=PATIENT))

    waits = []
    for _ in range(2):
        job = await attempted(yard, job.id)
        assert (job.state, job.state_reason) == (State.PENDING, StateReason.WAITING_RETRY)
        waits.append(job.due_at - job.updated_at)
        clock.jump(job.due_at - clock.now() - A_MOMENT)
        assert not await claimable(yard, job.id)
        clock.jump(A_MOMENT)
    job = await attempted(yard, job.id)

    assert waits == [FIRST, FIRST * FACTOR]
    assert (job.state, job.state_reason) == (State.COMPLETED, StateReason.EXHAUSTED)
    run = await outcome(yard, job.id)
    assert run.ok == {f"{server.url}/", f"{server.url}/a"}
    assert (run.usage.pages, run.usage.errors) == (2, 0)
    assert [hit.path for hit in server.hits if hit.path != "/robots.txt"] == ["/", "/", "/", "/a"]
    events = await events_of(yard, job.id)
    assert [e.name for e in events if e.name is not EventName.STARTED] == [
        EventName.CREATED,
        EventName.REQUEUED,
        EventName.REQUEUED,
        EventName.COMPLETED,
    ]


async def test_a_host_that_refuses_connections_is_tried_again_and_then_given_up(
    yard: Yard, clock: SteppedClock, unused_tcp_port: int
) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}/"
    spec = a_spec(url, retry=PATIENT, ignore_robots=True)
    job = await submit(yard, spec)

    states = []
    for _ in range(3):
        job = await attempted(yard, job.id)
        states.append((job.state, job.state_reason))
        clock.jump(timedelta(days=1))

    waiting = (State.PENDING, StateReason.WAITING_RETRY)
    assert states == [waiting, waiting, (State.FAILED, StateReason.START_FAILED)]
    assert job.failures == 3
    assert "connect" in job.detail.lower() or "refused" in job.detail.lower()
    assert len((await outcome(yard, job.id)).pages) == 1


async def test_a_host_that_comes_back_is_crawled(
    yard: Yard, clock: SteppedClock, unused_tcp_port: int
) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}/"
    spec = a_spec(url, retry=PATIENT, ignore_robots=True)
    job = await attempted(yard, (await submit(yard, spec)).id)
    clock.jump(job.due_at - clock.now())

    async with SiteServer(TroubledSite(), port=unused_tcp_port):
        job = await attempted(yard, job.id)

    assert job.state is State.COMPLETED
    assert len((await outcome(yard, job.id)).ok) == 2


async def test_retry_now_skips_the_wait(yard: Yard, site_server: Serve) -> None:
    server = await site_server(TroubledSite(503))
    submitted = await submit(yard, a_spec(f"{server.url}/", retry=PATIENT))
    waiting = await attempted(yard, submitted.id)

    hurried = await yard.services.writer.move(LOCAL, waiting.id, Move.RETRY_NOW)

    assert (hurried.state, hurried.state_reason) == (State.PENDING, StateReason.WAITING_SLOT)
    assert (hurried.queued_at, hurried.failures) == (waiting.queued_at, 1)
    again = await yard.services.writer.move(LOCAL, waiting.id, Move.RETRY_NOW)
    assert again == hurried  # nothing left to skip
    assert (await attempted(yard, waiting.id)).state is State.COMPLETED
    with pytest.raises(IllegalMove, match="cannot retry now a job that is completed"):
        await yard.services.writer.move(LOCAL, waiting.id, Move.RETRY_NOW)


async def test_a_delayed_job_can_be_started_now(yard: Yard) -> None:
    later = yard.clock.now() + timedelta(days=1)
    job = await submit(yard, a_spec("http://127.0.0.1/"), start_at=later)
    assert not await claimable(yard, job.id)

    await yard.services.writer.move(LOCAL, job.id, Move.RETRY_NOW)

    assert await claimable(yard, job.id)
    assert (await find_job(yard.store, LOCAL, job.id)).shard.worker is None


@pytest.mark.parametrize("status", [404, 403, 410])
async def test_what_the_site_says_for_good_is_not_worth_a_retry(
    yard: Yard, site_server: Serve, status: int
) -> None:
    server = await site_server(TroubledSite(*[status] * 9))
    submitted = await submit(yard, a_spec(f"{server.url}/", retry=PATIENT))

    job = await attempted(yard, submitted.id)

    assert (job.state, job.state_reason) == (State.FAILED, StateReason.START_FAILED)


class ClosedSite(GraphSite):
    """A site whose robots.txt forbids all of it."""

    def answer(self, method: str, path: str, host: str) -> Answer:
        if path == "/robots.txt":
            return Answer(200, (("Content-Type", "text/plain"),), b"User-agent: *\nDisallow: /\n")
        return super().answer(method, path, host)


async def test_what_robots_forbid_is_not_worth_a_retry(yard: Yard, site_server: Serve) -> None:
    server = await site_server(ClosedSite({"/": []}))
    submitted = await submit(yard, a_spec(f"{server.url}/", retry=PATIENT))

    job = await attempted(yard, submitted.id)

    assert (job.state, job.state_reason) == (State.FAILED, StateReason.START_FAILED)
    assert "robots" in job.detail


class InwardSite(GraphSite):
    """A site that redirects to an address of the network that it is crawled from."""

    def answer(self, method: str, path: str, host: str) -> Answer:
        if path == "/":
            return Answer(302, (("Location", "http://127.0.0.2:9/"),))
        return super().answer(method, path, host)


async def test_a_blocked_address_is_not_worth_a_retry(yard: Yard, site_server: Serve) -> None:
    server = await site_server(InwardSite({}))
    opened = {"allow_private": False, "allow_addresses": (server.authority,), "scope": Scope.ANY}
    submitted = await submit(yard, a_spec(f"{server.url}/", retry=PATIENT, **opened))

    job = await attempted(yard, submitted.id)

    assert (job.state, job.state_reason) == (State.FAILED, StateReason.START_FAILED)
    assert "127.0.0.2" in job.detail


async def test_a_reason_that_the_policy_does_not_name_is_not_worth_a_retry(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(TroubledSite(503))
    policy = RetryPolicy(attempts=3, reasons=frozenset({RetryReason.INTERNAL_ERROR}))
    submitted = await submit(yard, a_spec(f"{server.url}/", retry=policy))

    job = await attempted(yard, submitted.id)

    assert job.state is State.FAILED


async def test_a_limit_of_errors_does_not_take_the_attempts_away(
    yard: Yard, unused_tcp_port: int
) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}/"
    spec = a_spec(url, f"{url}b", retry=PATIENT, limits=Limits(errors=1), ignore_robots=True)

    job = await attempted(yard, (await submit(yard, spec)).id)

    assert (job.state, job.state_reason) == (State.PENDING, StateReason.WAITING_RETRY)
    assert url in job.detail
    assert (await outcome(yard, job.id)).usage.errors == 0


async def test_what_is_too_broken_after_a_page_is_not_tried_again(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(GraphSite({"/": ["/gone"]}))
    spec = a_spec(f"{server.url}/", retry=PATIENT, limits=Limits(errors=1))

    job = await attempted(yard, (await submit(yard, spec)).id)

    assert (job.state, job.state_reason) == (State.COMPLETED, StateReason.LIMIT_ERRORS)


def test_failures_of_a_site_as_a_whole_are_worth_a_retry_and_no_others() -> None:
    words = "timeout dns connect tls protocol proxy http_5xx rate_limited robots"

    assert {kind.value for kind in UNREACHABLE} == set(words.split())


class BrokenRobots(RobotsCache):
    """A cache with a bug in it."""

    def get(self, origin: str, agent: str, since: float = 0.0) -> RobotsRules | None:
        raise KeyError(origin, agent)


async def broken(yard: Yard, policy: RetryPolicy) -> Job:
    """Return a job after an attempt that an error of ours ended."""
    job = await submit(yard, a_spec("http://127.0.0.1:9/", retry=policy))
    claim = await yard.store.leases.claim(
        Asker("w", only=job.id), yard.clock.now(), timedelta(seconds=8)
    )
    assert claim is not None
    await JobRun(claim, replace(yard.worker_context(), robots=BrokenRobots(yard.clock))).run()
    standing = await find_job(yard.store, LOCAL, job.id)
    assert standing.shard.worker is None
    return standing.job


async def test_an_error_of_ours_is_worth_a_retry(yard: Yard) -> None:
    job = await broken(yard, PATIENT)

    assert (job.state, job.state_reason) == (State.PENDING, StateReason.WAITING_RETRY)
    assert (job.due_at - job.updated_at, job.failures) == (FIRST, 1)
    assert "KeyError" in job.detail


async def test_an_error_of_ours_fails_a_job_that_has_no_attempt_left(yard: Yard) -> None:
    for policy in (RetryPolicy(), replace(PATIENT, reasons=frozenset({START_UNREACHABLE}))):
        job = await broken(yard, policy)

        assert (job.state, job.state_reason) == (State.FAILED, StateReason.INTERNAL_ERROR)
        assert job.failures == 1


async def test_waits_are_lessened_by_chance(yard: Yard) -> None:
    waits = set()
    for _ in range(3):
        job = await broken(yard, replace(PATIENT, jitter=1))
        waits.add(job.due_at - job.updated_at)

    assert len(waits) == 3
    assert all(timedelta(0) <= wait < FIRST for wait in waits)


async def test_a_job_that_is_edited_as_its_errors_end_it_is_tried_again(
    yard: Yard, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}/"
    few = Limits(errors=1)
    spec = a_spec(url, f"{url}b", retry=PATIENT, limits=few, ignore_robots=True)
    job = await submit(yard, spec)
    record = FrontierStore.record
    edited: list[str] = []

    async def recorded(self: FrontierStore, entries: Any, *args: Any) -> Any:
        if not edited and any(each.page for _, batch in entries for each in batch.outcomes):
            edited.append(job.id)
            await yard.services.writer.edit(LOCAL, job.id, {"name": "other"})
        return await record(self, entries, *args)

    monkeypatch.setattr(FrontierStore, "record", recorded)
    job = await attempted(yard, job.id)

    assert edited == [job.id]
    assert (job.state, job.state_reason) == (State.PENDING, StateReason.WAITING_RETRY)
