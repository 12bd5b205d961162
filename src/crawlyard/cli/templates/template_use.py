"""What commands make of a template: the whole spec of a job, and the job."""

from crawlyard.cli.jobs.crawl_options import options_named
from crawlyard.cli.jobs.exports import Export
from crawlyard.cli.jobs.run_and_watch import submitted
from crawlyard.cli.options import Common
from crawlyard.cli.render.sheets import listed, show, whole
from crawlyard.cli.session import Session
from crawlyard.cli.templates.template_options import Filling
from crawlyard.cli.templates.template_views import VALUES, values_of


async def crawl(
    session: Session, *, filling: Filling, export: Export | None, detach: bool, json: bool
) -> int:
    """Make a job of a template; run and watch it here, or leave it to `crawlyard work`."""
    with options_named():
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
    if common.quiet or whole(session, common):
        await show(session, rendered, (), common, key=rendered.template_id)
    else:
        await listed(session, values_of(rendered), VALUES, common)
    session.tell(f"template {rendered.template_name} v{rendered.template_version}")
    return 0
