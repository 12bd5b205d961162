"""What commands tell of jobs, their pages, errors and events."""

from collections.abc import Sequence
from datetime import timedelta

from crawlyard.cli.jobs.exports import Export, save, save_runs
from crawlyard.cli.jobs.lookup import JobFilter, job_id_of
from crawlyard.cli.jobs.views import PAGES, SKIPPED, errors_view, events_view, jobs_view, queue_view
from crawlyard.cli.options import Common
from crawlyard.cli.render import words
from crawlyard.cli.render.job_display import limits_words, numbers, outlook, state_words
from crawlyard.cli.render.sheets import listed, nothing, show, whole
from crawlyard.cli.session import Session
from crawlyard.cli.values import duration_text
from crawlyard.clock import SystemClock
from crawlyard.core.answers.base import as_dict
from crawlyard.core.answers.jobs.jobs import JobOut
from crawlyard.core.endpoint import every
from crawlyard.core.quantity import counted
from crawlyard.errors import NotFound
from crawlyard.export.base import Written
from crawlyard.services.jobs.terms import SearchTerms

_NO_QUEUE = "no job is waiting"


async def jobs(session: Session, asked: JobFilter, limit: int, common: Common) -> int:
    """List jobs, newest first."""
    terms = asked.terms(session.clock.now())
    found = [job async for job in every(session.surface.jobs.list, limit=limit or None, **terms)]
    await listed(session, found, jobs_view(session.clock.now()), common)
    damaged(session, [job.id for job in found if job.damaged])
    if not found:
        session.tell("no job is like that" if asked != JobFilter() else "there is no job yet")
    elif len(found) == limit:
        session.tell(f"the newest {limit:,} are shown; --limit 0 shows all")
    return 0


async def queue(session: Session, limit: int, common: Common) -> int:
    """List the jobs that wait, in the order that they are claimed."""
    found = await session.surface.jobs.queue(limit=limit)
    await listed(session, found.items, queue_view(session.clock.now()), common)
    waiting = {name: count for name, count in found.priorities.items() if count}
    told = ", ".join(f"{count:,} {name}" for name, count in waiting.items())
    session.tell(f"{counted(sum(waiting.values()), 'job')} waiting: {told}" if told else _NO_QUEUE)
    return 0


def damaged(session: Session, ids: Sequence[str]) -> None:
    """Say which jobs are damaged, and what to do about it."""
    for job_id in ids:
        delete = session.hint(f"jobs delete {job_id}")
        session.tell(f"job {job_id} is damaged and cannot run; delete it with: {delete}")


def no_jobs(common: Common) -> int:
    """List the jobs of a data directory that does not exist: none."""
    return nothing(common, jobs_view(SystemClock().now()), "there is no job yet")


async def job(session: Session, word: str, common: Common) -> int:
    """Show one job."""
    found = await session.surface.jobs.get(await job_id_of(session, word))
    unread = common.quiet or whole(session, common)
    template = "" if unread else await _template_of(session, found)
    view = jobs_view(session.clock.now())
    return await show(session, found, facts(found, template), common, key=found.id, view=view)


async def pages(session: Session, word: str, terms: SearchTerms, limit: int, common: Common) -> int:
    """List a job's pages in the order they were stored."""
    job_id = await job_id_of(session, word)
    found = every(session.surface.jobs.pages, job_id, limit=limit or None, **terms)
    shown = await listed(session, found, PAGES, common)
    if limit and shown == limit:
        session.tell(f"the first {limit:,} are shown; --limit 0 shows all")
    return 0


async def skipped(session: Session, word: str, limit: int, common: Common) -> int:
    """List the URLs of a job that a rule kept out."""
    job_id = await job_id_of(session, word)
    found = every(session.surface.jobs.skipped, job_id, limit=limit or None)
    shown = await listed(session, found, SKIPPED, common)
    if limit and shown == limit:
        session.tell(f"the first {limit:,} are shown; --limit 0 shows all")
    return 0


