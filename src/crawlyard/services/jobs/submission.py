"""Submission: from a request to a spec, to a checked draft, to a row of the store."""

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.access.policy import SectionName
from crawlyard.core.access.user import Actor, Grant, Quota
from crawlyard.core.event import Event
from crawlyard.core.jobs.job import DIRECT, Job, Origin
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.core.templates.template import CrawlTemplate
from crawlyard.dispatch.base import Dispatcher
from crawlyard.engine.admission import check_spec
from crawlyard.engine.http.dns import addresses_of
from crawlyard.errors import Forbidden, Refused, StoreUnavailable
from crawlyard.ids import new_id
from crawlyard.services.access.policy import (
    Clamped,
    Policy,
    check_grants,
    check_waiting,
    within_ceilings,
)
from crawlyard.services.templates.manager import TemplateManager
from crawlyard.services.webhooks.receivers import Resolve, check_names, with_webhooks
from crawlyard.store.jobs.intake import IntakeStore
from crawlyard.store.queries import Entered, Entrant, IntakeRules
from crawlyard.store.store import Store

MOST = 500
"""Maximum number of jobs in one transaction, which other writers wait for (50 ms on SQLite)."""

HEAVIEST = 20_000
"""Maximum number of start URLs in one transaction (0.1 s), unless one caller has more."""


class _Asked(Struct, frozen=True):
    """The jobs of one caller, and the future on which they wait for the answers."""

    entrants: Sequence[Entrant]
    answer: "asyncio.Future[list[Entered]]"


class Intake:
    """Collects jobs submitted while a transaction is in progress, and stores them with the next.

    A lone caller waits for no one. Jobs are stored in the order of the calls. Each call gets
    its own answer, and an error in one does not affect the others.
    """

    def __init__(self, store: IntakeStore, dispatcher: Dispatcher) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._waiting: deque[_Asked] = deque()
        self._task: asyncio.Task[None] | None = None

    async def enter(self, entrants: Sequence[Entrant]) -> list[Entered]:
        """Store jobs, and return an answer to each; see `IntakeStore.enter`.

        The jobs share a transaction: pass at most `MOST` of them, with `HEAVIEST` URLs. If the
        caller is cancelled before the transaction begins, nothing is stored; after that, the
        jobs may have been.

        Raises:
            StoreUnavailable: nothing was written, or it is unknown whether it was.
        """
        if not entrants:
            return []
        answer: asyncio.Future[list[Entered]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Asked(entrants, answer))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write_all())
        return await answer

    async def _write_all(self) -> None:
        while taken := self._taken():
            await self._write(taken)

    def _taken(self) -> list[_Asked]:
        taken: list[_Asked] = []
        room, urls = MOST, HEAVIEST
        while self._waiting:
            asked = self._waiting[0]
            weight = sum(entrant.urls for entrant in asked.entrants)
            if taken and (len(asked.entrants) > room or weight > urls):
                break
            self._waiting.popleft()
            if not asked.answer.done():
                taken.append(asked)
                room -= len(asked.entrants)
                urls -= weight
        return taken

    async def _write(self, taken: Sequence[_Asked]) -> None:
        entrants = [entrant for asked in taken for entrant in asked.entrants]
        try:
            answers = await self._store.enter(entrants)
        except Exception as error:  # noqa: BLE001 - it is passed on to the callers
            if len(taken) > 1 and not isinstance(error, StoreUnavailable):
                for asked in taken:  # a defect in one caller's jobs must not affect the others
                    await self._write([asked])
                return
            for asked in taken:
                if not asked.answer.done():
                    asked.answer.set_exception(error)
            return
        self._announce(answers)
        rest = iter(answers)
        for asked in taken:
            own = [next(rest) for _ in asked.entrants]
            if not asked.answer.done():
                asked.answer.set_result(own)

    def _announce(self, answers: Sequence[Entered]) -> None:
        """Wake workers once per transaction; they find all due jobs by themselves."""
        dues = [one.due_at for one in answers if not isinstance(one, Exception)]
        if dues:
            self._dispatcher.announce(min(dues))


async def prepared(
    policy: Policy,
    clock: Clock,
    actor: Actor,
    spec: JobSpec,
    *,
    start_at: datetime | None = None,
    origin: Origin = DIRECT,
    by: str | None = None,
) -> tuple[Job, Event]:
    """Return a new job owned by the actor, and its event.

    *by* is who submits it if that is not the actor, such as a schedule. Limits above the
    ceilings of the instance or of the actor are cut; the event names them.

    Raises:
        Invalid: the spec cannot be crawled as it is; the message names the field.
        Forbidden: the actor may not submit, or asks for something the settings do not grant.
    """
    draft = await drafted(policy, actor, spec, start_at=start_at, origin=origin, by=by)
    await policy.check_granted(draft.needs, draft.doubt)
    return draft.made(await policy.clamped(draft.owner, draft.spec), clock.now())


