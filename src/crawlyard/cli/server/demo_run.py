"""The demo: serve a site, crawl it, say what to look at."""

from crawlyard.cli.here import LocalSession
from crawlyard.cli.jobs.exports import Export
from crawlyard.cli.jobs.run_and_watch import Wish, attend
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.core.jobs.spec_json import form_of
from crawlyard.core.quantity import counted
from crawlyard.demo.server import SiteServer
from crawlyard.demo.site import DemoSite

_AT_ONCE = 8


async def demo(session: LocalSession, *, pages: int, out: str, json: bool) -> int:
    """Crawl a demo site of *pages* pages, and return the exit code of the crawl."""
    site = DemoSite(pages=pages)
    export = Export.of(out or str(session.settings.data_dir / "pages.jsonl"), None)
    async with SiteServer(site) as server:
        session.tell(f"serving a site of {counted(pages, 'page')} at {server.url}/")
        spec = JobSpec(
            urls=(f"{server.url}/",),
            name="demo",
            allow_addresses=(server.authority,),  # exactly this server, nothing else in here
            delay_s=0,
            per_host=_AT_ONCE,
            concurrency=_AT_ONCE,
            url_retries=1,  # two of its pages fail on purpose
        )
        job = await session.surface.jobs.create(form_of(spec))
        code = await attend(session, job.id, Wish(works=True, export=export, json=json))
    if code == 0:
        for sentence in _next(session, export):
            session.tell(sentence)
    return code


def _next(session: LocalSession, export: Export | None) -> list[str]:
    pages = "on stdout" if export is None or export.to_stdout else f"in {export.where}"
    return [
        "",
        f"The pages are {pages}, the job is in {session.settings.data_dir}. Look at it:",
        f"  {session.hint('jobs show last')}",
        f"  {session.hint('jobs pages last')}",
        f"  {session.hint('jobs errors last')}",
        "Then crawl a real site:",
        "  crawlyard crawl https://docs.python.org/3/ --max-pages 100 --out pages.jsonl",
    ]
