"""Random walks through a store's methods, compared with a model after each step."""

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from crawlyard.core.crawl.page import ErrorKind, Outcome, Target, TargetState
from crawlyard.core.events.event import Event, EventName
from crawlyard.core.jobs.checkpoint import Asker, Batch, Checkpoint, Lease, Order
from crawlyard.core.jobs.job import LOSSES_KEPT, Job
from crawlyard.core.jobs.lifecycle import LIFECYCLE, Move, State
from crawlyard.core.jobs.spec import Priority
from crawlyard.errors import Conflict
from crawlyard.store.queries import EventQuery, JobQuery, PageQuery
from crawlyard.store.tables.every import metadata
from tests.builders import LEASE, NOW, a_batch, a_job, a_target, done, failed, its_event
from tests.conformance.conftest import Backend
from tests.conformance.model import Fate, Model, ModelJob
from tests.conformance.steps import whole

if TYPE_CHECKING:
    from crawlyard.store.store import Store

T = TypeVar("T")

KINDS = st.sampled_from([ErrorKind.TIMEOUT, ErrorKind.HTTP_5XX])
WORKERS = st.sampled_from(["w1", "w2", "w3"])
WALKS = int(os.environ.get("CRAWLYARD_TEST_WALKS", "12"))  # 300 take 9 minutes
PICK = st.integers(0, 1_000)  # which one of however many there are


@dataclass(slots=True)
class Held:
    """A lease that was given once, good or not, and what was last sent under it."""

    lease: Lease
    job: Job  # as its holder knows it
    sent: tuple[Lease, Batch] | None = None


