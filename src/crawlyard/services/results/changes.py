"""Changes between runs: compares two jobs, and stores the changes of each scheduled run."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from itertools import islice
from typing import TypeAlias, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.access.job_parts import JobPart
from crawlyard.core.access.user import Actor
from crawlyard.core.crawl.changes import (
    MOST_UNPROVEN,
    NEWS_KINDS,
    Change,
    ChangeKind,
    Comparison,
    PageFacts,
    Run,
    RunChanges,
    StoredChange,
    compare_page,
    compared_page_ids,
    summarize_changes,
)
from crawlyard.core.crawl.page import Body
from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.job import Job, Standing
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.text.difference import (
    MOST_LINES,
    Amount,
    Hunk,
    Ignored,
    amount,
    as_text,
    comparable_lines,
    hunks_of,
    lines_of,
)
from crawlyard.core.text.volatile import (
    decode_places,
    encode_places,
    find_always_volatile,
    settle_volatile,
)
from crawlyard.engine.scope import line_matcher
from crawlyard.engine.urls import canonical, fingerprint, page_key
from crawlyard.errors import Forbidden, Invalid, NotFound
from crawlyard.services.jobs.lookup import find_job, visible_query
from crawlyard.services.results.comparison import compare
from crawlyard.store.queries import JobQuery
from crawlyard.store.store import Store

MOST_RANKED = 2_000
"""Maximum number of changed pages that are sorted by the amount of changed text."""

MOST_KEPT = 10_000
"""Changes stored of one run of a schedule; more are only counted."""

_NOISE = (Body.RESTLESS, Body.RECURRING)
_BY = "changes"  # the actor of the events
_CHUNK = 500  # pages of each run at once
_TEXTS = 10  # pairs of texts in memory at once, of 8 MiB each at most
_REMEMBERED = 2  # comparisons, so that their lists can be read part by part
_CAUGHT_UP = 10  # runs of a schedule, the last ones, that are looked at when one ends

T = TypeVar("T")

_Texts: TypeAlias = Mapping[tuple[int, Body], bytes]
"""Texts of pages and their volatile lines, by page id."""

Amounts: TypeAlias = Mapping[int, Amount]
"""Amount of changed text, by the id of the later page."""


class Diff(Struct):
    """Changes between two jobs, and the pattern of ignored lines."""

    comparison: Comparison
    ignored: Ignored | None
    ranked: Sequence[Change] | None = None  # see `Changes.ranked`


class PageDifference(Struct, frozen=True, kw_only=True):
    """Changed text of one page, as a unified diff and line by line."""

    change: Change
    amount: Amount
    text: str  # a unified diff
    hunks: tuple[Hunk, ...]  # the same, line by line
    lines: int  # of the later text


class Changes:
    """Compares runs. Jobs that the actor may not see raise `NotFound`."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._reader = ThreadPoolExecutor(1, "crawlyard-diff")
        self._turn = asyncio.Lock()  # two comparisons at once would take twice the memory
        self._recent: OrderedDict[object, Diff] = OrderedDict()

    async def diff(self, actor: Actor, earlier: str, later: str, ignore: str = "") -> Diff:
        """Return what changed from one job to another.

        Pages are noise in which only lines differ that are restless, that the later job ignores
        or that match the pattern *ignore*.

        Raises:
            Invalid: *ignore* is no pattern, or both are one job.
        """
        old = await find_job(self._store, actor, earlier, JobPart.PAGES)
        new = await find_job(self._store, actor, later, JobPart.PAGES)
        ignored = _find_ignored(new.job, ignore)
        if old.job.id == new.job.id:
            raise Invalid("other", "expected another job to compare with")
        run = (await self._store.changes.runs([old.job.id])).get(old.job.id)
        if run is not None and run.hidden and not actor.may_see(old.job.owner):
            raise Forbidden(f"job {earlier} is compared with a run that is not shared")
        key = (_stamp(old), run and run.compared_at, _stamp(new), ignore)
        async with self._turn:
            if key not in self._recent:
                comparison = await self._compare(old.job, new.job, ignored)
                self._recent[key] = Diff(comparison, ignored)
                if len(self._recent) > _REMEMBERED:
                    self._recent.popitem(last=False)
            self._recent.move_to_end(key)
            return self._recent[key]

    async def rank(self, diff: Diff) -> Sequence[Change]:
        """Return all changes of *diff*, those with the most changed text first.

        Raises:
            Invalid: there are too many of them.
        """
        changes = diff.comparison.changes
        changed = [change for change in changes if change.kind is ChangeKind.CHANGED]
        if len(changed) > MOST_RANKED:
            problem = f"expected url where more than {MOST_RANKED:,} pages changed"
            raise Invalid("sort", f"{problem}; {len(changed):,} did")
        async with self._turn:
            if diff.ranked is None:
                amounts = await self.amounts(changed, diff.ignored)
                share = {page_id: amounts[page_id].share for page_id in amounts}
                changed.sort(key=lambda change: -share.get(change.after or 0, -1))
                diff.ranked = [*changed, *changes[len(changed) :]]
            return diff.ranked

    async def amounts(self, changes: Sequence[Change], ignored: Ignored | None) -> Amounts:
        """Return how much text changed, for pages with both texts stored."""
        amounts = dict[int, Amount]()
        for place in range(0, len(changes), _TEXTS):
            part = changes[place : place + _TEXTS]
            texts = await self._texts(compared_page_ids(part))
            amounts |= await self._aside(partial(_amounts, part, texts, ignored))
        return amounts

    async def page(
        self, actor: Actor, earlier: str, later: str, url: str, ignore: str = ""
    ) -> PageDifference:
        """Return what changed in the text of one page.

        Raises:
            NotFound: one of the jobs has no page of this URL, or did not keep its text.
            Invalid: *url* is no URL, or *ignore* no pattern.
        """
        url = canonical(url)
        ignored = _find_ignored(
            (await find_job(self._store, actor, later, JobPart.PAGES)).job, ignore
        )
        before = await self._page_of(actor, earlier, url, unproven=earlier < later)
        after = await self._page_of(actor, later, url)
        kind, detail = compare_page(before, after)
        change = Change(kind=kind, url=after.url, detail=detail, before=before.id, after=after.id)
        texts = await self._texts([before.id, after.id])
        for job, page in ((earlier, before), (later, after)):
            if (page.id, Body.TEXT) not in texts:
                raise NotFound(f"job {job} has no text of {url}")

        def work() -> PageDifference:
            old, new = _pair(change, texts, ignored) or ([], [])
            quiet = kind is ChangeKind.CHANGED and old == new
            visible_change = replace(change, kind=ChangeKind.NOISE) if quiet else change
            hunks, cut = hunks_of(old, new), max(len(old), len(new)) - MOST_LINES
            return PageDifference(
                change=visible_change,
                amount=amount(old, new),
                text=as_text(hunks, cut),
                hunks=hunks,
                lines=len(new),
            )

        return await self._aside(work)

    async def settle(self, schedule_id: str) -> None:
        """Compare each ended run of a schedule that has no comparison yet with its predecessor.

        Safe to call concurrently: a comparison is stored and announced once. A run that was resumed
        or retried is compared again, with the same base. If no run was compared before, only the
        newest is.
        """
        query = JobQuery(schedule_id=schedule_id)
        recent = await self._store.jobs.find(query, 2 * _CAUGHT_UP)
        ended = [standing for standing in recent if standing.job.state.ended]
        comparisons = await self._store.changes.runs([run.job.id for run in ended])
        behind = next(
            (n for n, run in enumerate(ended) if run.job.id in comparisons), min(1, len(ended))
        )
        for place in reversed(range(len(ended))):
            job, before = ended[place].job, comparisons.get(ended[place].job.id)
            is_new = before is None and place < min(_CAUGHT_UP, behind)
            if not is_new and (before is None or before.ended_at == job.ended_at):
                continue
            same = [run for run in recent if before is not None and run.job.id == before.base_id]
            bases = filter(
                _is_base, [*same, *(run for run in ended[place + 1 :] if run not in same)]
            )
            await self._settle(job, [run.job for run in bases])

    async def runs(
        self, actor: Actor, schedule_id: str, limit: int, before: str | None = None
    ) -> list[tuple[Job, RunChanges | None]]:
        """Return visible runs of a schedule, newest first, and the changes of each.

        *before*: the id of a run; those before it.
        """
        query = JobQuery(schedule_id=schedule_id, before=before)
        query = await visible_query(self._store, actor, query, JobPart.STATE)
        recent = await self._store.jobs.find(query, limit)
        comparisons = await self._store.changes.runs([run.job.id for run in recent])
        return [(run.job, comparisons.get(run.job.id)) for run in recent]

    async def _settle(self, job: Job, bases: Sequence[Job]) -> None:
        """Compare a run with the first of *bases*, the runs before it."""
        now = self._clock.now()
        if not bases:
            whole_id = None if Run.of(job).incomplete_reason else job.id
            run = _run(job, None, now, {}, whole_id)
            await self._store.changes.save(run, (), ())
            return
        base, ignored = bases[0], _find_ignored(job)
        comparison = await self._compare(base, job, ignored, bases)
        counts = comparison.tally
        announced_changes = [change for change in comparison.changes if change.kind in NEWS_KINDS]
        amounts = await self.amounts(announced_changes[:MOST_KEPT], ignored)
        stored = [
            _to_stored(change, amounts.get(change.after or 0), job)
            for change in announced_changes[:MOST_KEPT]
        ]
        events = (
            job.event(EventName.RUN_CHANGED, now, _BY, base_id=base.id, counts=counts),
            job.event(
                EventName.PAGE_CHANGED,
                now,
                _BY,
                base_id=base.id,
                **summarize_changes(announced_changes),
            ),
        )
        whole = comparison.reference if comparison.later.incomplete_reason else comparison.later
        run = _run(job, base.id, now, counts, None if whole is None else whole.job_id)
        unproven = dict(islice(comparison.unproven.items(), MOST_UNPROVEN))
        reach = comparison.earlier.last_read.reach
        await self._store.changes.save(
            run, stored, events if announced_changes else (), unproven, reach
        )

    async def _compare(
        self, earlier: Job, later: Job, ignored: Ignored | None, bases: Sequence[Job] = ()
    ) -> Comparison:
        comparison = await compare(self._store, earlier, later)
        runs = later.spec.noise_after
        if runs is not None and runs <= len(bases):
            await self._remember(comparison, bases[:runs])
        specs = (earlier.spec, later.spec)
        if ignored or any(spec.confirm_changes or spec.noise_after for spec in specs):
            await self._mark_noise(comparison, ignored)
        return comparison

    async def _remember(self, comparison: Comparison, bases: Sequence[Job]) -> None:
        """Keep the lines of changed pages that differ in each run since the last of *bases*."""
        changed = [
            c for c in comparison.changes if c.kind is ChangeKind.CHANGED and c.after is not None
        ]
        for first in range(0, len(changed), _TEXTS):
            part = {fingerprint(c.url): c.after or 0 for c in changed[first : first + _TEXTS]}
            pages: dict[int, list[PageFacts]] = {fp: [] for fp in part}
            for base in bases:
                for page in await self._store.changes.facts_of(base.id, part):
                    pages[page.fp].insert(0, page)
            versions = {
                after: [page.id for page in pages[fp]]
                for fp, after in part.items()
                if len(pages[fp]) == len(bases) and _are_alike(pages[fp])
            }
            texts = await self._texts(
                page for version in versions.items() for page in (version[0], *version[1])
            )
            recurring = await self._aside(partial(_recurring, versions, texts))
            await self._store.changes.keep_recurring(recurring)

    async def _mark_noise(self, comparison: Comparison, ignored: Ignored | None) -> None:
        """Mark changes as noise if only ignored or volatile lines differ."""
        quiet: list[int] = []
        changed = [n for n, c in enumerate(comparison.changes) if c.kind is ChangeKind.CHANGED]
        for place in range(0, len(changed), _CHUNK):
            part = changed[place : place + _CHUNK]
            if ignored is None:
                ids = list(compared_page_ids(comparison.changes[n] for n in part))
                noisy_ids = {page for page, _ in await self._store.pages.bodies(ids, _NOISE)}
                part = [
                    n
                    for n in part
                    if noisy_ids.intersection(compared_page_ids([comparison.changes[n]]))
                ]
            quiet += await self._quiet(comparison.changes, part, ignored)
        comparison.mark_noise(quiet)

    async def _quiet(
        self, changes: Sequence[Change], places: Sequence[int], ignored: Ignored | None
    ) -> list[int]:
        """Return the *places* of changes with only ignored or volatile lines."""
        quiet: list[int] = []
        for first in range(0, len(places), _TEXTS):
            part = places[first : first + _TEXTS]
            some = [changes[n] for n in part]
            texts = await self._texts(compared_page_ids(some))
            same = await self._aside(partial(_same, some, texts, ignored))
            quiet += [n for n, is_same in zip(part, same, strict=True) if is_same]
        return quiet

    async def _page_of(
        self, actor: Actor, job_id: str, url: str, *, unproven: bool = False
    ) -> PageFacts:
        """Return the page of a URL; with *unproven*, also that of a run before the job."""
        job = (await find_job(self._store, actor, job_id, JobPart.PAGES)).job
        fp = page_key(url, ignore_query=job.spec.ignore_query)
        pages = await self._store.changes.facts_of(job.id, [fp])
        if unproven and actor.may_see(job.owner):  # others may not see the run before
            copies = await self._store.changes.unproven_of(job.id, [fp])
            pages = [copy.page for copy in copies] or pages
        if not pages:
            raise NotFound(f"job {job.id} has no page of {url}")
        return pages[0]

    async def _texts(self, pages: Iterable[int]) -> _Texts:
        return await self._store.pages.bodies(list(pages), [Body.TEXT, *_NOISE])

    async def _aside(self, work: Callable[[], T]) -> T:
        """Run *work* in a thread of its own, one at a time."""
        return await asyncio.get_running_loop().run_in_executor(self._reader, work)


