"""Concurrent submissions share a transaction, and nothing else."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from crawlyard.core.access.user import LOCAL, Actor, Role
from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import Move
from crawlyard.errors import Forbidden, NotPublic, QuotaExceeded, StoreUnavailable
from crawlyard.messaging.local_dispatcher import LocalDispatcher
from crawlyard.services.jobs import submission
from crawlyard.services.jobs.batches import submit_batch
from crawlyard.services.jobs.submission import Submitter
from crawlyard.store.queries import Entered, Entrant, EventQuery, JobQuery
from crawlyard.store.store import Store
from tests.builders import NOW, a_spec
from tests.builders_serve import quoted
from tests.clock import FakeClock
from tests.jobs import submit_to

URL = "https://example.com/"
FORM = {"urls": [URL]}
ADA, BOB = Actor(id="ada"), Actor(id="bob")
GOOD = a_spec()
BAD = a_spec(urls=("http://127.0.0.1/",))


@dataclass
class Door:
    """An intake that records the size of each group, and can fail."""

    store: Store
    came: list[int] = field(default_factory=list)
    hates: str = ""  # the owner at whom it breaks
    shut: bool = False
    cancels: bool = False  # the new jobs, at once

    async def enter(self, entrants: Sequence[Entrant]) -> list[Entered]:
        self.came.append(len(entrants))
        if self.shut:
            raise StoreUnavailable("it is shut")
        if any(entrant.owner == self.hates for entrant in entrants):
            raise RuntimeError("a defect")
        answers = await self.store.intake.enter(entrants)
        if self.cancels:
            await self.store.jobs.change_all(
                [answer.id for answer in answers if isinstance(answer, Job)],
                lambda each: each.job.apply_move(Move.CANCEL, NOW, actor="local"),
            )
        return answers


@dataclass
class IntakeRig:
    """A submitter, with records of its calls."""

    store: Store
    door: Door
    submitter: Submitter
    instants: list[datetime]

    async def stored(self) -> list[Job]:
        standings = await self.store.jobs.find(JobQuery(oldest_first=True), 2000)
        return [standing.job for standing in standings]


class Announced(LocalDispatcher):
    """A dispatcher that records its notifications."""

    def __init__(self) -> None:
        super().__init__()
        self.instants: list[datetime] = []

    def announce(self, due_at: datetime) -> None:
        self.instants.append(due_at)
        super().announce(due_at)


@pytest.fixture
def yard(store: Store) -> IntakeRig:
    door, dispatcher = Door(store), Announced()
    submitter = Submitter(store.with_parts(intake=door), dispatcher, FakeClock())
    return IntakeRig(store, door, submitter, dispatcher.instants)


class TestAtTheSameTime:
    async def test_all_are_let_in_together_in_their_order(self, yard: IntakeRig) -> None:
        jobs = await asyncio.gather(*(submit_to(yard.submitter, LOCAL, GOOD) for _ in range(16)))
        assert await yard.stored() == jobs
        assert (sum(yard.door.came), len(yard.door.came) <= 2) == (16, True)

    async def test_each_caller_gets_the_error_of_its_own_submission(self, yard: IntakeRig) -> None:
        await quoted(yard.store, pending=2)
        submissions = [(ADA, GOOD), (BOB, BAD), (ADA, GOOD), (ADA, GOOD), (BOB, GOOD)]

        answers = await asyncio.gather(
            *(submit_to(yard.submitter, actor, spec) for actor, spec in submissions),
            return_exceptions=True,
        )

        kinds = [type(answer) for answer in answers]
        assert kinds == [Job, NotPublic, Job, QuotaExceeded, Job]
        assert str(answers[3]) == "2 jobs of ada wait already, and 2 may (quota.pending)"
        assert await yard.stored() == [answers[n] for n in (0, 2, 4)]

    async def test_a_cancelled_submission_does_not_cancel_its_batch(self, yard: IntakeRig) -> None:
        tasks = [asyncio.ensure_future(submit_to(yard.submitter, LOCAL, GOOD)) for _ in range(5)]
        await asyncio.sleep(0)  # all have asked, and nothing was begun
        tasks[2].cancel()

        answers = await asyncio.gather(*tasks, return_exceptions=True)

        assert [type(answer) for answer in answers].count(Job) == 4
        assert isinstance(answers[2], asyncio.CancelledError)
        assert await yard.stored() == [answer for answer in answers if isinstance(answer, Job)]

    async def test_a_defect_in_one_is_no_others_affair(self, yard: IntakeRig) -> None:
        yard.door.hates = "bob"
        answers = await asyncio.gather(
            *(submit_to(yard.submitter, actor, GOOD) for actor in (ADA, BOB, LOCAL)),
            return_exceptions=True,
        )
        assert [type(answer) for answer in answers] == [Job, RuntimeError, Job]
        assert await yard.stored() == [answers[0], answers[2]]

    async def test_all_hear_of_a_store_that_is_away_and_may_try_again(
        self, yard: IntakeRig
    ) -> None:
        yard.door.shut = True
        answers = await asyncio.gather(
            *(submit_to(yard.submitter, LOCAL, GOOD) for _ in range(4)), return_exceptions=True
        )
        yard.door.shut = False

        again = await submit_to(yard.submitter, LOCAL, GOOD)

        assert [type(answer) for answer in answers] == [StoreUnavailable] * 4
        assert sum(yard.door.came) == 5
        assert await yard.stored() == [again]

    async def test_workers_are_notified_once_per_batch(self, yard: IntakeRig) -> None:
        await asyncio.gather(*(submit_to(yard.submitter, LOCAL, GOOD) for _ in range(9)))
        assert yard.instants == [NOW] * len(yard.door.came)


class TestBatches:
    async def test_jobs_are_stored_in_request_order_with_their_start_times(
        self, yard: IntakeRig
    ) -> None:
        later = NOW + timedelta(hours=1)
        forms = [
            FORM | {"name": f"n{n}"} | ({"start_at": later.isoformat()} if n % 2 else {})
            for n in range(6)
        ]

        batch = await submit_batch(yard.submitter, LOCAL, forms)

        jobs = await yard.stored()
        assert [result.id for result in batch.results] == [job.id for job in jobs]
        assert [job.spec.name for job in jobs] == [f"n{n}" for n in range(6)]
        assert [job.due_at for job in jobs] == [NOW, later] * 3
        assert (yard.door.came, yard.instants) == ([6], [NOW])

    async def test_a_large_batch_ends_once_however_early_its_jobs_end(
        self, yard: IntakeRig
    ) -> None:
        yard.door.cancels = True
        batch = await submit_batch(yard.submitter, LOCAL, [FORM] * 600)
        ends = EventQuery(names=frozenset({EventName.GROUP_COMPLETED}))
        [end] = await yard.store.events.events(ends)
        assert (end.subject, end.data["jobs"]) == (batch.group_id, 600)

    async def test_others_with_many_urls_take_more_transactions(
        self, yard: IntakeRig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(submission, "HEAVIEST", 5)
        heavy = [f"{URL}{n}" for n in range(4)]
        await submit_batch(yard.submitter, LOCAL, [FORM, {"urls": heavy}, FORM, {"urls": heavy}])
        spec = a_spec(urls=tuple(heavy))
        await asyncio.gather(*(submit_to(yard.submitter, LOCAL, spec) for _ in range(3)))
        assert yard.door.came == [4, 1, 1, 1]

    async def test_one_that_is_refused_is_answered_in_its_place(self, yard: IntakeRig) -> None:
        await quoted(yard.store, pending=2)
        bad, private = {"urls": ["http://127.0.0.1/"]}, FORM | {"allow_private": True}
        batch = await submit_batch(yard.submitter, ADA, [FORM, bad, FORM, private, FORM])
        assert [result.code for result in batch.results] == [
            None,
            "validation_failed",
            None,
            "forbidden",
            "limit_exceeded",
        ]
        assert [job.id for job in await yard.stored()] == [
            result.id for result in batch.results if result.ok
        ]

    async def test_a_refused_or_empty_batch_does_not_reach_the_store(self, yard: IntakeRig) -> None:
        viewer = Actor(id="eve", role=Role.VIEWER)
        with pytest.raises(Forbidden, match="eve may view jobs, but not submit them"):
            await submit_batch(yard.submitter, viewer, [FORM] * 2)
        assert yard.door.came == []

        bad = {"urls": ["http://127.0.0.1/"]}
        for forms in ([bad] * 2, []):
            batch = await submit_batch(yard.submitter, LOCAL, forms)
            assert (batch.group_id, batch.succeeded) == (None, 0)
            assert (yard.door.came, yard.instants) == ([], [])
