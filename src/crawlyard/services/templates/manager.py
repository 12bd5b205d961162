"""Template service: versions, publication, and rendering into the spec of a job."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict, replace

from crawlyard.clock import Clock
from crawlyard.core.access.user import Actor, Role
from crawlyard.core.endpoints.endpoint import reply
from crawlyard.core.events.event import Event, EventName
from crawlyard.core.faults import check_all
from crawlyard.core.jobs.job import Origin
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.core.jobs.spec_json import EXAMPLE, FIELDS, Form, form_of, spec_with, values_of
from crawlyard.core.quantity import counted
from crawlyard.core.schedules.schedule import CrawlSchedule, told
from crawlyard.core.templates.publication import Takeover, takeover
from crawlyard.core.templates.render import Rendered, blamed, fill
from crawlyard.core.templates.secrets import stripped
from crawlyard.core.templates.template import (
    MAX_NAME,
    CrawlTemplate,
    KeptTemplate,
    SavedTemplate,
    TemplateDraft,
    is_id,
)
from crawlyard.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Unconfirmed,
    Version,
    check_version,
)
from crawlyard.ids import new_id
from crawlyard.services.races import TRIES
from crawlyard.services.templates.files import check_draft
from crawlyard.services.webhooks.receivers import check_job_spec
from crawlyard.store.queries import TemplateQuery
from crawlyard.store.store import Store

DEFAULT, THIS_JOB = "default", "this job"
"""Sources of values in a rendered spec, besides the template."""

_NOTHING: Form = {}
_NAMED = 20  # schedules listed in a message


class TemplateManager:
    """Creates, finds, changes, publishes, renders and deletes templates.

    Every method takes its actor first. Actors see their own templates, and the public
    versions of other people's templates that are public now; anything else is `NotFound`.
    Only the owner or an admin may change a template (`Forbidden`), and if a version is
    given, only while it is the latest (`Stale`). Without one, a change that loses a race is a
    `Conflict`, as is a name that the owner has already. A *ref* is an id, the name of one of
    the actor's templates, or OWNER/NAME.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def create(self, actor: Actor, draft: TemplateDraft) -> CrawlTemplate:
        """Create a private template owned by the actor.

        Raises:
            Invalid: a field is not valid; the message names it.
        """
        return await self._created(actor, draft, trusted=actor.trusted)

    async def _created(self, actor: Actor, draft: TemplateDraft, *, trusted: bool) -> CrawlTemplate:
        if not actor.may_change(actor.id):
            raise Forbidden(f"{actor.id} may look at templates, not create them")
        check_draft(draft)
        now = self._clock.now()
        template = CrawlTemplate(
            id=new_id(),
            owner=actor.id,
            name=draft.name,
            description=draft.description,
            spec=draft.spec,
            parameters=draft.parameters,
            created_at=now,
            updated_at=now,
            actor=actor.id,
            trusted=trusted,
        )
        event = _event(EventName.TEMPLATE_CREATED, template, actor, now)
        await self._store.templates.add(template, event)
        return template

    async def get(self, actor: Actor, ref: str, version: int | None = None) -> CrawlTemplate:
        """Return *version* of a template, by default the latest."""
        latest = await self.resolve(actor, ref)
        if version is None or version == latest.version:
            return latest
        found = await self._store.templates.get(latest.id, version)
        if not _sees(actor, found):
            raise NotFound(f"no version {version} of template {latest.id}")
        return found

    async def list(
        self, actor: Actor, query: TemplateQuery | None = None, limit: int = 50
    ) -> Sequence[CrawlTemplate]:
        """Return the templates matching *query* that the actor may see, ordered by (name, id)."""
        asked = query or TemplateQuery()
        if actor.role is not Role.ADMIN:
            asked = replace(asked, seen_by=actor.id)
        return await self._store.templates.find(asked, limit)

    async def resolve(self, actor: Actor, ref: str) -> CrawlTemplate:
        """Return the latest version of the template that *ref* refers to."""
        if is_id(ref):
            found = await self._store.templates.get(ref.lower())
            if not _sees(actor, found):
                raise NotFound(f"no template {ref.lower()}")
            return found
        owner, slash, name = ref.rpartition("/")
        named = TemplateQuery(owner=owner if slash else actor.id, name=name)
        for template in await self.list(actor, named, 1):
            return template
        others = await self.list(actor, replace(named, owner=None), 3) if not slash else ()
        hint = ", ".join(f"{template.owner}/{template.name}" for template in others)
        raise NotFound(f"there is no template {ref}" + (f"; there is {hint}" if hint else ""))

    async def versions(self, actor: Actor, ref: str) -> Sequence[CrawlTemplate]:
        """Return the versions that the actor may see, newest first."""
        latest = await self.resolve(actor, ref)
        found = await self._store.templates.versions(latest.id)
        return [template for template in found if _sees(actor, template)]

    async def update(
        self, actor: Actor, ref: str, draft: TemplateDraft, *, version: Version = None
    ) -> SavedTemplate:
        """Save *draft* as the next version; do nothing if it equals the latest.

        If the template is public, credentials in *draft* are removed first.

        Raises:
            Invalid: as for `create`.
        """
        latest = await self.changeable(actor, ref, version)
        check_draft(draft)
        trusted = latest.trusted and actor.vouches_for(latest.owner)
        return await self._changed(actor, latest, version, draft=draft, trusted=trusted)

    async def publish(
        self, actor: Actor, ref: str, *, version: Version = None, confirmed: bool = False
    ) -> SavedTemplate:
        """Publish a template as a new version without credentials, which everyone may see and use.

        Nothing happens if it is public already. Earlier private versions stay private.
        Schedules of its owner that follow the latest version keep the credentials as their
        own params and overrides; if there are such schedules, *confirmed* must be set.

        Raises:
            Unconfirmed: *confirmed* is not set but required; nothing was written.
        """
        latest = await self.changeable(actor, ref, version)
        handover = None if latest.public else _Handover(latest, actor, confirmed)
        return await self._changed(
            actor, latest, version, public=True, trusted=latest.trusted, handover=handover
        )

    async def unpublish(self, actor: Actor, ref: str, *, version: Version = None) -> CrawlTemplate:
        """Make a template private, with all its versions."""
        latest = await self.changeable(actor, ref, version)
        trusted = latest.trusted
        saved = await self._changed(actor, latest, version, public=False, trusted=trusted)
        return saved.template

    async def duplicate(
        self, actor: Actor, ref: str, *, name: str | None = None, version: int | None = None
    ) -> CrawlTemplate:
        """Copy a template into a new private template owned by the actor.

        Without *name*, it is named after the original: "news copy", "news copy 2".

        Raises:
            Invalid: *name* is not a valid name.
        """
        source = await self.get(actor, ref, version)
        trusted = source.trusted and actor.trusted
        if name is not None:
            return await self._created(actor, replace(source.draft, name=name), trusted=trusted)
        for _ in range(TRIES):
            free = await self._free_name(actor, source.name)
            try:
                return await self._created(actor, replace(source.draft, name=free), trusted=trusted)
            except Conflict:
                continue  # the name was taken concurrently
        raise Conflict(f"copies of {source.name} keep coming; try again")

    async def restore(
        self, actor: Actor, ref: str, version: int, *, latest: Version = None
    ) -> SavedTemplate:
        """Save the content of *version* as the next version; name and visibility stay the same.

        If *latest* is given, it must still be the latest version.
        """
        last = await self.changeable(actor, ref, latest)
        old = await self._store.templates.get(last.id, version)
        draft = replace(old.draft, name=last.name)
        trusted = old.trusted and actor.vouches_for(last.owner)
        return await self._changed(actor, last, latest, draft=draft, trusted=trusted)

    async def render(
        self,
        actor: Actor,
        ref: str,
        params: Mapping[str, object] = _NOTHING,
        overrides: Form = _NOTHING,
        version: int | None = None,
    ) -> Rendered:
        """Return the whole spec of a job: defaults, then the template, then *overrides*.

        A value that a parameter fills in counts as the template's. Nothing is written.

        Raises:
            NotFound: no such template or version that the actor may use.
            Invalid: a parameter (``params.NAME``) or a field of the spec is unknown,
                missing or not valid, or the spec cannot be crawled.
        """
        template = await self.get(actor, ref, version)
        own: dict[str, Any] = {}
        filled: dict[str, Any] = {}

        def read_template() -> None:
            try:
                filled.update(values_of(fill(template, params)))
            except Invalid as error:
                raise error.mapped(lambda fault: blamed(fault, template)) from None

        def whole(base: JobSpec | None = None) -> JobSpec:
            try:
                spec = spec_with(filled | own, base, check_job_spec)
                check_job_spec(spec)
            except Invalid as error:
                raise error.mapped(
                    lambda fault: fault if _is_in(fault.field, own) else blamed(fault, template)
                ) from None
            return spec

        reads = (lambda: own.update(values_of(overrides, check_job_spec)), read_template)
        try:
            check_all(*reads)
        except Invalid:
            check_all(*reads, partial(whole, EXAMPLE))  # also what is wrong with the rest
        spec = whole()
        sources = dict.fromkeys(FIELDS, DEFAULT)
        sources |= dict.fromkeys(filled, f"template v{template.version}")
        sources |= dict.fromkeys(own, THIS_JOB)
        return Rendered(
            template=template,
            spec=spec,
            form=form_of(spec),
            sources=sources,
            origin=Origin(
                template_id=template.id,
                template_version=template.version,
                given=tuple(path for path in FIELDS if path in own),
            ),
        )

    async def delete(self, actor: Actor, ref: str, *, version: Version = None) -> None:
        """Delete a template with all its versions; jobs created from it are kept.

        Raises:
            Conflict: schedules use it, which the message names.
        """
        for _ in range(TRIES):
            latest = await self.changeable(actor, ref, version)
            event = _event(EventName.TEMPLATE_DELETED, latest, actor, self._clock.now())
            try:
                await self._store.templates.delete(latest.id, latest.version, event, _seeing(actor))
            except Conflict:
                if (await self.changeable(actor, latest.id, version)).version == latest.version:
                    raise
                continue
            return
        raise Conflict(f"template {ref} keeps changing; try again")

    async def deletable(
        self, actor: Actor, ref: str, *, version: Version = None
    ) -> tuple[CrawlTemplate, int]:
        """Return the template that `delete` would delete, and how many versions it has."""
        latest = await self.changeable(actor, ref, version)
        await self._store.templates.check_unused(latest.id, _seeing(actor))
        return latest, len(await self._store.templates.versions(latest.id))

    async def changeable(self, actor: Actor, ref: str, version: Version = None) -> CrawlTemplate:
        """Return the latest version of a template that the actor may change."""
        template = await self.resolve(actor, ref)
        if not actor.may_change(template.owner):
            raise Forbidden(f"{actor.id} may use template {ref}, not change it; duplicate it")
        check_version(f"template {template.name}", template.version, version)
        return template

    async def _changed(
        self,
        actor: Actor,
        latest: CrawlTemplate,
        version: Version,
        *,
        draft: TemplateDraft | None = None,
        public: bool | None = None,
        trusted: bool,
        handover: "_Handover | None" = None,
    ) -> SavedTemplate:
        """Save what is given as the version after *latest*, if it differs.

        It is trusted if *trusted*, and if it says the same as the latest, which is.
        """
        draft = latest.draft if draft is None else draft
        public = latest.public if public is None else public
        draft, taken_out = stripped(draft) if public else (draft, ())
        same = (draft.spec, draft.parameters) == (latest.spec, latest.parameters)
        trusted = trusted or (same and latest.trusted)
        if (draft, public, trusted) == (latest.draft, latest.public, latest.trusted):
            reply().unchanged = True
            return SavedTemplate(template=latest, stripped=taken_out)
        now = self._clock.now()
        template = replace(
            latest,
            name=draft.name,
            description=draft.description,
            spec=draft.spec,
            parameters=draft.parameters,
            public=public,
            version=latest.version + 1,
            updated_at=now,
            actor=actor.id,
            trusted=trusted,
        )
        event = _event(EventName.TEMPLATE_UPDATED, template, actor, now)
        carry = partial(handover.carry, template) if handover else None
        try:
            await self._store.templates.save(template, event, carry)
        except Unconfirmed:
            raise
        except Conflict:
            # the name is taken, or the template changed concurrently
            await self.changeable(actor, latest.id, version)
            raise
        return SavedTemplate(
            template=template, stripped=taken_out, kept=handover.kept if handover else ()
        )

    async def _free_name(self, actor: Actor, name: str) -> str:
        stem = f"{name[: MAX_NAME - 12].rstrip()} copy"
        number = 1
        while True:
            free = stem if number == 1 else f"{stem} {number}"
            named = TemplateQuery(owner=actor.id, name=free)
            if not await self._store.templates.find(named, 1):
                return free
            number += 1


