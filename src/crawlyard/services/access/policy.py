"""Access policy: grants and ceilings from the settings, and quotas of users."""

from collections.abc import Collection, Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from crawlyard.core.access.policy import (
    FIELD_OF,
    SectionName,
    ceilings_of,
    grants_of,
    how_to_grant,
    not_granted,
    withheld,
)
from crawlyard.core.access.user import NO_QUOTA, Actor, Grant, Grants, Quota
from crawlyard.core.events.event import Event
from crawlyard.core.jobs.job import Origin
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.limits import LIMIT_NAMES, Limits, clamp_limits
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.core.jobs.spec_json import at, form_of
from crawlyard.core.quantity import count_noun
from crawlyard.errors import Forbidden, NotFound, QuotaExceeded
from crawlyard.store.queries import JobQuery
from crawlyard.store.store import Store

CEILING = "ceiling"
"""The source of a limit that was cut to a ceiling."""

SETTINGS = "settings"
"""The source of a field of a spec that is set by neither its job nor a template."""


class Clamped(Struct, frozen=True, kw_only=True):
    """A spec with its limits within the ceilings, and the limits that were cut."""

    spec: JobSpec
    cut: Mapping[str, object] = field(default_factory=dict)  # new values, by path

    def with_cut_limits(self, event: Event) -> Event:
        """Return *event* with the limits that were cut added to its data, if there are any."""
        return replace(event, data={**event.data, "cut": dict(self.cut)}) if self.cut else event


def cut_of(event: Event) -> frozenset[str]:
    """Return the paths of the limits that were cut, as recorded in a job event."""
    limits = event.data.get("cut")
    return frozenset(map(str, limits)) if isinstance(limits, Mapping) else frozenset()


class Policy:
    """Checks requests against the settings, which are read anew each time."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def section(self, name: SectionName) -> Mapping[str, object]:
        """Return the value of a section of the settings."""
        return (await self._store.settings.get(name)).value

    async def find_needed(
        self, actor: Actor, spec: JobSpec, origin: Origin
    ) -> tuple[tuple[Grant, ...], str]:
        """Return the grants that *actor* needs of the settings for *spec*, and a reason.

        Actors with access to the store's own files need none, unless the template may have been
        changed by others: then the reason, otherwise empty, says so; a refusal includes it.
        """
        grants = needed_grants(spec)
        if not grants or not actor.trusted:
            return grants, ""
        if await self.is_trusted(origin):
            return (), ""
        return grants, f"others may have changed template {origin.template_id}"

    async def check_granted(self, needed: tuple[Grant, ...], doubt: str = "") -> None:
        """Check that the settings grant all of *needed*; *doubt* is the reason from `needed`.

        Raises:
            Forbidden: they do not; the message names the fields of the spec.
        """
        if needed:
            check_grants(needed, await self.read_granted(), doubt)

    async def read_granted(self) -> Grants:
        """Return what the settings grant."""
        return grants_of(await self.section(SectionName.GRANTS))

    async def withheld(self, needed: tuple[Grant, ...]) -> tuple[Grant, ...]:
        """Return those of *needed* that the settings do not grant now."""
        if not needed:
            return ()
        return withheld(needed, await self.read_granted())

    async def is_trusted(self, origin: Origin) -> bool:
        """Return whether a job has no template, or a trusted one."""
        if origin.template_id is None:
            return True
        try:
            template = await self._store.templates.get(origin.template_id, origin.template_version)
        except NotFound:
            return False
        return template.trusted

    async def clamp(self, owner: str, spec: JobSpec) -> Clamped:
        """Return *spec* within the ceilings of its owner and of the settings; the lower win."""
        return within_ceilings(spec, *(await self.ceilings({owner}))[owner])

    async def ceilings(self, owners: Collection[str]) -> Mapping[str, tuple[Limits, Limits]]:
        """Return the ceilings of owners and, the same for all, of the settings."""
        yard = ceilings_of(await self.section(SectionName.CEILINGS))
        return {owner: ((await self.quota(owner)).ceilings, yard) for owner in owners}

    async def quota(self, owner: str) -> Quota:
        """Return the quota of a user; `NO_QUOTA` if they have no account."""
        try:
            return (await self._store.users.get(owner)).quota
        except NotFound:
            return NO_QUOTA

    async def waiting(self, owner: str) -> int:
        """Return how many jobs of a user are pending."""
        of_owner = JobQuery(owner=owner, states=frozenset({State.PENDING}))
        return sum((await self._store.jobs.counts(of_owner)).values())

    async def check_room(self, owner: str, more: int = 1) -> None:
        """Check that *more* jobs of *owner* may wait.

        Raises:
            QuotaExceeded: they would exceed the owner's quota.
        """
        quota = await self.quota(owner)
        if quota.pending is not None:
            check_waiting(owner, quota, await self.waiting(owner), more)


def needed_grants(spec: JobSpec) -> tuple[Grant, ...]:
    """Return the grants that *spec* needs, in the order of `Grant`."""
    return tuple(grant for grant, field in FIELD_OF.items() if getattr(spec, field))


def check_waiting(owner: str, quota: Quota, waiting: int, more: int = 1) -> None:
    """Check that *more* jobs of *owner* may wait in addition to *waiting*.

    Raises:
        QuotaExceeded: they would exceed *quota*.
    """
    most = quota.pending
    if most is not None and waiting + more > most:
        singular, plural = f"job of {owner} waits", f"jobs of {owner} wait"
        problem = (
            f"{count_noun(waiting, singular, plural)} already, and {most:,} may (quota.pending)"
        )
        raise QuotaExceeded("pending", problem)


def check_grants(needed: tuple[Grant, ...], granted: Grants, doubt: str = "") -> None:
    """Check that *granted* has all of *needed*; *doubt* is the reason from `Policy.needed`.

    Raises:
        Forbidden: it does not; the message names the fields of the spec.
    """
    missing = withheld(needed, granted)
    if missing:
        parts = (not_granted(missing), doubt, how_to_grant(missing))
        raise Forbidden("; ".join(part for part in parts if part))


def within_ceilings(spec: JobSpec, own: Limits, yard: Limits) -> Clamped:
    """Return *spec* within the ceilings of its owner and of the settings; the lower win."""
    if yard == own == Limits():
        return Clamped(spec=spec)
    within = replace(spec, limits=clamp_limits(spec.limits, own, yard))
    form = form_of(within)
    changed = (n for n in LIMIT_NAMES if getattr(within.limits, n) != getattr(spec.limits, n))
    paths = (f"limits.{name}" for name in changed)
    return Clamped(spec=within, cut={path: at(form, path) for path in paths})