def _find_ignored(later: Job, pattern: str = "") -> Ignored | None:
    """Return the pattern of lines that the later job ignores, or that match *pattern*."""
    patterns = [*later.spec.ignore_text, pattern] if pattern else later.spec.ignore_text
    return line_matcher("ignore_text", patterns)


def _stamp(standing: Standing) -> tuple[object, ...]:
    """Return a key that changes whenever the pages of a job change."""
    return standing.job.id, standing.job.version, standing.shard.usage.done


def _is_base(standing: Standing) -> bool:
    """Return whether later runs are compared with this one."""
    return standing.job.state is State.COMPLETED and standing.shard.usage.pages > 0


def _pair(
    change: Change, texts: _Texts, ignored: Ignored | None
) -> tuple[list[str], list[str]] | None:
    """Return the lines of both texts that count, ``None`` if one text is not kept."""
    old, new = change.before or 0, change.after or 0
    before, after = (texts.get((page, Body.TEXT)) for page in (old, new))
    if before is None or after is None:
        return None
    lines = lines_of(after)
    old_noise, new_noise = (texts.get((page, Body.RESTLESS), b"[]") for page in (old, new))
    recurring = texts.get((new, Body.RECURRING), b"[]")
    calm = settle_volatile(
        lines_of(before), lines, decode_places(old_noise), decode_places(new_noise, recurring)
    )
    return comparable_lines(calm, ignored), comparable_lines(lines, ignored)


