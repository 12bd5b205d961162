"""Templates: creation, search, changes and rendering, for one user."""

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from itertools import count
from typing import Annotated, Any, Literal

from msgspec import Meta
from msgspec.structs import asdict, replace

from crawlyard.core.access.user import Permit, Role
from crawlyard.core.endpoints.endpoint import (
    Cursor,
    IdempotencyKey,
    IfMatch,
    Limit,
    MustMatch,
    Owner,
    Ref,
    Rest,
    Slice,
    endpoint,
    make_slice,
    reply,
)
from crawlyard.core.events.event import Event, EventName
from crawlyard.core.faults import blaming
from crawlyard.core.merge_patch import merge_object
from crawlyard.core.parse import unknown
from crawlyard.core.templates.answers import (
    CheckedTemplateOut,
    ConvertedTemplateOut,
    RenderedOut,
    SavedTemplateOut,
    TemplateDeletionOut,
    TemplateOut,
)
from crawlyard.core.templates.secrets import strip_credentials
from crawlyard.core.templates.template import (
    MAX_CONTENT_BYTES,
    MAX_NAME,
    CrawlTemplate,
    FileFormat,
    SavedTemplate,
    TemplateDraft,
)
from crawlyard.errors import Conflict, Forbidden, Invalid, Stale, Unconfirmed, Version
from crawlyard.ids import new_id
from crawlyard.lazy import lazily
from crawlyard.services.jobs.parameters import MAX_VERSION, TemplateVersion
from crawlyard.services.noun import Noun
from crawlyard.services.races import TRIES
from crawlyard.services.templates.handover import Handover
from crawlyard.services.templates.lookup import (
    changeable_template,
    find_template,
    sees_template,
    visible_templates,
)
from crawlyard.services.templates.rendering import render_template
from crawlyard.store.queries import TemplateQuery

# they load YAML and the engine
with lazily():
    from crawlyard.services.templates import files

READ, WRITE = Permit.TEMPLATES_READ, Permit.TEMPLATES_WRITE

Form = Annotated[Mapping[str, Any], Rest("template")]
Changes = Annotated[Mapping[str, Any], Rest("template change")]
Checked = Annotated[Mapping[str, Any], Rest("checked template")]
Content = Annotated[
    str,
    Meta(
        max_length=MAX_CONTENT_BYTES,
        description="YAML or JSON, at most 2 MiB.",
        examples=["name: docs\nspec:\n  urls: [https://docs.example.org/]\n"],
    ),
]
Format = Annotated[FileFormat | None, Meta(description="Null: what it looks like.")]
CopyName = Annotated[
    str, Meta(min_length=1, max_length=MAX_NAME, description='Null: "news copy", "news copy 2".')
]

_OWN = frozenset({"name", "description", "parameters", "spec"})
_FILE = {"content": "name: docs\nspec:\n  urls: [https://docs.example.org/]\n"}
_NOTHING: Mapping[str, Any] = {}


