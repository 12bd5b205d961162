"""Conditional requests: pages of an earlier run, which a site need not send again.

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
from crawlyard.core.text.restless import restless
from crawlyard.engine.extract import content, record
from crawlyard.engine.http.fetch import Response

_SAME = (
    "session",
    *("text", "ignore_css", "extract", "keep_html", "keep_anchors", "store_noindex"),
    *("follow_nofollow", "headers", "cookies", "user_agent", "max_body"),
    *("render", "renderer", "chromium", "wait_for", "actions", "screenshot"),
)
"""The fields of a spec that what is kept of an answer depends on."""

_OWN = frozenset({"if-none-match", "if-modified-since", "if-match", "if-unmodified-since", "range"})
"""Request headers with which an answer means something else."""

_FRESH = timedelta(seconds=2)
"""A page that was changed so shortly before it was fetched may have changed again in that second,
which is all that Last-Modified can tell."""


class Prior(Struct, frozen=True, kw_only=True):
    """A page of an earlier run, whose content can be used again."""

    page: Page
    body_of: int  # the key of its bodies
    links: tuple[Link, ...] = ()


Earlier: TypeAlias = Callable[[int], Awaitable[Prior | None]]
"""Returns what an earlier run has of the target with this fingerprint."""


def difference(spec: JobSpec, before: JobSpec) -> str:
    """Return the field for which pages of *before* cannot be used for *spec*, "" if all can."""
    for name in _SAME:
        if getattr(spec, name) != getattr(before, name):
            return name
    own = {name.lower() for name, _ in spec.headers}
    return "headers" if own & _OWN else ""


def conditions(prior: Prior) -> Mapping[str, str]:
    """Return the headers that ask for a page only if it has changed; none if it must be sent."""
    page = prior.page
    found: dict[str, str] = {}
    if _can_be_sent(page.etag):
        found["If-None-Match"] = page.etag
    if _can_be_sent(page.last_modified) and (page.etag or _is_settled(page)):
        found["If-Modified-Since"] = page.last_modified
    return found


def is_usable(prior: Prior, spec: JobSpec) -> bool:
    """Return whether the content of a page can be used again if it has not changed."""
    return _is_whole(prior, spec) and _is_read_alike(prior.page, spec)


def spared(target: Target, prior: Prior) -> Outcome:
    """Return the outcome of a target that is not requested: it is known to be as it was.

    Its record says when it was requested last.
    """
    page = _again(target, prior.page)
    return Outcome(target, TargetState.DONE, page, body_of=prior.body_of, spared=True)


def unchanged(target: Target, prior: Prior, response: Response, now: datetime) -> Outcome:
    """Return the outcome of a target that has not changed since *prior*."""
    before = prior.page
    page = replace(
        _again(target, before),
        fetched_at=now,
        elapsed_ms=response.elapsed_ms,
        session=record.session_of(response),
        etag=record.etag_of(response) or before.etag,
        last_modified=record.last_modified_of(response) or before.last_modified,
    )
    return Outcome(target, TargetState.DONE, page, body_of=prior.body_of)


def seems_changed(prior: Prior, outcome: Outcome) -> bool:
    """Return whether a text differs from that of *prior*, found by the same rule."""
    after = outcome.page
    if after is None or Body.TEXT not in outcome.bodies or not _are_alike(prior.page, after):
        return False
    return prior.page.content_hash != after.content_hash


def confirmed(first: Outcome, second: Outcome) -> Outcome:
    """Return the outcome of a page that was fetched twice: the first, with what is restless."""
    one, other = (fetched.bodies.get(Body.TEXT) for fetched in (first, second))
    if first.page is None or second.page is None or one is None or other is None:
        return first
    if not _are_alike(first.page, second.page):
        return first
    places = restless(lines_of(one), lines_of(other))
    return replace(first, bodies={**first.bodies, Body.RESTLESS: places}) if places else first


def _are_alike(one: Page, other: Page) -> bool:
    """Return whether both are whole, with texts that can be compared."""
    whole = all(page.error is None and not page.truncated for page in (one, other))
    return whole and (one.content_rule, one.content_version) == (
        other.content_rule,
        other.content_version,
    )


def _again(target: Target, before: Page) -> Page:
    """Return the record of a page that has not changed, as a later run found it."""
    return replace(
        before,
        url=target.origin or target.url,
        final_url=target.url,
        depth=target.depth,
        unchanged_since=before.unchanged_since or before.fetched_at,
    )


def _is_whole(prior: Prior, spec: JobSpec) -> bool:
    """Return whether the answer was a 200, and all that it led to is known."""
    page = prior.page
    if page.status != 200 or page.error is not None or page.truncated:
        return False
    if page.noindex and not spec.store_noindex:
        return False  # its links were not kept
    linked = {link.url for link in prior.links if link.kind is not LinkKind.REFRESH}
    return len(linked) >= page.links


def _is_read_alike(page: Page, spec: JobSpec) -> bool:
    """Return whether this program would find the same text in the same body."""
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
    """Return whether a validator can be sent back; one that was cut is no longer the site's."""
    return 0 < len(value) < record.MOST_VALIDATOR and value.isascii() and value.isprintable()
