"""What commands tell when they look closely at jobs: log, frontier, settings, reasons."""

import sys
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from datetime import timedelta

from msgspec import Struct

from crawlyard.cli.jobs.lookup import JobFilter, job_id_of
from crawlyard.cli.jobs.summary import ENDED, exit_code
from crawlyard.cli.jobs.views import jobs_view
from crawlyard.cli.options import Common, Style
from crawlyard.cli.render import output, words
from crawlyard.cli.render.job_display import state_words
from crawlyard.cli.render.output import Column, View
from crawlyard.cli.render.sheets import listed, show, whole
from crawlyard.cli.session import Session
from crawlyard.cli.stdout import write_line
from crawlyard.core.answers.base import as_dict
from crawlyard.core.answers.fleet.watch import LineOut
from crawlyard.core.answers.jobs.job_looks import ConfigOut, DifferenceOut, ShardOut
from crawlyard.core.answers.jobs.jobs import JobOut
from crawlyard.core.answers.jobs.pages import WaitingOut
from crawlyard.core.endpoint import every
from crawlyard.core.jobs.job_log import LevelWord
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.quantity import counted
from crawlyard.export.jsonl import dumps
from crawlyard.store.queries import COUNTED_TO

TIMED_OUT = 124
_LONGEST_WAIT = timedelta(seconds=25)  # of one request; below what proxies put up with


async def log(
    session: Session, *, word: str, level: LevelWord, follow: bool, common: Common
) -> int:
    """Write the lines of a job's log; with *follow*, each as it comes, up to the last."""
    job_id = await job_id_of(session, word)
    style = common.style_on(terminal=session.out.is_terminal)
    if follow and style is Style.JSON:
        style = Style.JSONL
    if follow and style is Style.TABLE and common.fields is not None:
        style = Style.PLAIN  # a table would wait for the last
    jobs = session.surface.jobs
    if follow:
        lines = _flushed(jobs.log_stream(job_id, level=level))
    else:
        lines = every(jobs.log, job_id, level=level)
    await _write_lines(session, lines, style, common)
    return 0


async def _flushed(lines: AsyncIterable[LineOut]) -> AsyncIterator[LineOut]:
    """Yield *lines*; what was written of one is seen before the next is waited for."""
    async for line in lines:
        yield line
        sys.stdout.flush()


async def _write_lines(
    session: Session, lines: AsyncIterable[LineOut], style: Style, common: Common
) -> None:
    if style is Style.TABLE and not common.quiet and common.fields is None:
        async for line in lines:  # a table would wait for the last, and cut what is said
            at = words.clock(line.at, session.clock.now())
            told = f"{at}  {line.level.ljust(7)}  {line.message}  {line.url}"
            write_line(words.printable(told.rstrip()))
        return
    quiet, fields = common.quiet, common.fields
    await output.write_all(lines, _LOG, style, session.out, quiet=quiet, fields=fields)


async def frontier(session: Session, *, word: str, limit: int, common: Common) -> int:
    """List the URLs of a job that wait."""
    job_id = await job_id_of(session, word)
    found = every(session.surface.jobs.frontier, job_id, limit=limit or None)
    shown = await listed(session, found, _FRONTIER, common)
    if not shown:
        session.tell("no URL waits")
    elif shown == limit:
        session.tell(f"the first {limit:,} are shown; --limit 0 shows all")
    return 0


async def shards(session: Session, *, word: str, common: Common) -> int:
    """List the parts that a job is spread over."""
    found = await session.surface.jobs.shards(await job_id_of(session, word))
    if not await listed(session, found.items, _SHARDS, common):
        session.tell("it is not spread: one worker has it all")
    return 0


async def counts(session: Session, *, asked: JobFilter, common: Common) -> int:
    """Count jobs by state."""
    found = await session.surface.jobs.counts(**asked.terms(session.clock.now()))
    counts = {**found.states, "total": found.total}
    if common.style_on(terminal=session.out.is_terminal) is not Style.TABLE:
        told: list[tuple[str, object]] = list(counts.items())
    else:
        stopped = found.total == COUNTED_TO and asked != JobFilter()
        told = [(name, f"{n:,}+" if stopped else n) for name, n in counts.items()]
    return await show(session, found, told, common, key=str(found.total))


async def config(session: Session, *, word: str, diff: bool, common: Common) -> int:
    """Show the settings of a job in force, or what differs from its template."""
    found = await session.surface.jobs.config(await job_id_of(session, word))
    if whole(session, common):
        return await show(session, found, (), common)
    if diff:
        if found.template is None:
            session.tell("it was made of no template that can be seen")
        await listed(session, found.differences, _DIFFERENCES, common)
    else:
        await listed(session, _settings(found), _CONFIG, common)
    return 0


