"""Commands that change templates."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from crawlyard.cli.jobs.actions import DECLINED
from crawlyard.cli.jobs.crawl_options import options_named
from crawlyard.cli.options import Common
from crawlyard.cli.render.sheets import listed, show, whole
from crawlyard.cli.render.words import printable
from crawlyard.cli.session import Session
from crawlyard.cli.templates.drafts import draft_from, edited, exported
from crawlyard.cli.templates.views import templates_view
from crawlyard.core.answers.base import as_dict
from crawlyard.core.answers.templates import SavedTemplateOut, TemplateOut
from crawlyard.core.merge_patch import patch_between
from crawlyard.core.templates.template import TemplateDraft
from crawlyard.errors import NotFound, Unconfirmed
from crawlyard.services.templates.files import data_of


async def create(session: Session, *, draft: TemplateDraft, common: Common) -> int:
    """Create a template."""
    with options_named(name="name"):
        made = await session.surface.templates.create(data_of(draft))
    return await _told(session, common, "created", made)


async def take_in(session: Session, *, paths: Sequence[str], update: bool, common: Common) -> int:
    """Create templates from files; with *update*, new versions of those that exist."""
    drafts = [draft_from(path) for path in paths]  # all can be read, or nothing is changed
    for draft in drafts:
        there = await _named(session, draft.name) if update else None
        if there is None:
            made = await session.surface.templates.create(data_of(draft))
            await _told(session, common, "created", made)
        else:
            old = await exported(session, there.id, there.version)
            await _changed(session, common, there, await _saved(session, there, old, draft))
    return 0


async def edit(
    session: Session,
    *,
    ref: str,
    file: str,
    name: str | None,
    description: str | None,
    common: Common,
) -> int:
    """Create the next version: from a file, with another name or description, or in an editor."""
    before = await session.surface.templates.get(ref)
    old = await exported(session, before.id, before.version)
    changes = {"name": name, "description": description}
    given: dict[str, Any] = {f: value for f, value in changes.items() if value is not None}
    if file or given:
        draft = replace(draft_from(file) if file else old, **given)
        saved = await _saved(session, before, old, draft)
    else:
        with edited(old) as draft:
            saved = await _saved(session, before, old, draft)
    return await _changed(session, common, before, saved)


async def _saved(
    session: Session, before: TemplateOut, old: TemplateDraft, new: TemplateDraft
) -> SavedTemplateOut:
    """Save *new* as the version of a template after *before*, whose draft is *old*."""
    patch = patch_between(data_of(old), data_of(new))
    if new.parameters != old.parameters:
        # a list replaces the old ones; an object would be merged into them, in the old order
        parameters: Any = data_of(new).get("parameters", {})
        patch["parameters"] = [{"name": name, **fields} for name, fields in parameters.items()]
    return await session.surface.templates.edit(before.id, patch, version=before.version)


async def publish(session: Session, *, ref: str, yes: bool, common: Common) -> int:
    """Let others see and use a template; ask first if schedules take over credentials."""
    try:
        saved = await session.surface.templates.publish(ref, confirm=yes)
    except Unconfirmed as error:
        if not _confirmed(session, error):
            session.tell("nothing was published")
            return DECLINED
        saved = await session.surface.templates.publish(ref, confirm=True)
    await _told(session, common, "public", saved)
    if saved.kept:
        kept = ", ".join(_keeping(as_dict(one)) for one in saved.kept)
        session.tell(f"  credentials kept by schedules: {kept}")
    others = f"{saved.owner}/{saved.name}"
    session.tell(f"others use it as {others}, without its earlier private versions")
    return 0


def _confirmed(session: Session, error: Unconfirmed) -> bool:
    session.check_can_ask(str(error))
    session.err.print("These schedules use credentials that will be removed from the template:")
    for one in error.schedules:
        session.err.print(printable(f"  {_keeping(one)}"), markup=False, highlight=False)
    answer = session.err.input("Publish, and keep them in these schedules? (y/N) ", markup=False)
    return answer.strip().lower() in {"y", "yes"}


def _keeping(kept: Mapping[str, Any]) -> str:
    return f"{kept['name']} ({', '.join(kept['fields'])})"


async def unpublish(session: Session, *, ref: str, common: Common) -> int:
    """Let nobody else see or use a template any more."""
    return await _told(session, common, "private", await session.surface.templates.unpublish(ref))


async def duplicate(
    session: Session, *, ref: str, name: str | None, version: int | None, common: Common
) -> int:
    """Make a private template of one's own that says the same."""
    copy = await session.surface.templates.duplicate(ref, name=name, version=version)
    return await _told(session, common, "created", copy)


async def restore(session: Session, *, ref: str, version: int, common: Common) -> int:
    """Make what an earlier version said the next one."""
    before = await session.surface.templates.get(ref)
    saved = await session.surface.templates.restore(before.id, version)
    return await _changed(session, common, before, saved)


async def delete(session: Session, *, refs: Sequence[str], yes: bool) -> int:
    """Delete templates with all their versions, after a question unless *yes*."""
    found = [await session.surface.templates.get(ref) for ref in refs]
    if not yes and not _agreed(session, found):
        session.tell("nothing was deleted")
        return DECLINED
    for template in found:
        await session.surface.templates.delete(template.id, version=template.version)
        session.tell(f"deleted: {template.name}")
    return 0


def _agreed(session: Session, templates: Sequence[TemplateOut]) -> bool:
    session.check_can_ask()
    for template in templates:
        about = f"{template.name}  v{template.version}  {template.id}"
        session.err.print(printable(about), markup=False, highlight=False)
    count = "this template" if len(templates) == 1 else f"these {len(templates):,} templates"
    answer = session.err.input(f"Delete {count} and all versions? (y/N) ", markup=False)
    return answer.strip().lower() in {"y", "yes"}


async def _named(session: Session, name: str) -> TemplateOut | None:
    try:
        return await session.surface.templates.get(name)
    except NotFound:
        return None


async def _changed(
    session: Session, common: Common, before: TemplateOut, after: SavedTemplateOut
) -> int:
    done = "unchanged" if after.version == before.version else "changed"
    return await _told(session, common, done, after)


async def _told(session: Session, common: Common, done: str, template: TemplateOut) -> int:
    """Say what a template is now, and write it if that was asked for."""
    session.tell(f"{done}: {template.name} v{template.version}  {template.id}")
    if isinstance(template, SavedTemplateOut) and template.stripped:
        session.tell(f"  without its credentials: {', '.join(template.stripped)}")
    if not common.asked:
        return 0
    if whole(session, common):
        return await show(session, template, (), common)
    await listed(session, [template], templates_view(session.clock.now()), common)
    return 0
