"""Jobs, in verbs: what the library, the command line and the API call alike."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from crawlyard.clock import Clock
from crawlyard.core.checkpoint import Standing
from crawlyard.core.editing import EDITABLE, edited
from crawlyard.core.event import Event, EventName
from crawlyard.core.job import DIRECT, Job, Origin
from crawlyard.core.lifecycle import LIFECYCLE, Move, State
from crawlyard.core.limits import Usage, breach, given_back
from crawlyard.core.page import ErrorGroup, ErrorKind
from crawlyard.core.priority import Priority
from crawlyard.core.progress import Progress, progress_of
from crawlyard.core.spec import JobSpec
from crawlyard.core.template import is_id
from crawlyard.core.user import Actor
from crawlyard.dispatch.base import Dispatcher
from crawlyard.engine.admission import check_spec
from crawlyard.engine.lookup import addresses_of
from crawlyard.errors import Conflict, Forbidden, IllegalMove, Invalid, NotFound
from crawlyard.ids import new_id
from crawlyard.services.finding import meant
from crawlyard.services.janitor import purged
from crawlyard.services.policy import Policy
from crawlyard.services.receivers import Resolve, check_names, with_webhooks
from crawlyard.store.base import EVERY_JOB, Freed, JobQuery, Store

_TRIES = 8  # a move that loses a race is read and tried again; more losses mean a bug

_A_MOMENT = timedelta(milliseconds=250)

_ALREADY = {
    Move.PAUSE: State.PAUSED,
    Move.CANCEL: State.CANCELLED,
    Move.RETRY_NOW: State.PENDING,
}
"""Moves that change nothing when the job is there already, and does not wait for its time."""


class JobManager:
    """Submits, finds, moves, edits, retries and deletes jobs.

    Every method takes its actor first: what he may not see does not exist for him
    (`NotFound`), what he may not change is `Forbidden`.
    """

    def __init__(
        self,
        store: Store,
        dispatcher: Dispatcher,
        clock: Clock,
        policy: Policy | None = None,
        resolve: Resolve = addresses_of,
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._clock = clock
        self._policy = policy or Policy(store)
        self._resolve = resolve

    async def submit(
        self,
        actor: Actor,
        spec: JobSpec,
        *,
        start_at: datetime | None = None,
        origin: Origin = DIRECT,
    ) -> Job:
        """Remember a new job that is due now or at *start_at*, and return it.

        Raises:
            Invalid: the spec cannot be crawled as it is; the message names the field.
            Forbidden: the actor may not submit, or asks for what this yard does not grant.
            QuotaExceeded: as many of his jobs wait already as may.
        """
        job, event = await self.prepared(actor, spec, start_at=start_at, origin=origin)
        await check_names(job.spec, self._resolve)
        return await self._add(job, event)

    async def prepared(
        self,
        actor: Actor,
        spec: JobSpec,
        *,
        start_at: datetime | None = None,
        origin: Origin = DIRECT,
        by: str | None = None,
    ) -> tuple[Job, Event]:
        """Return a new job of the actor's and its event, not remembered yet.

        *by* is who did it, where that is not the actor: a schedule, say. Limits above the
        ceilings of the yard or of the actor are cut; the event names them.

        Raises:
            Invalid, Forbidden: as for `submit`.
        """
        if not actor.may_change(actor.id):
            raise Forbidden(f"{actor.id} may look at jobs, not submit them")
        spec = with_webhooks(spec)
        check_spec(spec)
        await self._policy.check(actor, spec)
        within = await self._policy.clamped(actor.id, spec)
        job, event = Job.new(
            *(new_id(), actor.id, within.spec, self._clock.now()),
            due_at=start_at,
            origin=origin,
            actor=by,
        )
        return job, within.told(event)

    async def get(self, actor: Actor, job_id: str) -> Standing:
        """Return a job and how far it has come.

        Raises:
            NotFound: there is none of that id, or it is somebody else's.
        """
        if not is_id(job_id):
            raise NotFound(f"there is no job {job_id[:100]}")
        standing = await self._store.jobs.get(job_id.lower())
        if not actor.may_see(standing.job.owner):
            raise NotFound(f"there is no job {job_id}")
        return standing

    async def progress(self, actor: Actor, job_id: str) -> Progress:
        """Return how far a job has come, how fast it goes and how long it will still take.

        Raises:
            NotFound: there is none of that id, or it is somebody else's.
        """
        return progress_of_standing(await self.get(actor, job_id))

    async def find(
        self, actor: Actor, query: JobQuery | None = None, limit: int = 50
    ) -> list[Standing]:
        """Return the jobs that the actor may see and *query* asks for, newest first.

        In its conditions, templates and schedules may be named, and ``me`` is the actor.
        """
        asked = await meant(self._store, actor, query or EVERY_JOB)
        return await self._store.jobs.find(asked, limit)

    async def resolve(self, actor: Actor, word: str) -> str:
        """Return the id that *word* means: a whole id, its beginning or end, or "last".

        Raises:
            NotFound: no job of the actor's is meant.
            Invalid: more than one is.
        """
        if word == "last":
            found = await self.find(actor, limit=1)
            if not found:
                raise NotFound("there is no job yet")
            return found[0].job.id
        found = await self.find(actor, JobQuery(id_part=word.lower()), limit=2)
        if not found:
            raise NotFound(f"there is no job {word}")
        if len(found) > 1:
            raise Invalid("id", f"more than one job begins or ends with {word!r}; give more of it")
        return found[0].job.id

    async def counts(
        self, actor: Actor, query: JobQuery = EVERY_JOB
    ) -> Mapping[tuple[State, Priority], int]:
        """Return how many jobs of `find` are in each state and priority, zeros left out."""
        return await self._store.jobs.counts(await meant(self._store, actor, query))

    async def pause(self, actor: Actor, job_id: str, why: str = "") -> Job:
        """Hold a pending or running job; its frontier is kept. A paused one stays as it is.

        True in the store at once; a worker makes no new request half a second later,
        and what it had in flight is kept.

        Raises:
            NotFound, Forbidden, IllegalMove: as the names say.
        """
        return await self._move(actor, job_id, Move.PAUSE, why)

    async def cancel(self, actor: Actor, job_id: str, why: str = "") -> Job:
        """End a job that has not ended; its pages are kept. A cancelled one stays as it is.

        Raises:
            NotFound, Forbidden, IllegalMove: as the names say.
        """
        return await self._move(actor, job_id, Move.CANCEL, why)

    async def resume(self, actor: Actor, job_id: str) -> Job:
        """Queue a paused job again, or an ended one whose frontier has something left.

        Nothing is fetched twice.

        Raises:
            NotFound, Forbidden: as the names say.
            IllegalMove: it is pending or running, nothing is left, or a limit that is
                used up would end it at once.
        """
        return await self._move(actor, job_id, Move.RESUME, "")

    async def retry(self, actor: Actor, job_id: str) -> Job:
        """Submit a new job with the spec and the owner of one that has ended, and return it.

        Raises:
            NotFound, Forbidden, QuotaExceeded: as the names say.
            IllegalMove: the job has not ended.
        """
        old = (await self._changeable(actor, job_id)).job
        if not old.state.ended:
            allowed = tuple(LIFECYCLE[old.state])
            raise IllegalMove(f"cannot retry a job that is {old.state}", allowed=allowed)
        owner = actor if actor.id == old.owner else Actor(id=old.owner)
        job, event = await self.prepared(owner, old.spec, origin=old.origin, by=actor.id)
        return await self._add(replace(job, retry_of=old.id), event)

    async def retry_failed(
        self, actor: Actor, job_id: str, kinds: Collection[ErrorKind] = ()
    ) -> tuple[Job, int]:
        """Let an ended job try its failed URLs of *kinds* (empty: all) again.

        Return the job and how many URLs wait again.

        Raises:
            NotFound, Forbidden: as the names say.
            IllegalMove: the job has not ended, nothing in it failed that way, or a
                limit that is used up would end it before its first request.
        """
        for _ in range(_TRIES):
            standing = await self._changeable(actor, job_id)
            old = standing.job
            job, event = old.moved(Move.RETRY_FAILED, self._clock.now(), actor=actor.id)
            groups = await self._store.pages.errors(job_id)
            failed = [group for group in groups if not kinds or group.kind in kinds]
            if not failed:
                wanted = ", ".join(sorted(kinds)) or "failed"
                raise IllegalMove(
                    f"job {job_id} has no URL to retry ({wanted})",
                    allowed=tuple(LIFECYCLE[old.state]),
                )
            _check_limits(old, _without(standing.shard.usage, failed))
            try:
                count = await self._store.jobs.retry_failed(job, event, kinds)
            except Conflict:
                # its worker may still be storing what was in flight
                await self._clock.sleep(_A_MOMENT)
                continue
            self._dispatcher.announce(job.due_at)
            return job, count
        raise Conflict(f"job {job_id} is still held by its worker; try again")

    async def retry_now(self, actor: Actor, job_id: str) -> Job:
        """Let a job run now that waits for its next attempt or its start, and return it.

        One that is pending and due stays as it is; it keeps its place in the queue.

        Raises:
            NotFound, Forbidden: as the names say.
            IllegalMove: it is not pending.
        """
        return await self._move(actor, job_id, Move.RETRY_NOW, "")

    async def edit(
        self,
        actor: Actor,
        job_id: str,
        changes: Mapping[str, object],
        version: int | None = None,
    ) -> Job:
        """Change fields of a job's spec (those in `EDITABLE`) and return the job.

        A running job takes them up at its next checkpoint. What says what is there
        already changes nothing.

        Raises:
            Invalid: a field cannot be changed, or its value is out of range.
            NotFound, Forbidden, IllegalMove: as the names say.
            Conflict: it is not at *version*, if that is given.
        """
        unknown = sorted(set(changes) - EDITABLE)
        if unknown:
            known = ", ".join(sorted(EDITABLE))
            raise Invalid(unknown[0], f"cannot be changed in a job; what can: {known}")
        for _ in range(_TRIES):
            old = (await self._changeable(actor, job_id, version)).job
            spec = edited(old.spec, changes)
            check_spec(spec)
            within = await self._policy.clamped(old.owner, spec)
            told = {name: str(value) for name, value in changes.items()}
            job, event = old.edited(within.spec, self._clock.now(), actor=actor.id, changed=told)
            event = within.told(event)
            if job.spec == old.spec:
                return old
            try:
                await self._store.jobs.save(job, event)
            except Conflict:
                continue
            return job
        raise Conflict(f"job {job_id} keeps changing; try again")

    async def delete(self, actor: Actor, job_id: str, version: int | None = None) -> None:
        """Delete an ended or paused job with all its pages; `purge` frees the space.

        Raises:
            NotFound, Forbidden: as the names say.
            IllegalMove: the job is pending or running.
            Conflict: it is not at *version*, if that is given, or changed just now.
        """
        old = (await self.deletable(actor, job_id, version)).job
        event = old.event(EventName.DELETED, self._clock.now(), actor.id)
        await self._store.jobs.delete(old.id, old.version, event)

    async def deletable(self, actor: Actor, job_id: str, version: int | None = None) -> Standing:
        """Return a job that `delete` would delete.

        Raises:
            NotFound, Forbidden, IllegalMove, Conflict: as for `delete`.
        """
        standing = await self._changeable(actor, job_id, version)
        state = standing.job.state
        if not state.ended and state is not State.PAUSED:
            message = f"cannot delete a job that is {state}; cancel it first"
            raise IllegalMove(message, allowed=tuple(LIFECYCLE[state]))
        return standing

    async def purge(self, actor: Actor) -> Freed:
        """Free the space of all deleted jobs, in small steps; return what that freed.

        Raises:
            Forbidden: the actor may look at jobs only.
        """
        if not actor.may_change(actor.id):
            raise Forbidden(f"{actor.id} may look at jobs, not delete them")
        return await purged(self._store.upkeep, self._clock)

    async def _add(self, job: Job, event: Event) -> Job:
        async with self._policy.room(job.owner):
            await self._store.jobs.add(job, event)
        self._dispatcher.announce(job.due_at)
        return job

    async def _move(self, actor: Actor, job_id: str, move: Move, why: str) -> Job:
        for _ in range(_TRIES):
            standing = await self._changeable(actor, job_id)
            old = standing.job
            if old.state is _ALREADY.get(move) and not old.waits_at(self._clock.now()):
                return old
            job, event = old.moved(move, self._clock.now(), actor=actor.id, detail=why)
            if move is Move.RESUME:
                _check_resumable(standing)
            try:
                await self._store.jobs.save(job, event)
            except Conflict:
                continue
            self._dispatcher.announce(job.due_at)
            return job
        raise Conflict(f"job {job_id} keeps changing; try again")

    async def _changeable(self, actor: Actor, job_id: str, version: int | None = None) -> Standing:
        standing = await self.get(actor, job_id)
        if not actor.may_change(standing.job.owner):
            raise Forbidden(f"{actor.id} may look at job {job_id}, not change it")
        if version not in (None, standing.job.version):
            raise Conflict(f"job {job_id} is at version {standing.job.version}, not {version}")
        return standing


def progress_of_standing(standing: Standing) -> Progress:
    """Return the progress of a job as it was last recorded."""
    job, shard = standing.job, standing.shard
    return progress_of(job.limits, shard.usage, shard.pulse, job.state, shard.current_url)


def _check_resumable(standing: Standing) -> None:
    job, usage = standing.job, standing.shard.usage
    if not job.state.ended:
        return
    # a job that ended before its first request has nothing discovered, and all before it
    if usage.discovered and not usage.waiting:
        raise IllegalMove(
            f"job {job.id} has nothing left to fetch; retry it instead",
            allowed=(Move.RETRY_FAILED,),
        )
    _check_limits(job, usage)


def _without(usage: Usage, failed: Sequence[ErrorGroup]) -> Usage:
    """Return *usage* as it is once all of *failed* wait again."""
    count, answered = sum(g.count for g in failed), sum(g.answered for g in failed)
    return given_back(usage, targets=count, pages=answered, errors=count)


def _check_limits(job: Job, usage: Usage) -> None:
    """Refuse to go on with a job that would end at once, whatever it has lost for it by then."""
    limit = breach(job.limits, usage)
    if limit is not None:
        raise IllegalMove(
            f"job {job.id} has used up limits.{limit}; raise it first "
            f"(crawlyard jobs set {job.id} limits.{limit}=…)",
            allowed=("edit",),
        )
