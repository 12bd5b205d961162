"""Job manager: the operations on jobs that the library, command line and API share."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from msgspec.structs import replace

from crawlyard.core.access.user import Actor, Grants, Role
from crawlyard.core.crawl.page import ErrorGroup, ErrorKind
from crawlyard.core.endpoint import reply
from crawlyard.core.event import Event, EventName
from crawlyard.core.jobs.checkpoint import Standing
from crawlyard.core.jobs.job import DELETABLE, Action, Job, damage_of, has_rest
from crawlyard.core.jobs.lifecycle import DONE_IN, LIFECYCLE, STATE_WORDS, Move, State
from crawlyard.core.jobs.limits import Limits, Usage, breach, given_back
from crawlyard.core.jobs.order import JobOrder
from crawlyard.core.jobs.progress import Progress, progress_of_standing
from crawlyard.core.jobs.spec import JobSpec, Priority
from crawlyard.core.jobs.spec_json import EDITABLE, edited
from crawlyard.core.purge_result import PurgeResult
from crawlyard.core.words import ERRORS
from crawlyard.engine.admission import check_spec
from crawlyard.errors import (
    Conflict,
    Forbidden,
    IllegalMove,
    Invalid,
    Refused,
    Version,
    check_version,
)
from crawlyard.lazy import lazily
from crawlyard.services.access.policy import check_grants, within_ceilings
from crawlyard.services.jobs.lookup import find_job, visible_query
from crawlyard.services.jobs.submission import JobDraft, JobSubmitter, Submission
from crawlyard.services.races import TRIES
from crawlyard.store.queries import (
    EVERY_JOB,
    Entered,
    JobQuery,
    Judged,
    Verdict,
)

# it loads much, and few delete jobs
with lazily():
    from crawlyard.services.worker import janitor

_A_MOMENT = timedelta(milliseconds=250)


class JobManager(JobSubmitter):
    """Submits, finds, moves, edits, retries and deletes jobs.

    Every method takes its actor first. A job that the actor may not see raises `NotFound`, and
    one that they may not change raises `Forbidden`. If *version* is given, only that version
    is changed: if the job has changed since, `Stale` is raised and nothing is written.
    """

    async def get(self, actor: Actor, job_id: str) -> Standing:
        """Return a job with its usage and lease.

        Raises:
            NotFound: there is none of that id, or it belongs to another user.
        """
        return await find_job(self._store, actor, job_id)

    async def progress(self, actor: Actor, job_id: str) -> Progress:
        """Return the progress of a job, its pace and the time left.

        Raises:
            NotFound: there is none of that id, or it belongs to another user.
        """
        return progress_of_standing(await self.get(actor, job_id))

    async def find(
        self, actor: Actor, query: JobQuery | None = None, limit: int = 50
    ) -> list[Standing]:
        """Return at most *limit* jobs that match *query* and that the actor may see, newest first.

        Conditions may refer to templates and schedules by name, and to the actor as ``me``.
        """
        asked = await visible_query(self._store, actor, query or EVERY_JOB)
        return await self._store.jobs.find(asked, limit)

    async def find_ordered(
        self, actor: Actor, query: JobQuery, order: JobOrder, limit: int, after: str | None
    ) -> list[tuple[Standing, str]]:
        """Return at most *limit* jobs in *order*, each with the position to go on from.

        Raises:
            Invalid: no index has the order, and too many jobs match to sort them.
        """
        asked = await visible_query(self._store, actor, query)
        return await self._store.jobs.find_ordered(asked, order, limit, after)

    async def ids(self, actor: Actor, query: JobQuery, limit: int) -> list[str]:
        """Return the ids of what `find` finds."""
        return await self._store.jobs.ids(await visible_query(self._store, actor, query), limit)

    async def queue(self, actor: Actor, now: datetime, limit: int) -> list[Standing]:
        """Return the first *limit* pending jobs that the actor may see, in the order of claims."""
        owner = None if actor.role is Role.ADMIN else actor.id
        return await self._store.queue.pending(now, limit, owner)

    async def counts(
        self, actor: Actor, query: JobQuery = EVERY_JOB, most: int | None = None
    ) -> Mapping[tuple[State, Priority], int]:
        """Return how many of the jobs that `find` matches are in each state and priority.

        Zeros are left out.

        *most* bounds how many are read: see `JobStore.counts`.
        """
        return await self._store.jobs.counts(await visible_query(self._store, actor, query), most)

    async def pause(
        self, actor: Actor, job_id: str, why: str = "", *, version: Version = None
    ) -> Job:
        """Pause a pending or running job; its frontier is kept. A paused job is left as it is.

        The store has the new state at once. At most 400 ms later, the worker sends no more
        requests (with a database more than 75 ms away: 250 ms plus two round trips). The
        results of requests in flight are kept.

        Raises:
            NotFound, Forbidden, IllegalMove, Stale: as the names say.
        """
        return await self._move(actor, job_id, Move.PAUSE, why, version)

    async def cancel(
        self, actor: Actor, job_id: str, why: str = "", *, version: Version = None
    ) -> Job:
        """Cancel a job that has not ended; its pages are kept. A cancelled job is left as it is.

        Raises:
            NotFound, Forbidden, IllegalMove, Stale: as the names say.
        """
        return await self._move(actor, job_id, Move.CANCEL, why, version)

    async def resume(self, actor: Actor, job_id: str, *, version: Version = None) -> Job:
        """Queue a paused job again, or an ended one that still has URLs to fetch.

        No URL is fetched twice. A job that is due or running is left as it is.

        Raises:
            NotFound, Stale: as the names say.
            Forbidden: the actor may not, or a grant that the job needs was withdrawn.
            IllegalMove: it waits for its start, nothing is left, or a limit that is used up
                would end it at once.
        """
        return await self._move(actor, job_id, Move.RESUME, "", version)

    async def retry(self, actor: Actor, job_id: str, *, version: Version = None) -> Job:
        """Submit a new job with the spec and the owner of one that has ended, and return it.

        Raises:
            NotFound, Forbidden, QuotaExceeded, Stale: as the names say.
            IllegalMove: the job has not ended.
        """
        for _ in range(TRIES):
            draft = await self._again(actor, (await self._changeable(actor, job_id, version)).job)
            with suppress(Conflict):
                return await self.enter(draft)
        raise _keeps_changing(job_id)

    async def retry_all(
        self, actor: Actor, ids: Collection[str]
    ) -> Mapping[str, tuple[Job, Entered]]:
        """Submit new jobs like those that have ended, in ONE transaction, as `retry` does.

        Return each with its new job, or with why there is none. Jobs that the actor may not see
        are missing.
        """
        answers: dict[str, tuple[Job, Entered]] = {}
        drafts: list[JobDraft] = []
        for job_id, standing in (await self._store.jobs.named(ids)).items():
            job = standing.job
            if actor.may_see(job.owner):
                try:
                    _check_may_change(actor, job)
                    drafts.append(await self._again(actor, job))
                except Refused as refusal:
                    answers[job_id] = job, refusal
        now = self._clock.now()
        entered = await self._intake.enter([draft.entrant(now) for draft in drafts])
        for draft, answer in zip(drafts, entered, strict=True):
            if draft.like is not None:
                answers[draft.like.id] = draft.like, answer
        return answers

    async def _again(self, actor: Actor, old: Job) -> JobDraft:
        _check_sound(old)
        if not old.state.ended:
            message = f"cannot retry a job that is {STATE_WORDS[old.state]}"
            raise IllegalMove(message, allowed=tuple(LIFECYCLE[old.state]))
        owner = actor if actor.id == old.owner else Actor(id=old.owner)
        spec = replace(old.spec, unique_key=None)  # the old job keeps it
        asked = Submission(spec=spec, origin=old.origin)
        return await self.draft(owner, asked, by=actor.id, like=old)

    async def retry_failed(
        self,
        actor: Actor,
        job_id: str,
        kinds: Collection[ErrorKind] = (),
        *,
        version: Version = None,
    ) -> tuple[Job, int]:
        """Retry the failed URLs of an ended job that failed with *kinds* (empty: any error).

        Return the job and how many URLs wait again.

        Raises:
            NotFound, Forbidden, Stale: as the names say.
            IllegalMove: the job has not ended, nothing in it failed that way, or a
                limit that is used up would end it before its first request.
        """
        for _ in range(TRIES):
            standing = await self._changeable(actor, job_id, version)
            old = standing.job
            _check_sound(old)
            job, event = old.moved(Move.RETRY_FAILED, self._clock.now(), actor=actor.id)
            groups = await self._store.pages.errors(old.id)
            failed = [group for group in groups if not kinds or group.kind in kinds]
            if not failed:
                raise _none_failed(standing, kinds, groups)
            _check_limits(old, _without(standing.shard.usage, failed))
            await self._policy.check_granted(old.by_grant)
            try:
                count = await self._store.jobs.retry_failed(job, event, kinds)
            except Conflict:
                await self._changeable(actor, job_id, version)
                # the worker may still be storing what was in flight
                await self._clock.sleep(_A_MOMENT)
                continue
            self._dispatcher.announce(job.due_at)
            return job, count
        raise Conflict(f"job {job_id} is still held by its worker; try again")

    async def retry_now(self, actor: Actor, job_id: str, *, version: Version = None) -> Job:
        """Make a job due now that waits for its next attempt or start time, and return it.

        It keeps its place in the queue. A job that is already due is left as it is.

        Raises:
            NotFound, Forbidden, Stale: as the names say.
            IllegalMove: it is not pending.
        """
        return await self._move(actor, job_id, Move.RETRY_NOW, "", version)

    async def edit(
        self,
        actor: Actor,
        job_id: str,
        changes: Mapping[str, object],
        version: Version = None,
    ) -> Job:
        """Change fields of a job's spec (those in `EDITABLE`) and return the job.

        A running job applies them at its next checkpoint. If no value differs, nothing changes.

        Raises:
            Invalid: a field cannot be changed, or its value is out of range.
            NotFound, Forbidden, IllegalMove, Stale: as the names say.
        """
        if fixed := sorted(set(changes) - EDITABLE):
            known = ", ".join(sorted(EDITABLE))
            why = f"cannot be changed in a job; what can: {known}"
            raise Invalid.of(Invalid(name, why) for name in fixed)
        for _ in range(TRIES):
            old = (await self._changeable(actor, job_id, version)).job
            ceilings = await self._policy.ceilings({old.owner})
            change = _edit(old, changes, ceilings[old.owner], self._clock.now(), actor)
            if change is None:
                return old
            try:
                await self._store.jobs.save(*change)
            except Conflict:
                continue
            return change[0]
        raise _keeps_changing(job_id)

    async def delete(self, actor: Actor, job_id: str, version: Version = None) -> None:
        """Delete an ended or paused job with all its pages; `purge` frees the space.

        A damaged job can be deleted while it is pending, too.

        Raises:
            NotFound, Forbidden, Stale: as the names say.
            IllegalMove: the job is pending or running.
        """
        for _ in range(TRIES):
            old = (await self.deletable(actor, job_id, version)).job
            event = old.event(EventName.DELETED, self._clock.now(), actor.id)
            with suppress(Conflict):
                return await self._store.jobs.delete(old.id, old.version, event)
        raise _keeps_changing(job_id)

    async def deletable(self, actor: Actor, job_id: str, version: Version = None) -> Standing:
        """Check that `delete` would delete a job, and return the job.

        Raises:
            NotFound, Forbidden, IllegalMove, Stale: as for `delete`.
        """
        standing = await self._changeable(actor, job_id, version)
        _check_deletable(standing.job)
        return standing

    async def move_all(
        self, actor: Actor, ids: Collection[str], move: Move, why: str = ""
    ) -> Mapping[str, Judged]:
        """Pause, resume, cancel or hurry jobs, in ONE transaction; return what became of each.

        Each is judged as by the method for one job, and a refusal harms no other. Jobs that the
        actor may not see are missing in the answer. Pass some hundred ids at most.
        """
        now = self._clock.now()
        resumes = move is Move.RESUME
        granted = await self._policy.granted() if resumes else Grants()

        def verdict(standing: Standing) -> tuple[Job, Event] | None:
            change = _moved(standing, move, now, actor, why)
            if change is not None and resumes:
                check_grants(standing.job.by_grant, granted)
            return change

        answers = await self._change_all(actor, ids, verdict)
        self._dispatcher.announce(now)
        return answers

    async def edit_all(
        self,
        actor: Actor,
        ids: Collection[str],
        changes_of: Callable[[JobSpec], Mapping[str, object]],
    ) -> Mapping[str, Judged]:
        """Change the specs of jobs as `edit` does, in ONE transaction; as for `move_all`."""
        now = self._clock.now()
        ceilings = await self._policy.ceilings(await self._store.jobs.owners(ids))

        def verdict(standing: Standing) -> tuple[Job, Event] | None:
            job = standing.job
            return _edit(job, changes_of(job.spec), ceilings[job.owner], now, actor)

        return await self._change_all(actor, ids, verdict)

    async def delete_all(self, actor: Actor, ids: Collection[str]) -> Mapping[str, Judged]:
        """Delete jobs as `delete` does, in ONE transaction; as for `move_all`."""
        now = self._clock.now()

        def verdict(standing: Standing) -> tuple[Job, Event]:
            job = standing.job
            _check_deletable(job)
            return job, job.event(EventName.DELETED, now, actor.id)

        judged = await self._store.jobs.delete_all(ids, _permitted(actor, verdict))
        return _seen_by(actor, judged)

    async def _change_all(
        self, actor: Actor, ids: Collection[str], verdict: Verdict
    ) -> Mapping[str, Judged]:
        judged = await self._store.jobs.change_all(ids, _permitted(actor, verdict))
        return _seen_by(actor, judged)

    async def purge(self, actor: Actor) -> PurgeResult:
        """Free the space of all deleted jobs, in small steps; return what was freed.

        Raises:
            Forbidden: the actor may only view jobs.
        """
        if not actor.may_change(actor.id):
            raise Forbidden(f"{actor.id} may look at jobs, not delete them")
        return await janitor.purged(self._store.upkeep, self._clock)

    async def _move(self, actor: Actor, job_id: str, move: Move, why: str, version: Version) -> Job:
        for _ in range(TRIES):
            standing = await self._changeable(actor, job_id, version)
            change = _moved(standing, move, self._clock.now(), actor, why)
            if change is None:
                reply().unchanged = True
                return standing.job
            if move is Move.RESUME:
                await self._policy.check_granted(standing.job.by_grant)
            try:
                await self._store.jobs.save(*change)
            except Conflict:
                continue
            self._dispatcher.announce(change[0].due_at)
            return change[0]
        raise _keeps_changing(job_id)

    async def _changeable(self, actor: Actor, job_id: str, version: Version = None) -> Standing:
        standing = await self.get(actor, job_id)
        _check_may_change(actor, standing.job)
        check_version(f"job {job_id}", standing.job.version, version)
        return standing


def _keeps_changing(job_id: str) -> Conflict:
    return Conflict(f"job {job_id} keeps changing; try again")


# --- verdicts on one job, by which one alone or many together are changed


def _permitted(actor: Actor, verdict: Verdict) -> Verdict:
    """Return *verdict* for the jobs that the actor may change; others are refused."""

    def judge(standing: Standing) -> tuple[Job, Event] | None:
        if not actor.may_see(standing.job.owner):
            return None
        _check_may_change(actor, standing.job)
        return verdict(standing)

    return judge


def _seen_by(actor: Actor, judged: Mapping[str, Judged]) -> Mapping[str, Judged]:
    return {job_id: one for job_id, one in judged.items() if actor.may_see(one.job.owner)}


def _check_may_change(actor: Actor, job: Job) -> None:
    if not actor.may_change(job.owner):
        raise Forbidden(f"{actor.id} may look at job {job.id}, not change it")


def _moved(
    standing: Standing, move: Move, now: datetime, actor: Actor, why: str
) -> tuple[Job, Event] | None:
    """Return a job after a move, and the event; ``None`` if it is where the move leads."""
    old = standing.job
    if move is not Move.CANCEL:
        _check_sound(old)
    if old.state in DONE_IN.get(move, ()) and not old.waits_at(now):
        return None
    change = old.moved(move, now, actor=actor.id, detail=why)
    if move is Move.RESUME:
        _check_resumable(standing)
    return change


def _edit(
    old: Job,
    changes: Mapping[str, object],
    ceilings: tuple[Limits, Limits],
    now: datetime,
    actor: Actor,
) -> tuple[Job, Event] | None:
    """Return a job with changes to its spec, and the event; ``None`` if no value differs."""
    _check_sound(old)
    spec = edited(old.spec, changes, check_spec)
    within = within_ceilings(spec, *ceilings)
    told = {name: str(value) for name, value in changes.items()}
    job, event = old.edited(within.spec, now, actor=actor.id, changed=told)
    return None if job.spec == old.spec else (job, within.told(event))


def _check_deletable(job: Job) -> None:
    waits = job.damaged and job.state is State.PENDING  # running it could only fail
    if job.state not in DELETABLE and not waits:
        message = f"cannot delete a job that is {STATE_WORDS[job.state]}; cancel it first"
        raise IllegalMove(message, allowed=tuple(LIFECYCLE[job.state]))


def _check_sound(job: Job) -> None:
    """Refuse every change to a damaged job except cancelling or deleting it."""
    if job.damaged:
        end = "cancel" if job.state is State.RUNNING else "delete"
        raise IllegalMove(f"job {job.id} is {damage_of(job)}", allowed=(end,))


def _check_resumable(standing: Standing) -> None:
    job, usage = standing.job, standing.shard.usage
    if not job.state.ended:
        return
    if not has_rest(usage):
        raise IllegalMove(
            f"job {job.id} has nothing left to fetch; {_retry_hint(job)}",
            allowed=_restarts(standing, failed=bool(usage.errors)),
        )
    _check_limits(job, usage)


def _none_failed(
    standing: Standing, kinds: Collection[ErrorKind], groups: Sequence[ErrorGroup]
) -> IllegalMove:
    """Return the error for a retry of failed URLs when *groups* has none of *kinds*."""
    job = standing.job
    if groups:
        failures = ", ".join(f"{group.count:,} {ERRORS[group.kind]}" for group in groups)
        filters = " or ".join(f'"{words}"' for words in sorted(ERRORS[kind] for kind in kinds))
        message = f"no URL of job {job.id} failed with {filters}; what failed: {failures}"
    else:
        message = f"no URL of job {job.id} failed; {_retry_hint(job)}"
    return IllegalMove(message, allowed=_restarts(standing, failed=bool(groups)))


def _retry_hint(job: Job) -> str:
    return f"crawl it again as a new job: crawlyard jobs retry {job.id}"


def _restarts(standing: Standing, *, failed: bool) -> tuple[str, ...]:
    """Return the actions by which an ended job, or a copy of it, would fetch something."""
    job, usage = standing.job, standing.shard.usage
    goes_on = has_rest(usage) and breach(job.limits, usage) is None
    moves = [Move.RESUME] if goes_on else []
    return (*moves, *([Move.RETRY_FAILED] if failed else []), Action.RETRY)


def _without(usage: Usage, failed: Sequence[ErrorGroup]) -> Usage:
    """Return *usage* as it will be once all of *failed* wait again."""
    count, answered = sum(g.count for g in failed), sum(g.answered for g in failed)
    return given_back(usage, targets=count, pages=answered, errors=count)


def _check_limits(job: Job, usage: Usage) -> None:
    """Refuse to continue a job that would end at once because a limit is used up."""
    limit = breach(job.limits, usage)
    if limit is not None:
        raise IllegalMove(
            f"job {job.id} has used up limits.{limit}; raise it first "
            f"(crawlyard jobs set {job.id} limits.{limit}=…)",
            allowed=("edit",),
        )