class Walk(RuleBasedStateMachine):
    """Workers, operators and a clock, all in one hand."""

    def __init__(self, fresh: Callable[[], Backend]) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.backend = fresh()
        self.store: Store = self.run(self.backend.open())
        self.model = Model(NOW)
        self.leases_held: list[Held] = []
        self.copies: list[Job] = []  # of jobs as a client has read them, perhaps outdated
        self.targets_made = 0

    def run(self, work: Awaitable[T]) -> T:
        async def waited() -> T:
            return await work

        return self.loop.run(waited())

    def teardown(self) -> None:
        self.run(self.store.close())
        self.loop.close()

    def some_job(self, pick: int, *states: State) -> ModelJob | None:
        fitting = [j for j in self.model.there() if not states or j.job.state in states]
        return fitting[pick % len(fitting)] if fitting else None

    def some_lease(self, pick: int) -> Held:
        # the newest are picked more often: old ones are good for little but being refused
        newest = self.leases_held[::-1]
        return newest[pick % min(len(newest), 1 + pick % 5)]

    # Jobs and operators

    @initialize()
    def begin(self) -> None:
        self.submit(Priority.NORMAL, 0)

    @rule(priority=st.sampled_from(Priority), delay_s=st.integers(-3, 5))
    def submit(self, priority: Priority, delay_s: int) -> None:
        later = self.model.now + timedelta(seconds=max(0, delay_s))
        job = a_job(priority=priority, queued_at=self.model.now, due_at=later)
        self.run(self.store.jobs.add(job, its_event(job)))
        self.model.add(job)
        self.copies.append(self.model.jobs[job.id].job)

    @rule(pick=PICK, move=st.sampled_from([Move.PAUSE, Move.RESUME, Move.CANCEL]))
    def operate(self, pick: int, move: Move) -> None:
        model_job = self.some_job(pick, *(s for s in State if move in LIFECYCLE[s]))
        if model_job is not None:
            job, event = model_job.job.apply_move(move, self.model.now, actor="ada")
            self.run(self.store.jobs.save(job, event))
            self.model.save(model_job, job)
            self.copies.append(model_job.job)

    @rule(pick=PICK)
    def save_an_old_copy(self, pick: int) -> None:
        copy = self.copies[pick % len(self.copies)]
        model_job, moves = self.model.jobs[copy.id], list(LIFECYCLE[copy.state])
        job, event = copy.apply_move(moves[pick % len(moves)], self.model.now, actor="bob")
        if model_job.deleted or model_job.job.version != copy.version:
            with pytest.raises(Conflict):
                self.run(self.store.jobs.save(job, event))
        elif job.state is not State.RUNNING:
            self.run(self.store.jobs.save(job, event))
            self.model.save(model_job, job)

    @rule(pick=PICK, kinds=st.frozensets(KINDS))
    def retry_failed(self, pick: int, kinds: frozenset[ErrorKind]) -> None:
        model_job = self.some_job(pick, State.COMPLETED, State.FAILED, State.CANCELLED)
        if model_job is None:
            return
        moved = model_job.job.apply_move(Move.RETRY_FAILED, self.model.now, actor="ada")
        if not model_job.is_free(self.model.now):
            with pytest.raises(Conflict):
                self.run(self.store.jobs.retry_failed(*moved, kinds))
            return
        assert self.run(self.store.jobs.retry_failed(*moved, kinds)) == model_job.retry(kinds)
        self.model.save(model_job, moved[0])

    @rule(pick=PICK, rows=st.integers(1, 50))
    def delete(self, pick: int, rows: int) -> None:
        model_job = self.some_job(pick)
        if model_job is not None and pick % 4 == 0:
            event = its_event(model_job.job, EventName.DELETED)
            self.run(self.store.jobs.delete(model_job.job.id, model_job.job.version, event))
            model_job.deleted = True
        assert self.run(self.store.upkeep.purge(rows)).rows <= rows

    # Workers

    @rule(worker=WORKERS)
    def claim(self, worker: str) -> None:
        expected = self.model.next()
        claim = self.run(self.store.leases.claim(Asker(worker), self.model.now, LEASE))
        assert (claim and claim.job.id) == (expected and expected.job.id)
        if claim is not None and expected is not None:
            actor = f"worker:{worker}"
            job, _ = expected.job.apply_move(Move.CLAIM, self.model.now, actor=actor)
            expected.claim(job, worker, self.model.now)
            assert claim.job == job
            assert (claim.lease.attempt, claim.lease.seq) == (expected.attempt, expected.seq)
            self.leases_held.append(Held(claim.lease, claim.job))

    @precondition(lambda self: self.leases_held)
    @rule(
        pick=PICK,
        depths=st.lists(st.integers(0, 2), max_size=4),
        ends=st.lists(st.sampled_from(["done", "timeout", "http_5xx", "redirect"]), max_size=3),
        last=st.booleans(),
    )
    def record(self, pick: int, depths: list[int], ends: list[str], last: bool) -> None:
        held_lease = self.some_lease(pick)
        model_job = self.model.jobs[held_lease.lease.job_id]
        targets = [self.new_target(depth) for depth in depths]
        waits = [t.target for t in model_job.targets.values() if t.state is TargetState.WAITING]
        outcomes = [_outcome(t, end) for t, end in zip(waits + targets, ends, strict=False)]
        batch = a_batch(targets, outcomes, last=last)
        self.send([(held_lease, held_lease.lease, batch)])

    @precondition(lambda self: any(h.sent for h in self.leases_held))
    @rule(pick=PICK)
    def record_again(self, pick: int) -> None:
        sent = [h for h in self.leases_held if h.sent is not None]
        held_lease = sent[::-1][pick % len(sent)]
        if held_lease.sent is not None:
            self.send([(held_lease, *held_lease.sent)])

    @precondition(lambda self: self.leases_held)
    @rule()
    def send_all_heartbeats(self) -> None:
        newest = {h.lease.job_id: h for h in self.leases_held}
        self.send([(h, h.lease, Batch()) for h in newest.values()])

    def send(self, entries: list[tuple[Held, Lease, Batch]]) -> None:
        answers = self.run(
            self.store.frontier.record(
                [(lease, batch) for _, lease, batch in entries], self.model.now, LEASE
            )
        )
        for (held_lease, lease, batch), answer in zip(entries, answers, strict=True):
            self.check(lease, batch, answer)
            if answer.order is not Order.LOST and held_lease.lease == lease:
                held_lease.lease, held_lease.sent = answer.lease, (lease, batch)
                held_lease.job = answer.job or held_lease.job
                if batch.pages:
                    held_lease.job = replace(
                        held_lease.job, losses=min(held_lease.job.losses, LOSSES_KEPT)
                    )

    def check(self, lease: Lease, batch: Batch, answer: Checkpoint) -> None:
        model_job = self.model.jobs[lease.job_id]
        fate, order = model_job.fate(lease), model_job.order(lease)
        if fate is Fate.WRITTEN:
            model_job.write(lease, batch, self.model.now)
            if batch.pages:
                model_job.job = replace(
                    model_job.job, losses=min(model_job.job.losses, LOSSES_KEPT)
                )
        assert answer.order is order
        if fate is not Fate.LOST:
            assert (answer.lease.seq, answer.lease.version) == (
                model_job.seq,
                model_job.job.version,
            )
            quiet = order in {Order.GO_ON, Order.LOST}
            assert answer.job == (None if quiet else model_job.job)
            counts = {name: getattr(answer.usage, name) for name in model_job.counts}
            assert counts == model_job.counts

    @precondition(lambda self: self.leases_held)
    @rule(pick=PICK, move=st.sampled_from([Move.COMPLETE, Move.FAIL, Move.REQUEUE]))
    def settle(self, pick: int, move: Move) -> None:
        held_lease = self.some_lease(pick)
        if held_lease.job.state is not State.RUNNING:
            return  # it was told to stop, and does
        model_job = self.model.jobs[held_lease.lease.job_id]
        job, event = held_lease.job.apply_move(
            move, self.model.now, actor=f"worker:{held_lease.lease.worker}"
        )
        moved_on = model_job.job.version != held_lease.job.version
        if model_job.fate(held_lease.lease) is Fate.LOST or moved_on:
            with pytest.raises(Conflict):
                self.run(self.store.leases.settle(held_lease.lease, job, event))
        else:
            self.run(self.store.leases.settle(held_lease.lease, job, event))
            self.model.save(model_job, job)
            model_job.free()

    @precondition(lambda self: self.leases_held)
    @rule(pick=PICK)
    def free(self, pick: int) -> None:
        held_lease = self.some_lease(pick)
        model_job = self.model.jobs[held_lease.lease.job_id]
        self.run(self.store.leases.free(held_lease.lease))
        if model_job.fate(held_lease.lease) is not Fate.LOST:
            model_job.free()

    @rule(dead=st.sets(WORKERS, max_size=2), in_child=st.booleans())
    def take_back(self, dead: set[str], in_child: bool) -> None:
        lapsed = self.model.lapsed(dead)
        running = [j for j in lapsed if j.job.state is State.RUNNING]

        def decide(job: Job) -> tuple[Job, Event]:
            return job.lose_worker(self.model.now, actor="worker:w9", in_child=in_child)

        reclaimed = self.run(self.store.leases.take_back(self.model.now, dead, decide))

        for model_job in lapsed:
            model_job.free()
        for model_job in running:
            self.model.save(model_job, decide(model_job.job)[0])
        assert {job.id: job for job in reclaimed} == {j.job.id: j.job for j in running}

    # Time and trouble

    @rule(seconds=st.integers(1, 10))
    def pass_time(self, seconds: int) -> None:
        self.model.now += timedelta(seconds=seconds)

    @rule()
    def crash(self) -> None:
        self.run(self.store.close())
        self.store = self.run(self.backend.open())

    @invariant()
    def jobs_and_leases_are_as_the_model_says(self) -> None:
        standings = self.run(self.store.jobs.find(JobQuery(), 1000))
        stored_states = {
            s.job.id: (s.job, s.shard.worker, s.shard.lease_until, s.shard.seq) for s in standings
        }
        assert stored_states == {
            j.job.id: (j.job, j.worker, j.until, j.seq) for j in self.model.there()
        }
        if self.leases_held:
            leases = [h.lease for h in self.leases_held]
            orders = [self.model.jobs[lease.job_id].order(lease) for lease in leases]
            assert self.run(self.store.leases.orders(leases)) == orders

    @invariant()
    def targets_and_pages_are_those_that_were_accepted(self) -> None:
        for model_job in self.model.there():
            pages = self.run(self.store.pages.pages(model_job.job.id, PageQuery(), 10_000))
            assert [p.page.url for p in pages] == model_job.pages
        numbers = {h.lease.job_id: h.lease.job_no for h in self.leases_held}
        for job_id, no in numbers.items():
            model_job = self.model.jobs[job_id]
            waiting = self.run(self.store.frontier.load(whole(no), 10_000, depth_first=False))
            assert [t.url for t in waiting] == ([] if model_job.deleted else model_job.waiting())

    @invariant()
    def every_version_has_its_event_and_follows_the_lifecycle(self) -> None:
        for model_job in self.model.there():
            events = self.run(self.store.events.events(EventQuery(subject=model_job.job.id)))
            assert [e.data["version"] for e in events] == list(range(1, model_job.job.version + 1))
            states = [State(str(e.data["state"])) for e in events]
            assert all(after in LIFECYCLE[before].values() for before, after in pairwise(states))

    def new_target(self, depth: int) -> Target:
        self.targets_made += 1
        return a_target(str(self.targets_made), depth=depth)