class Templates(Noun):
    """Creates, finds, changes, publishes, renders and deletes templates for one user.

    A *ref* is an id, a name of one's own, or OWNER/NAME. A template that they may not see raises
    `NotFound`, and one that they may not change `Forbidden`. With *version*, the change is made
    only if that version is current; otherwise `Stale` is raised.
    """

    @endpoint("GET /templates", READ, "seq")
    async def list(
        self,
        *,
        visibility: Literal["private", "public"] | None = None,
        owner: Owner | None = None,
        q: Annotated[str, Meta(max_length=500, description="Of name or description.")] = "",
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Slice[TemplateOut]:
        """List templates by name: your own, and the published ones of other users."""
        name, _, template_id = (cursor or "").partition("/")  # no name has a slash
        query = TemplateQuery(
            owner=self._actor.id if owner == "me" else owner,
            public=None if visibility is None else visibility == "public",
            text=q,
            after=None if cursor is None else (name, template_id),
        )
        templates = await visible_templates(self._services.store, self._actor, query, limit + 1)
        return make_slice(
            templates, limit, TemplateOut.of, lambda template: f"{template.name}/{template.id}"
        )

    @endpoint("POST /templates", WRITE, status=201)
    async def create(
        self,
        template: Form,
        *,
        idempotency_key: IdempotencyKey = None,  # noqa: ARG002 - its callers read it
    ) -> TemplateOut:
        """Create a private template; other users see it once you publish it."""
        draft = files.draft_of(template)
        with blaming(_OWN, "spec"):
            return TemplateOut.of(await self._add(draft, trusted=self._actor.trusted))

    @endpoint("POST /templates/import", WRITE, status=201, example=_FILE)
    async def import_(
        self,
        content: Content,
        *,
        format_: Format = None,
        idempotency_key: IdempotencyKey = None,  # noqa: ARG002 - its callers read it
    ) -> TemplateOut:
        """Create a private template from a YAML or JSON file; no URL in it is fetched."""
        draft = await self._read(content, format_)
        return TemplateOut.of(await self._add(draft, trusted=self._actor.trusted))

    @endpoint("POST /templates/validate", READ, example=_FILE)
    async def validate(
        self,
        content: Content | None = None,
        *,
        format_: Format = None,
        template: Checked = _NOTHING,
    ) -> CheckedTemplateOut:
        """Check a template, or the `content` of a template file; nothing is stored."""
        if content is not None:
            for name in template:
                raise unknown(name, name, ("content", "format"), "field")
            return CheckedTemplateOut.of(await self._read(content, format_))
        if format_ is not None:
            raise Invalid("format", "expected the content of a file beside it")
        draft = files.draft_of(template)
        with blaming(_OWN, "spec"):
            files.check_draft(draft)
        return CheckedTemplateOut.of(draft)

    @endpoint("POST /templates/convert", READ, example=_FILE)
    async def convert(
        self, content: Content | None = None, *, template: Checked = _NOTHING
    ) -> ConvertedTemplateOut:
        """Convert a template between fields and the text of a YAML file; pass one of the two.

        A file is checked, fields may be incomplete; nothing is stored. Credentials are returned as
        sent.
        """
        reply().dry_run = True  # with its credentials, the answer is not kept for a repetition
        if content is None:
            draft = files.draft_of(template)
        elif template:
            raise Invalid(next(iter(template)), "expected nothing beside `content`")
        else:
            draft = await self._read(content, None)
        data = files.data_of(draft)
        text = await self._services.intake.format(data, FileFormat.YAML)
        return ConvertedTemplateOut(template=data, content=text)

    @endpoint("GET /templates/{ref}", READ)
    async def get(self, ref: Ref) -> TemplateOut:
        """Return the latest version of a template."""
        return TemplateOut.of(await self._find(ref))

    @endpoint("PATCH /templates/{ref}", WRITE)
    async def edit(self, ref: Ref, changes: Changes, *, version: MustMatch) -> SavedTemplateOut:
        """Create the next version of a template: absent fields stay, null removes a member.

        A public template is stored without credentials; `stripped` names the removed ones.
        """
        for _ in range(TRIES):
            latest = await self._changeable(ref, version)
            draft = files.draft_of(merge_object(files.data_of(latest.draft), changes))
            trusted = latest.trusted and self._actor.vouches_for(latest.owner)
            new = replace(latest, **asdict(draft), trusted=trusted)
            try:
                with blaming(_OWN, "spec"):
                    files.check_draft(draft)
                    return await self._save(latest, new, latest.version)
            except Stale:  # it was merged with an older version
                if version is not None:
                    raise
        raise Conflict(f"template {ref} keeps changing; try again")

    @endpoint("DELETE /templates/{ref}", WRITE, status=204)
    async def delete(self, ref: Ref, *, version: MustMatch) -> None:
        """Delete a template with all versions; refused while schedules use it, naming them."""
        store = self._services.store.templates
        for _ in range(TRIES):
            latest = await self._changeable(ref, version)
            event = self._event(EventName.TEMPLATE_DELETED, latest, self._services.clock.now())
            try:
                return await store.delete(latest.id, latest.version, event, self._named_owner)
            except Conflict:
                if (await self._changeable(latest.id, version)).version == latest.version:
                    raise
        raise Conflict(f"template {ref} keeps changing; try again")

    @endpoint("GET /templates/{ref}/deletion", WRITE)
    async def deletable(self, ref: Ref, *, version: IfMatch = None) -> TemplateDeletionOut:
        """Check that a template can be deleted, and return it."""
        store, latest = self._services.store.templates, await self._changeable(ref, version)
        await store.check_unused(latest.id, self._named_owner)
        return TemplateDeletionOut.of(latest, len(await store.versions(latest.id)))

    @endpoint("GET /templates/{ref}/versions", READ)
    async def versions(
        self, ref: Ref, *, limit: Limit = 50, cursor: Cursor = None
    ) -> Slice[TemplateOut]:
        """List the versions of a template that you may see, newest first."""
        before = int(cursor or MAX_VERSION + 1)
        latest = await self._find(ref)
        versions = await self._services.store.templates.versions(latest.id)
        visible = [template for template in versions if sees_template(self._actor, template)]
        older = [template for template in visible if template.version < before]
        return make_slice(older, limit, TemplateOut.of, lambda template: template.version)

    @endpoint("GET /templates/{ref}/versions/{version}", READ)
    async def version(self, ref: Ref, version: TemplateVersion) -> TemplateOut:
        """Return an earlier version, or the latest by its number."""
        return TemplateOut.of(await self._find(ref, version))

    @endpoint("POST /templates/{ref}/versions/{version}/restore", WRITE, status=202)
    async def restore(
        self, ref: Ref, version: TemplateVersion, *, latest: IfMatch = None
    ) -> SavedTemplateOut:
        """Restore a version as the next one; name and visibility are unchanged."""
        last = await self._changeable(ref, latest)
        old = await self._services.store.templates.get(last.id, version)
        draft = replace(old.draft, name=last.name)
        trusted = old.trusted and self._actor.vouches_for(last.owner)
        new = replace(last, **asdict(draft), trusted=trusted)
        return await self._save(last, new, latest)

    @endpoint("POST /templates/{ref}/publish", WRITE, status=202)
    async def publish(
        self,
        ref: Ref,
        *,
        confirm: Annotated[
            bool,
            "query",
            Meta(description="Keep the credentials in the owner's schedules that need them."),
        ] = False,
        version: IfMatch = None,
    ) -> SavedTemplateOut:
        """Publish a template to other users, in a new version without credentials.

        `stripped` names the removed credentials, `kept` the owner's schedules that keep them as
        their own params and overrides. If there are any and `confirm` is not set, nothing is
        changed, and the response is 409 `confirmation_required` with these `schedules`.
        """
        latest = await self._changeable(ref, version)
        handover = None if latest.public else Handover(latest, self._actor, confirm)
        return await self._save(latest, replace(latest, public=True), version, handover)

    @endpoint("POST /templates/{ref}/unpublish", WRITE, status=202)
    async def unpublish(self, ref: Ref, *, version: IfMatch = None) -> TemplateOut:
        """Make a template private: other users no longer see or use any version of it."""
        latest = await self._changeable(ref, version)
        saved = await self._save(latest, replace(latest, public=False), version)
        return TemplateOut.filled(saved)

    @endpoint(
        "POST /templates/{ref}/duplicate", WRITE, status=201, example={"name": "docs of mine"}
    )
    async def duplicate(
        self,
        ref: Ref,
        *,
        name: CopyName | None = None,
        version: TemplateVersion | None = None,
        idempotency_key: IdempotencyKey = None,  # noqa: ARG002 - its callers read it
    ) -> TemplateOut:
        """Copy a template to a new private one of your own."""
        source = await self._find(ref, version)
        trusted = source.trusted and self._actor.trusted
        with blaming(_OWN, "spec"):
            for _ in range(TRIES):
                draft = replace(source.draft, name=name or await self._free_name(source.name))
                try:
                    return TemplateOut.of(await self._add(draft, trusted=trusted))
                except Conflict:
                    if name is not None:
                        raise  # otherwise the name was taken concurrently
        raise Conflict(f"template {source.name} is being copied concurrently; try again")

    @endpoint(
        "POST /templates/{ref}/render", READ, example={"overrides": {"limits": {"pages": 100}}}
    )
    async def render(
        self,
        ref: Ref,
        *,
        params: Annotated[
            Mapping[str, Any], Meta(description="Values of its parameters.")
        ] = _NOTHING,
        overrides: Annotated[
            Mapping[str, Any], Meta(description="What differs, as in a job.")
        ] = _NOTHING,
        version: TemplateVersion | None = None,
    ) -> RenderedOut:
        """Return the full spec that a job would have, and the source of each value.

        Nothing is stored.
        """
        with blaming(("params", "version"), "overrides"):
            rendered = await render_template(
                self._services.store, self._actor, ref, params, overrides, version
            )
        return RenderedOut.of(rendered)

    @endpoint("GET /templates/{ref}/export", READ)
    async def export(
        self,
        ref: Ref,
        *,
        format_: FileFormat = FileFormat.YAML,
        version: TemplateVersion | None = None,
    ) -> str:
        """Return a template as a file; only users who may change it get its credentials."""
        template = await self._find(ref, version)
        changes = self._actor.may_change(template.owner) and WRITE in self._permits
        draft = template.draft if changes else strip_credentials(template.draft)[0]
        return await self._services.intake.format(files.data_of(draft), format_)

    async def _read(self, content: str, form: FileFormat | None) -> TemplateDraft:
        if form is FileFormat.JSON and not content.lstrip("\ufeff \t\r\n").startswith("{"):
            raise Invalid("content", "expected an object of JSON, as format says")
        return await self._services.intake.read(content)

    async def _find(self, ref: str, version: int | None = None) -> CrawlTemplate:
        return await find_template(self._services.store, self._actor, ref, version)

    async def _changeable(self, ref: str, version: Version) -> CrawlTemplate:
        return await changeable_template(self._services.store, self._actor, ref, version)

    async def _add(self, draft: TemplateDraft, *, trusted: bool) -> CrawlTemplate:
        """Store a new private template of the actor."""
        actor, now = self._actor, self._services.clock.now()
        if not actor.may_change(actor.id):
            raise Forbidden(f"{actor.id} may view templates, but not create them")
        files.check_draft(draft)
        template = CrawlTemplate(
            id=new_id(),
            owner=actor.id,
            **asdict(draft),
            created_at=now,
            updated_at=now,
            actor=actor.id,
            trusted=trusted,
        )
        event = self._event(EventName.TEMPLATE_CREATED, template, now)
        await self._services.store.templates.add(template, event)
        return template

    async def _save(
        self,
        latest: CrawlTemplate,
        new: CrawlTemplate,
        version: Version,
        handover: Handover | None = None,
    ) -> SavedTemplateOut:
        """Save *new* as the version after *latest*, if it differs; a public one is stripped."""
        draft, removed = strip_credentials(new.draft) if new.public else (new.draft, ())
        same = (draft.spec, draft.parameters) == (latest.spec, latest.parameters)
        trusted = new.trusted or (same and latest.trusted)
        if (draft, new.public, trusted) == (latest.draft, latest.public, latest.trusted):
            reply().unchanged = True
            return SavedTemplateOut.of_saved(SavedTemplate(template=latest, stripped=removed))
        now = self._services.clock.now()
        template = replace(
            new,
            **asdict(draft),
            version=latest.version + 1,
            updated_at=now,
            actor=self._actor.id,
            trusted=trusted,
        )
        event = self._event(EventName.TEMPLATE_UPDATED, template, now)
        carry = partial(handover.carry, template) if handover else None
        try:
            await self._services.store.templates.save(template, event, carry)
        except Unconfirmed:
            raise
        except Conflict:
            # the name is taken, or the template changed concurrently
            await self._changeable(latest.id, version)
            raise
        taken_over = handover.kept_templates if handover else ()
        return SavedTemplateOut.of_saved(
            SavedTemplate(template=template, stripped=removed, kept=taken_over)
        )

    async def _free_name(self, name: str) -> str:
        stem = f"{name[: MAX_NAME - 12].rstrip()} copy"
        for number in count(1):
            free = stem if number == 1 else f"{stem} {number}"
            query = TemplateQuery(owner=self._actor.id, name=free)
            if not await self._services.store.templates.find(query, 1):
                break
        return free

    @property
    def _named_owner(self) -> str | None:
        """The user whose schedules a message may name; ``None`` for everyone's."""
        return None if self._actor.role is Role.ADMIN else self._actor.id

    def _event(self, name: EventName, template: CrawlTemplate, now: datetime) -> Event:
        return Event(
            name=name,
            subject=template.id,
            owner=template.owner,
            at=now,
            actor=self._actor.id,
            data={
                "name": template.name,
                "version": template.version,
                "public": template.public,
            },
        )
