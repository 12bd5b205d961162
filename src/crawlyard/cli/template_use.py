"""What commands make of a template: the whole spec of a job, and the job."""

from crawlyard.cli import output
from crawlyard.cli.attend import submitted
from crawlyard.cli.exports import Export
from crawlyard.cli.options import Common, Style
from crawlyard.cli.session import Session
from crawlyard.cli.stdout import write_line
from crawlyard.cli.template_options import Filling
from crawlyard.cli.template_views import VALUES, values_of


async def crawl(
    session: Session, *, filling: Filling, export: Export | None, detach: bool, json: bool
) -> int:
    """Make a job of a template; run and watch it here, or leave it to `crawlyard work`."""
    job_id = await session.templates.submit(
        filling.ref, filling.params, filling.overrides, filling.version
    )
    job = await session.client.get(job_id)
    return await submitted(session, job, export=export, detach=detach, json=json)


async def render(session: Session, *, filling: Filling, common: Common) -> int:
    """Show the whole spec that a job of a template would have, and where each value is from."""
    rendered = await session.templates.render(
        filling.ref, filling.params, filling.overrides, filling.version
    )
    style = common.style_on(terminal=session.out.is_terminal)
    if common.quiet:
        write_line(rendered.template_id)
    elif style in (Style.JSON, Style.JSONL):
        output.write_one(rendered, style)
    else:
        lines = output.each(values_of(rendered))
        await output.write_all(lines, VALUES, style, session.out, quiet=False)
    session.tell(f"template {rendered.template_name} v{rendered.template_version}")
    return 0
