"""Page records as JSON values, for exports: as `PageOut` says them, without making one.

A shape checks what it is made of, and takes 26 µs where this takes 4: of a crawl of small
pages, one part in twenty.
"""

from collections.abc import Collection, Mapping
from typing import Any

from crawlyard.core.answers.base import rfc3339, whole
from crawlyard.core.crawl.page import Page


def record_of(
    page: Page, kept: Mapping[str, Any], left_out: Collection[str] = ()
) -> dict[str, Any]:
    """Return what ``PageOut.of(page, **kept).model_dump(mode="json")`` does, in its order.

    The fields *left_out* are not in it. A test compares the two.
    """
    text, html = kept.get("text"), kept.get("html")
    headers = kept.get("headers")
    pairs = None if headers is None else [[whole(a), whole(b)] for a, b in headers]
    error = page.error
    told = None if error is None else {"kind": error.value, "detail": whole(page.error_detail)}
    record = {
        "url": whole(page.url),
        "final_url": whole(page.final_url),
        "status": page.status,
        "content_type": whole(page.content_type),
        "title": whole(page.title),
        "description": whole(page.description),
        "lang": whole(page.lang),
        "canonical": whole(page.canonical),
        "depth": page.depth,
        "parent": None if page.parent is None else whole(page.parent),
        "fetched_at": rfc3339(page.fetched_at),
        "elapsed_ms": page.elapsed_ms,
        "bytes": page.bytes,
        "sha256": page.sha256,
        "etag": whole(page.etag),
        "last_modified": whole(page.last_modified),
        "links": page.links,
        "text": None if text is None else whole(text),
        "html": None if html is None else whole(html),
        "headers": pairs,
        "extracted": {whole(n): [whole(v) for v in values] for n, values in page.extracted.items()},
        "truncated": whole(page.truncated),
        "noindex": page.noindex,
        "needs_scripts": page.needs_scripts,
        "error": told,
    }
    for name in left_out:
        del record[name]
    return record
