"""`crawlyard crawl`: from its options to a job, and to its last page."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from crawlyard.cli.crawl_options import About, Access, Bounds, Kept, Pace, Reach
from crawlyard.cli.lazy import lazily
from crawlyard.cli.options import Basics, flag, flat, option
from crawlyard.cli.seeds import read_seeds
from crawlyard.core.spec import JobSpec
from crawlyard.errors import Invalid

if TYPE_CHECKING:
    from crawlyard.cli import attend, exports, session
else:
    attend, exports = lazily("crawlyard.cli.attend"), lazily("crawlyard.cli.exports")
    session = lazily("crawlyard.cli.session")

Urls = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="URL",
        help="Start URLs; '-' reads them from stdin, '@FILE' from a file.",
        show_default=False,
    ),
]
FromFile = Annotated[
    str, option(str, "--from-file", "FILE", "Read start URLs from FILE, one a line.")
]
Detach = Annotated[
    bool, flag("--detach", "-d", text="Queue it for `crawlyard work`; print its id.")
]


@flat
def crawl(
    *,
    urls: Urls = None,
    from_file: FromFile = "",
    detach: Detach = False,
    bounds: Bounds,
    reach: Reach,
    pace: Pace,
    access: Access,
    kept: Kept,
    about: About,
    basics: Basics,
) -> None:
    """Crawl a site and watch it; Ctrl-C pauses, nothing is lost.

    crawlyard crawl https://docs.example.org --max-pages 500 --out docs.jsonl
    crawlyard crawl -d https://example.org --scope domain --exclude '*/print/*'
    crawlyard crawl @urls.txt --max-depth 0 --extract price=.price
    """
    seeds = read_seeds([*(urls or ()), *([f"@{from_file}"] if from_file else ())])
    spec = spec_of(seeds, bounds, reach, pace, access, kept, about)
    export = exports.Export.wished(kept.out, kept.format)
    if detach and export is not None:
        raise Invalid("--out", "the job ends elsewhere; export it later by `crawlyard jobs export`")
    doing = partial(attend.crawl, spec=spec, export=export, detach=detach, json=basics.json)
    session.run(basics, doing, creates=True)


def spec_of(
    seeds: tuple[str, ...],
    bounds: Bounds,
    reach: Reach,
    pace: Pace,
    access: Access,
    kept: Kept,
    about: About,
) -> JobSpec:
    """Return the spec that the options describe.

    Raises:
        Invalid: a value is out of its range; the message names the field.
    """
    return JobSpec(
        urls=seeds,
        sitemaps=tuple(reach.sitemap or ()),
        name=about.name or "",
        tags=tuple(about.tag or ()),
        priority=about.priority,
        limits=bounds.limits(),
        scope=reach.scope,
        include=tuple(reach.include or ()),
        exclude=tuple(reach.exclude or ()),
        max_depth=reach.max_depth,
        strategy=reach.strategy,
        ignore_robots=access.ignore_robots,
        follow_nofollow=reach.follow_nofollow,
        store_noindex=kept.store_noindex,
        delay=pace.delay,
        per_host=pace.per_host,
        concurrency=pace.concurrency,
        timeout=pace.timeout,
        max_body=pace.max_body,
        user_agent=access.user_agent or "",
        headers=tuple((pair.name, pair.value) for pair in access.header or ()),
        allow_addresses=tuple(access.allow_address or ()),
        allow_private=access.allow_private,
        text=kept.text,
        extract=tuple((pair.name, pair.value) for pair in kept.extract or ()),
        keep_html=kept.keep is not None,
    )
