"""Changes between two runs, as answers show them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from msgspec.structs import asdict

from crawlyard.core.answer import Wire, derive_answer
from crawlyard.core.crawl.changes import Change, RunChanges
from crawlyard.core.endpoints.endpoint import Slice
from crawlyard.core.jobs.job import Job
from crawlyard.core.text.difference import Amount, Hunk


@derive_answer
class ChangeOut(Change, Wire, frozen=True, kw_only=True):
    """Change of one page between two runs."""

    added: int | None  # lines; null: there is no text to compare
    removed: int | None
    share: float | None  # of the words, those in added and removed lines; 0: in another order

    @classmethod
    def of(cls, change: Change, amount: Amount | None) -> "ChangeOut":
        """Return the answer for *change*; no *amount*: there is no text to compare."""
        if amount is None:
            return cls.filled(change, added=None, removed=None, share=None)
        return cls.filled(change, **asdict(amount))


class DiffOut(Slice[ChangeOut], frozen=True, kw_only=True):
    """A part of the changes between two runs, and how many there are of each kind."""

    earlier: str  # ids of jobs
    later: str
    counts: Mapping[str, int]  # by kind; `same` pages are only counted


class PageDiffOut(Wire, frozen=True, kw_only=True):
    """Difference of one page between two runs."""

    object: Literal["page_diff"] = "page_diff"
    url: str
    kind: str
    detail: str
    before: int  # pages
    after: int
    added: int
    removed: int
    share: float
    text: str  # a unified diff of its lines; in a line that changed, the words are marked
    hunks: tuple[Hunk, ...]  # the same, line by line
    lines: int  # of the later text

    @classmethod
    def of(cls, change: Change, amount: Amount, **other_fields: Any) -> "PageDiffOut":
        """Return the answer for a page with two texts; *amount* is their difference."""
        return cls.filled(change, **asdict(amount), **other_fields)


class RunChangesOut(Wire, frozen=True, kw_only=True):
    """Changes of one run of a schedule; null until it is compared."""

    object: Literal["run_changes"] = "run_changes"
    job_id: str
    state: str
    ended_at: datetime | None
    base_id: str | None  # the run that it is compared with; null: it is the first
    compared_at: datetime | None
    counts: Mapping[str, int] | None  # by kind

    @classmethod
    def of(cls, job: Job, run: RunChanges | None) -> "RunChangesOut":
        """Return the changes of *job*; no *run*: it is not compared yet."""
        return cls(
            job_id=job.id,
            state=job.state.value,
            ended_at=job.ended_at,
            base_id=None if run is None else run.base_id,
            compared_at=None if run is None else run.compared_at,
            counts=None if run is None else run.counts,
        )


class FeedChangeOut(ChangeOut, frozen=True, kw_only=True):
    """A change of a run of a schedule, with its place in the feed."""

    object: Literal["change"] = "change"
    seq: int
    job_id: str
    schedule_id: str
