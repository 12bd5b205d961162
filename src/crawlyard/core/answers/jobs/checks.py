"""The check of a job's links, as answers show it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from crawlyard.core.answers.base import Wire
from crawlyard.core.crawl.link_check import Finding, LinkCheck


class ReferrerOut(Wire, frozen=True, kw_only=True):
    """A page with a link, and the text of the link."""

    url: str
    text: str


class FindingOut(Wire, frozen=True, kw_only=True):
    """One thing that is wrong."""

    kind: str  # broken_link, missing_fragment, redirect_chain, duplicate_title or canonical
    url: str  # where the links lead, or the page whose title or canonical URL it is
    fragment: str
    status: int | None
    detail: str
    chain: tuple[str, ...]  # the URLs that redirects lead to, in order
    linked_from: tuple[ReferrerOut, ...]  # all links to it
    pages: tuple[str, ...]  # that have the same title
    new: bool | None  # null: it was not compared

    @property
    def address(self) -> str:
        """Return the URL with its fragment."""
        return f"{self.url}#{self.fragment}" if self.fragment else self.url

    @classmethod
    def of(cls, finding: Finding) -> "FindingOut":
        """Return the shape of *finding*."""
        linked = tuple(ReferrerOut.filled(one) for one in finding.linked_from)
        return cls.filled(finding, kind=finding.kind.value, linked_from=linked)


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
