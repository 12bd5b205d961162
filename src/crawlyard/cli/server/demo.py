"""`crawlyard demo`: a local site and a crawl of it, without internet."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from crawlyard.cli import invoke, values
from crawlyard.cli.options import Basics, flag, flat, option
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.core.jobs.spec_json import form_of
from crawlyard.core.quantity import count_noun
from crawlyard.lazy import lazily

# help needs none of them
with lazily():
    from crawlyard.cli.jobs import exports, run_and_watch
    from crawlyard.demo import server, site
if TYPE_CHECKING:
    from collections.abc import Sequence

    from crawlyard.cli.session import LocalSession

DATA_DIR = Path("crawlyard-demo")
_AT_ONCE = 8

Pages = Annotated[
    int, option(values.count, "--pages", "N", "Number of pages of the site; default 300.")
]
Out = Annotated[
    str,
    option(str, "--out", "FILE", "Export the pages to FILE; default pages.jsonl in --data-dir."),
]
Twice = Annotated[bool, flag("--twice", text="Edit the site, crawl it again, and compare.")]
_KEPT = f"Data directory; default CRAWLYARD_DATA_DIR, or {DATA_DIR}."


class DemoBasics(Basics, frozen=True, kw_only=True):
    """Options of every command, with another default data directory."""

    data_dir: Annotated[Path | None, option(Path, "--data-dir", "DIR", _KEPT)] = None


@flat()
def demo(*, pages: Pages = 300, twice: Twice = False, out: Out = "", basics: DemoBasics) -> None:
    """Crawl a small site that this command serves on loopback.

    crawlyard demo
    crawlyard demo --twice
    crawlyard demo --pages 2000 --out pages.csv
    """
    doing = partial(_demo, pages=pages, twice=twice, out=out)
    invoke.run_here(basics, doing, default_dir=DATA_DIR)


async def _demo(session: "LocalSession", *, pages: int, twice: bool, out: str) -> int:
    """Crawl a demo site of *pages* pages, and return the exit code of the last crawl."""
    export = exports.Export.of(out or str(session.settings.data_dir / "pages.jsonl"), None)
    jobs: list[str] = []
    async with server.SiteServer(site.DemoSite(pages=pages)) as there:
        session.tell(f"serving a site of {count_noun(pages, 'page')} at {there.url}/")
        code = await _crawl(session, there, export, jobs)
        if twice and code == 0:
            there.site = site.DemoSite(pages=pages, edition=2)
            session.tell("the site was edited: crawling it again")
            code = await _crawl(session, there, export, jobs)
    if code == 0:
        for sentence in _next(session, export, jobs):
            session.tell(sentence)
    return code


async def _crawl(
    session: "LocalSession",
    there: "server.SiteServer",
    export: "exports.Export | None",
    jobs: list[str],
) -> int:
    """Crawl the site that is served, and add the id of the job to *jobs*."""
    spec = JobSpec(
        urls=(f"{there.url}/",),
        name="demo",
        allow_addresses=(there.authority,),  # exactly this server, nothing else on this machine
        delay_s=0,
        per_host=_AT_ONCE,
        concurrency=_AT_ONCE,
        url_retries=1,  # two of its pages fail on purpose
    )
    job = await session.surface.jobs.create(form_of(spec))
    jobs.append(job.id)
    run_options = run_and_watch.RunOptions(works=True, export=export)
    return await run_and_watch.attend(session, job.id, run_options)


def _next(
    session: "LocalSession", export: "exports.Export | None", jobs: "Sequence[str]"
) -> list[str]:
    pages = "on stdout" if export is None or export.to_stdout else f"in {export.where}"
    return [
        "",
        f"The pages are {pages}, the job is in {session.settings.data_dir}. Look at it:",
        f"  {session.full_command('jobs show last')}",
        f"  {session.full_command('jobs pages last')}",
        f"  {session.full_command('jobs errors last')}",
        *(f"  {session.full_command(f'diff {first} last')}" for first in jobs[:-1]),
        "Then crawl a real site:",
        "  crawlyard crawl https://docs.python.org/3/ --max-pages 100 --out pages.jsonl",
    ]
