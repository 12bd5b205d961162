"""Conditional requests for pages of an earlier run, which a site need not send again.

Source: RFC 9110, section 13.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.core.crawl.link import Link, LinkKind
from crawlyard.core.crawl.page import Body, Outcome, Page, Target, TargetState
from crawlyard.core.jobs.spec import JobSpec, TextMode
from crawlyard.core.text.difference import lines_of
from crawlyard.core.text.volatile import find_volatile
from crawlyard.engine.extract import content, record
from crawlyard.engine.http.fetch import Response

_SAME = (
    "session",
    *("text", "ignore_css", "extract", "keep_html", "keep_anchors", "store_noindex"),
    *("ignore_query", "follow_nofollow", "headers", "cookies", "user_agent", "max_body"),
    *("render", "renderer", "chromium", "wait_for", "actions", "screenshot", "full_page"),
)
"""The fields of a spec that determine the stored content of a response."""

_OWN = frozenset({"if-none-match", "if-modified-since", "if-match", "if-unmodified-since", "range"})
"""Request headers that change the meaning of the response."""

_FRESH = timedelta(seconds=2)
"""A page that changed so shortly before it was fetched may have changed again in the same second,
the resolution of Last-Modified."""


class Prior(Struct, frozen=True, kw_only=True):
    """A page of an earlier run, whose content can be reused."""

    page: Page
    body_of: int  # the key of its bodies
    links: tuple[Link, ...] = ()


Earlier: TypeAlias = Callable[[int], Awaitable[Prior | None]]
"""Returns the page that an earlier run has for a fingerprint."""


def difference(spec: JobSpec, before: JobSpec) -> str:
    """Return the field whose change rules out reusing pages of *before*, "" if none does."""
    for name in _SAME:
        if getattr(spec, name) != getattr(before, name):
            return name
    own = {name.lower() for name, _ in spec.headers}
    return "headers" if own & _OWN else ""


def conditions(prior: Prior) -> Mapping[str, str]:
    """Return the headers of a conditional request; none if the page must be sent."""
    page = prior.page
    headers: dict[str, str] = {}
    if _can_be_sent(page.etag):
        headers["If-None-Match"] = page.etag
    if _can_be_sent(page.last_modified) and (page.etag or _is_settled(page)):
        headers["If-Modified-Since"] = page.last_modified
    return headers


def is_usable(prior: Prior, target: Target, spec: JobSpec) -> bool:
    """Return whether the content of a target's page can be reused if it has not changed."""
    if spec.ignore_query and target.url not in (prior.page.url, prior.page.final_url):
        return False  # a 304 is about one URL
    return _is_complete(prior, spec) and _is_read_alike(prior.page, spec)


def reuse_outcome(target: Target, prior: Prior) -> Outcome:
    """Return the outcome of a target that needs no request, as it has not changed.

    Its record has the time of its last request.
    """
    page = _unchanged_page(target, prior.page)
    return Outcome(target, TargetState.DONE, page, body_of=prior.body_of, spared=True)


def unchanged_outcome(target: Target, prior: Prior, response: Response, now: datetime) -> Outcome:
    """Return the outcome of a target that has not changed since *prior*."""
    before = prior.page
    page = replace(
        _unchanged_page(target, before),
        fetched_at=now,
        elapsed_ms=response.elapsed_ms,
        session=record.session_of(response),
        etag=record.etag_of(response) or before.etag,
        last_modified=record.last_modified_of(response) or before.last_modified,
    )
    return Outcome(target, TargetState.DONE, page, body_of=prior.body_of)


def seems_changed(prior: Prior, outcome: Outcome) -> bool:
    """Return whether a text differs from that of *prior*, if both were extracted alike."""
    after = outcome.page
    if after is None or Body.TEXT not in outcome.bodies or not _are_alike(prior.page, after):
        return False
    return prior.page.content_hash != after.content_hash


def mark_volatile(first: Outcome, second: Outcome) -> Outcome:
    """Return the first of two outcomes of a page, with the positions of its volatile text."""
    text, second_text = (outcome.bodies.get(Body.TEXT) for outcome in (first, second))
    if first.page is None or second.page is None or text is None or second_text is None:
        return first
    if not _are_alike(first.page, second.page):
        return first
    places = find_volatile(lines_of(text), lines_of(second_text))
    return replace(first, bodies={**first.bodies, Body.RESTLESS: places}) if places else first


def _are_alike(first: Page, second: Page) -> bool:
    """Return whether both pages are complete, with texts that can be compared."""
    complete = all(page.error is None and not page.truncated for page in (first, second))
    return complete and (first.content_rule, first.content_version) == (
        second.content_rule,
        second.content_version,
    )


def _unchanged_page(target: Target, before: Page) -> Page:
    """Return the record that a later run gives a page that has not changed."""
    return replace(
        before,
        url=target.origin or target.url,
        final_url=target.url,
        depth=target.depth,
        unchanged_since=before.unchanged_since or before.fetched_at,
    )


def _is_complete(prior: Prior, spec: JobSpec) -> bool:
    """Return whether the response was a complete 200, and all its links are stored."""
    page = prior.page
    if page.status != 200 or page.error is not None or page.truncated:
        return False
    if page.noindex and not spec.store_noindex:
        return False  # its links were not kept
    linked = {link.url for link in prior.links if link.kind is not LinkKind.REFRESH}
    return len(linked) >= page.links


def _is_read_alike(page: Page, spec: JobSpec) -> bool:
    """Return whether this version would extract the same text from the same body."""
    if spec.text is TextMode.NONE:
        return True
    if page.content_version or record.may_have_text(page.content_type):
        return page.content_version == content.VERSION
    return True


def _is_settled(page: Page) -> bool:
    try:
        changed_at = parsedate_to_datetime(page.last_modified)
    except ValueError:
        return False
    if changed_at.tzinfo is None:
        changed_at = changed_at.replace(tzinfo=UTC)
    return changed_at + _FRESH <= (page.unchanged_since or page.fetched_at)


def _can_be_sent(value: str) -> bool:
    """Return whether a validator can be sent back; a truncated one cannot."""
    return 0 < len(value) < record.MOST_VALIDATOR and value.isascii() and value.isprintable()
