"""The settings that an admin changes while the yard runs, in verbs."""

from collections.abc import Mapping
from datetime import timedelta

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.access.policy import RETENTIONS, SectionName, defaults_of, section_read
from crawlyard.core.access.setting import Section, Setting
from crawlyard.core.access.user import Actor, Role
from crawlyard.core.event import Event, EventName
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.core.jobs.spec_json import form_of, spec_of
from crawlyard.engine.admission import check_spec
from crawlyard.errors import Conflict, Forbidden, NotFound, check_version
from crawlyard.services.worker.janitor import JanitorOptions, kept
from crawlyard.store.store import Store

_TRIES = 8  # a change that loses a race is read and tried again; more losses mean a bug

SETTINGS = "settings"
"""Where a field of a spec comes from that neither its job nor a template says."""

_SOMEWHERE = ("https://example.com/",)  # a spec needs a URL to be judged


class SiteSettings:
    """Shows and changes the sections of the settings: an admin changes, everybody reads."""

    def __init__(self, store: Store, clock: Clock, keeping: JanitorOptions) -> None:
        self._store = store
        self._clock = clock
        self._keeping = keeping  # where the section `retention` says nothing

    async def list(self, actor: Actor) -> list[Setting]:
        """Return all sections, in the order of their list."""
        return [await self.get(actor, name) for name in SectionName]

    async def get(self, _actor: Actor, name: str) -> Setting:
        """Return a section; one that was never written is empty, at version 0.

        Raises:
            NotFound: there is none of that name.
        """
        return await self._setting(await self._store.settings.get(_named(name)))

    async def update(
        self,
        actor: Actor,
        name: str,
        value: Mapping[str, object],
        *,
        version: int | None = None,
    ) -> Setting:
        """Let a section say *value* and nothing else; return it.

        Raises:
            NotFound: there is none of that name.
            Forbidden: the actor is no admin.
            Invalid: a field is unknown, or its value is not what is expected.
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
        """Return the defaults of the settings, for `underlaid`."""
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
    """A spec with the defaults of the settings under it, and where each field comes from."""

    spec: JobSpec
    sources: Mapping[str, str]


def underlaid(
    value: Mapping[str, object], spec: JobSpec, sources: Mapping[str, str], unsaid: str
) -> Underlaid:
    """Return *spec* with the defaults of the settings, *value*, under it.

    They take the place of the fields whose source is *unsaid*.

    Raises:
        Invalid: with them, the spec is none.
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
    """Return a length in days as it is written: 0 is for ever."""
    return 0.0 if length is None else length / timedelta(days=1)


def _paths(form: Mapping[str, object]) -> list[str]:
    paths: list[str] = []
    for key, value in form.items():
        inner = [f"{key}.{name}" for name in value] if isinstance(value, Mapping) else [key]
        paths += inner
    return paths
