"""Templates of a yard that is open in this process."""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from crawlyard.core.access.user import Actor
from crawlyard.core.answers.templates.templates import (
    RenderedOut,
    SavedTemplateOut,
    TemplateFileOut,
    TemplateOut,
)
from crawlyard.core.jobs.spec_json import Form
from crawlyard.core.templates.template import CrawlTemplate, TemplateDraft
from crawlyard.store.queries import TemplateQuery
from crawlyard.yard import Yard


class LocalTemplates:
    """Calls the services of a yard that is open in this process."""

    def __init__(self, yard: Yard, actor: Actor) -> None:
        self._templates = yard.templates
        self._jobs = yard.jobs
        self._actor = actor

    async def get(self, ref: str, version: int | None = None) -> TemplateOut:
        """Return one template, as it was at *version* or as it is."""
        return TemplateOut.of(await self._templates.get(self._actor, ref, version))

    async def find(self, query: TemplateQuery, limit: int, *, mine: bool) -> list[TemplateOut]:
        """Return the templates that *query* asks for, by (name, id), at most *limit*."""
        if mine:
            query = replace(query, owner=self._actor.id)
        return _all(await self._templates.list(self._actor, query, limit))

    async def versions(self, ref: str) -> list[TemplateOut]:
        """Return the versions that the user may see, the newest first."""
        return _all(await self._templates.versions(self._actor, ref))

    async def file(self, ref: str, version: int | None = None) -> TemplateFileOut:
        """Return what the file of a template holds, credentials and all."""
        template = await self._templates.get(self._actor, ref, version)
        return TemplateFileOut.of(template.draft)

    async def render(
        self, ref: str, params: Mapping[str, object], overrides: Form, version: int | None
    ) -> RenderedOut:
        """Return the whole spec that a job would have."""
        rendered = await self._templates.render(self._actor, ref, params, overrides, version)
        return RenderedOut.of(rendered)

    async def submit(
        self, ref: str, params: Mapping[str, object], overrides: Form, version: int | None
    ) -> str:
        """Make a job that is due now; return its id."""
        rendered = await self._templates.render(self._actor, ref, params, overrides, version)
        job = await self._jobs.submit(self._actor, rendered.spec, origin=rendered.origin)
        return job.id

    async def create(self, draft: TemplateDraft) -> TemplateOut:
        """Remember a new template."""
        return TemplateOut.of(await self._templates.create(self._actor, draft))

    async def update(
        self, ref: str, draft: TemplateDraft, version: int | None = None
    ) -> SavedTemplateOut:
        """Make *draft* the next version."""
        saved = await self._templates.update(self._actor, ref, draft, version=version)
        return SavedTemplateOut.saved(saved)

    async def publish(self, ref: str, *, confirmed: bool) -> SavedTemplateOut:
        """Let others see and use it."""
        saved = await self._templates.publish(self._actor, ref, confirmed=confirmed)
        return SavedTemplateOut.saved(saved)

    async def unpublish(self, ref: str) -> TemplateOut:
        """Let nobody else see or use it any more."""
        return TemplateOut.of(await self._templates.unpublish(self._actor, ref))

    async def duplicate(self, ref: str, name: str | None, version: int | None) -> TemplateOut:
        """Make a private template of one's own that says the same."""
        copy = await self._templates.duplicate(self._actor, ref, name=name, version=version)
        return TemplateOut.of(copy)

    async def restore(self, ref: str, version: int) -> SavedTemplateOut:
        """Make what an earlier version said the next one."""
        return SavedTemplateOut.saved(await self._templates.restore(self._actor, ref, version))

    async def delete(self, ref: str) -> None:
        """Delete it with all its versions."""
        await self._templates.delete(self._actor, ref)


def _all(templates: Sequence[CrawlTemplate]) -> list[TemplateOut]:
    return [TemplateOut.of(template) for template in templates]
