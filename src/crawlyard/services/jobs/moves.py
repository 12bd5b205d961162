"""Moves, edits, retries and deletions of one or many jobs, for any actor."""

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import timedelta

from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.access.job_parts import JobPart, sees_job
from crawlyard.core.access.user import Actor, Grants
from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.endpoints.endpoint import reply
from crawlyard.core.events.event import Event, EventName
from crawlyard.core.jobs.job import Job, Standing
from crawlyard.core.jobs.lifecycle import LIFECYCLE, STATE_WORDS, Move
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.core.jobs.spec_json import EDITABLE
from crawlyard.errors import Conflict, IllegalMove, Invalid, Refused, Version, check_version
from crawlyard.messaging.dispatcher import Dispatcher
from crawlyard.services.access.policy import Policy, check_grants
from crawlyard.services.jobs.lookup import find_job
from crawlyard.services.jobs.submission import JobDraft, Submission, Submitter
from crawlyard.services.jobs.verdicts import (
    after_edit,
    after_move,
    check_limits,
    check_may_change,
    check_may_delete,
    check_owns,
    check_sound,
    filter_visible,
    limit_to_permitted,
    none_failed,
    usage_without,
)
from crawlyard.services.races import TRIES
from crawlyard.store.queries import Entered, Judged, Verdict
from crawlyard.store.store import Store

_A_MOMENT = timedelta(milliseconds=250)
_OWNERS_CHOICE = frozenset({"shared", "share_pages"})  # fields that `check_owns` protects


