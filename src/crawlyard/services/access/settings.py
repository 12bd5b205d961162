"""Settings that an admin can change while the server runs, by section."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any

from msgspec.structs import replace

from crawlyard.core.access.answers import SectionOut
from crawlyard.core.access.policy import RETENTIONS, Section, SectionName, section_read
from crawlyard.core.access.user import Permit
from crawlyard.core.endpoints.endpoint import ANYBODY, MustMatch, Rest, Slice, endpoint
from crawlyard.core.events.event import Event, EventName
from crawlyard.core.jobs.spec_json import form_of, spec_of
from crawlyard.errors import NotFound, check_version
from crawlyard.lazy import lazily
from crawlyard.services.noun import Noun
from crawlyard.services.races import retry_on_race

# they load the engine and the database
with lazily():
    from crawlyard.engine import admission
    from crawlyard.services.upkeep import janitor

_SOMEWHERE = ("https://example.com/",)  # a spec cannot be checked without a URL


class SiteSettings(Noun):
    """Shows the sections of the settings; admins can replace them."""

    @endpoint("GET /settings", ANYBODY)
    async def list(self) -> Slice[SectionOut]:
        """List the sections: `grants`, `ceilings`, `retention`, `defaults` and `sharing`."""
        return Slice(items=[await self.get(name) for name in SectionName])

    @endpoint("GET /settings/{section}", ANYBODY)
    async def get(self, section: str) -> SectionOut:
        """Return a section: the stored values, and the effective ones."""
        return await self._section_out(
            await self._services.store.settings.get(_parse_name(section))
        )

    @endpoint("PUT /settings/{section}", Permit.ADMIN)
    async def put(
        self,
        section: str,
        value: Annotated[Mapping[str, Any], Rest("section")],
        *,
        version: MustMatch = None,
    ) -> SectionOut:
        """Replace a section.

        Ceilings and defaults apply to jobs submitted from now on. Jobs that need a grant that is
        withdrawn are paused.
        """
        self._check_admin("only one changes settings")
        name, actor, settings = _parse_name(section), self._actor.id, self._services.store.settings
        read = section_read(name, value)
        if name is SectionName.DEFAULTS:
            admission.check_spec(spec_of({"urls": list(_SOMEWHERE), **read}))

        async def save() -> Section:
            old, now = await settings.get(name), self._services.clock.now()
            check_version(f"settings {name}", old.version, version)
            new = replace(old, value=read, version=old.version + 1, updated_at=now, actor=actor)
            event = Event(
                name=EventName.SETTINGS_UPDATED,
                subject=name.value,
                owner=actor,
                at=now,
                actor=actor,
                data={"section": name.value, "version": new.version},
            )
            await settings.save(new, event)
            return new

        return await self._section_out(await retry_on_race(save, f"settings {name} keep changing"))

    async def _section_out(self, section: Section) -> SectionOut:
        effective: dict[str, object] = dict(section.value)
        match SectionName(section.name):
            case SectionName.GRANTS | SectionName.CEILINGS | SectionName.SHARING as name:
                effective = section_read(name, section.value)
            case SectionName.RETENTION:
                holds = await janitor.current_options(self._services.store, self._services.keeping)
                effective = {name: _days(holds.of(name)) for name in RETENTIONS}
            case SectionName.DEFAULTS:
                whole = form_of(spec_of({"urls": list(_SOMEWHERE), **section.value}))
                effective = {name: whole[name] for name in whole if name != "urls"}
        return SectionOut.filled(section, effective=effective)


def _parse_name(name: str) -> SectionName:
    try:
        return SectionName(name)
    except ValueError:
        raise NotFound(f"no section {name}; there are {', '.join(SectionName)}") from None


def _days(length: timedelta | None) -> float:
    """Return a retention in days as the settings write it; 0 means forever."""
    return 0.0 if length is None else length / timedelta(days=1)
