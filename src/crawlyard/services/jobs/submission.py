"""Submission of new jobs, one by one and in batches."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TypeAlias

from msgspec import Struct

from crawlyard.clock import Clock
from crawlyard.core.access.user import Actor
from crawlyard.core.event import Event
from crawlyard.core.jobs.job import DIRECT, Job, Origin
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.dispatch.base import Dispatcher
from crawlyard.engine.http.dns import addresses_of
from crawlyard.errors import Refused
from crawlyard.services.access.policy import Policy
from crawlyard.services.jobs.intake import HEAVIEST, Intake
from crawlyard.services.jobs.making import JobDraft, check_maker, drafted, prepared
from crawlyard.services.jobs.reader import JobReader
from crawlyard.services.webhooks.receivers import Resolve, check_names
from crawlyard.store.queries import Entered
from crawlyard.store.store import Store

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


class JobSubmitter(JobReader):
    """Submits jobs: the first half of `JobManager`."""

    def __init__(
        self,
        store: Store,
        dispatcher: Dispatcher,
        clock: Clock,
        policy: Policy | None = None,
        resolve: Resolve = addresses_of,
    ) -> None:
        super().__init__(store)
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
        draft = await self._drafted(actor, spec, start_at=start_at, origin=origin)
        return await self._enter(draft)

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

    async def _drafted(
        self,
        actor: Actor,
        spec: JobSpec,
        *,
        start_at: datetime | None = None,
        origin: Origin = DIRECT,
        by: str | None = None,
        like: Job | None = None,
    ) -> JobDraft:
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
                    await self._drafted(actor, one.spec, start_at=one.start_at, origin=one.origin)
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

    async def _enter(self, draft: JobDraft) -> Job:
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
