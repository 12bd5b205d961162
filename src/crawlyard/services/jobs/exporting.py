"""The pages of a job as one file of any format, as they come."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING

from crawlyard.core.access.user import Actor
from crawlyard.core.answers.jobs.pages import record_of
from crawlyard.core.crawl.page import Body
from crawlyard.core.jobs.job import Job
from crawlyard.export.base import Format, Record
from crawlyard.export.plan import Plan
from crawlyard.lazy import lazily
from crawlyard.services.jobs.results import Results
from crawlyard.store.queries import PageQuery

if TYPE_CHECKING:
    from crawlyard.export import warc
    from crawlyard.services.jobs import body_text
else:  # the one needs an extra, the other loads the parser
    warc = lazily("crawlyard.export.warc")
    body_text = lazily("crawlyard.services.jobs.body_text")


def exported(
    results: Results, actor: Actor, job: Job, asked: PageQuery, form: Format
) -> AsyncIterator[bytes]:
    """Return the pages of *job* that are *asked* for, in pieces that end anywhere.

    Raises:
        Invalid: it cannot be written; nothing was read.
    """
    spec = job.spec
    names = tuple(name for name, _ in spec.extract)
    plan = Plan(format=form, text=spec.text, html=spec.keep_html, extracted=names)
    plan.check()
    if form is Format.WARC:
        captures = _captures(results, actor, job.id, asked)
        return plan.captures(captures, spec.name, job.id, robots=not spec.ignore_robots)
    return plan.chunks(records(results, actor, job.id, asked, plan))


async def records(
    results: Results, actor: Actor, job_id: str, asked: PageQuery, plan: Plan
) -> AsyncGenerator[Record]:
    """Yield the pages of a job that are *asked* for, as *plan* writes them."""
    async with aclosing(results.records(actor, job_id, asked, plan.kept)) as found:
        async for stored, bodies in found:
            kept = body_text.readable(bodies) if bodies else {}
            yield record_of(stored.page, kept, plan.left_out)


async def _captures(
    results: Results, actor: Actor, job_id: str, asked: PageQuery
) -> "AsyncGenerator[warc.Capture]":
    kinds = [Body.HTML, Body.HEADERS]
    async with aclosing(results.records(actor, job_id, asked, kinds)) as found:
        async for stored, bodies in found:
            page = stored.page
            if Body.HTML not in bodies or page.status is None:
                continue
            headers = bodies.get(Body.HEADERS)
            yield warc.Capture(
                key=f"crawlyard:{job_id}/{stored.id}",
                url=page.final_url,
                at=page.fetched_at,
                status=page.status,
                content_type=page.content_type,
                headers=None if headers is None else json.loads(headers),
                body=bodies[Body.HTML],
                truncated=bool(page.truncated),
            )
