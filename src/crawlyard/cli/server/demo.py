"""`crawlyard demo`: a site of our own and a crawl of it, without internet."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from crawlyard.cli import invoke, values
from crawlyard.cli.options import Basics, flat, option
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.core.jobs.spec_json import form_of
from crawlyard.core.quantity import counted
from crawlyard.lazy import lazily

if TYPE_CHECKING:
    from crawlyard.cli.jobs import exports, run_and_watch
    from crawlyard.cli.session import LocalSession
    from crawlyard.demo import server, site
else:
    exports = lazily("crawlyard.cli.jobs.exports")
    run_and_watch = lazily("crawlyard.cli.jobs.run_and_watch")
    server, site = lazily("crawlyard.demo.server"), lazily("crawlyard.demo.site")

DATA_DIR = Path("crawlyard-demo")
_AT_ONCE = 8

Pages = Annotated[
    int, option(values.count, "--pages", "N", "How many pages the site has; else 300.")
]
Out = Annotated[
    str,
    option(str, "--out", "FILE", "Export the pages to FILE; else to pages.jsonl in --data-dir."),
]
_KEPT = f"Where the job is kept; else CRAWLYARD_DATA_DIR, or {DATA_DIR}."


class DemoBasics(Basics, frozen=True, kw_only=True):
    """What every command can be told; jobs have another folder by default."""

    data_dir: Annotated[Path | None, option(Path, "--data-dir", "DIR", _KEPT)] = None


@flat
def demo(*, pages: Pages = 300, out: Out = "", basics: DemoBasics) -> None:
    """Crawl a small site that this command itself serves on loopback.

    crawlyard demo
    crawlyard demo --pages 2000 --out pages.csv
    """
    doing = partial(_demo, pages=pages, out=out)
    invoke.run_here(basics, doing, default_dir=DATA_DIR)


async def _demo(session: "LocalSession", *, pages: int, out: str) -> int:
    """Crawl a demo site of *pages* pages, and return the exit code of the crawl."""
    pages_served = site.DemoSite(pages=pages)
    export = exports.Export.of(out or str(session.settings.data_dir / "pages.jsonl"), None)
    async with server.SiteServer(pages_served) as there:
        session.tell(f"serving a site of {counted(pages, 'page')} at {there.url}/")
        spec = JobSpec(
            urls=(f"{there.url}/",),
            name="demo",
            allow_addresses=(there.authority,),  # exactly this server, nothing else in here
            delay_s=0,
            per_host=_AT_ONCE,
            concurrency=_AT_ONCE,
            url_retries=1,  # two of its pages fail on purpose
        )
        job = await session.surface.jobs.create(form_of(spec))
        wish = run_and_watch.Wish(works=True, export=export)
        code = await run_and_watch.attend(session, job.id, wish)
    if code == 0:
        for sentence in _next(session, export):
            session.tell(sentence)
    return code


def _next(session: "LocalSession", export: "exports.Export | None") -> list[str]:
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
