"""Answers about the link check of a job."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Literal

from msgspec.structs import replace

from crawlyard.core.answer import Wire, derive_answer
from crawlyard.core.crawl.link_check import Finding, LinkCheck, UncheckedReason
from crawlyard.core.endpoints.endpoint import Slice
from crawlyard.core.fields import after
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.outcome import LIMIT_REASONS
from crawlyard.core.quantity import count_noun

MOST_REFERRERS = 10
"""Links listed per finding, and unchecked URLs listed per reason, in a list of findings."""

MOST_UNCHECKED = 1_000
"""Unchecked URLs listed per reason in the whole check."""


@derive_answer
class FindingOut(Finding, Wire, frozen=True, kw_only=True):
    """A broken link or another problem, with the pages that have it."""

    links: Annotated[int, after("chain")]


class UncheckedOut(Wire, frozen=True, kw_only=True):
    """The URLs that were not checked for one reason."""

    reason: str  # limit, failed, robots, other_site, excluded or nofollow
    count: int
    urls: tuple[str, ...]  # the first 1,000; a list of findings has the first ten


class CheckOut(Wire, frozen=True, kw_only=True):
    """Problems with the links, titles and canonical URLs of a job's pages."""

    object: Literal["check"] = "check"
    job_id: str
    since: str | None  # the job that it is compared with
    pages: int
    links: int
    targets: int  # distinct URLs that links lead to
    unchecked: int  # URLs found and not checked: linked, listed by a sitemap, or waiting
    unchecked_by: tuple[UncheckedOut, ...]
    incomplete: bool  # a limit or a failure ended the check early
    incomplete_reason: str  # in a sentence; empty: it is complete
    fragments: bool  # ids were kept, so that fragments could be checked
    counts: Mapping[str, int]  # findings by kind
    items: tuple[FindingOut, ...]

    @classmethod
    def of(
        cls,
        job: Job,
        since: str | None,
        check: LinkCheck,
        findings: Sequence[Finding],
    ) -> "CheckOut":
        """Return the answer: *findings*, and how much was checked."""
        reason = _incomplete_reason(job, check)
        return cls(
            job_id=job.id,
            since=since,
            pages=len(check.pages),
            links=check.links,
            targets=len(check.targets),
            unchecked=len(check.unchecked),
            unchecked_by=_group_unchecked(check),
            incomplete=bool(reason),
            incomplete_reason=reason,
            fragments=job.spec.keep_anchors,
            counts=Counter(finding.kind.value for finding in findings),
            items=tuple(map(FindingOut.filled, findings)),
        )

    def shorten(self) -> "CheckOut":
        """Return it with at most `MOST_REFERRERS` links per finding and URLs per reason."""
        items = (
            replace(
                finding,
                linked_from=finding.linked_from[:MOST_REFERRERS],
                pages=finding.pages[:MOST_REFERRERS],
            )
            for finding in self.items
        )
        unchecked = (
            replace(group, urls=group.urls[:MOST_REFERRERS]) for group in self.unchecked_by
        )
        return replace(self, items=tuple(items), unchecked_by=tuple(unchecked))


def _group_unchecked(check: LinkCheck) -> tuple[UncheckedOut, ...]:
    urls: dict[UncheckedReason, list[str]] = {reason: [] for reason in UncheckedReason}
    for url, reason in check.unchecked.items():
        urls[reason].append(url)
    return tuple(
        UncheckedOut(reason=reason.value, count=len(some), urls=tuple(some[:MOST_UNCHECKED]))
        for reason, some in urls.items()
        if some
    )


def _incomplete_reason(job: Job, check: LinkCheck) -> str:
    """Return why a check is incomplete; empty if it is complete."""
    if job.state is not State.COMPLETED:
        ended = {State.FAILED: "failed", State.CANCELLED: "was cancelled"}
        state = f"the job {ended.get(job.state, f'is {job.state.value}')}"
        return f"{state}: {job.detail}" if job.detail else state
    if not check.is_incomplete:
        return ""
    counts = Counter(check.unchecked.values())
    limit = LIMIT_REASONS.get(job.state_reason, "depth")
    reasons = (
        (counts[UncheckedReason.LIMIT], f"beyond the {limit} limit"),
        (counts[UncheckedReason.FAILED], "without a usable response"),
    )
    return ", ".join(f"{count_noun(count, 'URL')} {words}" for count, words in reasons if count)


class FindingsOut(Slice[FindingOut], frozen=True, kw_only=True):
    """A page of the problems, the number of each kind, and how much was checked."""

    pages: int
    links: int
    targets: int  # distinct URLs that links lead to
    unchecked: int  # URLs found and not checked: linked, listed by a sitemap, or waiting
    unchecked_by: tuple[UncheckedOut, ...]
    incomplete: bool  # a limit or a failure ended the check early
    incomplete_reason: str  # in a sentence; empty: it is complete
    fragments: bool  # ids were kept, so that fragments could be checked
    counts: Mapping[str, int]  # findings by kind

    @classmethod
    def part(
        cls, report: CheckOut, kinds: Collection[str], first: int, limit: int
    ) -> "FindingsOut":
        """Return *limit* findings of *kinds* (empty: all) from the one at *first* on."""
        findings = [finding for finding in report.items if not kinds or finding.kind in kinds]
        more = len(findings) > first + limit
        return cls(
            items=findings[first : first + limit],
            next_cursor=str(first + limit) if more else None,
            has_more=more,
            pages=report.pages,
            links=report.links,
            targets=report.targets,
            unchecked=report.unchecked,
            unchecked_by=report.unchecked_by,
            incomplete=report.incomplete,
            incomplete_reason=report.incomplete_reason,
            fragments=report.fragments,
            counts=report.counts,
        )
