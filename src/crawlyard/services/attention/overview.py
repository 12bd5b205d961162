"""Overview page: problems that need attention, and the current load."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import timedelta

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.about import browser_install
from crawlyard.clock import Clock
from crawlyard.core.access.job_parts import JobPart
from crawlyard.core.access.user import Actor, Permit, Role
from crawlyard.core.attention.attention import (
    LATE,
    LATELY,
    PAUSED_LONG,
    SHORT_OF,
    AttentionOut,
    Disk,
    Facts,
    attention,
    kinds_for,
)
from crawlyard.core.attention.lines import (
    IN_A_ROW,
    JobEnd,
    NoticeLine,
    SubjectKind,
    streak,
    suspects,
)
from crawlyard.core.attention.trouble import Trouble
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.progress import progress_of_standing
from crawlyard.core.workers.status import WorkerReport
from crawlyard.errors import NotFound
from crawlyard.services.jobs.lookup import visible_query
from crawlyard.services.workers.status import Watching
from crawlyard.store.queries import JobQuery, ScheduleQuery
from crawlyard.store.store import Store

MOST = 500
"""Maximum number of items of one kind to examine."""

MOST_FAILURES = 2_000
"""Maximum number of failed jobs, and of recently ended jobs, to examine, latest first."""

FAILED_WITHIN = timedelta(days=30)
_MOST_LINES = 100
_MOST_ENDS = 20  # of one line
_MOST_RUNNING = 1_000
_LOOKED_AT = 50_000  # jobs searched for damaged ones: it takes about a second
_LOOKING = 100  # the search takes at most 1/100 of the time

LookAtDisk = Callable[[], Awaitable[Disk | None]]


class Snapshot(Struct, frozen=True, kw_only=True):
    """The current load, of one user's jobs or of all."""

    slots: int = 0  # of all workers that take jobs, for any owner
    slots_used: int = 0
    oldest_wait: timedelta | None = None  # of the job that has been due longest; None: none waits
    pages_per_s: float = 0.0
    disk: Disk | None = None  # None: not shown, or there is none


