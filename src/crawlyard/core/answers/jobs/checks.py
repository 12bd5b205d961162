"""The check of a job's links, as answers show it."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from msgspec.structs import replace

from crawlyard.core.answers.base import Wire
from crawlyard.core.crawl.link_check import Finding, LinkCheck, Referrer
from crawlyard.core.endpoint import Slice

MOST_REFERRERS = 10
"""Links to a URL that a list of findings tells of each."""


class FindingOut(Wire, frozen=True, kw_only=True):
    """One thing that is wrong."""

    kind: str  # broken_link, missing_fragment, redirect_chain, duplicate_title or canonical
    url: str  # where the links lead, or the page whose title or canonical URL it is
    fragment: str
    status: int | None
    detail: str
    chain: tuple[str, ...]  # the URLs that redirects lead to, in order
    links: int  # to it
    linked_from: tuple[Referrer, ...]  # these links; a list of findings has the first ten
    pages: tuple[str, ...]  # that have the same title
    new: bool | None  # null: it was not compared

    @property
    def address(self) -> str:
        """Return the URL with its fragment."""
        return f"{self.url}#{self.fragment}" if self.fragment else self.url

    @classmethod
    def of(cls, finding: Finding) -> "FindingOut":
        """Return the shape of *finding*."""
        return cls.filled(finding, kind=finding.kind.value, links=len(finding.linked_from))


class CheckOut(Wire, frozen=True, kw_only=True):
    """What is wrong with the links, titles and canonical URLs of a job's pages."""

    object: Literal["check"] = "check"
    job_id: str
    since: str | None  # the job that it is compared with
    pages: int
    links: int
    targets: int  # distinct URLs that links lead to
    unchecked: int  # of these, not requested, or without an answer that says anything
    fragments: bool  # whether ids were kept, so that fragments could be checked
    counts: Mapping[str, int]  # findings by kind
    items: tuple[FindingOut, ...]

    @classmethod
    def of(
        cls,
        job_id: str,
        since: str | None,
        check: LinkCheck,
        findings: Sequence[Finding],
        *,
        fragments: bool,
    ) -> "CheckOut":
        """Return the shape of *findings*."""
        return cls(
            job_id=job_id,
            since=since,
            pages=len(check.pages),
            links=check.links,
            targets=len(check.targets),
            unchecked=len(check.unchecked),
            fragments=fragments,
            counts=Counter(one.kind.value for one in findings),
            items=tuple(map(FindingOut.of, findings)),
        )

    def shortened(self) -> "CheckOut":
        """Return it with at most `MOST_REFERRERS` links of each finding."""
        items = (
            replace(
                one, linked_from=one.linked_from[:MOST_REFERRERS], pages=one.pages[:MOST_REFERRERS]
            )
            for one in self.items
        )
        return replace(self, items=tuple(items))


class FindingsOut(Slice[FindingOut], frozen=True, kw_only=True):
    """A part of what is wrong, how much of each kind there is, and how much was checked."""

    pages: int
    links: int
    targets: int  # distinct URLs that links lead to
    unchecked: int  # of these, not requested, or without an answer that says anything
    fragments: bool  # whether ids were kept, so that fragments could be checked
    counts: Mapping[str, int]  # findings by kind

    @classmethod
    def part(
        cls, report: CheckOut, kinds: Collection[str], first: int, limit: int
    ) -> "FindingsOut":
        """Return *limit* findings of *kinds* (empty: all) from the one at *first* on."""
        asked = [one for one in report.items if not kinds or one.kind in kinds]
        more = len(asked) > first + limit
        return cls(
            items=asked[first : first + limit],
            next_cursor=str(first + limit) if more else None,
            has_more=more,
            pages=report.pages,
            links=report.links,
            targets=report.targets,
            unchecked=report.unchecked,
            fragments=report.fragments,
            counts=report.counts,
        )
