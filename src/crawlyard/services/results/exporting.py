"""Export of a job's pages as one file of any format, streamed."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import TypeAlias
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import asdict

from crawlyard.core.answer import as_dict, json_value
from crawlyard.core.crawl.link import FoundLink
from crawlyard.core.crawl.link import decode_links as links_of
from crawlyard.core.crawl.page import Body, Page, is_body_cut
from crawlyard.core.crawl.page_answers import record_of
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.spec import TextMode
from crawlyard.core.text.chunks import chunks
from crawlyard.engine.extract import content
from crawlyard.engine.extract.page import decoded
from crawlyard.engine.http.fetch import charset_of
from crawlyard.errors import Invalid
from crawlyard.export import base, markdown, tables
from crawlyard.export.base import Format, Record, file_name
from crawlyard.export.plan import Plan
from crawlyard.lazy import lazily
from crawlyard.services.results.records import PageRecord, link_records, page_records
from crawlyard.services.results.terms import check_links_kept
from crawlyard.store.queries import PageQuery
from crawlyard.store.store import Store

# it needs an extra
with lazily():
    from crawlyard.export import warc


_MARKDOWN = (TextMode.MARKDOWN, TextMode.PAGE_MARKDOWN)


PageReader: TypeAlias = Callable[[Collection[Body]], AsyncGenerator[PageRecord]]
"""Yields pages, each with its stored bodies of these kinds."""


class Source(Struct, frozen=True):
    """Pages to export, read for *job*: its settings say what is stored of them."""

    job: Job
    read: PageReader


def pages_of(store: Store, job: Job, query: PageQuery) -> Source:
    """Return the pages of *job* that match *query*."""
    return Source(job, partial(page_records, store, job.id, query))


def stream(
    source: Source,
    form: Format,
    *,
    chunks: int | None = None,
    gzip: bool = False,
    html: bool = True,
) -> AsyncIterator[bytes]:
    """Return pages, or their chunks, as one file.

    Without *html*, stored HTML and response headers are left out.

    Raises:
        Invalid: it cannot be written; nothing was read.
    """
    if chunks is not None:
        output = export_chunks(source, form, chunks)
    else:
        output = export_pages(source, form, html=html)
    return compressed(output, form, gzip=gzip)


def compressed(output: AsyncIterator[bytes], form: Format, *, gzip: bool) -> AsyncIterator[bytes]:
    """Return the file *output*, with *gzip* compressed.

    Raises:
        Invalid: the format is compressed already.
    """
    if gzip and not form.is_text:
        raise Invalid("gzip", f"expected format jsonl or csv: {form} is compressed already")
    return base.gzip_chunks(output) if gzip else output


def export_links(store: Store, job: Job, query: PageQuery, form: Format) -> AsyncIterator[bytes]:
    """Return the links of the pages of *job* that match *query*, in pieces that end anywhere.

    Raises:
        Invalid: it cannot be written, or the job keeps no links; nothing was read.
    """
    table = tables.Table.LINKS
    tables.check_table(table, form)
    check_links_kept(job.spec)
    return tables.table_chunks(table, _links(store, job.id, query), form)


async def _links(store: Store, job_id: str, query: PageQuery) -> AsyncGenerator[Record]:
    async with aclosing(link_records(store, job_id, query)) as links:
        async for _, link in links:
            yield as_dict(link)


def export_pages(source: Source, form: Format, *, html: bool = True) -> AsyncIterator[bytes]:
    """Return the pages of *source*, in pieces that end anywhere.

    Without *html*, stored HTML and response headers are left out where records would have them.

    Raises:
        Invalid: it cannot be written; nothing was read.
    """
    job, spec = source.job, source.job.spec
    names = tuple(name for name, _ in spec.extract)
    plan = Plan(format=form, text=spec.text, html=html and spec.keep_html, extracted=names)
    plan.check()
    if form is Format.WARC:
        name = file_name(spec.name, job.id, form)
        writer = warc.Warc(spec.name or job.id, name, robots=not spec.ignore_robots)
        return warc.chunks(_captures(source), writer)
    if form is Format.MARKDOWN:
        return markdown.chunks(_documents(source.read))
    return plan.chunks(_records(source.read, plan))


def export_chunks(source: Source, form: Format, most: int) -> AsyncIterator[bytes]:
    """Return the text of pages in chunks of at most *most* words.

    Raises:
        Invalid: the job keeps no text, or it cannot be written; nothing was read.
    """
    mode = source.job.spec.text
    if mode is TextMode.NONE:
        raise Invalid("chunks", "expected a job that keeps text (text=markdown)")
    table = tables.Table.CHUNKS
    tables.check_table(table, form)
    return tables.table_chunks(table, _chunk_records(source.read, mode, most), form)


def _is_markdown(page: Page, mode: TextMode) -> bool:
    if page.content_rule == content.PLAIN:
        path = urlsplit(page.final_url).path.lower()
        return page.content_type == "text/markdown" or path.endswith((".md", ".markdown"))
    return mode in _MARKDOWN and page.content_rule != content.PDF


async def _chunk_records(read: PageReader, mode: TextMode, most: int) -> AsyncGenerator[Record]:
    async with aclosing(read([Body.TEXT])) as pages:
        async for stored, bodies in pages:
            page = stored.page
            text = bodies.get(Body.TEXT, b"").decode(errors="replace")
            is_markdown = _is_markdown(page, mode)
            for chunk in chunks(page.url, text, most, markdown=is_markdown):
                yield asdict(chunk) | {
                    "url": page.url,
                    "title": page.title,
                    "lang": page.lang,
                    "fetched_at": json_value(page.fetched_at),
                }


async def _records(read: PageReader, plan: Plan) -> AsyncGenerator[Record]:
    left_out = plan.left_out
    async with aclosing(read(plan.bodies)) as pages:
        async for stored, bodies in pages:
            contents = readable(bodies) if bodies else {}
            yield record_of(stored.page, contents, left_out)


async def _documents(read: PageReader) -> AsyncGenerator[markdown.Document]:
    async with aclosing(read([Body.TEXT])) as pages:
        async for stored, bodies in pages:
            page = stored.page
            if text := bodies.get(Body.TEXT):
                yield markdown.Document(
                    url=page.url, title=page.title, fetched_at=page.fetched_at, text=text
                )


async def _captures(source: Source) -> "AsyncGenerator[warc.Capture]":
    async with aclosing(source.read([Body.HTML, Body.HEADERS])) as pages:
        async for stored, bodies in pages:
            page = stored.page
            if Body.HTML not in bodies or page.status is None:
                continue
            headers = bodies.get(Body.HEADERS)
            sent_at = page.unchanged_since or page.fetched_at
            yield warc.Capture(
                key=f"crawlyard:{source.job.id}/{stored.id}",
                url=page.final_url,
                at=sent_at,
                status=page.status,
                content_type=page.content_type,
                headers=None if headers is None else json.loads(headers),
                body=bodies[Body.HTML],
                truncated=is_body_cut(page.truncated),
                seen_at=page.fetched_at if page.fetched_at > sent_at else None,
                etag=page.etag,
            )


async def in_one(data: bytes) -> AsyncIterator[bytes]:
    """Yield *data*, the whole file."""
    yield data


def readable(bodies: Mapping[Body, bytes]) -> dict[str, object]:
    """Return the stored bodies of a page as JSON values: headers as pairs, links as objects.

    HTML is decoded as its headers declare, if they are among *bodies*, or as it declares itself;
    that of a rendered page is what its scripts made of it. A screenshot is no JSON value.
    """
    fields: dict[str, object] = {}
    if Body.TEXT in bodies:
        fields["text"] = bodies[Body.TEXT].decode(errors="replace")
    if Body.LINKS in bodies:
        links = [FoundLink.of("", link) for link in links_of(bodies[Body.LINKS])]
        fields["links"] = [as_dict(link, without={"source"}) for link in links]
    if Body.ANCHORS in bodies:
        fields["anchors"] = json.loads(bodies[Body.ANCHORS])
    if Body.HEADERS in bodies:
        fields["headers"] = json.loads(bodies[Body.HEADERS])
    if Body.RENDERED in bodies:
        fields["html"] = bodies[Body.RENDERED].decode(errors="replace")
    elif Body.HTML in bodies:
        headers: Sequence[tuple[str, str]] = json.loads(bodies.get(Body.HEADERS, b"[]"))
        types = (value for name, value in headers if name.lower() == "content-type")
        fields["html"] = decoded(bodies[Body.HTML], charset_of(next(types, "")))
    return fields
