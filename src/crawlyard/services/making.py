"""New jobs: judged by what the yard and their owner allow, and not remembered yet."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from crawlyard.clock import Clock
from crawlyard.core.event import Event
from crawlyard.core.job import DIRECT, Job, Origin
from crawlyard.core.policy import SectionName
from crawlyard.core.spec import JobSpec
from crawlyard.core.template import CrawlTemplate
from crawlyard.core.user import Actor, Quota
from crawlyard.engine.admission import check_spec
from crawlyard.errors import Forbidden
from crawlyard.ids import new_id
from crawlyard.services.policy import Policy
from crawlyard.services.receivers import with_webhooks
from crawlyard.services.templates import TemplateManager
from crawlyard.store.base import Store


async def prepared(
    policy: Policy,
    clock: Clock,
    actor: Actor,
    spec: JobSpec,
    *,
    start_at: datetime | None = None,
    origin: Origin = DIRECT,
    by: str | None = None,
    like: Job | None = None,
) -> tuple[Job, Event]:
    """Return a new job of the actor's and its event.

    *by* is who did it, where that is not the actor: a schedule, say. Limits above the
    ceilings of the yard or of the actor are cut; the event names them. It is granted what
    it asks for as *like* was, where that is given and the actor is trusted.

    Raises:
        Invalid: the spec cannot be crawled as it is; the message names the field.
        Forbidden: the actor may not submit, or asks for what this yard does not grant.
    """
    if not actor.may_change(actor.id):
        raise Forbidden(f"{actor.id} may look at jobs, not submit them")
    spec = with_webhooks(spec)
    check_spec(spec)
    if like is not None and actor.trusted:
        await policy.check_granted(by_grant := like.by_grant)
    else:
        by_grant = await policy.check(actor, spec, origin)
    within = await policy.clamped(actor.id, spec)
    job, event = Job.new(
        *(new_id(), actor.id, within.spec, clock.now()),
        due_at=start_at,
        origin=origin,
        by_grant=by_grant,
        actor=by,
    )
    return job, within.told(event)


class _SteadyPolicy(Policy):
    """A policy that reads everything once."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._sections: dict[SectionName, Mapping[str, object]] = {}
        self._quotas: dict[str, Quota] = {}
        self._trusted: dict[tuple[str | None, int | None], bool] = {}

    async def section(self, name: SectionName) -> Mapping[str, object]:
        """Return what a section of the settings says, as it was the first time."""
        if name not in self._sections:
            self._sections[name] = await super().section(name)
        return self._sections[name]

    async def quota(self, owner: str) -> Quota:
        """Return the quota of a user, as it was the first time."""
        if owner not in self._quotas:
            self._quotas[owner] = await super().quota(owner)
        return self._quotas[owner]

    async def is_trusted(self, origin: Origin) -> bool:
        """Tell whether a template is trusted, as it was the first time."""
        key = (origin.template_id, origin.template_version)
        if key not in self._trusted:
            self._trusted[key] = await super().is_trusted(origin)
        return self._trusted[key]


class _SteadyTemplates(TemplateManager):
    """Templates, of which each is read once."""

    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__(store, clock)
        self._read: dict[tuple[str, str, int | None], CrawlTemplate] = {}

    async def get(self, actor: Actor, ref: str, version: int | None = None) -> CrawlTemplate:
        """Return a template as it was the first time; see `TemplateManager.get`."""
        key = (actor.id, ref, version)
        if key not in self._read:
            self._read[key] = await super().get(actor, ref, version)
        return self._read[key]


@dataclass(frozen=True, slots=True)
class Making:
    """What many jobs that are made together are judged by, each part of it read once.

    A thousand schedules of one template that come in the same second ask the store for one
    template, and not a thousand times.
    """

    policy: Policy
    templates: TemplateManager

    @staticmethod
    def of(store: Store, clock: Clock) -> "Making":
        """Return what holds now, or rather when it is first asked for."""
        return Making(_SteadyPolicy(store), _SteadyTemplates(store, clock))