class Overview:
    """Summarizes the instance: all of it for an admin, what they own for other users."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        watching: Watching,
        disk: LookAtDisk,
        most: int = MOST,
    ) -> None:
        self._most = most
        self._store = store
        self._clock = clock
        self._watching = watching
        self._disk = disk
        self._damaged: Sequence[Job] = ()
        self._look_again = 0.0  # when to search for damaged jobs again, by the monotonic clock

    async def attention(self, actor: Actor, permits: Collection[Permit]) -> AttentionOut:
        """Return the problems that need attention, of the kinds that *permits* allow.

        Dismissed problems are left out until they occur again.
        """
        owner = None if actor.role is Role.ADMIN else actor.id
        kinds = kinds_for(permits)
        facts = Facts(now=self._clock.now(), wall=self._clock.wall())
        if kinds & {Trouble.SCHEDULE_OVERDUE, Trouble.SCHEDULE_PAUSED}:
            facts = await self._with_schedules(facts, owner)
        if Trouble.WEBHOOK_OFF in kinds:
            webhooks = await self._store.overview.unheard(owner, self._most + 1)
            cut = facts.cut | self._cut(webhooks, {Trouble.WEBHOOK_OFF, Trouble.WEBHOOK_FAILING})
            facts = replace(facts, webhooks=webhooks[: self._most], cut=cut)
        if Trouble.DISK_FULL in kinds:
            facts = replace(facts, disk=await self._disk())
        dismissed = await self._store.dismissals.find(actor.id)
        return attention(await self._with_jobs(facts, actor, owner), kinds, dismissed)

    async def moment(
        self, actor: Actor, permits: Collection[Permit], *, own: bool = False
    ) -> Snapshot:
        """Return the current load by the jobs that the actor sees; with *own*, by their own.

        The job that has waited longest is one of their own, for an admin one of all.

        The disk is included only if *permits* has `Permit.ADMIN`.
        """
        owner = None if actor.role is Role.ADMIN and not own else actor.id
        now = self._clock.now()
        working = await self._working()
        since = (await self._store.overview.backlog(owner, now)).since
        moment = Snapshot(
            slots=sum(worker.slots for worker in working),
            slots_used=sum(len(worker.running) for worker in working),
            oldest_wait=None if since is None else now - since,
            pages_per_s=sum(worker.pages_per_s for worker in working),
            disk=await self._disk() if Permit.ADMIN in permits else None,
        )
        if owner is None:
            return moment
        query = JobQuery(owner=owner if own else None, states=frozenset({State.RUNNING}))
        visible = await visible_query(self._store, actor, query, JobPart.STATE)
        running = await self._store.jobs.find(visible, _MOST_RUNNING)
        rate = sum(progress_of_standing(standing).rate for standing in running)
        return replace(moment, slots_used=len(running), pages_per_s=rate)

    async def _working(self) -> Sequence[WorkerReport]:
        alive = filter(self._watching.is_alive, await self._store.workers.find())
        return [report for report in alive if report.claims]

    async def _with_schedules(self, facts: Facts, owner: str | None) -> Facts:
        late = await self._store.overview.overdue(owner, facts.wall - LATE, self._most + 1)
        paused = await self._store.schedules.find(
            ScheduleQuery(owner=owner, paused=True), self._most + 1
        )
        cut = self._cut(late, {Trouble.SCHEDULE_OVERDUE}) | self._cut(
            paused, {Trouble.SCHEDULE_PAUSED}
        )
        return replace(
            facts, schedules=[*late[: self._most], *paused[: self._most]], cut=facts.cut | cut
        )

    async def _with_jobs(self, facts: Facts, actor: Actor, owner: str | None) -> Facts:
        look, now = self._store.overview, facts.now
        paused = await look.find_paused(owner, now - PAUSED_LONG, SHORT_OF, self._most + 1)
        failed = await look.failures(owner, now - FAILED_WITHIN, MOST_FAILURES)
        suspected = suspects(failed)
        begun = dict(list(suspected.items())[:_MOST_LINES])
        lines = await look.ends(begun, _MOST_ENDS)
        more = len(failed) == MOST_FAILURES or len(suspected) > len(begun)
        working = await self._working()
        tagged = await look.find_tagged(owner, now, self._most + 1)
        ended = await look.find_ended(owner, now - LATELY, self._most + 1, MOST_FAILURES)
        cut = (
            self._cut(paused, {Trouble.JOB_PAUSED, Trouble.LOGGED_OUT})
            | self._cut(tagged, {Trouble.NO_WORKER_TAG})
            | self._cut(ended, {Trouble.JOB_FAILED, Trouble.JOB_STOPPED, Trouble.NEEDS_SCRIPTS})
            | ({Trouble.RUNS_FAILING} if more else set())
        )
        return replace(
            facts,
            workers=[worker.tags for worker in working],
            install="" if any(worker.browsers for worker in working) else browser_install(),
            tagged=tagged[: self._most],
            ended=ended[: self._most],
            backlog=await look.backlog(owner, now),
            lines=lines,
            names=await self._names(actor, lines),
            paused=paused[: self._most],
            damaged=[job for job in await self._find_damaged() if actor.may_see(job.owner)],
            hosts=await self._watching.hosts(actor),
            cut=facts.cut | cut,
        )

    async def _find_damaged(self) -> Sequence[Job]:
        """Return jobs that cannot be read, among the newest."""
        began = self._clock.monotonic()
        if began >= self._look_again:
            self._damaged = await self._store.overview.find_damaged(self._most, _LOOKED_AT)
            took = self._clock.monotonic() - began
            self._look_again = began + took * _LOOKING  # a dashboard asks often
        return self._damaged

    def _cut(self, subjects: Sequence[object], kinds: Collection[Trouble]) -> frozenset[Trouble]:
        """Return *kinds* if there are more *subjects* than are examined."""
        return frozenset(kinds) if len(subjects) > self._most else frozenset()

    async def _names(
        self, actor: Actor, lines: Mapping[NoticeLine, Sequence[JobEnd]]
    ) -> Mapping[NoticeLine, str]:
        """Return the names of failing schedules and templates; deleted ones are left out."""
        names: dict[NoticeLine, str] = {}
        for line, ends in lines.items():
            if len(streak(ends)) >= IN_A_ROW:
                name = await self._name(actor, line)
                if name is not None:
                    names[line] = name
        return names

    async def _name(self, actor: Actor, line: NoticeLine) -> str | None:
        try:
            if line.kind is SubjectKind.SCHEDULE:
                return (await self._store.schedules.get(line.key)).name
            if line.kind is SubjectKind.TEMPLATE:
                template = await self._store.templates.get(line.key)
                visible = template.public or actor.may_see(template.owner)
                return template.name if visible else ""
        except NotFound:
            return None
        return line.key
