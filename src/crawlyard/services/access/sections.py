"""Settings that an admin changes while the yard runs, by their sections."""

from collections.abc import Mapping
from typing import Annotated, Any

from crawlyard.core.access.user import Permit
from crawlyard.core.answers.access import SectionOut
from crawlyard.core.endpoint import ANYBODY, MustMatch, Rest, Slice, endpoint
from crawlyard.services.noun import Noun


class Sections(Noun):
    """Shows the sections of the settings, and for admins replaces them."""

    @endpoint("GET /settings", ANYBODY)
    async def list(self) -> Slice[SectionOut]:
        """List the sections: `grants`, `ceilings`, `retention` and `defaults`."""
        found = await self._services.site_settings.list(self._actor)
        return Slice(items=[SectionOut.of(setting) for setting in found])

    @endpoint("GET /settings/{section}", ANYBODY)
    async def get(self, section: str) -> SectionOut:
        """Return a section: what was written, and what holds."""
        return SectionOut.of(await self._services.site_settings.get(self._actor, section))

    @endpoint("PUT /settings/{section}", Permit.ADMIN)
    async def put(
        self,
        section: str,
        value: Annotated[Mapping[str, Any], Rest("section")],
        *,
        version: MustMatch = None,
    ) -> SectionOut:
        """Let a section say this and nothing else.

        Ceilings and defaults hold for what is submitted from now on; jobs that live by a grant
        that is taken back are paused.
        """
        setting = await self._services.site_settings.update(
            self._actor, section, value, version=version
        )
        return SectionOut.of(setting)
