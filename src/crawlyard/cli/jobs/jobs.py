"""`crawlyard jobs …`: find jobs and act on them."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from crawlyard.cli import values
from crawlyard.cli.failures import DECLINED, MIXED
from crawlyard.cli.invoke import action
from crawlyard.cli.jobs import results
from crawlyard.cli.jobs.lookup import JobFilter, job_id_of, tell_damaged
from crawlyard.cli.options import (
    Basics,
    Id,
    IdempotencyKey,
    Ids,
    Kinds,
    Limit,
    Style,
    Watch,
    Yes,
    argument,
    flag,
    group,
    key_for,
    option,
)
from crawlyard.cli.render.output import View
from crawlyard.cli.render.words import amount
from crawlyard.core.endpoints.endpoint import LARGEST_PART, every
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.operations import bulk
from crawlyard.core.quantity import count_noun
from crawlyard.core.words import STATES
from crawlyard.errors import Invalid, NotFound
from crawlyard.lazy import lazily

# a command needs one or two of them: 80 ms
with lazily():
    from crawlyard.cli.jobs import edits, run_and_watch, shares, summary, views
    from crawlyard.cli.render import job_display
    from crawlyard.store import queries
if TYPE_CHECKING:
    from crawlyard.cli.session import Session
    from crawlyard.core.jobs.answers import JobOut, RetriedOut
    from crawlyard.core.jobs.detail_answers import CountsOut
    from crawlyard.core.purge_result import PurgeResult

app = group(
    """List, control and export jobs.

    crawlyard jobs list --state running
    crawlyard jobs pause last
    crawlyard jobs export last --out pages.jsonl
    """
)

TIMED_OUT = 124
_LONGEST_WAIT_S = 25.0  # of one request; below the usual timeout of proxies

Tags = Annotated[
    list[str] | None, option(values.line, "--tag", "TEXT", "Only jobs with this tag. Repeatable.")
]
Query = Annotated[str, option(str, "--query", "TEXT", "Only jobs with TEXT in their name or URL.")]
Most = Annotated[
    int | None,
    option(
        values.queue_limit,
        "--limit",
        "N",
        "Maximum number of jobs, up to 200; default 50 in a table on a terminal.",
    ),
]
Failed = Annotated[
    bool,
    flag("--failed", text="Retry the failed URLs in the same job instead of creating a new job."),
]
Now = Annotated[bool, flag("--now", text="Skip the wait of a job before its next attempt.")]
Assignments = Annotated[
    list[str],
    argument("FIELD=VALUE", "Fields and their new values."),
]
Timeout = Annotated[
    timedelta | None,
    option(
        values.duration, "--timeout", "DURATION", "Stop waiting after DURATION; the jobs continue."
    ),
]
ShareDays = Annotated[
    float | None, option(float, "--days", "N", "Days until it expires, at most 90; default 7.")
]
ShareDownloads = Annotated[
    bool, flag("--downloads", text="Allow downloads of the pages as JSON Lines and CSV.")
]
ShareName = Annotated[str | None, option(values.line, "--name", "TEXT", "A note: who gets it.")]


@app.command("list")
@action(empty=True, q="--query")
async def list_(
    session: "Session",
    *,
    filters: JobFilter,
    limit: Limit = None,
) -> None:
    """List jobs, newest first.

    crawlyard jobs list --state running --state pending
    crawlyard jobs list -q --state failed | crawlyard jobs retry --failed -
    crawlyard jobs list --schedule nightly --since 7d --json
    """
    terms = filters.terms(session.clock.now())
    damaged: list[str] = []

    async def jobs() -> "AsyncIterator[JobOut]":
        async for job in every(session.surface.jobs.list, limit=session.list_limit(limit), **terms):
            if job.damaged:
                damaged.append(job.id)
            yield job

    count = await session.write_list(jobs(), views.jobs_view(session.clock.now()))
    tell_damaged(session, damaged)
    none = "no matching jobs" if filters != JobFilter() else "no jobs yet"
    session.tell_list_end(count, limit, none, "newest")


@app.command()
@action(empty=True)
async def queue(session: "Session", *, limit: Most = None) -> None:
    """List waiting jobs in the order in which workers take them, and what each waits for.

    crawlyard jobs queue
    crawlyard jobs queue --limit 5 --json

    Lists your own jobs (admins: all); positions count the jobs of all users.
    """
    queued = await session.surface.jobs.queue(limit=session.list_limit(limit) or LARGEST_PART)
    await session.write_list(queued.items, views.queue_view(session.clock.now()))
    waiting = {name: count for name, count in queued.priorities.items() if count}
    summary = ", ".join(f"{count:,} {name}" for name, count in waiting.items())
    jobs = f"{count_noun(sum(waiting.values()), 'job')} waiting: {summary}"
    session.tell(jobs if summary else "no job is waiting")
    if queued.has_more:
        session.tell(f"the first {len(queued.items):,} are shown")


@app.command()
@action()
async def show(session: "Session", job: Id) -> None:
    """Show one job in detail.

    crawlyard jobs show last
    crawlyard jobs show 7f3a91c2 --json
    """
    details = await session.surface.jobs.get(await job_id_of(session, job))
    unread = session.common.quiet or session.uses_api_format
    template = "" if unread else await _template_of(session, details)
    await session.show(details, views.jobs_view(session.clock.now(), template))


async def _template_of(session: "Session", job: "JobOut") -> str:
    """Return the template of a job, by its name if it is still visible."""
    origin = job.origin
    if origin.template_id is None:
        return ""
    try:
        name = (await session.surface.templates.get(origin.template_id)).name
    except NotFound:
        name = origin.template_id
    return f"{name} v{origin.template_version}"


@app.command()
@action(basics=Basics)
async def watch(session: "Session", job: Id) -> int:
    """Watch a job until it ends; Ctrl-C leaves it running.

    crawlyard jobs watch last
    crawlyard jobs watch 7f3a91c2 --json

    Exits with 10 if it failed, 11 if it was cancelled, 12 if it had too many errors.
    """
    run_options = run_and_watch.RunOptions(works=False)
    return await run_and_watch.attend(session, await job_id_of(session, job), run_options)


@app.command()
@action()
async def pause(session: "Session", jobs: Ids) -> int:
    """Pause jobs; their remaining URLs are kept.

    crawlyard jobs pause last
    crawlyard jobs list -q --state running | crawlyard jobs pause -
    """
    return await _change_each(session, jobs, session.surface.jobs.pause, "paused")


@app.command()
@action()
async def resume(session: "Session", jobs: Ids, *, here: Watch) -> int:
    """Return paused jobs, or ended jobs with URLs left, to the queue.

    crawlyard jobs resume last --watch
    crawlyard jobs set last limits.pages=5000 && crawlyard jobs resume last
    """

    async def unless_under_way(job_id: str) -> "JobOut":
        job: JobOut = await session.surface.jobs.get(job_id)
        # it may be running: perhaps its crawl was killed, and no worker has taken it over yet
        return await session.surface.jobs.resume(job_id) if job.state in summary.STILL else job

    act = unless_under_way if here.watch else session.surface.jobs.resume
    return await _queue(session, jobs, act, "queued", here)


@app.command()
@action()
async def cancel(session: "Session", jobs: Ids) -> int:
    """Cancel jobs; their pages are kept.

    crawlyard jobs cancel 7f3a91c2
    crawlyard jobs list -q --tag trial | crawlyard jobs cancel -
    """
    return await _change_each(session, jobs, session.surface.jobs.cancel, "cancelled")


@app.command()
@action()
async def retry(
    session: "Session",
    jobs: Ids,
    *,
    failed: Failed = False,
    kind: Kinds = None,
    now: Now = False,
    idempotency_key: IdempotencyKey = None,
    here: Watch,
) -> int:
    """Retry ended jobs as new jobs, or only their failed URLs (--failed).

    crawlyard jobs retry last
    crawlyard jobs retry last --failed --watch
    crawlyard jobs retry last --kind timeout --kind http_5xx
    crawlyard jobs retry last --now
    """

    async def again(job_id: str, **options: Any) -> "RetriedOut":
        key = key_for(idempotency_key, job_id)
        retried: RetriedOut = await session.surface.jobs.retry(
            job_id, **options, idempotency_key=key
        )
        return retried

    async def retry_failed(job_id: str) -> "JobOut":
        kinds = tuple(frozenset(kind or ()))
        job = await again(job_id, scope=bulk.RetryScope.FAILED, kinds=kinds)
        session.tell(f"{count_noun(job.urls or 0, 'failed URL')} of {job_id} queued again")
        return job

    if now and (failed or kind):
        raise Invalid("--now", "excludes --kind and --failed: a waiting job has no failed URLs")
    if now:
        return await _queue(
            session, jobs, partial(again, scope=bulk.RetryScope.NOW), "due now", here
        )
    if failed or kind:
        return await _queue(session, jobs, retry_failed, "queued", here)
    return await _queue(session, jobs, again, "queued as a new job", here)


@app.command()
@action(creates=True, days="--days")
async def share(
    session: "Session",
    job: Id,
    *,
    days: ShareDays = None,
    downloads: ShareDownloads = False,
    name: ShareName = None,
    idempotency_key: IdempotencyKey = None,
) -> None:
    """Create a link that shows a job to anyone who has it, without an account.

    crawlyard jobs share ID
    crawlyard jobs share ID --days 30 --downloads --name "the editors"

    It shows progress, outcome, pages, problems and changes. The server needs a public URL.
    """
    job_id = await job_id_of(session, job)
    lasts = {} if days is None else {"days": days}
    created = await session.surface.shares.create(
        job_id, **lasts, downloads=downloads, name=name or "", idempotency_key=idempotency_key
    )
    sentence = f"share link {created.id}, until {created.expires_at:%Y-%m-%d}; not shown again:"
    await session.show_secret("share", created, shares.CREATED, sentence)


@app.command("set")
@action()
async def set_(session: "Session", job: Id, changes: Assignments) -> int:
    """Change a job while it waits, runs or is paused; changes apply at once.

    crawlyard jobs set last priority=high limits.pages=20000
    crawlyard jobs set last limits.duration=none delay=1s concurrency=8
    crawlyard jobs set last exclude=+'*/print/*' tags=+nightly

    Fields: name, priority, tags, include, exclude, max_depth, delay, per_host,
    concurrency, limits.pages, limits.bytes, limits.duration, limits.errors,
    limits.render, render, renderer, chromium, wait_for, actions,
    screenshot, full_page, retention, spread, worker_tags, noise_after,
    ignore_text, logged_out, notify, shared, share_pages.

    In a list, +VALUE adds and -VALUE removes; 'none' clears it.
    """

    async def change(job_id: str) -> "JobOut":
        current = await session.surface.jobs.get(job_id)
        return await session.surface.jobs.edit(job_id, edits.changes_of(changes, current))

    return await _change_each(session, (job,), change, "changed")


app.registered_commands += results.app.registered_commands


@app.command()
@action(q="--query")
async def counts(session: "Session", *, tag: Tags = None, query: Query = "") -> None:
    """Count jobs by state.

    crawlyard jobs counts
    crawlyard jobs counts --tag nightly --json

    With --tag or --query, counts stop at 10,000.
    """
    filters = JobFilter(tag=tag, text=query)
    totals = await session.surface.jobs.counts(**filters.terms(session.clock.now()))
    rows: list[tuple[str, object]] = [*totals.states.items(), ("total", totals.total)]
    if session.style is Style.TABLE:
        stopped = totals.total == queries.COUNTED_TO and filters != JobFilter()
        rows = [(STATES.get(name, name), f"{n:,}+" if stopped else n) for name, n in rows]
    view: View[CountsOut] = View(key=lambda f: str(f.total), columns=(), more=lambda _: rows)
    await session.show(totals, view)


@app.command()
@action()
async def wait(session: "Session", jobs: Ids, *, timeout: Timeout = None) -> int:  # noqa: ASYNC109 - the name of the option
    """Wait until jobs have ended or are paused.

    crawlyard jobs wait last --timeout 10m
    crawlyard jobs list -q --state running | crawlyard jobs wait -

    Exits with 10 if one failed, 11 if one was cancelled, 124 if the time ran out.
    """
    end = None if timeout is None else session.clock.monotonic() + timeout.total_seconds()
    job_ids = [await job_id_of(session, word) for word in jobs]
    codes = [0]

    async def still() -> "AsyncIterator[JobOut]":
        for word, job_id in zip(jobs, job_ids, strict=True):
            job = await _stands_still(session, job_id, end)
            if job is None:
                session.tell(f"the job continues: {session.full_command(f'jobs watch {word}')}")
                codes.append(TIMED_OUT)
                return
            session.tell(f"{job_display.state_words(job)}: {job.id}")
            codes.append(summary.exit_code(job))
            yield job

    if session.common.writes_records and not (len(jobs) == 1 and session.uses_api_format):
        await session.write_list(still(), views.jobs_view(session.clock.now()))
        return max(codes)
    async for job in still():
        if session.common.writes_records:
            session.write_record(job)  # one was named: one comes back
    return max(codes)


async def _stands_still(session: "Session", job_id: str, end: float | None) -> "JobOut | None":
    """Return a job once it has ended or is paused; ``None`` at the instant *end*."""
    while True:
        left_s = _LONGEST_WAIT_S
        if end is not None:
            left_s = min(left_s, max(0.0, end - session.clock.monotonic()))
        job: JobOut = await session.surface.jobs.wait(
            job_id, timeout_s=left_s, states=(State.PAUSED,), without_worker=True
        )
        if job.state in summary.STILL:
            return job
        if end is not None and session.clock.monotonic() >= end:
            return None


@app.command()
@action(basics=Basics)
async def delete(session: "Session", jobs: Ids, *, yes: Yes = False) -> int:
    """Delete ended or paused jobs with all their pages.

    crawlyard jobs delete 7f3a91c2
    crawlyard jobs list -q --state cancelled | crawlyard jobs delete --yes -
    """
    targets = [await session.surface.jobs.get(await job_id_of(session, word)) for word in jobs]
    if not targets:
        return 0
    about = [
        f"{job.id}  {job.state}  {count_noun(job.usage.pages, 'page')}  {job_display.title(job)}"
        for job in targets
    ]
    count = "this job" if len(targets) == 1 else f"these {len(targets):,} jobs"
    if not yes and not session.confirm(f"Delete {count} and all pages?", about):
        session.tell("nothing was deleted")
        return DECLINED
    purges: list[PurgeResult] = []

    async def delete_one(job_id: str) -> str:
        await session.surface.jobs.delete(job_id)
        if session.purge is not None:
            purges.append(await session.purge())
        return f"deleted: {job_id}"

    code, _ = await session.act_on_each([job.id for job in targets], delete_one, str, kind="job")
    if purges:
        session.tell(_describe_space(purges))
    elif session.worker_for is None:
        session.tell("the server will free their space shortly")
    return code


def _describe_space(purges: "Sequence[PurgeResult]") -> str:
    """Return the number of deleted jobs, and the space freed in database and disk."""
    count = count_noun(len(purges), "job")
    on_disk, reusable = sum(r.bytes for r in purges), sum(r.reusable for r in purges)
    if reusable:
        return f"deleted {count}, about {amount(reusable)} of the database can be reused"
    return f"deleted {count}, freed {amount(on_disk)} on disk"


async def _queue(
    session: "Session",
    words: Sequence[str],
    act: "Callable[[str], Awaitable[JobOut]]",
    done: str,
    here: Watch,
) -> int:
    """Queue jobs for a worker; attend a single one, or say which worker takes them."""
    run_options = run_and_watch.RunOptions.of(here)
    if run_options is not None:
        if len(words) != 1:
            raise Invalid("--watch", f"expected one job, got {len(words)}")
        job = await act(await job_id_of(session, words[0]))
        return await run_and_watch.attend(session, job.id, run_options)
    code = await _change_each(session, words, act, done)
    if code in (0, MIXED):
        session.tell(session.with_worker_hint("a worker runs what is queued"))
    return code


async def _change_each(
    session: "Session", words: Sequence[str], act: "Callable[[str], Awaitable[JobOut]]", done: str
) -> int:
    """Act on the jobs that *words* mean; write them afterwards if requested."""
    find = partial(job_id_of, session)
    code, changed = await session.act_on_each(
        words, act, lambda job: f"{done}: {job.id}", find=find, kind="job"
    )
    if changed or not code:
        is_single = len(words) == 1
        await session.write_changed_records(
            changed, views.jobs_view(session.clock.now()), single=is_single
        )
    return code