class _Handover(Struct):
    """The values that the owner's schedules take over when a template is published."""

    before: CrawlTemplate
    actor: Actor
    confirmed: bool
    kept: tuple[KeptTemplate, ...] = ()

    def carry(
        self, after: CrawlTemplate, schedules: Sequence[CrawlSchedule]
    ) -> Sequence[tuple[CrawlSchedule, Event]]:
        """Return the schedules that take something over; see `TemplateStore.save`.

        Raises:
            Unconfirmed: there are some, and *confirmed* is not set.
        """
        found = [takeover(one, self.before, after) for one in schedules if not one.flaw]
        changes = [change for change in found if change is not None]
        self.kept = tuple(change.kept for change in changes)
        if changes and not self.confirmed:
            raise _unconfirmed(self.before, self.kept)
        return [self._written(change, after.updated_at) for change in changes]

    def _written(self, change: Takeover, now: datetime) -> tuple[CrawlSchedule, Event]:
        schedule = change.after
        new = replace(
            schedule, version=schedule.version + 1, beat=schedule.beat + 1, updated_at=now
        )
        changed = sorted({path.partition(".")[0] for path in change.kept.fields})
        return new, told(new, EventName.SCHEDULE_UPDATED, now, self.actor.id, changed=changed)


def _unconfirmed(template: CrawlTemplate, kept: Sequence[KeptTemplate]) -> Unconfirmed:
    named = ", ".join(f"{one.name} ({', '.join(one.fields)})" for one in kept[:_NAMED])
    more = f" and {len(kept) - _NAMED:,} more" if kept[_NAMED:] else ""
    return Unconfirmed(
        f"publishing template {template.name} removes credentials used by "
        f"{counted(len(kept), 'schedule')} of {template.owner}; "
        f"confirm to keep them there: {named}{more}",
        [asdict(one) for one in kept],
    )


def _seeing(actor: Actor) -> str | None:
    """Return the user whose schedules a message may name; ``None`` for everyone's."""
    return None if actor.role is Role.ADMIN else actor.id


def _sees(actor: Actor, template: CrawlTemplate) -> bool:
    return template.public or actor.may_see(template.owner)


def _is_in(field: str, values: Mapping[str, object]) -> bool:
    """Return whether a field of a spec, or a part of it, is among *values*."""
    names = (field, f"{field}_s", field.partition(".")[0])
    return any(path in names or path.startswith(f"{field}.") for path in values)


def _event(name: EventName, template: CrawlTemplate, actor: Actor, now: datetime) -> Event:
    return Event(
        name=name,
        subject=template.id,
        owner=template.owner,
        at=now,
        actor=actor.id,
        data={
            "name": template.name,
            "version": template.version,
            "public": template.public,
        },
    )
