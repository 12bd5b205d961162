"""What commands do to templates, and what became of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from crawlyard.cli.jobs.actions import DECLINED
from crawlyard.cli.jobs.crawl_options import options_named
from crawlyard.cli.options import Common
from crawlyard.cli.render.sheets import listed, show, whole
from crawlyard.cli.render.words import printable
from crawlyard.cli.session import Session
from crawlyard.cli.templates.template_views import templates_view
from crawlyard.cli.templates.template_words import draft_from, edited
from crawlyard.core.answers.base import as_dict
from crawlyard.core.answers.templates.templates import SavedTemplateOut, TemplateOut
from crawlyard.core.templates.template import TemplateDraft
from crawlyard.errors import NotFound, Unconfirmed
from crawlyard.services.templates.files import draft_of


async def create(session: Session, *, draft: TemplateDraft, common: Common) -> int:
    """Remember a new template."""
    with options_named(own=("name",)):
        made = await session.templates.create(draft)
    return await _told(session, common, "created", made)


async def take_in(session: Session, *, files: Sequence[str], update: bool, common: Common) -> int:
    """Make templates of files; with *update*, new versions of those that are there."""
    drafts = [draft_from(file) for file in files]  # all can be read, or nothing is changed
    for draft in drafts:
        there = await _named(session, draft.name) if update else None
        if there is None:
            await _told(session, common, "created", await session.templates.create(draft))
        else:
            saved = await session.templates.update(there.id, draft, there.version)
            await _told(session, common, _change(there, saved), saved)
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
    """Make a next version: from a file, with another name or description, or by an editor."""
    before = await session.templates.get(ref)
    kept = draft_of(as_dict(await session.templates.file(before.id, before.version)))
    changes = {"name": name, "description": description}
    given: dict[str, Any] = {f: value for f, value in changes.items() if value is not None}
    if file or given:
        draft = replace(draft_from(file) if file else kept, **given)
        saved = await session.templates.update(before.id, draft, before.version)
    else:
        with edited(kept) as draft:
            saved = await session.templates.update(before.id, draft, before.version)
    return await _told(session, common, _change(before, saved), saved)


async def publish(session: Session, *, ref: str, yes: bool, common: Common) -> int:
    """Let others see and use a template; ask first if schedules take over credentials."""
    try:
        saved = await session.templates.publish(ref, confirmed=yes)
    except Unconfirmed as error:
        if not _confirmed(session, error):
            session.tell("nothing was published")
            return DECLINED
        saved = await session.templates.publish(ref, confirmed=True)
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
    return await _told(session, common, "private", await session.templates.unpublish(ref))


async def duplicate(
    session: Session, *, ref: str, name: str | None, version: int | None, common: Common
) -> int:
    """Make a private template of one's own that says the same."""
    copy = await session.templates.duplicate(ref, name, version)
    return await _told(session, common, "created", copy)


async def restore(session: Session, *, ref: str, version: int, common: Common) -> int:
    """Make what an earlier version said the next one."""
    before = await session.templates.get(ref)
    saved = await session.templates.restore(before.id, version)
    return await _told(session, common, _change(before, saved), saved)


async def delete(session: Session, *, refs: Sequence[str], yes: bool) -> int:
    """Delete templates with all their versions, after a question unless *yes*."""
    found = [await session.templates.get(ref) for ref in refs]
    if not yes and not _agreed(session, found):
        session.tell("nothing was deleted")
        return DECLINED
    for template in found:
        await session.templates.delete(template.id)
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
        return await session.templates.get(name)
    except NotFound:
        return None


def _change(before: TemplateOut, after: TemplateOut) -> str:
    return "unchanged" if after.version == before.version else "changed"


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