class JobDraft(Struct, frozen=True, kw_only=True):
    """A requested job whose spec was checked, but not yet against settings and quotas."""

    id: str
    owner: str
    spec: JobSpec
    start_at: datetime | None
    origin: Origin
    needs: tuple[Grant, ...]  # grants that it needs in the settings
    doubt: str = ""  # as for `Policy.needed`
    by: str | None = None  # who submits it, if not its owner
    like: Job | None = None  # the job that it is a retry of

    def made(self, within: Clamped, now: datetime) -> tuple[Job, Event]:
        """Return the job and its event, with the spec as cut to the ceilings."""
        job, event = Job.new(
            *(self.id, self.owner, within.spec, now),
            due_at=self.start_at,
            origin=self.origin,
            by_grant=self.needs,
            actor=self.by,
        )
        retry_of = self.like.id if self.like else None
        return (replace(job, retry_of=retry_of) if retry_of else job), within.told(event)

    def unstored(self, now: datetime) -> Job:
        """Return the job as it would be without ceilings for its limits."""
        return self.made(Clamped(spec=self.spec), now)[0]

    def judged(self, rules: IntakeRules, now: datetime) -> tuple[Job, Event]:
        """Return the job and its event if *rules* admit it.

        Raises:
            Forbidden: the settings do not grant what it needs.
            QuotaExceeded: the owner already has as many jobs waiting as the quota allows.
        """
        if self.needs:
            check_grants(self.needs, rules.grants, self.doubt)
        check_waiting(self.owner, rules.quota, rules.waiting)
        within = within_ceilings(self.spec, rules.quota.ceilings, rules.ceilings)
        return self.made(within, now)

    def entrant(self, now: datetime) -> Entrant:
        """Return the entrant by which the store admits this job."""
        return Entrant(
            owner=self.owner,
            level=self.spec.priority,
            judge=partial(self.judged, now=now),
            like=self.like,
            urls=len(self.spec.urls),
        )


def check_maker(actor: Actor) -> None:
    """Check that *actor* may submit jobs at all.

    Raises:
        Forbidden: they may only view.
    """
    if not actor.may_change(actor.id):
        raise Forbidden(f"{actor.id} may look at jobs, not submit them")


async def drafted(
    policy: Policy,
    actor: Actor,
    spec: JobSpec,
    *,
    start_at: datetime | None = None,
    origin: Origin = DIRECT,
    by: str | None = None,
    like: Job | None = None,
) -> JobDraft:
    """Return the draft of a new job owned by the actor, checked without settings and quotas.

    The arguments are as for `prepared`. With *like*, it is a retry of that job; if the actor
    is trusted, it needs the same grants as that job.

    Raises:
        Invalid: the spec cannot be crawled as it is; the message names the field.
        Forbidden: the actor may not submit.
    """
    check_maker(actor)
    spec = with_webhooks(spec)
    check_spec(spec)
    if like is not None and actor.trusted:
        needs, doubt = like.by_grant, ""
    else:
        needs, doubt = await policy.needed(actor, spec, origin)
    return JobDraft(
        id=new_id(),
        owner=actor.id,
        spec=spec,
        start_at=start_at,
        origin=origin,
        needs=needs,
        doubt=doubt,
        by=by,
        like=like,
    )