def _outcome(target: Target, end: str) -> Outcome:
    match end:
        case "done":
            return done(target)
        case "redirect":
            return Outcome(target, TargetState.REDIRECTED, rule="301")
        case "http_5xx":
            return failed(target, ErrorKind.HTTP_5XX, status=500)
        case _:
            return failed(target, ErrorKind.TIMEOUT)


SLOWLY = pytest.param("postgres", marks=[pytest.mark.postgres, pytest.mark.slow])


@pytest.fixture(params=["memory", "sqlite", SLOWLY])
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Backend]:
    """Makes the data of an empty store, one for each walk."""

    def on_sqlite() -> Backend:
        for leftover in tmp_path.iterdir():
            leftover.unlink()
        return Backend(str(shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path)))

    def on_postgres() -> Backend:
        url: str = request.getfixturevalue("postgres_url")
        tables = ", ".join(t.name for t in metadata.sorted_tables if t.name != "users")
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute(f"TRUNCATE {tables}")
        return Backend(url)

    makers = {"sqlite": on_sqlite, "postgres": on_postgres}
    return makers.get(request.param, lambda: Backend(""))


def test_any_walk_leaves_the_store_as_the_model_says(fresh: Callable[[], Backend]) -> None:
    class Here(Walk):
        def __init__(self) -> None:
            super().__init__(fresh)

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=WALKS,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
