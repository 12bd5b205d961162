"""Changes between two runs: the class of each URL, from the records of both.

A page is gone only if that is proven; anything unproven is unknown, and is compared
again with each later run until one proves it.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum, auto
from functools import cached_property
from typing import TypeAlias

from msgspec import Struct, field, json
from msgspec.structs import replace

from crawlyard.core.crawl.page import RuleKind, TargetState
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import State, StateReason
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.core.words import REASONS


class ChangeKind(StrEnum):
    """Kinds of changes of a page between two runs, in the order of lists."""

    CHANGED = auto()  # its text differs
    NEW = auto()  # the earlier run would have found it
    SEEN_FIRST = auto()  # the earlier run may have missed it
    MOVED = auto()  # it is at another URL
    GONE = auto()  # it answers 404 or 410, or nothing leads to it any more
    BROKEN = auto()  # it answers with another error
    NOISE = auto()  # only ignored lines differ
    UNKNOWN = auto()  # the later run does not prove anything
    SAME = auto()


LISTED = tuple(kind for kind in ChangeKind if kind is not ChangeKind.SAME)
"""The kinds that are listed; pages that are the same are only counted."""

NEWS_KINDS = frozenset(
    {
        ChangeKind.CHANGED,
        ChangeKind.NEW,
        ChangeKind.SEEN_FIRST,
        ChangeKind.MOVED,
        ChangeKind.GONE,
        ChangeKind.BROKEN,
    }
)
"""Kinds that are announced as news of a run."""

MOST_CHANGES = 100_000
"""Changes of one comparison that are listed; more are only counted."""

MOST_UNPROVEN = 100_000
"""Unproven pages that are kept with one run; more are lost to later comparisons."""

MOST_ANNOUNCED = 100
"""Changes that one event names."""

_MAX_URL_CHARACTERS = 12_000  # characters of their URLs: webhooks are sent fewer than 20,000 bytes

_ABSENT = frozenset({404, 410})
_TOO_MANY = 429  # caused by our request rate, not by the page
_NOT_FOUND = re.compile(r"\b404\b|\b(?:page )?not found\b", re.IGNORECASE)
_REDIRECT_PREFIX = f"{RuleKind.REDIRECT} to "

_EDITED_OUT = (RuleKind.SCOPE, RuleKind.EXCLUDE, RuleKind.INCLUDE)  # by an edit of the job

# Runs that differ in one of these may reach different pages.
_REACH = (
    "urls",
    "sitemaps",
    "scope",
    "include",
    "exclude",
    "max_depth",
    "ignore_query",
    "ignore_robots",
    "follow_nofollow",
    "user_agent",
    "headers",
)


class PageFacts(Struct, frozen=True, kw_only=True):
    """Fields of a page record that a comparison needs."""

    id: int
    fp: int
    url: str
    status: int | None
    error: str | None
    truncated: str
    title: str
    sha256: str
    content_rule: str
    content_hash: str
    content_version: int

    @property
    def is_whole(self) -> bool:
        """True if it is a complete response with content."""
        return self.error is None and not self.truncated

    @property
    def is_absent(self) -> bool:
        """True if the server said that the page does not exist."""
        return self.status in _ABSENT

    @property
    def is_refused(self) -> bool:
        """True if the server answered with an error about the page itself."""
        return self.error is not None and (self.status or 0) >= 400 and self.status != _TOO_MANY

    @property
    def content(self) -> int | None:
        """Key of its content among all pages; ``None`` if it has none."""
        if self.content_hash:
            return hash((self.content_version, self.content_rule, self.content_hash))
        return hash(self.sha256) if self.sha256 and not self.content_rule else None

    def to_brief(self, last_read: "LastRead") -> "PageBrief":
        """Return the fields to keep until all pages have been added."""
        return PageBrief(self.id, self.fp, self.url, self.content, last_read)

    @property
    def failure_text(self) -> str:
        """Why the response is not a complete page."""
        return (
            f"answered {self.status}"
            if self.status and self.error
            else (self.error or f"truncated: {self.truncated}")
        )


class LastRead(Struct, frozen=True):
    """The run that last fetched a page."""

    job_id: str
    reach: str  # key of the settings that determine what it could reach
    broken_sitemaps: frozenset[int] = frozenset()


class CarriedPage(Struct, frozen=True):
    """A page that the earlier run did not fetch itself, and the run that did."""

    last_read: LastRead
    is_broken: bool  # an earlier run reported it as broken


class UnprovenPage(Struct, frozen=True, kw_only=True):
    """A page of an earlier run that is neither proven to exist nor proven to be gone."""

    page: PageFacts
    read_by: str  # the run that last fetched it
    reach: str  # of that run
    is_broken: bool  # a run reported it as broken


class PageBrief(Struct, frozen=True, gc=False):
    """Fields to keep of a page that only one run has: there may be a million such pages."""

    id: int
    fp: int
    url: str
    content: int | None
    last_read: LastRead


_Page: TypeAlias = PageFacts | PageBrief


class UrlState(Struct, frozen=True):
    """State, in a run, of a URL without a page."""

    state: TargetState
    rule: str

    @property
    def is_edited_out(self) -> bool:
        """True if an edit of the job excludes it, rather than the site."""
        return self.rule.partition(":")[0] in _EDITED_OUT

    @property
    def leads_to(self) -> str | None:
        """The URL that it redirects to; ``None`` if it does not."""
        if not self.rule.startswith(_REDIRECT_PREFIX):
            return None
        return self.rule.removeprefix(_REDIRECT_PREFIX).partition(": ")[
            0
        ]  # a URL contains no space


class Change(Struct, frozen=True, kw_only=True):
    """Difference of one page between two runs."""

    kind: ChangeKind
    url: str  # of a page that moved: the earlier one
    moved_to: str | None = None
    detail: str = ""  # why it is unknown, or the proof that it is gone
    before: int | None = None  # its page in the earlier run
    after: int | None = None  # its page in the later run


class Run(Struct, frozen=True, kw_only=True, dict=True):
    """Coverage of a run: how far it got, and what it could reach."""

    job_id: str = ""
    incomplete_reason: str  # why it did not see everything; empty if it did
    reach: Mapping[str, object]
    broken_sitemaps: frozenset[int] = frozenset()

    @classmethod
    def of(cls, job: Job, broken_sitemaps: Iterable[int] = ()) -> "Run":
        """Return the part of a job that a comparison needs."""
        if job.state is State.COMPLETED and job.state_reason is StateReason.EXHAUSTED:
            incomplete_reason = ""
        elif job.state.ended:
            incomplete_reason = f"the run ended early: {REASONS[job.state_reason]}"
        else:
            incomplete_reason = "the run has not ended"
        return cls(
            job_id=job.id,
            incomplete_reason=incomplete_reason,
            reach=_reach(job.spec),
            broken_sitemaps=frozenset(broken_sitemaps),
        )

    @cached_property
    def last_read(self) -> LastRead:
        """The run as the last reader of its pages."""
        reach = hashlib.sha256(json.encode(self.reach, order="deterministic")).hexdigest()
        return LastRead(self.job_id, reach[:16], self.broken_sitemaps)


def _reach(spec: JobSpec) -> Mapping[str, object]:
    return {name: getattr(spec, name) for name in _REACH}


class Comparison(Struct):
    """Compares two runs, URL by URL: `add` each, then `conclude`."""

    earlier: Run
    later: Run
    reference: Run | None = None  # the last complete run, not after the earlier one
    counts: Counter[ChangeKind] = field(default_factory=Counter)
    changes: list[Change] = field(default_factory=list)
    gone: dict[int, PageBrief] = field(default_factory=dict)  # by fp: the server said so
    missing: dict[int, PageBrief] = field(default_factory=dict)  # by fp: not found by the later run
    new: dict[int, tuple[PageBrief, bool | None]] = field(default_factory=dict)  # see `_was_absent`
    unread: dict[int, str] = field(default_factory=dict)  # labels by page id: not fetched later
    unproven: dict[int, bool] = field(default_factory=dict)  # by fp: whether reported as broken
    unread_page: str = ""  # one that no run fetched: it may link to any missing page
    _possible_sources: dict[str, str] = field(default_factory=dict)  # of `unread`, by job read last
    _reported_broken: set[int] = field(default_factory=set)  # of `missing`
    _never_read: list[PageBrief] = field(default_factory=list)
    _move_targets: set[int] = field(
        default_factory=set
    )  # new pages to which others redirect or moved
    _contents: tuple[set[int], set[int]] = field(default_factory=lambda: (set(), set()))
    _repeated: set[int] = field(default_factory=set)  # contents of several pages of one run

    def __post_init__(self) -> None:
        """Use the earlier run as its own reference if it saw the whole site."""
        if not self.earlier.incomplete_reason:
            self.reference = self.earlier

    @property
    def tally(self) -> Mapping[str, int]:
        """Number of pages by kind."""
        return {kind.value: self.counts[kind] for kind in ChangeKind}

    @property
    def undecided(self) -> Mapping[int, int]:
        """The ids of pages, by fp, that are new if no earlier page led to them."""
        return {fp: page.id for fp, (page, absent) in self.new.items() if absent is None}

    @property
    def first_read(self) -> Iterator[int]:
        """Yield the ids of pages that the earlier runs knew but did not fetch."""
        return (page.id for page, absent in self.new.values() if absent is False)

    def add(
        self,
        before: PageFacts | None,
        after: PageFacts | None,
        known_before: UrlState | None = None,
        known_after: UrlState | None = None,
        redirect_target: PageFacts | None = None,
        carried: CarriedPage | None = None,
    ) -> None:
        """Add a URL: its pages, or its state in a run that has no page of it.

        *redirect_target* is the page to which it redirects in the later run. *carried* is set if
        *before* was fetched by a run before the earlier one.
        """
        was_whole = before is not None and before.is_whole
        is_whole = after is not None and after.is_whole
        for side, page in enumerate((before, after)):
            if page is not None and page.is_whole:
                self._count_content(side, page)
        if before is not None and after is not None and was_whole and is_whole:
            if _looks_absent(before, after):
                self._carry_over(before.fp, carried)
            self._report(*compare_page(before, after), before, after)
        elif before is not None and was_whole:
            self._add_earlier_only(before, after, known_after, redirect_target, carried)
        elif after is not None and is_whole:
            brief = after.to_brief(self.later.last_read)
            self.new[after.fp] = (brief, self._was_absent(before, known_before))
        elif after is not None and before is None and not after.is_absent:
            self.unread_page = self.unread_page or f"{after.url} ({after.failure_text})"
        elif before is not None and after is None and known_after is None and not before.is_absent:
            self._never_read.append(before.to_brief(self._last_read(carried)))

    def _add_earlier_only(
        self,
        before: PageFacts,
        after: PageFacts | None,
        known_after: UrlState | None,
        redirect_target: PageFacts | None,
        carried: CarriedPage | None,
    ) -> None:
        """Add a page that the later run does not have."""
        page = before.to_brief(self._last_read(carried))
        if after is not None and after.is_absent:
            self.gone[before.fp] = page
        elif after is not None:
            self._add_possible_source(page, after.failure_text)
            was_reported = carried is not None and carried.is_broken
            is_news = after.is_refused and not was_reported
            self._carry_over(page.fp, carried, is_broken=after.is_refused)
            kind = ChangeKind.BROKEN if is_news else ChangeKind.UNKNOWN
            self._report(kind, after.failure_text, before, after)
        elif redirect_target is not None and redirect_target.is_whole:
            self._move_targets.add(redirect_target.fp)
            self._record(
                Change(
                    kind=ChangeKind.MOVED,
                    url=before.url,
                    moved_to=redirect_target.url,
                    detail="redirects",
                    before=before.id,
                    after=redirect_target.id,
                )
            )
        elif known_after is not None:
            why = (
                known_after.rule
                or f"not fetched: {self.later.incomplete_reason or known_after.state.name.lower()}"
            )
            self._add_possible_source(page, why)
            if not known_after.is_edited_out:
                self._carry_over(page.fp, carried)
            self._report(ChangeKind.UNKNOWN, why, before, None)
        else:
            self.missing[before.fp] = page
            if carried is not None and carried.is_broken:
                self._reported_broken.add(before.fp)

    def conclude(
        self,
        linked_before: Collection[int] = (),
        linked_after: Collection[int] = (),
        link_sources: Mapping[int, str] | None = None,
    ) -> None:
        """Classify the pages that only one run has.

        *linked_before* and *linked_after* are the fingerprints of pages that a run links to but did
        not fetch: they are too deep, or the link is not followed. *link_sources* has, for each
        fingerprint to which a page in `unread` led when it was last read, the label of that page.
        """
        link_sources = link_sources or {}
        for fp, page in self.missing.items():
            doubt = self._find_doubt(page)
            if not doubt and fp in link_sources:
                doubt = f"may be linked from {link_sources[fp]}"
            if not doubt and fp in linked_after:
                doubt = "a page links to it"
            if doubt:
                self.unproven[fp] = fp in self._reported_broken
                self._report(ChangeKind.UNKNOWN, doubt, page, None)
            else:
                self.gone[fp] = page
        self.unproven |= {page.fp: False for page in self._never_read if self._find_doubt(page)}
        new = {
            fp: page
            for fp, (page, proven) in self.new.items()
            if (fp not in linked_before if proven is None else proven)
            and fp not in self._move_targets
        }
        moves = self._find_moves(new)
        for fp, page in self.gone.items():
            if (new_page := moves.get(fp)) is None:
                proof = "nothing leads to it" if fp in self.missing else "404 or 410"
                self._report(ChangeKind.GONE, proof, page, None)
                continue
            self._move_targets.add(new_page.fp)
            self._record(
                Change(
                    kind=ChangeKind.MOVED,
                    url=page.url,
                    moved_to=new_page.url,
                    detail="the same content",
                    before=page.id,
                    after=new_page.id,
                )
            )
        for fp, (page, _) in self.new.items():
            if fp not in self._move_targets:
                kind = ChangeKind.NEW if fp in new else ChangeKind.SEEN_FIRST
                self._report(kind, "", None, page)
        self._sort()

    def _sort(self) -> None:
        order = {kind: index for index, kind in enumerate(ChangeKind)}
        self.changes.sort(key=lambda change: (order[change.kind], change.url))

    def _find_doubt(self, page: PageBrief) -> str:
        """Return why a page that was not found may still exist."""
        if self.later.incomplete_reason:
            return self.later.incomplete_reason
        last_read = page.last_read
        if last_read.job_id == self.earlier.job_id:
            if (setting := self._find_reach_difference(self.earlier)) is not None:
                return f"the runs differ in {setting}"
        elif last_read.reach != self.later.last_read.reach:
            return "the run that has it could reach other pages"
        if self.later.broken_sitemaps - last_read.broken_sitemaps:
            return "a sitemap could not be read"
        label = self.unread_page or self._possible_sources.get(last_read.job_id)
        return f"may be linked from {label}" if label else ""

    def _find_reach_difference(self, run: Run) -> str | None:
        """Return the first setting in which *run* could reach other pages than the later run."""
        old, new = run.reach, self.later.reach
        return next((name for name in old if old[name] != new[name]), None)

    def _was_absent(self, before: PageFacts | None, known_before: UrlState | None) -> bool | None:
        """Return whether a URL had no page in the earlier run.

        ``None``: it had none if no page linked to it.
        """
        if before is not None:
            return before.is_absent
        run = self.reference
        if run is None or run.broken_sitemaps - self.later.broken_sitemaps:
            return False
        if any(self._find_reach_difference(old) is not None for old in (self.earlier, run)):
            return False
        return None if known_before is None else known_before.state is TargetState.REDIRECTED

    def _last_read(self, carried: CarriedPage | None) -> LastRead:
        return self.earlier.last_read if carried is None else carried.last_read

    def _carry_over(self, fp: int, carried: CarriedPage | None, *, is_broken: bool = False) -> None:
        """Keep a page for the comparison of the next run."""
        self.unproven[fp] = is_broken or (carried is not None and carried.is_broken)

    def _add_possible_source(self, page: PageBrief, why: str) -> None:
        """Record that the later run did not fetch a page, which may link to missing ones.

        Any page that was last read by the same run may be linked from it by now, and so may the
        pages that it linked to when it was last read (`unread`).
        """
        self.unread[page.id] = label = f"{page.url} ({why})"
        self._possible_sources.setdefault(page.last_read.job_id, label)

    def _count_content(self, side: int, page: PageFacts) -> None:
        if page.content is not None:
            key, contents = page.content, self._contents[side]
            if key in contents:
                self._repeated.add(key)
            contents.add(key)

    def _find_moves(self, new: Mapping[int, PageBrief]) -> Mapping[int, PageBrief]:
        """Return the new places of pages that are gone: content that each run has once."""
        by_content: dict[int | None, PageBrief] = {
            page.content: page
            for page in new.values()
            if page.content is not None and page.content not in self._repeated
        }
        candidates = ((fp, by_content.get(page.content)) for fp, page in self.gone.items())
        return {fp: page for fp, page in candidates if page is not None}

    def _report(
        self, kind: ChangeKind, detail: str, before: _Page | None, after: _Page | None
    ) -> None:
        page = before or after
        if page is not None:
            self._record(
                Change(
                    kind=kind,
                    url=page.url,
                    detail=detail,
                    before=None if before is None else before.id,
                    after=None if after is None else after.id,
                )
            )

    def _record(self, change: Change) -> None:
        self.counts[change.kind] += 1
        if change.kind is not ChangeKind.SAME and len(self.changes) < MOST_CHANGES:
            self.changes.append(change)

    def mark_noise(self, indexes: Collection[int]) -> None:
        """Mark the changes at *indexes* of `changes` as noise: only ignored lines differ."""
        for index in indexes:
            self.changes[index] = replace(self.changes[index], kind=ChangeKind.NOISE)
        self.counts[ChangeKind.CHANGED] -= len(indexes)
        self.counts[ChangeKind.NOISE] += len(indexes)
        self._sort()


def compare_page(before: PageFacts, after: PageFacts) -> tuple[ChangeKind, str]:
    """Return the kind of change of a page that both runs have, and the reason if it is unknown.

    Pages with the same bytes are the same. Texts can only be compared, by their hashes, if the
    same version of the same rule found both.
    """
    if after.status == 304 or (before.sha256 and before.sha256 == after.sha256):
        return ChangeKind.SAME, ""
    if _looks_absent(before, after):
        return ChangeKind.UNKNOWN, f"answered {after.status}, but its title says: {after.title}"
    if not before.content_rule and not after.content_rule:  # neither has a text
        return ChangeKind.CHANGED, ""
    if before.content_rule != after.content_rule:
        return ChangeKind.UNKNOWN, "its text was found by another rule"
    if before.content_version != after.content_version:
        return ChangeKind.UNKNOWN, "its text was found by another version of the rules"
    same = before.content_hash == after.content_hash
    return (ChangeKind.SAME if same else ChangeKind.CHANGED), ""


def _looks_absent(before: PageFacts, after: PageFacts) -> bool:
    """Return whether the title of a page says "not found", and did not before."""
    return bool(_NOT_FOUND.search(after.title)) and not _NOT_FOUND.search(before.title)


def compared_page_ids(changes: Iterable[Change]) -> Iterator[int]:
    """Yield the ids of the pages whose texts measure the changes."""
    for change in changes:
        if change.kind in {ChangeKind.CHANGED, ChangeKind.NOISE}:
            yield from (page for page in (change.before, change.after) if page is not None)


def summarize_changes(changes: Sequence[Change]) -> Mapping[str, object]:
    """Return the event data about changes: the first ones, and how many more there are."""
    pages: list[Mapping[str, object]] = []
    remaining_characters = _MAX_URL_CHARACTERS
    for change in changes[:MOST_ANNOUNCED]:
        page: dict[str, object] = {"kind": change.kind.value, "url": change.url}
        if change.moved_to is not None:
            page["moved_to"] = change.moved_to
        remaining_characters -= len(change.url) + len(change.moved_to or "")
        if remaining_characters < 0:
            break
        pages.append(page)
    return {"pages": pages, "more": len(changes) - len(pages)}


class RunChanges(Struct, frozen=True, kw_only=True):
    """Changes of one run of a schedule, computed each time that the run has ended."""

    job_id: str
    schedule_id: str
    base_id: str | None  # the run that it is compared with; None: it is the first
    compared_at: datetime
    ended_at: datetime | None = None  # of the run: a run that ended again is compared again
    whole_id: str | None = None  # the last complete run, up to this one
    counts: Mapping[str, int]  # by `ChangeKind`
    hidden: bool = False  # from other users: it has URLs of an earlier run that is not shared


class StoredChange(Change, frozen=True, kw_only=True):
    """A stored change of a run, with its extent."""

    seq: int = 0  # assigned by the store, in commit order
    job_id: str
    schedule_id: str
    added: int | None = None
    removed: int | None = None
    share: float | None = None
