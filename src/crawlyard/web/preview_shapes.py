"""What a job would do, as an answer has it."""

from crawlyard.engine.probe import SeenOrigin, SeenSitemap
from crawlyard.services.jobs.preview import Previewed, TestedURL
from crawlyard.web.wire.jobs.preview import PreviewOut, SeenOriginOut, SitemapOut, TestedOut

_MOST_SHOWN = 50  # sitemaps that one robots.txt names


def preview_out(seen: Previewed) -> PreviewOut:
    """Return the shape of what was seen."""
    return PreviewOut(
        config=seen.form,
        sources=seen.sources,
        user_agent=seen.agent,
        start_urls=tuple(map(_tested, seen.start_urls)),
        start_count=seen.start_count,
        origins=tuple(map(_origin, seen.origins)),
        sitemaps=tuple(map(_sitemap, seen.sitemaps)),
        tested=tuple(map(_tested, seen.tested)),
        missing=seen.missing,
    )


def _tested(tested: TestedURL) -> TestedOut:
    return TestedOut.filled(tested)


def _sitemap(seen: SeenSitemap) -> SitemapOut:
    return SitemapOut.filled(seen)


def _origin(seen: SeenOrigin) -> SeenOriginOut:
    rules = seen.rules
    line = rules.verdict("/") if rules is not None else None
    return SeenOriginOut(
        origin=seen.origin,
        robots="missing" if rules is None else "had",
        crawl_delay_s=rules.delay_s if rules is not None else None,
        start_allowed=None if rules is None else line is None,
        rule=line or "",
        sitemaps=rules.sitemaps[:_MOST_SHOWN] if rules is not None else (),
        problem=seen.problem,
    )
