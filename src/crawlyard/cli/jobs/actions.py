"""What commands do to jobs: one call each for one job or many, and what became of it."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial

from crawlyard.cli.failures import exit_code_of, failure_lines
from crawlyard.cli.jobs.edits import changes_of
from crawlyard.cli.jobs.lookup import job_id_of
from crawlyard.cli.jobs.run_and_watch import Wish, attend
from crawlyard.cli.jobs.summary import STILL
from crawlyard.cli.jobs.views import jobs_view, title
from crawlyard.cli.options import Common
from crawlyard.cli.render.sheets import listed, show, whole
from crawlyard.cli.render.words import amount, printable
from crawlyard.cli.session import Session
from crawlyard.core.answers.fleet.upkeep import FreedOut
from crawlyard.core.answers.jobs.jobs import JobOut
from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.jobs.bulk import RetryScope
from crawlyard.core.quantity import counted
from crawlyard.errors import CrawlyardError, Invalid

MIXED = 1
"""Exit code when some of several jobs could not be acted on for different reasons."""

DECLINED = 8


async def pause(session: Session, words: Sequence[str], common: Common) -> int:
    """Pause jobs."""
    return await _each(session, words, common, session.surface.jobs.pause, "paused")


async def cancel(session: Session, words: Sequence[str], common: Common) -> int:
    """Cancel jobs."""
    return await _each(session, words, common, session.surface.jobs.cancel, "cancelled")


async def resume(session: Session, words: Sequence[str], common: Common, wish: Wish | None) -> int:
    """Queue jobs again; with a *wish*, attend to the only one."""
    if wish is not None:
        job: JobOut = await session.surface.jobs.get(await job_id_of(session, _single(words)))
        if job.state in STILL:
            job = await session.surface.jobs.resume(job.id)
        # else it is under way: perhaps its crawl was killed, and nobody has taken it yet
        return await attend(session, job.id, wish)
    return await _queue(session, words, common, session.surface.jobs.resume, "queued")


async def retry(session: Session, words: Sequence[str], common: Common, wish: Wish | None) -> int:
    """Make new jobs of ended ones; with a *wish*, attend to the only one."""
    if wish is not None:
        job = await session.surface.jobs.retry(await job_id_of(session, _single(words)))
        return await attend(session, job.id, wish)
    return await _queue(session, words, common, session.surface.jobs.retry, "queued as a new job")


async def retry_failed(
    session: Session,
    words: Sequence[str],
    common: Common,
    wish: Wish | None,
    kinds: Collection[ErrorKind],
) -> int:
    """Queue the failed URLs of jobs again; with a *wish*, attend to the only one."""

    async def again(job_id: str) -> JobOut:
        job = await session.surface.jobs.retry(job_id, scope=RetryScope.FAILED, kinds=tuple(kinds))
        session.tell(f"{counted(job.urls or 0, 'failed URL')} of {job_id} queued again")
        return job

    if wish is not None:
        job = await again(await job_id_of(session, _single(words)))
        return await attend(session, job.id, wish)
    return await _queue(session, words, common, again, "queued")


async def retry_now(
    session: Session, words: Sequence[str], common: Common, wish: Wish | None
) -> int:
    """End the wait of jobs for their time; with a *wish*, attend to the only one."""
    again = partial(session.surface.jobs.retry, scope=RetryScope.NOW)
    if wish is not None:
        job = await again(await job_id_of(session, _single(words)))
        return await attend(session, job.id, wish)
    return await _queue(session, words, common, again, "due now")


async def edit(session: Session, word: str, assignments: Sequence[str], common: Common) -> int:
    """Change fields of one job."""

    async def change(job_id: str) -> JobOut:
        job = await session.surface.jobs.get(job_id)
        return await session.surface.jobs.edit(job_id, changes_of(assignments, job))

    return await _each(session, (word,), common, change, "changed")


async def delete(session: Session, words: Sequence[str], *, yes: bool) -> int:
    """Delete jobs with their pages, after a question unless *yes*."""
    jobs = [await session.surface.jobs.get(await job_id_of(session, word)) for word in words]
    if not jobs:
        return 0
    if not yes and not _agreed(session, jobs):
        session.tell("nothing was deleted")
        return DECLINED
    rooms: list[FreedOut] = []

    async def act(job_id: str) -> None:
        await session.surface.jobs.delete(job_id)
        if session.purge is not None:
            rooms.append(await session.purge())

    code = await _act(session, [job.id for job in jobs], act, "deleted", None)
    if rooms:
        session.tell(_freed(rooms))
    elif session.worker is None:
        session.tell("the server frees their space in a while")
    return code


def _freed(rooms: Sequence[FreedOut]) -> str:
    """Return how many jobs were deleted, and how much room that freed where."""
    count = counted(len(rooms), "job")
    on_disk, reusable = sum(r.bytes for r in rooms), sum(r.reusable for r in rooms)
    if reusable:
        return f"deleted {count}, about {amount(reusable)} of the database can be used again"
    return f"deleted {count}, freed {amount(on_disk)} on disk"


def _agreed(session: Session, jobs: Sequence[JobOut]) -> bool:
    session.check_can_ask()
    for job in jobs:
        about = (
            f"{job.id}  {job.state}  {counted(job.usage.pages, 'page')}  {printable(title(job))}"
        )
        session.err.print(about, markup=False, highlight=False)
    count = "this job" if len(jobs) == 1 else f"these {len(jobs):,} jobs"
    answer = session.err.input(f"Delete {count} and all pages? (y/N) ", markup=False)
    return answer.strip().lower() in {"y", "yes"}


def _single(words: Sequence[str]) -> str:
    if len(words) != 1:
        raise Invalid("--watch", f"expected one job, got {len(words)}")
    return words[0]


async def _queue(
    session: Session,
    words: Sequence[str],
    common: Common,
    act: Callable[[str], Awaitable[JobOut]],
    done: str,
) -> int:
    """Act on jobs so that they wait for a worker, and say who that can be."""
    code = await _each(session, words, common, act, done)
    if code in (0, MIXED):
        session.tell(session.by_worker("a worker runs what is queued"))
    return code


async def _each(
    session: Session,
    words: Sequence[str],
    common: Common,
    act: Callable[[str], Awaitable[JobOut]],
    done: str,
) -> int:
    """Act on the jobs that *words* mean; then write what they are now, if that was asked for."""
    changed: list[JobOut] = []
    code = await _act(session, words, act, done, changed)
    if not common.asked or (code and not changed):
        return code
    if len(words) == 1 and changed and whole(session, common):
        await show(session, changed[0], (), common)  # one was named: one comes back
    else:
        await listed(session, changed, jobs_view(session.clock.now()), common)
    return code


async def _act(
    session: Session,
    words: Sequence[str],
    act: Callable[[str], Awaitable[JobOut | None]],
    done: str,
    changed: list[JobOut] | None,
) -> int:
    """Act on each; one that fails is told of and does not keep the others from their turn."""
    codes: set[int] = set()
    for word in words:
        job_id = word
        try:
            job_id = await job_id_of(session, word)
            job = await act(job_id)
        except CrawlyardError as error:
            about = "" if job_id in str(error) else f"job {job_id}"
            for line in failure_lines(error, about):
                session.err.print(line, markup=False, highlight=False, soft_wrap=True)
            codes.add(exit_code_of(error))
            continue
        codes.add(0)
        if job is not None and changed is not None:
            changed.append(job)
        session.tell(f"{done}: {job.id if job is not None else job_id}")
    return codes.pop() if len(codes) == 1 else (MIXED if codes else 0)