class JobWriter:
    """Moves, edits, retries and deletes jobs.

    A job that the actor may not see raises `NotFound`, and one that they may not change
    `Forbidden`. With *version*, the change is made only if that version is current; otherwise
    `Stale` is raised.
    """

    def __init__(
        self,
        store: Store,
        dispatcher: Dispatcher,
        clock: Clock,
        policy: Policy,
        submitter: Submitter,
    ) -> None:
        self.store = store
        self._dispatcher = dispatcher
        self._clock = clock
        self._policy = policy
        self._submitter = submitter

    async def changeable(self, actor: Actor, job_id: str, version: Version = None) -> Standing:
        """Return a job that the actor may change.

        Raises:
            NotFound, Forbidden, Stale: as the names say.
        """
        standing = await find_job(self.store, actor, job_id, JobPart.STATE)
        check_may_change(actor, standing.job)
        check_version(f"job {job_id}", standing.job.version, version)
        return standing

    async def move(
        self, actor: Actor, job_id: str, move: Move, why: str = "", *, version: Version = None
    ) -> Job:
        """Pause, resume, cancel or hurry a job, and return it.

        A job that is where the move leads is left as it is. A pause is in the store at once; at
        most 400 ms later, the worker sends no more requests (with a database more than 75 ms
        away: 250 ms plus two round trips), and the results of requests in flight are kept.

        Raises:
            NotFound, Stale: as the names say.
            Forbidden: the actor may not, or a grant that the job needs was withdrawn.
            IllegalMove: the job cannot be moved so from its state, or it would end at once:
                nothing is left, or a limit is used up.
        """
        for _ in range(TRIES):
            standing = await self.changeable(actor, job_id, version)
            change = after_move(standing, move, self._clock.now(), actor, why)
            if change is None:
                reply().unchanged = True
                return standing.job
            if move is Move.RESUME:
                await self._policy.check_granted(standing.job.by_grant)
            try:
                await self.store.jobs.save(*change)
            except Conflict:
                continue
            self._dispatcher.announce(change[0].due_at)
            return change[0]
        raise _keeps_changing(job_id)

    async def retry(self, actor: Actor, job_id: str, *, version: Version = None) -> Job:
        """Submit a new job with the spec and the owner of one that has ended, and return it.

        Raises:
            NotFound, Forbidden, QuotaExceeded, Stale: as the names say.
            IllegalMove: the job has not ended.
        """
        for _ in range(TRIES):
            draft = await self._again(actor, (await self.changeable(actor, job_id, version)).job)
            with suppress(Conflict):
                return await self._submitter.enter(draft)
        raise _keeps_changing(job_id)

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
            standing = await self.changeable(actor, job_id, version)
            old = standing.job
            check_sound(old)
            job, event = old.apply_move(Move.RETRY_FAILED, self._clock.now(), actor=actor.id)
            groups = await self.store.pages.errors(old.id)
            failed = [group for group in groups if not kinds or group.kind in kinds]
            if not failed:
                raise none_failed(standing, kinds, groups)
            check_limits(old, usage_without(standing.shard.usage, failed))
            await self._policy.check_granted(old.by_grant)
            try:
                count = await self.store.jobs.retry_failed(job, event, kinds)
            except Conflict:
                await self.changeable(actor, job_id, version)
                # the worker may still be storing what was in flight
                await self._clock.sleep(_A_MOMENT)
                continue
            self._dispatcher.announce(job.due_at)
            return job, count
        raise Conflict(f"job {job_id} is still held by its worker; try again")

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
            editable = ", ".join(sorted(EDITABLE))
            why = f"cannot be changed in a job; what can: {editable}"
            raise Invalid.of(Invalid(name, why) for name in fixed)
        for _ in range(TRIES):
            old = (await self.changeable(actor, job_id, version)).job
            if not changes.keys().isdisjoint(_OWNERS_CHOICE):
                check_owns(actor, old)
            ceilings = await self._policy.ceilings({old.owner})
            change = after_edit(old, changes, ceilings[old.owner], self._clock.now(), actor)
            if change is None:
                return old
            try:
                await self.store.jobs.save(*change)
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
            old = (await self.changeable(actor, job_id, version)).job
            check_may_delete(actor, old)
            event = old.event(EventName.DELETED, self._clock.now(), actor.id)
            with suppress(Conflict):
                return await self.store.jobs.delete(old.id, old.version, event)
        raise _keeps_changing(job_id)

    async def move_all(
        self, actor: Actor, ids: Collection[str], move: Move, why: str = ""
    ) -> Mapping[str, Judged]:
        """Pause, resume, cancel or hurry jobs, in ONE transaction; return the result of each.

        Each is checked as by the method for one job, and a refusal does not affect the others. Jobs
        that the actor may not see are missing in the result. Pass a few hundred ids at most.
        """
        now = self._clock.now()
        resumes = move is Move.RESUME
        granted = await self._policy.read_granted() if resumes else Grants()

        def verdict(standing: Standing) -> tuple[Job, Event] | None:
            change = after_move(standing, move, now, actor, why)
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
        ceilings = await self._policy.ceilings(await self.store.jobs.owners(ids))

        def verdict(standing: Standing) -> tuple[Job, Event] | None:
            job = standing.job
            return after_edit(job, changes_of(job.spec), ceilings[job.owner], now, actor)

        return await self._change_all(actor, ids, verdict)

    async def delete_all(self, actor: Actor, ids: Collection[str]) -> Mapping[str, Judged]:
        """Delete jobs as `delete` does, in ONE transaction; as for `move_all`."""
        now = self._clock.now()

        def verdict(standing: Standing) -> tuple[Job, Event]:
            job = standing.job
            check_may_delete(actor, job)
            return job, job.event(EventName.DELETED, now, actor.id)

        verdicts = await self.store.jobs.delete_all(ids, limit_to_permitted(actor, verdict))
        return filter_visible(actor, verdicts)

    async def retry_all(
        self, actor: Actor, ids: Collection[str]
    ) -> Mapping[str, tuple[Job, Entered]]:
        """Submit new jobs like those that have ended, in ONE transaction, as `retry` does.

        Return each with its new job, or with the reason for its refusal. Jobs that the actor may
        not see are missing.
        """
        answers: dict[str, tuple[Job, Entered]] = {}
        drafts: list[JobDraft] = []
        for job_id, standing in (await self.store.jobs.get_many(ids)).items():
            job = standing.job
            if sees_job(actor, job):
                try:
                    check_may_change(actor, job)
                    drafts.append(await self._again(actor, job))
                except Refused as refusal:
                    answers[job_id] = job, refusal
        entered = await self._submitter.enter_all(drafts)
        for draft, answer in zip(drafts, entered, strict=True):
            if draft.like is not None:
                answers[draft.like.id] = draft.like, answer
        return answers

    async def _again(self, actor: Actor, old: Job) -> JobDraft:
        check_sound(old)
        if not old.state.ended:
            message = f"cannot retry a job that is {STATE_WORDS[old.state]}"
            raise IllegalMove(message, allowed=tuple(LIFECYCLE[old.state]))
        owner = actor if actor.id == old.owner else Actor(id=old.owner)
        spec = replace(old.spec, unique_key=None)  # the old job keeps it
        submission = Submission(spec=spec, origin=old.origin, reads_results=True)
        return await self._submitter.draft(owner, submission, by=actor.id, like=old)

    async def _change_all(
        self, actor: Actor, ids: Collection[str], verdict: Verdict
    ) -> Mapping[str, Judged]:
        verdicts = await self.store.jobs.change_all(ids, limit_to_permitted(actor, verdict))
        return filter_visible(actor, verdicts)


def _keeps_changing(job_id: str) -> Conflict:
    return Conflict(f"job {job_id} keeps changing; try again")