async def exclude(
    session: Session, *, word: str, pattern: str, dry_run: bool, common: Common
) -> int:
    """Exclude URLs that match a pattern from a job."""
    job_id = await job_id_of(session, word)
    done = await session.surface.jobs.exclude(job_id, pattern, dry_run=dry_run)
    if whole(session, common):
        await show(session, done, (), common)
    else:
        for url in done.samples:
            write_line(words.printable(url))
    will = "would" if dry_run else "will"
    session.tell(f"{counted(done.pending_removed, 'waiting URL')} {will} be skipped: {pattern}")
    return 0


async def why(session: Session, *, word: str, url: str, common: Common) -> int:
    """Tell what became of a URL."""
    found = await session.surface.jobs.why(await job_id_of(session, word), url)
    told = as_dict(found, without={"object"})
    facts = [(name.replace("_", " "), value) for name, value in told.items()]
    return await show(session, found, facts, common, key=found.outcome)


async def wait(
    session: Session, *, ids: Sequence[str], longest: timedelta | None, common: Common
) -> int:
    """Wait until jobs stand still; the worst of how they ended is the exit code."""
    end = None if longest is None else session.clock.monotonic() + longest.total_seconds()
    job_ids = [await job_id_of(session, word) for word in ids]
    codes = [0]

    async def still() -> AsyncIterator[JobOut]:
        for word, job_id in zip(ids, job_ids, strict=True):
            job = await _stands_still(session, job_id, end)
            if job is None:
                session.tell(f"it goes on: {session.hint(f'jobs watch {word}')}")
                codes.append(TIMED_OUT)
                return
            session.tell(f"{state_words(job)}: {job.id}")
            codes.append(exit_code(job))
            yield job

    if not common.asked or (len(ids) == 1 and whole(session, common)):
        async for job in still():
            if common.asked:
                await show(session, job, (), common)  # one was named: one comes back
    else:
        await listed(session, still(), jobs_view(session.clock.now()), common)
    return max(codes)


async def _stands_still(session: Session, job_id: str, end: float | None) -> JobOut | None:
    """Return a job once it has ended or is paused, ``None`` at the instant *end*."""
    while True:
        left = _LONGEST_WAIT
        if end is not None:
            left = min(left, timedelta(seconds=max(0, end - session.clock.monotonic())))
        job = await session.surface.jobs.wait(
            job_id, timeout_s=left.total_seconds(), states=(State.PAUSED,)
        )
        if job.state in ENDED or job.state == State.PAUSED:
            return job
        if end is not None and session.clock.monotonic() >= end:
            return None


class _Setting(Struct, frozen=True, kw_only=True):
    """One field of a job's settings."""

    path: str
    value: str
    source: str


def _settings(found: ConfigOut) -> list[_Setting]:
    return [
        _Setting(path=path, value=_shown(_at(found.config, path)), source=source)
        for path, source in found.sources.items()
    ]


def _at(form: Mapping[str, object], path: str) -> object:
    value: object = form
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _shown(value: object) -> str:
    return value if isinstance(value, str) else dumps(value)


def _instant(item: Struct, field: str) -> object:
    return as_dict(item, {field})[field]


_LOG: View[LineOut] = View(
    key=lambda line: str(line.n),
    columns=(
        Column(name="AT", value=lambda line: _instant(line, "at")),
        Column(name="LEVEL", value=lambda i: i.level),
        Column(name="MESSAGE", value=lambda i: i.message, wide=True),
        Column(name="URL", value=lambda i: i.url, wide=True),
    ),
)
_FRONTIER: View[WaitingOut] = View(
    key=lambda waiting: waiting.url,
    columns=(
        Column(name="DEPTH", value=lambda w: w.depth, right=True),
        Column(name="VIA", value=lambda w: w.via),
        Column(name="TRIES", value=lambda w: w.tries, right=True),
        Column(name="URL", value=lambda w: w.url, wide=True),
    ),
)
_SHARDS: View[ShardOut] = View(
    key=lambda shard: str(shard.number),
    columns=(
        Column(name="SHARD", value=lambda s: s.number, right=True),
        Column(name="WORKER", value=lambda s: s.worker),
        Column(name="PAGES", value=lambda s: s.pages, right=True),
        Column(name="ERRORS", value=lambda s: s.errors, right=True),
        Column(name="FREE SINCE", value=lambda s: _instant(s, "free_since")),
        Column(name="UPDATED", value=lambda s: _instant(s, "updated_at")),
        Column(name="URL", value=lambda s: s.current_url, wide=True),
    ),
)
_CONFIG: View[_Setting] = View(
    key=lambda setting: setting.path,
    columns=(
        Column(name="FIELD", value=lambda s: s.path),
        Column(name="VALUE", value=lambda s: s.value, wide=True),
        Column(name="FROM", value=lambda s: s.source),
    ),
)
_DIFFERENCES: View[DifferenceOut] = View(
    key=lambda difference: difference.path,
    columns=(
        Column(name="FIELD", value=lambda d: d.path),
        Column(name="TEMPLATE", value=lambda d: _shown(d.template), wide=True),
        Column(name="JOB", value=lambda d: _shown(d.job), wide=True),
    ),
)
