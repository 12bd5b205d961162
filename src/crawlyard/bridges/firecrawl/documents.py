"""Documents: pages as Firecrawl returns them."""

import json
from base64 import b64encode
from collections.abc import Collection, Sequence
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

from crawlyard.api.near import NearSurface
from crawlyard.bridges.firecrawl.changes import ChangeTracker
from crawlyard.bridges.firecrawl.options import CHANGES, SCREENSHOT, formats_in
from crawlyard.core.crawl.page import Body
from crawlyard.core.crawl.page_answers import StoredPageOut
from crawlyard.errors import NotFound

ANSWERED = ("1xx", "2xx", "3xx", "4xx", "5xx", "999")
"""Statuses of the pages that are documents; the others are errors."""

PART = 100
"""Documents of one answer."""

MOST_PICTURE_BYTES = 8 << 20
"""Size of the largest screenshot that is part of a document; 10,000 pixels of text take 2 MB."""

MOST_PICTURES = 16 << 20
"""Characters of screenshots in one answer; the first document may have more."""


async def documents_of(
    yard: NearSurface, job_id: str, formats: Collection[str], cursor: str | None = None
) -> tuple[list[dict[str, Any]], str | None]:
    """Return documents of a job after *cursor*, and a cursor for those that follow.

    The cursor is ``None`` if no more are stored.
    """
    pages = await yard.results.pages(
        job_id, include=("text",), limit=PART, cursor=cursor, status=ANSWERED
    )
    changes = await ChangeTracker.of(yard, job_id) if CHANGES in formats else None
    documents: list[dict[str, Any]] = []
    pictures = 0
    for page in pages.items:
        document = await document_of(yard, job_id, page, formats, changes)
        pictures += len(document.get(SCREENSHOT, ""))
        if documents and pictures > MOST_PICTURES:
            return documents, str(pages.items[len(documents) - 1].id)
        documents.append(document)
    return documents, pages.next_cursor


async def page_document(yard: NearSurface, job_id: str, page_id: int) -> dict[str, Any] | None:
    """Return a page of a job as a document, ``None`` if it is gone."""
    try:
        job = await yard.jobs.get(job_id)
        pages = await yard.results.pages(
            job_id, include=("text",), limit=1, cursor=str(page_id - 1), status=ANSWERED
        )
    except NotFound:
        return None
    if not pages.items or pages.items[0].id != page_id:
        return None
    return await document_of(yard, job_id, pages.items[0], formats_in(job.spec.tags))


async def document_of(
    yard: NearSurface,
    job_id: str,
    page: StoredPageOut,
    formats: Collection[str],
    changes: ChangeTracker | None = None,
) -> dict[str, Any]:
    """Return a page, including its text, as a document; without *changes*, they are looked up."""
    metadata = {
        "title": page.title,
        "description": page.description,
        "language": page.lang,
        "url": page.final_url,
        "sourceURL": page.url,
        "statusCode": page.status,
        "contentType": page.content_type,
        "error": page.error.detail if page.error is not None else "",
        "scrapeId": f"{job_id}:{page.id}",
        "cacheState": "miss",
    }
    document: dict[str, Any] = {
        "metadata": {name: value for name, value in metadata.items() if value not in ("", None)}
    }
    if "markdown" in formats:
        document["markdown"] = page.text or ""
    if not {"html", "rawHtml", "images"}.isdisjoint(formats):
        kind = Body.RENDERED if page.rendered_by else Body.HTML
        html = await _part(yard, job_id, page.id, kind)
        document |= {name: html for name in ("html", "rawHtml") if name in formats}
        if "images" in formats:
            document["images"] = images_in(html, page.final_url)
    if "links" in formats:
        links = json.loads(await _part(yard, job_id, page.id, Body.LINKS) or "[]")
        document["links"] = _targets(links)
    warnings = [page.truncated]
    if SCREENSHOT in formats:
        document |= await _picture(yard, job_id, page.id)
        warnings.append(document.pop("warning", ""))
    if CHANGES in formats:
        changes = changes or await ChangeTracker.of(yard, job_id)
        document |= await changes.of_page(page)
        warnings.append(document.pop("warning", ""))
    if any(warnings):
        document["warning"] = "; ".join(filter(None, warnings))
    return document


async def _picture(yard: NearSurface, job_id: str, page_id: int) -> dict[str, str]:
    """Return the screenshot of a page as a data URL, which its reader needs no token for."""
    try:
        pieces = await yard.results.screenshot(job_id, page_id)
    except NotFound:  # such as that of a PDF
        return {"warning": "no screenshot: only HTML pages have one"}
    picture = b"".join([piece async for piece in pieces])
    if len(picture) > MOST_PICTURE_BYTES:
        where = f"/api/v1/jobs/{job_id}/pages/{page_id}/screenshot"
        return {"warning": f"the screenshot has {len(picture):,} bytes: read it from {where}"}
    return {SCREENSHOT: f"data:image/png;base64,{b64encode(picture).decode()}"}


async def _part(yard: NearSurface, job_id: str, page_id: int, part: Body) -> str:
    try:
        return await yard.results.part(job_id, page_id, part)
    except NotFound:  # such as the links of a picture
        return ""


def _targets(links: Sequence[Any]) -> list[str]:
    return list(dict.fromkeys(link["target"] for link in links))


class _Images(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the source of an image."""
        source = dict(attrs).get("src")
        if tag == "img" and source and not source.startswith("data:"):
            self.sources.append(source)


def images_in(html: str, base: str) -> list[str]:
    """Return the URLs of the images of a page, each once."""
    parser = _Images()
    parser.feed(html)
    return list(dict.fromkeys(urljoin(base, source) for source in parser.sources))
