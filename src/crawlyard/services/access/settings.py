"""Settings service: the sections that an admin can change at run time."""

from collections.abc import Mapping
from datetime import timedelta

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.access.policy import (
    RETENTIONS,
    Section,
    SectionName,
    Setting,
    defaults_of,
    section_read,
)
from crawlyard.core.access.user import Actor, Role
from crawlyard.core.event import Event, EventName
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.core.jobs.spec_json import form_of, spec_of
from crawlyard.engine.admission import check_spec
from crawlyard.errors import Conflict, Forbidden, NotFound, Version, check_version
from crawlyard.services.worker.janitor import JanitorOptions, kept
from crawlyard.store.store import Store

_TRIES = 8  # attempts per change: after a lost race it is reread; more losses mean a bug

SETTINGS = "settings"
"""The source of a field of a spec that is set by neither its job nor a template."""

_SOMEWHERE = ("https://example.com/",)  # a spec cannot be checked without a URL


class SiteSettings:
    """Shows and changes the sections of the settings; everyone reads, only admins change."""

    def __init__(self, store: Store, clock: Clock, keeping: JanitorOptions) -> None:
        self._store = store
        self._clock = clock
        self._keeping = keeping  # for what the section `retention` leaves unset

    async def list(self, actor: Actor) -> list[Setting]:
        """Return all sections, in the order of `SectionName`."""
        return [await self.get(actor, name) for name in SectionName]

    async def get(self, _actor: Actor, name: str) -> Setting:
        """Return a section; one that was never written is empty, at version 0.

        Raises:
            NotFound: no section has that name.
        """
        return await self._setting(await self._store.settings.get(_named(name)))

    async def update(
        self,
        actor: Actor,
        name: str,
        value: Mapping[str, object],
        *,
        version: Version = None,
    ) -> Setting:
        """Replace the value of a section; return the section.

        Raises:
            NotFound: no section has that name.
            Forbidden: the actor is not an admin.
            Invalid: a field is unknown, or its value is not valid.
            Stale: the section is not at *version*.
        """
        if actor.role is not Role.ADMIN:
            raise Forbidden(f"{actor.id} is no admin: only one changes settings")
        word = _named(name)
        read = section_read(word, value)
        if word is SectionName.DEFAULTS:
            check_spec(spec_of({"urls": list(_SOMEWHERE), **read}))
        for _ in range(_TRIES):
            old = await self._store.settings.get(word)
            check_version(f"settings {word}", old.version, version)
            now = self._clock.now()
            new = replace(old, value=read, version=old.version + 1, updated_at=now, actor=actor.id)
            event = Event(
                name=EventName.SETTINGS_UPDATED,
                subject=word.value,
                owner=actor.id,
                at=now,
                actor=actor.id,
                data={"section": word.value, "version": new.version},
            )
            try:
                await self._store.settings.save(new, event)
            except Conflict:
                continue
            return await self._setting(new)
        raise Conflict(f"settings {word} keep changing; try again")

    async def defaults(self) -> Mapping[str, object]:
        """Return the value of the section `defaults`, for `underlaid`."""
        return (await self._store.settings.get(SectionName.DEFAULTS)).value

    async def _setting(self, section: Section) -> Setting:
        effective: dict[str, object] = dict(section.value)
        match SectionName(section.name):
            case SectionName.GRANTS | SectionName.CEILINGS as name:
                effective = section_read(name, section.value)
            case SectionName.RETENTION:
                holds = await kept(self._store, self._keeping)
                effective = {name: _days(holds.of(name)) for name in RETENTIONS}
            case SectionName.DEFAULTS:
                spec = spec_of({"urls": list(_SOMEWHERE), **section.value})
                whole = form_of(spec)
                effective = {name: whole[name] for name in whole if name != "urls"}
        return Setting(section=section, effective=effective)


class Underlaid(Struct, frozen=True, kw_only=True):
    """A spec completed with the defaults of the settings, and the source of each field."""

    spec: JobSpec
    sources: Mapping[str, str]


def underlaid(
    value: Mapping[str, object], spec: JobSpec, sources: Mapping[str, str], unsaid: str
) -> Underlaid:
    """Return *spec* completed with *value*, the defaults of the settings.

    They replace the fields whose source is *unsaid*.

    Raises:
        Invalid: the resulting spec is not valid.
    """
    whole = defaults_of(value, spec, lambda path: sources.get(path, unsaid) == unsaid)
    said = [path for path in _paths(value) if sources.get(path, unsaid) == unsaid]
    return Underlaid(spec=whole, sources={**sources, **dict.fromkeys(said, SETTINGS)})


def _named(name: str) -> SectionName:
    try:
        return SectionName(name)
    except ValueError:
        raise NotFound(f"no section {name}; there are {', '.join(SectionName)}") from None


def _days(length: timedelta | None) -> float:
    """Return a retention in days as the settings write it; 0 means forever."""
    return 0.0 if length is None else length / timedelta(days=1)


def _paths(form: Mapping[str, object]) -> list[str]:
    paths: list[str] = []
    for key, value in form.items():
        inner = [f"{key}.{name}" for name in value] if isinstance(value, Mapping) else [key]
        paths += inner
    return paths
