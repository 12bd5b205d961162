"""Job answers: waiting reasons, and the template and schedule of origin."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from msgspec.structs import replace

from crawlyard.core.access.job_parts import JobPart, may_change_job, sees_job, shows_others
from crawlyard.core.access.user import Actor, Permit
from crawlyard.core.jobs.answers import JobOut
from crawlyard.core.jobs.attempts import TELLING, attempts_of
from crawlyard.core.jobs.detail_answers import AttemptOut, JobProgressOut, JobTiesOut
from crawlyard.core.jobs.job import Job, Origin, Shard, Standing
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.progress import progress_of_standing
from crawlyard.core.jobs.waiting import (
    Surroundings,
    Wait,
    WaitReason,
    pending_waits,
    running_waits,
)
from crawlyard.core.templates.answers import TemplateOut
from crawlyard.errors import NotFound, Unavailable
from crawlyard.services.jobs.lookup import read_all_events
from crawlyard.services.schedules.answers import schedule_answer
from crawlyard.services.schedules.lookup import find_schedule
from crawlyard.services.templates.lookup import find_template
from crawlyard.services.workers.reporting import ALIVE
from crawlyard.store.queries import EventQuery
from crawlyard.store.store import Store

TIES = {"template": Permit.TEMPLATES_READ, "schedule": Permit.SCHEDULES_READ}
"""Fields by which a job can be expanded, and the permit for each."""


async def jobs_out(
    store: Store, actor: Actor, now: datetime, standings: Sequence[Standing]
) -> Sequence[JobOut]:
    """Return the responses for jobs as the actor may see them, in their order."""
    waits = await waits_of(store, now, standings)
    jobs = []
    for standing in standings:
        job, progress = standing.job, progress_of_standing(standing)
        answer = JobOut.of(standing, progress, now, waits.get(job.id, ()))
        if not actor.may_see(job.owner):
            answer = answer.for_others(
                may_change=may_change_job(actor, job), shows_pages=shows_others(job, JobPart.PAGES)
            )
        jobs.append(answer)
    return jobs


def progress_out(actor: Actor, standing: Standing) -> JobProgressOut:
    """Return the progress of a job as the actor may see it."""
    answer = JobProgressOut.now(standing, progress_of_standing(standing))
    if sees_job(actor, standing.job, JobPart.PAGES):
        return answer
    return replace(answer, current_url="").at_beat(answer.beat)


async def attempts_out(store: Store, actor: Actor, standing: Standing) -> list[AttemptOut]:
    """Return the attempts of workers to run a job, the first one first."""
    query = EventQuery(subject=standing.job.id, names=TELLING)
    attempts = attempts_of(await read_all_events(store.events, query))
    if not sees_job(actor, standing.job, JobPart.PAGES):  # details may name the session
        attempts = [replace(attempt, detail="") for attempt in attempts]
    return AttemptOut.list_of(attempts, standing.shard.usage.pages)


def new_job_out(job: Job, now: datetime, waits: Sequence[Wait]) -> JobOut:
    """Return the response for a job that was just stored."""
    new = Standing(job=job, shard=Shard())
    return JobOut.of(new, progress_of_standing(new), now, waits)


async def ties_of(
    store: Store, actor: Actor, origin: Origin, names: Collection[str]
) -> JobTiesOut | None:
    """Return the template and schedule of *origin*, if named in *names* and visible."""
    if not names:
        return None
    template, schedule = None, None
    with suppress(NotFound):
        if "template" in names and origin.template_id is not None:
            made_of = await find_template(store, actor, origin.template_id, origin.template_version)
            template = TemplateOut.of(made_of)
    with suppress(NotFound):
        if "schedule" in names and origin.schedule_id is not None:
            made_by = await find_schedule(store, actor, origin.schedule_id, shared=True)
            schedule = await schedule_answer(store, actor, made_by)
    return JobTiesOut(template=template, schedule=schedule)


MOST_PLACES = 1_000
"""Number of queue positions counted for a list of jobs."""

MOST_AHEAD = 10_000
"""Number of jobs ahead counted for a single job."""

WORKER_WITHIN_S = 1.0
"""How long a caller waits for a job if no worker is alive."""


async def waits_of(
    store: Store, now: datetime, standings: Sequence[Standing], *, new: bool = False
) -> Mapping[str, tuple[Wait, ...]]:
    """Return what jobs wait for, by job id; jobs that wait for nothing are left out.

    Takes three reads, however many jobs there are. For a single pending job, more places
    in the queue are counted. A *new* job, which is the only one, is not stored yet.
    """
    live = [
        standing for standing in standings if standing.job.state in (State.PENDING, State.RUNNING)
    ]
    if not live:
        return {}
    reports = await store.workers.find()
    alive = tuple(report for report in reports if now - report.beat_at <= ALIVE)
    pending = [standing for standing in live if standing.job.state is State.PENDING]
    counted = MOST_AHEAD if len(pending) == 1 else MOST_PLACES
    among = Surroundings(workers=alive, counted=counted)
    held_back = await store.positions.find_held_owners(now) if pending else {}
    places = await _places(store, pending, held_back, now, new=new)
    waits: dict[str, tuple[Wait, ...]] = {}
    for standing in live:
        job, until = standing.job, standing.shard.lease_until
        if job.state is State.RUNNING:
            of_job = running_waits(job, now, alive)
        else:
            is_leased = standing.shard.worker is not None and until is not None and until > now
            quota, place = held_back.get(job.owner), places.get(job.id)
            of_job = pending_waits(job, now, quota, place, is_held=is_leased, among=among)
        if of_job:
            waits[job.id] = of_job
    return waits


async def waits_of_new(store: Store, now: datetime, job: Job) -> Sequence[Wait]:
    """Return what *job* waits for once it is stored."""
    new = Standing(job=job, shard=Shard())
    return (await waits_of(store, now, [new], new=True)).get(job.id, ())


async def _places(
    store: Store,
    pending: Sequence[Standing],
    held_back: Mapping[str, str],
    now: datetime,
    *,
    new: bool,
) -> dict[str, int]:
    """Return the number of jobs ahead of each job that may start now, as far as counted."""
    able = [s.job for s in pending if s.job.due_at <= now and s.job.owner not in held_back]
    if len(able) == 1:
        (job,) = able
        count = await store.positions.count_ahead(job, now, MOST_AHEAD + 1, held_back, new=new)
        return {job.id: count} if count <= MOST_AHEAD else {}
    if not able:
        return {}
    front = await store.positions.find_front(now, MOST_PLACES, held_back)
    return {job_id: place for place, job_id in enumerate(front)}


def check_worker(job: JobOut, *, here: bool) -> None:
    """Check that a queued job can be run: some worker is alive.

    Raises:
        Unavailable: none is.
    """
    if all(wait.reason != WaitReason.NO_WORKER for wait in job.waits_for):
        return
    hint = "run `crawlyard work` for its instance"
    if here:
        hint = "run `crawlyard work`, or call `jobs.run`, which crawls in this process"
    raise Unavailable(f"job {job.id} is queued, but no worker is alive: {hint}")
