"""Page records: the outcome that is stored for a response or a failure."""

import hashlib
import json
from datetime import datetime
from typing import Any

from msgspec import Struct

from crawlyard.core.crawl.cookie import CookieMode
from crawlyard.core.crawl.page import Body, ErrorKind, Outcome, Page, PageError, Target, TargetState
from crawlyard.core.crawl.rendering import RenderReason
from crawlyard.core.jobs.spec import JobSpec, TextMode
from crawlyard.core.templates.secrets import HIDDEN
from crawlyard.engine.extract import content
from crawlyard.engine.extract.page import Extracted
from crawlyard.engine.extract.page_text import TextBound
from crawlyard.engine.http.fetch import Response
from crawlyard.engine.render.base import RenderedPage
from crawlyard.lazy import is_installed

HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})

MOST_VALIDATOR = 1_000  # characters of an ETag

_SAME = frozenset(Extracted.__struct_fields__) & frozenset(Page.__struct_fields__) - {"links"}
"""Fields that a record copies from the extraction; of links it has only the number."""

_SETS_COOKIES = frozenset({"set-cookie", "set-cookie2"})

_READS_PDF = is_installed("pypdf")

_OF_CONTENT = ("needs_scripts", "nearly_empty")
"""Fields that are set for pages, but not for errors."""

_IF_NOINDEX = frozenset({"lang", "canonical", "noindex", "needs_scripts"})
"""The copied fields that a noindex page keeps."""


class RenderedDocument(Struct, frozen=True):
    """A rendered page, with the reason for rendering it."""

    page: RenderedPage
    reason: RenderReason


def is_html(response: Response) -> bool:
    """Return whether to parse a body as HTML: by its type or, without one, by its first byte."""
    kind = response.content_type
    if kind:
        return kind in HTML_TYPES
    return response.body[:512].lstrip().startswith(b"<")


def is_pdf(response: Response) -> bool:
    """Return whether a body is a PDF document; its text is read if pypdf is installed."""
    return response.content_type == "application/pdf" and _READS_PDF


def may_have_text(content_type: str) -> bool:
    """Return whether text is extracted from bodies of this type, or without a type may be."""
    if content_type == "application/pdf":
        return _READS_PDF
    return content_type in HTML_TYPES or content_type.startswith("text/") or not content_type


def etag_of(response: Response) -> str:
    """Return the ETag of a response, cut to `MOST_VALIDATOR` characters."""
    return response.header("etag")[:MOST_VALIDATOR]


def last_modified_of(response: Response) -> str:
    """Return the Last-Modified of a response, cut to 100 characters."""
    return response.header("last-modified")[:100]


def session_of(response: Response) -> str:
    """Return the source of the cookies in the request of a response, empty without cookies."""
    return CookieMode.JOB.value if response.cookies else ""


def status_error(status: int) -> PageError | None:
    """Return the error of a final *status*, ``None`` below 400."""
    if status < 400:
        return None
    if status == 429:
        return PageError(kind=ErrorKind.RATE_LIMITED, detail="answered 429 to the last")
    kind = ErrorKind.HTTP_4XX if status < 500 else ErrorKind.HTTP_5XX
    return PageError(kind=kind, detail=f"answered {status}")


def response_outcome(
    target: Target,
    response: Response,
    extracted: Extracted | None,
    spec: JobSpec,
    now: datetime,
    *,
    rendered: RenderedDocument | None = None,
    error: PageError | None = None,
) -> Outcome:
    """Return the outcome of a target that got its final response.

    *extracted* is the data of its markup, or of the *rendered* page, ``None`` if it is neither HTML
    nor PDF; *error* is that of a failed rendering. Unless the spec stores noindex pages, their
    records are marked and have no title, text or body.
    """
    content_data = extracted or _plain(response, spec)
    error = error or status_error(response.status)
    if content_data.unreadable and error is None:
        # a cut is ours, not a defect of the site
        detail = response.truncated or content_data.unreadable
        error = PageError(kind=ErrorKind.UNREADABLE, detail=detail)
    hidden = content_data.noindex and not spec.store_noindex
    names = _IF_NOINDEX & _SAME if hidden else _SAME
    copied: dict[str, Any] = {name: getattr(content_data, name) for name in names}
    for name in _OF_CONTENT:
        copied[name] = copied.get(name, False) and error is None
    document = None if rendered is None else rendered.page
    page = Page(
        url=target.origin or target.url,
        final_url=target.url if document is None else document.url,
        status=response.status,
        content_type=response.content_type,
        depth=target.depth,
        fetched_at=now,
        elapsed_ms=response.elapsed_ms,
        bytes=response.wire_bytes,
        sha256=hashlib.sha256(response.body if document is None else document.html).hexdigest(),
        etag=etag_of(response),
        last_modified=last_modified_of(response),
        links=len(content_data.links) + len(content_data.nofollow),
        truncated="; ".join(filter(None, (response.truncated, content_data.cut))),
        session=session_of(response),
        rendered_by="" if document is None else document.by,
        render_reason="" if rendered is None else rendered.reason,
        error=error,
        **copied,
    )
    state = TargetState.FAILED if error else TargetState.DONE
    bodies = {} if hidden else _bodies(response, content_data, spec, document)
    if content_data.anchors is not None and not hidden:
        bodies[Body.ANCHORS] = content_data.anchors
    if hidden or error is not None or not content_data.outgoing:
        return Outcome(target, state, page, bodies)
    return Outcome(
        target, state, page, bodies | {Body.LINKS: content_data.outgoing}, content_data.targets
    )


def failure_outcome(
    target: Target, kind: ErrorKind, detail: str, now: datetime, status: int | None = None
) -> Outcome:
    """Return the outcome of a target that failed; *status* is set if there was a response."""
    page = Page(
        url=target.origin or target.url,
        final_url=target.url,
        status=status,
        depth=target.depth,
        fetched_at=now,
        error=PageError(kind=kind, detail=detail),
    )
    return Outcome(target, TargetState.FAILED, page)


def _bodies(
    response: Response, extracted: Extracted, spec: JobSpec, document: RenderedPage | None
) -> dict[Body, bytes]:
    bodies: dict[Body, bytes] = {}
    if extracted.text is not None:
        bodies[Body.TEXT] = extracted.text.encode("utf-8", "replace")
    if spec.keep_html and is_html(response):
        bodies[Body.HTML] = response.body
        bodies[Body.HEADERS] = json.dumps(list(map(_without_value, response.headers))).encode()
        if document is not None:
            bodies[Body.RENDERED] = document.html
    if document is not None and document.screenshot is not None:
        bodies[Body.SCREENSHOT] = document.screenshot
    return bodies


def _without_value(header: tuple[str, str]) -> tuple[str, str]:
    """Return a header without the value of a cookie, which is a secret."""
    name, value = header
    if name.lower() not in _SETS_COOKIES:
        return header
    pair, semicolon, attributes = value.partition(";")
    return name, f"{pair.partition('=')[0]}={HIDDEN}{semicolon}{attributes}"


def _plain(response: Response, spec: JobSpec) -> Extracted:
    """Return the text of text/plain, text/markdown and other text types, else nothing."""
    if spec.text is TextMode.NONE or not response.content_type.startswith("text/"):
        return Extracted()
    try:
        text = response.body.decode(response.charset or "utf-8", "replace")
    except LookupError:  # an unknown charset
        text = response.body.decode("utf-8", "replace")
    text, cut = TextBound.of(response.body).cut(text)
    return Extracted(
        text=text,
        cut=cut,
        content_rule=content.PLAIN,
        content_hash=content.content_hash(text),
        content_version=content.VERSION,
    )
