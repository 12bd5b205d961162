"""`crawlyard jobs pages | errors | log | export | …`: the results of one job in detail."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crawlyard.cli import values
from crawlyard.cli.invoke import action
from crawlyard.cli.jobs.lookup import job_id_of
from crawlyard.cli.options import (
    Basics,
    Id,
    Kinds,
    Limit,
    LinksTo,
    MaybeId,
    NeedsScripts,
    Only,
    OnlyRecords,
    OutFormat,
    Style,
    argument,
    choice,
    flag,
    option,
)
from crawlyard.cli.render import output, words
from crawlyard.cli.render.advice import with_commands
from crawlyard.cli.stdout import write_line
from crawlyard.core.endpoints.endpoint import every
from crawlyard.core.jobs.job_log import LevelWord
from crawlyard.core.quantity import count_noun
from crawlyard.errors import Invalid, NotFound
from crawlyard.export.base import Format
from crawlyard.lazy import lazily

# a command needs one or two of them: 50 ms
with lazily():
    from crawlyard.cli.jobs import exports, result_views
    from crawlyard.cli.templates import views as template_views
if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Mapping

    from crawlyard.cli.session import Session
    from crawlyard.core.jobs.answers import JobOut
    from crawlyard.core.jobs.log_answers import LineOut
    from crawlyard.export.base import Written
    from crawlyard.services.results.terms import SearchTerms

app = typer.Typer()  # the commands of `crawlyard jobs` about the contents of one job

Query = Annotated[
    str, option(str, "--query", "TEXT", "Only pages with TEXT in their URL or title.")
]
Skipped = Annotated[bool, flag("--skipped", text="List URLs excluded by a rule, with the rule.")]
Out = Annotated[str, option(str, "--out", "FILE", "Output file; '-' for stdout (default).")]
Chunks = Annotated[
    int | None,
    option(
        values.chunk_size,
        "--chunks",
        "WORDS",
        "Export text chunks by heading, of at most WORDS words each.",
    ),
]
From = Annotated[str, option(str, "--from", "URL", "Only links on this page.")]
To = Annotated[str, option(str, "--to", "URL", "Only links to this URL.")]
Links = Annotated[bool, flag("--links", text="Export the links of the pages instead.")]
Schedules = Annotated[
    list[str] | None,
    option(
        str, "--schedule", "NAME", "Export runs of this schedule. Repeatable if --out is a folder."
    ),
]
Last = Annotated[
    int | None,
    option(values.run_count, "--last", "N", "Number of newest runs of each schedule; default 1."),
]
Current = Annotated[
    bool, flag("--current", text="Export the state after the last good run of a schedule.")
]
Changed = Annotated[
    bool, flag("--changed", text="Export the pages that its last good run has new or changed.")
]
Follow = Annotated[bool, flag("--follow", "-f", text="Continue until the job has ended.")]
AtLeast = Annotated[
    LevelWord, choice("--level", of=LevelWord, text="Minimum level", default=LevelWord.INFO)
]
Diff = Annotated[bool, flag("--diff", text="Only fields that differ from the template.")]
Pattern = Annotated[str, argument("PATTERN", "A glob, or re:REGEX.")]
Url = Annotated[str, argument("URL", "URL of the page.")]
DryRun = Annotated[bool, flag("--dry-run", text="Only show what would be excluded.")]


@app.command()
@action(q="--query")
async def pages(
    session: "Session",
    job: Id,
    *,
    only: OnlyRecords = None,
    kind: Kinds = None,
    query: Query = "",
    needs_scripts: NeedsScripts = False,
    links_to: LinksTo = "",
    skipped: Skipped = False,
    limit: Limit = None,
) -> None:
    """List the pages of a job in the order they were stored, even while it runs.

    crawlyard jobs pages last --only failed
    crawlyard jobs pages last -o csv > pages.csv
    crawlyard jobs pages last --links-to https://docs.example.org/old
    crawlyard jobs pages last --skipped
    """
    if skipped and (only or kind or query or needs_scripts or links_to):
        raise Invalid("--skipped", "excludes other filters: these URLs were never fetched")
    terms: SearchTerms = {
        "failed": None if only is None else only is Only.FAILED,
        "needs_scripts": needs_scripts or None,
        "links_to": links_to or None,
        "kind": tuple(kind or ()),
        "q": query,
    }
    most = session.list_limit(limit)
    job_id = await job_id_of(session, job)
    if skipped:
        count = await session.write_list(
            every(session.surface.results.skipped, job_id, limit=most), result_views.SKIPPED
        )
    else:
        page_list = session.surface.jobs.pages(job_id, include=(), limit=most, **terms)
        count = await session.write_list(page_list, result_views.PAGES)
    session.tell_list_end(count, limit, "")


@app.command()
@action()
async def errors(session: "Session", job: Id) -> None:
    """List a job's failed URLs by kind of error, most frequent first, and pages that link to them.

    crawlyard jobs errors last
    crawlyard jobs errors last --json
    """
    job_id = await job_id_of(session, job)
    groups = (await session.surface.results.errors(job_id, referrers=True)).items
    await session.write_list(groups, result_views.errors_view(session.clock.now()))
    if groups:
        session.tell(f"retry them: {session.full_command(f'jobs retry {job_id} --failed')}")


@app.command()
@action()
async def links(
    session: "Session", job: Id, *, from_: From = "", to: To = "", limit: Limit = None
) -> None:
    """List the links of a job's pages: source, target and link text.

    crawlyard jobs links last --from https://docs.example.org/
    crawlyard jobs links last --to https://docs.example.org/old
    crawlyard jobs links last -o jsonl > links.jsonl
    """
    job_id = await job_id_of(session, job)
    link_list = every(
        session.surface.results.links,
        job_id,
        from_=from_ or None,
        to=to or None,
        limit=session.list_limit(limit),
    )
    session.tell_list_end(
        await session.write_list(link_list, result_views.LINKS), limit, "no link is like that"
    )


@app.command()
@action()
async def events(session: "Session", job: Id) -> None:
    """List the events of a job, oldest first.

    crawlyard jobs events last
    crawlyard jobs events last -o jsonl
    """
    event_list = every(session.surface.jobs.events, await job_id_of(session, job))
    await session.write_list(event_list, result_views.events_view(session.clock.now()))


@app.command()
@action(basics=Basics)
async def export(
    session: "Session",
    job: MaybeId = None,
    *,
    out: Out = "-",
    format: OutFormat = None,  # noqa: A002 - the name of the option
    only: OnlyRecords = None,
    links: Links = False,
    schedule: Schedules = None,
    last: Last = None,
    current: Current = False,
    changed: Changed = False,
    chunks: Chunks = None,
) -> None:
    """Export the pages or links of a job, even while it runs, or those of schedules.

    crawlyard jobs export last --out pages.jsonl
    crawlyard jobs export last --format csv --only ok > pages.csv
    crawlyard jobs export last --out pages.parquet
    crawlyard jobs export last --out site.warc.gz
    crawlyard jobs export last | jq -r .title
    crawlyard jobs export last --links --out links.csv
    crawlyard jobs export --schedule nightly --last 7 --out week.jsonl
    crawlyard jobs export --schedule nightly --schedule weekly --last 7 --out runs/
    crawlyard jobs export last --chunks 800 --out chunks.jsonl
    crawlyard jobs export --schedule nightly --current --out site.parquet
    crawlyard jobs export --schedule nightly --changed --chunks 800

    For several runs, each URL is written once, from its newest run; in a folder, each run is
    a separate Parquet file: schedule=NAME/job=ID/pages.parquet.
    """
    if bool(job) is bool(schedule):
        raise Invalid("--schedule", "expected either a job or --schedule")
    if last is not None and not schedule:
        raise Invalid("--last", "requires --schedule")
    if links:
        _check_excluded("--links", {"--chunks": chunks, "--schedule": schedule})
    failed = None if only is None else only is Only.FAILED
    if current or changed:
        state = "--changed" if changed else "--current"
        current_too = True if current and changed else None
        _check_excluded(state, {"--current": current_too, "--last": last, "--only": only})
        written = await _export_current(
            session, state, schedule or [], exports.Export.of(out, format), chunks=chunks
        )
    elif schedule:
        written = await _export_runs(
            session, schedule, last or 1, (out, format), failed=failed, chunks=chunks
        )
    else:
        where = exports.Export.of(out, format)
        exported = await session.surface.jobs.get(await job_id_of(session, job or ""))
        written = await exports.save(
            session, exported, where, failed=failed, chunks=chunks, links=links
        )
    target = "stdout" if out == exports.STDOUT else out
    size = words.amount(written.bytes)
    noun = "link" if links else "chunk" if chunks is not None else "record"
    count = "" if written.records is None else f"{count_noun(written.records, noun)}, "
    session.tell(f"{count}{size}, written to {target}")


def _check_excluded(option_name: str, excluded: "Mapping[str, object]") -> None:
    for other, value in excluded.items():
        if value is not None:
            raise Invalid(other, f"excludes {option_name}")


async def _export_current(
    session: "Session",
    state: str,
    schedules: list[str],
    where: "exports.Export",
    *,
    chunks: int | None,
) -> "Written":
    """Export the current or the changed pages of a schedule; *state* is the option for it."""
    if len(schedules) != 1:
        raise Invalid(state, f"expected one --schedule, got {len(schedules)}")
    schedule = await session.surface.schedules.get(schedules[0])
    changed = state == "--changed"
    return await exports.save_current(session, schedule, where, changed=changed, chunks=chunks)


async def _export_runs(
    session: "Session",
    schedules: list[str],
    last: int,
    to: tuple[str, Format | None],
    *,
    failed: bool | None,
    chunks: int | None,
) -> "Written":
    """Export the last runs of a schedule *to* one file, or each run to its own in a folder."""
    out, form = to
    where = None
    if not out.endswith("/"):
        if len(schedules) > 1:
            raise Invalid("--out", f"expected a folder for several schedules: runs/, got {out!r}")
        where = exports.Export.of(out, form)
        where.check_text()
    elif form not in {None, Format.PARQUET}:
        raise Invalid("--format", f"expected parquet in a folder, got {form}")
    jobs, runs = session.surface.jobs, dict[str, "list[JobOut]"]()
    for ref in schedules:  # all of them, before anything is written
        schedule = await session.surface.schedules.get(ref)
        runs[schedule.name] = [
            run async for run in every(jobs.list, schedule=schedule.id, limit=last)
        ]
        if not runs[schedule.name]:
            raise NotFound(f"schedule {schedule.name} has no job yet")
    for name, some in runs.items():
        session.tell(f"{count_noun(len(some), 'run')} of {name}")
    if where is None:
        return await exports.save_each(session, runs, Path(out), failed=failed, chunks=chunks)
    [some] = runs.values()
    return await exports.save_runs(session, some, where, failed=failed, chunks=chunks)


@app.command()
@action()
async def frontier(session: "Session", job: Id, *, limit: Limit = None) -> None:
    """List the URLs of a job that are waiting to be fetched.

    crawlyard jobs frontier last
    crawlyard jobs frontier last -q > waiting.txt
    """
    job_id = await job_id_of(session, job)
    waiting = every(session.surface.results.frontier, job_id, limit=session.list_limit(limit))
    session.tell_list_end(
        await session.write_list(waiting, result_views.FRONTIER), limit, "no URL waits"
    )


@app.command()
@action()
async def shards(session: "Session", job: Id) -> None:
    """List the shards that a job is spread over, and the worker of each.

    crawlyard jobs shards last
    crawlyard jobs shards last --json
    """
    shard_list = await session.surface.jobs.shards(await job_id_of(session, job))
    if not await session.write_list(shard_list.items, result_views.SHARDS):
        session.tell("the job is not spread: one worker runs all of it")


@app.command()
@action()
async def log(
    session: "Session", job: Id, *, level: AtLeast = LevelWord.INFO, follow: Follow = False
) -> None:
    """Print the log of a job, oldest line first.

    crawlyard jobs log last
    crawlyard jobs log last -f --level warning
    """
    job_id = await job_id_of(session, job)
    jobs, common, style = session.surface.jobs, session.common, session.style
    if follow and style is Style.JSON:
        style = Style.JSONL
    if follow and style is Style.TABLE and common.fields is not None:
        style = Style.PLAIN  # a table would wait for the last line
    if follow:
        lines = _flush_each(jobs.log_stream(job_id, level=level))
    else:
        lines = every(jobs.log, job_id, level=level)
    if style is not Style.TABLE or common.quiet or common.fields is not None:
        await output.write_all(lines, result_views.LOG, style, session.stdout, common)
        return
    async for line in lines:  # a table would wait for the last line, and truncate messages
        at = words.clock(line.at, session.clock.now())
        text = f"{at}  {line.level.ljust(7)}  {with_commands(line.message)}  {line.url}"
        write_line(words.printable(text.rstrip()))


async def _flush_each(lines: "AsyncIterable[LineOut]") -> "AsyncIterator[LineOut]":
    """Yield *lines*; each is flushed before the next one is awaited."""
    async for line in lines:
        yield line
        sys.stdout.flush()


@app.command()
@action()
async def config(session: "Session", job: Id, *, diff: Diff = False) -> None:
    """Show the effective settings of a job, and the source of each.

    crawlyard jobs config last
    crawlyard jobs config last --diff
    """
    effective = await session.surface.jobs.config(await job_id_of(session, job))
    if session.uses_api_format:
        session.write_record(effective)
    elif diff:
        if effective.template is None:
            session.tell("the job has no template that you can see")
        await session.write_list(effective.differences, result_views.DIFFERENCES)
    else:
        settings = template_views.values_of(effective.config, effective.sources)
        await session.write_list(settings, result_views.CONFIG)


@app.command()
@action()
async def why(session: "Session", job: Id, url: Url) -> None:
    """Explain why a URL was or was not fetched.

    crawlyard jobs why last https://docs.example.org/private/
    crawlyard jobs why last https://docs.example.org/ --json
    """
    fate = await session.surface.site.why(await job_id_of(session, job), url)
    await session.show(fate, result_views.WHY)


@app.command()
@action()
async def screenshot(session: "Session", job: Id, url: Url, *, out: Out = "-") -> None:
    """Save the screenshot of a page from a job that ran with --screenshot.

    crawlyard jobs screenshot last https://example.org/ --out home.webp
    """
    if out == exports.STDOUT and sys.stdout.isatty():
        raise Invalid("--out", "expected a file or a pipe: a terminal cannot show an image")
    job_id = await job_id_of(session, job)
    fate = await session.surface.site.why(job_id, url)
    if fate.page_id is None:
        raise NotFound(f"no page for {url}: {fate.detail}")
    pieces = await session.surface.results.screenshot(job_id, fate.page_id)
    written = await exports.save_pieces(pieces, out)
    target = "stdout" if out == exports.STDOUT else out
    session.tell(f"{words.amount(written.bytes)}, written to {target}")


@app.command()
@action()
async def exclude(
    session: "Session", job: Id, pattern: Pattern, *, dry_run: DryRun = False
) -> None:
    """Exclude URLs that match a pattern from a job, including those in its queue.

    crawlyard jobs exclude last '*/print/*' --dry-run
    crawlyard jobs exclude last '*/print/*'
    """
    job_id = await job_id_of(session, job)
    done = await session.surface.jobs.exclude(job_id, pattern, dry_run=dry_run)
    if session.uses_api_format:
        session.write_record(done)
    else:
        for url in done.samples:
            write_line(words.printable(url))
    will = "would" if dry_run else "will"
    session.tell(f"{count_noun(done.pending_removed, 'waiting URL')} {will} be skipped: {pattern}")
