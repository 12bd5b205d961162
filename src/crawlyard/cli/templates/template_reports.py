"""What commands tell of templates, their versions and their files."""

from pathlib import Path

from crawlyard.cli.jobs.exports import STDOUT
from crawlyard.cli.options import Common
from crawlyard.cli.render.sheets import listed, nothing, show
from crawlyard.cli.session import Session
from crawlyard.cli.stdout import write
from crawlyard.cli.templates.template_views import facts, templates_view, versions_view
from crawlyard.cli.templates.template_words import format_for
from crawlyard.clock import SystemClock
from crawlyard.core.answers.base import as_dict
from crawlyard.core.templates.secrets import credentials
from crawlyard.core.templates.template import FileFormat
from crawlyard.export.files import check_writable, whole_file
from crawlyard.services.templates.files import draft_of, written
from crawlyard.store.queries import TemplateQuery

_ALL = 2**31
_OURS_ALONE = 0o600  # there may be credentials in a file


async def templates(
    session: Session, *, query: TemplateQuery, mine: bool, limit: int, common: Common
) -> int:
    """List templates by name."""
    found = await session.templates.find(query, limit or _ALL, mine=mine)
    await listed(session, found, templates_view(session.clock.now()), common)
    if not found:
        asked = mine or query != TemplateQuery()
        session.tell("no template is like that" if asked else "there is no template yet")
    elif len(found) == limit:
        session.tell(f"the first {limit:,} are shown; --limit 0 shows all")
    return 0


def no_templates(common: Common) -> int:
    """List the templates of a data directory that does not exist: none."""
    return nothing(common, templates_view(SystemClock().now()), "there is no template yet")


async def template(session: Session, *, ref: str, version: int | None, common: Common) -> int:
    """Show one template."""
    found = await session.templates.get(ref, version)
    view = templates_view(session.clock.now())
    return await show(session, found, facts(found), common, key=found.id, view=view)


async def versions(session: Session, *, ref: str, common: Common) -> int:
    """List the versions of a template, the newest first."""
    found = await session.templates.versions(ref)
    await listed(session, found, versions_view(session.clock.now()), common)
    return 0


async def export(
    session: Session, *, ref: str, version: int | None, out: str, form: FileFormat | None
) -> int:
    """Write the file of a template."""
    draft = draft_of(as_dict(await session.templates.file(ref, version)))
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