def _are_alike(pages: Sequence[PageFacts]) -> bool:
    """Return whether pages are whole, with texts found by the same rule."""
    rules = {(page.content_rule, page.content_version) for page in pages}
    return len(rules) == 1 and all(page.is_whole for page in pages)


def _recurring(versions: Mapping[int, Sequence[int]], texts: _Texts) -> Mapping[int, bytes]:
    """Return the lines of pages that differ from each of their earlier versions to the next."""
    recurring: dict[int, bytes] = {}
    for after, before in versions.items():
        bodies = [texts.get((page, Body.TEXT)) for page in (*before, after)]
        lines = [lines_of(text) for text in bodies if text is not None]
        if len(lines) == len(bodies) and (places := encode_places(find_always_volatile(lines))):
            recurring[after] = places
    return recurring


def _amounts(changes: Sequence[Change], texts: _Texts, ignored: Ignored | None) -> Amounts:
    pairs = ((change.after, _pair(change, texts, ignored)) for change in changes)
    return {key: amount(*pair) for key, pair in pairs if key is not None and pair is not None}


def _same(changes: Sequence[Change], texts: _Texts, ignored: Ignored | None) -> list[bool]:
    pairs = (_pair(change, texts, ignored) for change in changes)
    return [pair is not None and pair[0] == pair[1] for pair in pairs]


def _run(
    job: Job,
    base_id: str | None,
    now: datetime,
    counts: Mapping[str, int],
    whole_id: str | None,
) -> RunChanges:
    return RunChanges(
        job_id=job.id,
        schedule_id=job.origin.schedule_id or "",
        base_id=base_id,
        compared_at=now,
        ended_at=job.ended_at,
        whole_id=whole_id,
        counts=counts,
    )


def _to_stored(change: Change, much: Amount | None, job: Job) -> StoredChange:
    return StoredChange(
        job_id=job.id,
        schedule_id=job.origin.schedule_id or "",
        kind=change.kind,
        url=change.url,
        moved_to=change.moved_to,
        detail=change.detail,
        before=change.before,
        after=change.after,
        added=None if much is None else much.added,
        removed=None if much is None else much.removed,
        share=None if much is None else much.share,
    )
