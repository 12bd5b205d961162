"""`JobWriter`, over every store: checks before any part of a job is lost."""

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from crawlyard.core.access.user import LOCAL, Actor, Role
from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.jobs.job import Job, Origin, Standing
from crawlyard.core.jobs.lifecycle import Move, State
from crawlyard.core.jobs.limits import Limits, Usage
from crawlyard.errors import Forbidden, IllegalMove, NotFound
from crawlyard.services.jobs.lookup import find_job
from crawlyard.services.jobs.moves import JobWriter
from crawlyard.store.queries import EventQuery
from crawlyard.store.store import Store
from tests.builders import a_batch, a_spec, a_target, done, failed
from tests.clock import FakeClock
from tests.conformance.steps import added, claimed, ended, recorded
from tests.jobs import a_writer

ADA = Actor(id="ada")
GOOD, SLOW, GONE = (a_target(path) for path in ("good", "slow", "gone"))
MINUTE = timedelta(minutes=1)


@pytest.fixture
def writer(store: Store) -> JobWriter:
    return a_writer(store, FakeClock())


async def crawled(store: Store, limits: Limits) -> Job:
    """Return an ended job of Ada's: one good page, a time-out and a 404, in a minute."""
    job = await added(store, owner="ada", spec=a_spec(limits=limits))
    claim = await claimed(store, job)
    outcomes = [
        done(GOOD),
        failed(SLOW, ErrorKind.TIMEOUT),
        failed(GONE, ErrorKind.HTTP_4XX, status=404),
    ]
    batch = a_batch([GOOD, SLOW, GONE], outcomes)
    used = batch.usage.plus(
        Usage(duration_s=MINUTE.total_seconds(), bytes=1000 - batch.usage.bytes)
    )
    answer = await recorded(store, claim.lease, replace(batch, usage=used))
    return await ended(store, answer.lease)


async def whole(store: Store, job: Job) -> tuple[Standing, Any]:
    """Return all that retrying its failed URLs would change of a job."""
    return await store.jobs.get(job.id), await store.pages.errors(job.id)


@pytest.mark.parametrize(
    ("limits", "kinds"),
    [
        (Limits(duration_s=MINUTE.total_seconds()), ()),
        (Limits(bytes=1000), ()),
        (Limits(pages=1), ()),
        (Limits(pages=2), (ErrorKind.TIMEOUT,)),  # it had no answer: no page is given back
        (Limits(errors=1), (ErrorKind.TIMEOUT,)),
    ],
)
async def test_failed_urls_are_not_lost_for_a_job_that_would_end_at_once(
    store: Store, writer: JobWriter, limits: Limits, kinds: tuple[ErrorKind, ...]
) -> None:
    job = await crawled(store, limits)
    before = await whole(store, job)
    with pytest.raises(IllegalMove, match=r"has used up limits\.\w+; raise it first") as refused:
        await writer.retry_failed(ADA, job.id, kinds)
    assert refused.value.allowed == ("edit",)
    assert await whole(store, job) == before


@pytest.mark.parametrize(
    ("limits", "kinds"),
    [
        (Limits(pages=2), ()),
        (Limits(pages=2), (ErrorKind.HTTP_4XX,)),
        (Limits(errors=1), ()),
        (
            Limits(errors=2, duration_s=(2 * MINUTE).total_seconds(), bytes=1001),
            (ErrorKind.TIMEOUT,),
        ),
    ],
)
async def test_retrying_failed_urls_restores_the_limits_that_they_used(
    store: Store, writer: JobWriter, limits: Limits, kinds: tuple[ErrorKind, ...]
) -> None:
    job = await crawled(store, limits)
    retried, count = await writer.retry_failed(ADA, job.id, kinds)
    assert (retried.state, count) == (State.PENDING, len(kinds) or 2)


async def test_a_job_that_an_admin_runs_again_is_still_its_owners(
    store: Store, writer: JobWriter
) -> None:
    origin = Origin(template_id="a-template", template_version=3, given=("urls",))
    old = await added(store, owner="ada", state=State.FAILED, origin=origin)

    new = await writer.retry(LOCAL, old.id)

    assert (new.owner, new.retry_of, new.origin, new.spec) == ("ada", old.id, origin, old.spec)
    [created] = await store.events.events(EventQuery(subject=new.id))
    assert (created.owner, created.actor) == ("ada", "local")
    assert (await find_job(store, ADA, new.id)).job == new


async def test_a_job_in_which_nothing_failed_is_not_said_to_be_retried_so(
    store: Store, writer: JobWriter
) -> None:
    job = await crawled(store, Limits())
    with pytest.raises(IllegalMove) as other_kind:
        await writer.retry_failed(ADA, job.id, (ErrorKind.TLS, ErrorKind.DNS))
    flawless = await added(store, owner="ada")
    claim = await claimed(store, flawless)
    answer = await recorded(store, claim.lease, a_batch([GOOD], [done(GOOD)]))
    await ended(store, answer.lease)
    with pytest.raises(IllegalMove) as none:
        await writer.retry_failed(ADA, flawless.id)
    with pytest.raises(IllegalMove) as no_rest:
        await writer.move(ADA, flawless.id, Move.RESUME)

    kinds = '"host not found" or "no trusted connection"'
    failures = "1 refused by the server (4xx), 1 timed out"
    named = f"no URL of job {job.id} failed with {kinds}; what failed: {failures}"
    assert (str(other_kind.value), other_kind.value.allowed) == (named, ("retry_failed", "retry"))
    again = "crawl it again as a new job"
    assert str(none.value) == f"no URL of job {flawless.id} failed; {again}"
    assert str(no_rest.value) == f"job {flawless.id} has nothing left to fetch; {again}"
    assert none.value.allowed == no_rest.value.allowed == ("retry",)


async def test_owner_and_admins_see_a_job_and_viewers_cannot_change_it(
    store: Store, writer: JobWriter
) -> None:
    job = await added(store, owner="ada")
    moves = (Move.PAUSE, Move.RESUME, Move.CANCEL, Move.RETRY_NOW)
    changes: list[Any] = [
        *(partial(writer.move, move=move) for move in moves),
        *(writer.retry, writer.delete),
    ]

    for act in [partial(find_job, store), *changes]:
        with pytest.raises(NotFound):
            await act(Actor(id="eve"), job.id)
    for act in changes:
        with pytest.raises(Forbidden):
            await act(Actor(id="ada", role=Role.VIEWER), job.id)
    for actor in (ADA, LOCAL, Actor(id="ada", role=Role.VIEWER)):
        assert (await find_job(store, actor, job.id)).job == job


async def test_a_job_that_waits_or_runs_is_not_deleted(store: Store, writer: JobWriter) -> None:
    job = await added(store, owner="ada")
    with pytest.raises(IllegalMove, match="cannot delete a job that is waiting; cancel it first"):
        await writer.delete(ADA, job.id)
    await claimed(store, job)
    with pytest.raises(IllegalMove, match="cannot delete a job that is running; cancel it first"):
        await writer.delete(ADA, job.id)