async def errors(session: Session, word: str, common: Common) -> int:
    """List a job's failed URLs by kind."""
    job_id = await job_id_of(session, word)
    found = (await session.surface.jobs.errors(job_id)).items
    await listed(session, found, errors_view(session.clock.now()), common)
    if found:
        session.tell(f"try them again by {session.hint(f'jobs retry {job_id} --failed')}")
    return 0


async def events(session: Session, word: str, common: Common) -> int:
    """List what happened to a job, oldest first."""
    job_id = await job_id_of(session, word)
    found = every(session.surface.jobs.events, job_id)
    await listed(session, found, events_view(session.clock.now()), common)
    return 0


async def export(session: Session, *, word: str, where: Export, failed: bool | None) -> int:
    """Export a job's pages as they are now, also while it runs."""
    found = await session.surface.jobs.get(await job_id_of(session, word))
    _tell_written(session, await save(session, found, where, failed=failed), where)
    return 0


async def export_runs(
    session: Session, *, schedule: str, last: int, where: Export, failed: bool | None
) -> int:
    """Export the pages of the last runs of a schedule, each URL once."""
    found = await session.surface.schedules.get(schedule)
    runs = every(session.surface.jobs.list, schedule=found.id, limit=last)
    jobs = [job async for job in runs]
    if not jobs:
        raise NotFound(f"schedule {found.name} has no job yet")
    session.tell(f"{counted(len(jobs), 'run')} of {found.name}")
    _tell_written(session, await save_runs(session, jobs, where, failed=failed), where)
    return 0


def _tell_written(session: Session, written: Written, where: Export) -> None:
    target = "stdout" if where.to_stdout else where.where
    size = words.amount(written.bytes)
    count = "" if written.records is None else f"{counted(written.records, 'record')}, "
    session.tell(f"{count}{size}, written to {target}")


async def _template_of(session: Session, found: JobOut) -> str:
    """Return the template that a job was made of, by its name if it is still there to see."""
    origin = found.origin
    if origin.template_id is None:
        return ""
    try:
        name = (await session.surface.templates.get(origin.template_id)).name
    except NotFound:
        name = origin.template_id
    return f"{name} v{origin.template_version}"


def facts(found: JobOut, template: str = "") -> list[tuple[str, str]]:
    """Return what is worth knowing of a job, in the order of interest; nothing empty.

    *template* says what it was made of.
    """
    spec = found.spec
    told = {
        "id": found.id,
        "name": found.spec.name,
        "state": "damaged" if found.damaged else state_words(found),
        "detail": found.detail,
        "waits for": "; ".join(wait.detail for wait in found.waits_for if not found.damaged),
        "urls": ", ".join(spec.urls[:3]) + (f" … ({len(spec.urls):,})" if spec.urls[3:] else ""),
        "sitemaps": ", ".join(spec.sitemaps),
        "progress": " · ".join(numbers(found)),
        "outlook": " · ".join(outlook(found)) if found.state == "running" or found.due_in_s else "",
        "current url": found.current_url,
        "limits": limits_words(found.spec.limits),
        "skipped": f"{found.usage.skipped:,}" if found.usage.skipped else "",
        "redirects": f"{found.usage.redirects:,}" if found.usage.redirects else "",
        "need scripts": counted(n, "page") if (n := found.usage.needs_scripts) else "",
        "scope": spec.scope,
        "include": ", ".join(spec.include),
        "exclude": ", ".join(spec.exclude),
        "pace": f"delay {duration_text(timedelta(seconds=spec.delay_s))}, "
        f"{spec.per_host} at once to a host, {spec.concurrency} in all",
        "priority": found.spec.priority,
        "tags": ", ".join(found.spec.tags),
        "worker": found.worker or "",
        "workers": found.workers if found.worker is None and found.workers else "",
        "retry of": found.retry_of or "",
        "template": template,
    }
    times = ("created_at", "due_at", "started_at", "ended_at", "updated_at")
    told |= as_dict(found, times)
    return [(name.replace("_at", " at"), str(value)) for name, value in told.items() if value]
