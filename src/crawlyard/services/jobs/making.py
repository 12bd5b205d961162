"""New jobs: checked against settings and quotas, but not stored yet."""

from collections.abc import Mapping
from datetime import datetime
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.access.policy import SectionName
from crawlyard.core.access.user import Actor, Grant, Quota
from crawlyard.core.event import Event
from crawlyard.core.jobs.job import DIRECT, Job, Origin
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.core.templates.template import CrawlTemplate
from crawlyard.engine.admission import check_spec
from crawlyard.errors import Forbidden
from crawlyard.ids import new_id
from crawlyard.services.access.policy import (
    Clamped,
    Policy,
    check_grants,
    check_waiting,
    within_ceilings,
)
from crawlyard.services.templates.manager import TemplateManager
from crawlyard.services.webhooks.receivers import with_webhooks
from crawlyard.store.queries import Entrant, IntakeRules
from crawlyard.store.store import Store


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
