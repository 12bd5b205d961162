"""Commands that show templates, their versions, their files and rendered specs."""

from collections.abc import Mapping
from pathlib import Path

from crawlyard.cli.jobs.crawl_options import options_named
from crawlyard.cli.jobs.exports import STDOUT
from crawlyard.cli.options import Common
from crawlyard.cli.render.sheets import listed, nothing, show, whole
from crawlyard.cli.session import Session
from crawlyard.cli.stdout import write
from crawlyard.cli.templates.drafts import exported, format_for
from crawlyard.cli.templates.views import VALUES, facts, templates_view, values_of, versions_view
from crawlyard.clock import SystemClock
from crawlyard.core.endpoint import every
from crawlyard.core.jobs.spec_json import Form
from crawlyard.core.templates.secrets import credentials
from crawlyard.core.templates.template import FileFormat
from crawlyard.export.files import check_writable, whole_file
from crawlyard.services.templates.files import written

_NONE = "there is no template yet"
_OURS_ALONE = 0o600  # there may be credentials in a file


async def templates(
    session: Session, *, query: str, public: bool, mine: bool, limit: int, common: Common
) -> int:
    """List templates by name."""
    every_one = every(
        session.surface.templates.list,
        visibility="public" if public else None,
        owner="me" if mine else None,
        q=query,
        limit=limit or None,
    )
    found = [template async for template in every_one]
    await listed(session, found, templates_view(session.clock.now()), common)
    if not found:
        session.tell("no template is like that" if query or public or mine else _NONE)
    elif len(found) == limit:
        session.tell(f"the first {limit:,} are shown; --limit 0 shows all")
    return 0


def no_templates(common: Common) -> int:
    """List the templates of a data directory that does not exist: none."""
    return nothing(common, templates_view(SystemClock().now()), _NONE)


async def template(session: Session, *, ref: str, version: int | None, common: Common) -> int:
    """Show one template, as it is or as it was at *version*."""
    asked = session.surface.templates
    found = await (asked.get(ref) if version is None else asked.version(ref, version))
    view = templates_view(session.clock.now())
    return await show(session, found, facts(found), common, key=found.id, view=view)


async def versions(session: Session, *, ref: str, common: Common) -> int:
    """List the versions of a template, the newest first."""
    found = [version async for version in every(session.surface.templates.versions, ref)]
    await listed(session, found, versions_view(session.clock.now()), common)
    return 0


async def render(
    session: Session,
    *,
    ref: str,
    params: Mapping[str, object],
    overrides: Form,
    version: int | None,
    common: Common,
) -> int:
    """Show the whole spec that a job of a template would have, and where each value is from."""
    with options_named():
        rendered = await session.surface.templates.render(
            ref, params=params, overrides=overrides, version=version
        )
    if common.quiet or whole(session, common):
        await show(session, rendered, (), common, key=rendered.template_id)
    else:
        await listed(session, values_of(rendered), VALUES, common)
    session.tell(f"template {rendered.template_name} v{rendered.template_version}")
    return 0


async def export(
    session: Session, *, ref: str, version: int | None, out: str, form: FileFormat | None
) -> int:
    """Write the file of a template."""
    draft = await exported(session, ref, version)
    text = written(draft, format_for(out, form)).encode()
    if out == STDOUT:
        write(text)
    else:
        check_writable(Path(out))
        with whole_file(Path(out), _OURS_ALONE) as sink:
            sink(text)
        session.tell(f"template {draft.name} written to {out}")
    secret = credentials(draft)
    if secret:
        session.tell(f"there are credentials in it: {', '.join(secret)}")
    return 0