class _SteadyPolicy(Policy):
    """A policy that reads everything once and caches it."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._sections: dict[SectionName, Mapping[str, object]] = {}
        self._quotas: dict[str, Quota] = {}
        self._trusted: dict[tuple[str | None, int | None], bool] = {}

    async def section(self, name: SectionName) -> Mapping[str, object]:
        """Return a section of the settings, as first read."""
        if name not in self._sections:
            self._sections[name] = await super().section(name)
        return self._sections[name]

    async def quota(self, owner: str) -> Quota:
        """Return the quota of a user, as first read."""
        if owner not in self._quotas:
            self._quotas[owner] = await super().quota(owner)
        return self._quotas[owner]

    async def is_trusted(self, origin: Origin) -> bool:
        """Return whether a template is trusted, as first read."""
        key = (origin.template_id, origin.template_version)
        if key not in self._trusted:
            self._trusted[key] = await super().is_trusted(origin)
        return self._trusted[key]


class _SteadyTemplates(TemplateManager):
    """A template manager that reads each template once and caches it."""

    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__(store, clock)
        self._read: dict[tuple[str, str, int | None], CrawlTemplate] = {}

    async def get(self, actor: Actor, ref: str, version: int | None = None) -> CrawlTemplate:
        """Return a template, as first read; see `TemplateManager.get`."""
        key = (actor.id, ref, version)
        if key not in self._read:
            self._read[key] = await super().get(actor, ref, version)
        return self._read[key]


class Making(Struct, frozen=True):
    """The policy and templates for a batch of new jobs, each read once.

    A thousand schedules of one template that fire in the same second read the template once,
    not a thousand times.
    """

    policy: Policy
    templates: TemplateManager

    @staticmethod
    def of(store: Store, clock: Clock) -> "Making":
        """Return the two for *store*; each value is read when it is first needed."""
        return Making(_SteadyPolicy(store), _SteadyTemplates(store, clock))


PORTION = 250
"""Jobs of `submit_many` per transaction. Checking that many takes 10 to 20 ms, during which
the process does nothing else; larger portions are hardly faster."""


class Submission(Struct, frozen=True, kw_only=True):
    """The arguments of one `JobManager.submit`."""

    spec: JobSpec
    start_at: datetime | None = None
    origin: Origin = DIRECT


Submitted: TypeAlias = Entered
"""A stored job, or the reason why it was refused."""


class JobSubmitter:
    """Submits jobs: the first half of `JobManager`."""

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
        self._intake = Intake(store.intake, dispatcher)

    async def submit(
        self,
        actor: Actor,
        spec: JobSpec,
        *,
        start_at: datetime | None = None,
        origin: Origin = DIRECT,
    ) -> Job:
        """Store a new job that is due now or at *start_at*, and return it.

        Raises:
            Invalid: the spec cannot be crawled as it is; the message names the field.
            Forbidden: the actor may not submit, or asks for something the settings do not grant.
            QuotaExceeded: the actor already has as many jobs waiting as the quota allows.
        """
        draft = await self.draft(actor, spec, start_at=start_at, origin=origin)
        return await self.enter(draft)

    async def submit_many(self, actor: Actor, wanted: Sequence[Submission]) -> list[Submitted]:
        """Submit new jobs, many per transaction; return each job or the reason for its refusal.

        The results are in the order of *wanted*. Each job is checked as by `submit`, and a
        refusal does not affect the others. If a transaction fails, earlier ones stay stored.

        Raises:
            Forbidden: the actor may only view.
            StoreUnavailable: the store cannot be written, or it is unknown whether it was.
        """
        check_maker(actor)
        answers: list[Submitted] = []
        for portion in _portions(wanted):
            answers += await self._submitted(actor, portion)
        return answers

    async def rehearsed(
        self,
        actor: Actor,
        spec: JobSpec,
        *,
        start_at: datetime | None = None,
        origin: Origin = DIRECT,
    ) -> tuple[Job, Event]:
        """Return the job that `submit` would store now, and its event; nothing is written.

        Raises:
            Invalid, Forbidden, QuotaExceeded: as for `submit`.
        """
        job, event = await prepared(
            self._policy, self._clock, actor, spec, start_at=start_at, origin=origin
        )
        await self.check_receivers(job.spec)
        await self._policy.check_room(job.owner)
        return job, event

    async def draft(
        self,
        actor: Actor,
        spec: JobSpec,
        *,
        start_at: datetime | None = None,
        origin: Origin = DIRECT,
        by: str | None = None,
        like: Job | None = None,
    ) -> JobDraft:
        """Return a checked draft of a new job, for `enter`; nothing is written.

        Raises:
            Invalid, Forbidden: as for `submit`.
        """
        draft = await drafted(
            *(self._policy, actor, spec), start_at=start_at, origin=origin, by=by, like=like
        )
        if draft.spec.webhooks:  # check the grants first: a refused job causes no DNS lookups
            await self._policy.check_granted(draft.needs, draft.doubt)
            await self.check_receivers(draft.spec)
        return draft

    async def _submitted(self, actor: Actor, wanted: Sequence[Submission]) -> list[Submitted]:
        drafts: list[JobDraft | Refused] = []
        for one in wanted:
            try:
                drafts.append(
                    await self.draft(actor, one.spec, start_at=one.start_at, origin=one.origin)
                )
            except Refused as refusal:
                drafts.append(refusal)
        fit = [draft for draft in drafts if isinstance(draft, JobDraft)]
        entered = iter(await self._intake.enter([d.entrant(self._clock.now()) for d in fit]))
        return [next(entered) if isinstance(draft, JobDraft) else draft for draft in drafts]

    async def check_receivers(self, spec: JobSpec) -> None:
        """Resolve the hosts of the webhooks of *spec*, and check that their addresses are allowed.

        Raises:
            Invalid: a webhook has no address, or a forbidden one.
        """
        await check_names(spec, self._resolve)

    async def enter(self, draft: JobDraft) -> Job:
        """Store the job of a draft, and return it.

        Raises:
            Forbidden, QuotaExceeded: as for `submit`.
            Conflict: it is a retry of a job that has changed meanwhile.
        """
        [entered] = await self._intake.enter([draft.entrant(self._clock.now())])
        if isinstance(entered, Exception):
            raise entered
        return entered


def _portions(wanted: Sequence[Submission]) -> Iterator[Sequence[Submission]]:
    """Yield *wanted* in order, in portions that one transaction may take."""
    portion: list[Submission] = []
    urls = 0
    for one in wanted:
        weight = len(one.spec.urls)
        if portion and (len(portion) == PORTION or urls + weight > HEAVIEST):
            yield portion
            portion, urls = [], 0
        portion.append(one)
        urls += weight
    if portion:
        yield portion
