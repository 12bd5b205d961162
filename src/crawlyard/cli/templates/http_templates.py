"""Templates of a yard that is asked over HTTP."""

from collections.abc import Mapping

from crawlyard.client import AsyncClient
from crawlyard.core.answers.templates.templates import (
    RenderedOut,
    SavedTemplateOut,
    TemplateFileOut,
    TemplateOut,
)
from crawlyard.core.jobs.spec_json import Form
from crawlyard.core.merge_patch import patch_between
from crawlyard.core.templates.template import FileFormat, TemplateDraft
from crawlyard.services.templates.files import data_of, read
from crawlyard.store.queries import TemplateQuery


class HttpTemplates:
    """Asks the templates of a server; each method is a request or two."""

    def __init__(self, client: AsyncClient) -> None:
        self._templates = client.templates
        self._jobs = client.jobs

    async def get(self, ref: str, version: int | None = None) -> TemplateOut:
        """Return one template, as it was at *version* or as it is."""
        return await self._templates.get(ref, version)

    async def find(self, query: TemplateQuery, limit: int, *, mine: bool) -> list[TemplateOut]:
        """Return the templates that *query* asks for, by (name, id), at most *limit*."""
        visibility = None if query.public is None else "public" if query.public else "private"
        owner = "me" if mine else query.owner
        found = self._templates.list(visibility=visibility, owner=owner, q=query.text, limit=limit)
        return [template async for template in found]

    async def versions(self, ref: str) -> list[TemplateOut]:
        """Return the versions that the user may see, the newest first."""
        return [version async for version in self._templates.versions(ref)]

    async def file(self, ref: str, version: int | None = None) -> TemplateFileOut:
        """Return what the file of a template holds, credentials and all."""
        return TemplateFileOut.of(await self._draft(ref, version))

    async def render(
        self, ref: str, params: Mapping[str, object], overrides: Form, version: int | None
    ) -> RenderedOut:
        """Return the whole spec that a job would have."""
        return await self._templates.render(
            ref, params=params, overrides=overrides, version=version
        )

    async def submit(
        self, ref: str, params: Mapping[str, object], overrides: Form, version: int | None
    ) -> str:
        """Make a job that is due now; return its id."""
        job = await self._jobs.create(
            overrides, template=ref, template_version=version, params=params
        )
        return job.id

    async def create(self, draft: TemplateDraft) -> TemplateOut:
        """Remember a new template."""
        return await self._templates.create(data_of(draft))

    async def update(
        self, ref: str, draft: TemplateDraft, version: int | None = None
    ) -> SavedTemplateOut:
        """Make *draft* the next version."""
        old = data_of(await self._draft(ref, version))
        return await self._templates.edit(ref, patch_between(old, data_of(draft)), version=version)

    async def publish(self, ref: str, *, confirmed: bool) -> SavedTemplateOut:
        """Let others see and use it."""
        return await self._templates.publish(ref, confirm=confirmed)

    async def unpublish(self, ref: str) -> TemplateOut:
        """Let nobody else see or use it any more."""
        return await self._templates.unpublish(ref)

    async def duplicate(self, ref: str, name: str | None, version: int | None) -> TemplateOut:
        """Make a private template of one's own that says the same."""
        return await self._templates.duplicate(ref, name=name, version=version)

    async def restore(self, ref: str, version: int) -> SavedTemplateOut:
        """Make what an earlier version said the next one."""
        return await self._templates.restore(ref, version)

    async def delete(self, ref: str) -> None:
        """Delete it with all its versions."""
        await self._templates.delete(ref)

    async def _draft(self, ref: str, version: int | None) -> TemplateDraft:
        text = await self._templates.export(ref, format=FileFormat.JSON.value, version=version)
        return read(text.encode(), f"template {ref}")
