"""Attending a job: a command runs it or watches it, and reports how it ended."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from crawlyard.cli.jobs.exports import Export, save
from crawlyard.cli.jobs.lookup import resolve_since
from crawlyard.cli.jobs.summary import ENDED, STILL, exit_code, hints, sentence
from crawlyard.cli.options import Style, Watch
from crawlyard.cli.render import output
from crawlyard.cli.render.advice import with_commands
from crawlyard.cli.render.job_display import Display, display_on, state_words
from crawlyard.cli.render.words import amount
from crawlyard.cli.session import Session
from crawlyard.cli.signals import Interrupts, catch_interrupts
from crawlyard.cli.sites.logins import LoginOptions, session_name_for
from crawlyard.cli.stdout import whole_stdout, write_line
from crawlyard.core.endpoints.endpoint import begin_reply
from crawlyard.core.jobs.answers import JobOut
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.spec_json import Form
from crawlyard.core.quantity import count_noun
from crawlyard.errors import IllegalMove, Invalid, NotFound, Refused, Unavailable

if TYPE_CHECKING:
    from crawlyard.services.jobs.parameters import FormTerms
    from crawlyard.services.workers.worker import Worker

POLL_S = 0.5
_OF_LOGIN = ("allow_addresses", "allow_private", "proxies", "user_agent")
"""Spec fields that also apply to the login before the crawl."""

REJOIN = timedelta(seconds=5)
"""Interval at which a command that only watches checks for the other worker."""


class RunOptions(Struct, frozen=True, kw_only=True):
    """Options of a command that runs or watches a job."""

    works: bool  # with a worker of its own, if no other has the job
    export: Export | None = None
    silent: bool = False  # stdout is reserved for other output

    @classmethod
    def of(cls, here: Watch) -> "RunOptions | None":
        """Return the request in ``--watch`` and its companion options; ``None`` without it.

        Raises:
            Invalid: a companion option is given without it.
        """
        if not here.watch:
            if here.out:
                raise Invalid("--out", "requires --watch; or use `crawlyard jobs export`")
            return None
        return cls(works=True, export=Export.from_options(here.out, here.format))


class Hand:
    """The worker of a command, for one job; it restarts if another worker releases the job."""

    def __init__(
        self,
        begin: Callable[[], "Worker"],
        now: Callable[[], float],
        group: asyncio.TaskGroup,
        ended: Callable[[], None],
    ) -> None:
        self._begin = begin
        self._now = now  # seconds of a steady clock
        self._group = group
        self._ended = ended  # called when a worker has returned
        self._worker: Worker | None = None
        self._task: asyncio.Task[None] | None = None
        self._began_at = 0.0

    @property
    def works(self) -> bool:
        """True if our worker is running: it has the job, or waits for it."""
        return self._task is not None and not self._task.done()

    def has(self, job: JobOut) -> bool:
        """Return whether our worker has the job, and no other."""
        ours = None if self._worker is None else self._worker.id
        return self.works and job.worker in (None, ours)

    def reach(self) -> None:
        """Try to claim the job, unless we have it or another worker had it just now."""
        now = self._now()
        if self.works or (self._task and now - self._began_at < REJOIN.total_seconds()):
            return
        self._began_at = now
        self._worker = self._begin()
        self._task = self._group.create_task(self._worker.run())
        self._task.add_done_callback(lambda _: self._ended())

    def let_go(self) -> None:
        """Stop: requests in flight may finish, then the lease is released."""
        if self._worker is not None:
            self._worker.stop()


async def crawl(
    session: Session,
    *,
    form: Form,
    template: "FormTerms",
    login: LoginOptions,
    export: Export | None,
    detach: bool,
    idempotency_key: str | None = None,
) -> int:
    """Submit a job; run and watch it here, or leave it to `crawlyard work` with *detach*.

    *template*: its template and parameters; empty: *form* is the whole spec.
    """
    if export is not None:
        export.check_installed(session)
    try:
        form = await resolve_since(session, form)
    except NotFound as error:
        raise await _merge_faults(session, form, template, error) from error
    if login.login is not None:
        form["session"] = await log_in(session, login, form)
    answer = begin_reply()
    job = await session.surface.jobs.create(form, **template, idempotency_key=idempotency_key)
    if answer.unchanged:
        existing = f"a job with this unique key already exists ({state_words(job)}): {job.id}"
        session.tell(f"{existing}; no new job was created")
    if not detach:
        return await attend(session, job.id, RunOptions(works=True, export=export))
    if session.common.json:
        output.write_one(job, Style.JSON)
    else:
        write_line(job.id)
    if job.state == State.PENDING:
        session.tell(session.with_worker_hint("queued; a worker runs it"))
    session.tell(f"watch it: {session.full_command(f'jobs watch {job.id}')}")
    return 0


async def _merge_faults(
    session: Session, form: Mapping[str, object], template: "FormTerms", unknown: NotFound
) -> Refused:
    """Return *unknown*, about the job in `since`, with all other faults of the form."""
    try:
        await session.surface.jobs.create(form, **template)  # refused: that is not the id of a job
    except Invalid as refusal:
        rest = [fault for fault in refusal.faults if fault.field != "since"]
        if rest:
            return Invalid.of([*rest, Invalid("since", str(unknown))])
    return unknown


async def log_in(session: Session, login: LoginOptions, form: Mapping[str, Any]) -> str:
    """Create or renew the session of a crawl by a login; return its name."""
    urls: Sequence[str] = form.get("urls") or ()
    if not urls:
        raise Invalid("--login", "requires a start URL, which identifies the site")
    site = urls[0]
    name = str(form.get("session") or session_name_for(site))
    opened = {name: form[name] for name in _OF_LOGIN if name in form}
    renewed = await session.surface.sessions.login(name, **login.arguments(site), **opened)
    session.tell(f"logged in: {renewed.name}@{renewed.version} for {', '.join(renewed.origins)}")
    return renewed.name


async def attend(session: Session, job_id: str, run_options: RunOptions) -> int:
    """Run or watch a job until it stops, and return the exit code.

    Ctrl-C pauses the job if this command runs it, and leaves it alone otherwise.
    """
    session.tell(f"job {job_id}")
    now = session.clock.monotonic
    display = display_on(session.stderr, now, quiet=session.common.quiet)
    with catch_interrupts(display.close) as stop:
        try:
            async with asyncio.TaskGroup() as group:
                hand = None
                if run_options.works and session.worker_for is not None:
                    begin = partial(session.worker_for, job_id)
                    hand = Hand(begin, session.clock.monotonic, group, stop.nudge)
                await _watch(session, job_id, display, stop, hand)
                if stop.first is not None and hand is not None:
                    await _pause(session, job_id, stop.first.name, hand)
                    display.close()
                    session.tell("stopping; press Ctrl-C again to quit at once")
                if hand is not None:
                    hand.let_go()
        except* Unavailable:
            display.close()
            session.tell(f"the job is kept; continue: {_resume(session, job_id, run_options)}")
            raise
        finally:
            display.close()
    if session.deadline is not None:
        session.deadline.cancel()
    # our worker stores its last results only now
    job = await session.surface.jobs.get(job_id)
    if stop.first is None or job.state in ENDED:
        return await _report_end(session, job, run_options)
    return _report_detached(session, job, run_options, stop)


async def _watch(
    session: Session, job_id: str, display: Display, stop: Interrupts, hand: Hand | None
) -> None:
    """Show the job until it stops or a signal arrives."""
    while stop.first is None:
        job = await session.surface.jobs.get(job_id)
        if job.state in STILL:
            return  # the caller reports the end
        with suppress(OSError):  # the terminal is gone, the crawl continues
            display.show(job)
        if hand is not None:
            hand.reach()
        await stop.wait(POLL_S)


async def _pause(session: Session, job_id: str, why: str, hand: Hand) -> None:
    """Pause the job if this command runs it."""
    if hand.has(await session.surface.jobs.get(job_id)):
        with suppress(IllegalMove):  # it ended by itself at the last moment
            await session.surface.jobs.pause(job_id, why)


async def _report_end(session: Session, job: JobOut, run_options: RunOptions) -> int:
    """Export if requested, and report how the job ended."""
    saved = ""
    export = run_options.export
    if export is not None and job.state in ENDED:
        with whole_stdout():
            written = await save(session, job, export)
            saved = "" if export.to_stdout else f"{export.where} {amount(written.bytes)}"
    session.tell(sentence(job, (await session.surface.results.errors(job.id)).items, saved))
    if job.detail:
        session.tell(f"  {with_commands(job.detail)}")
    if job.state == "paused":
        session.tell(f"  continue: {_resume(session, job.id, run_options)}")
    for hint in hints(session, job):
        session.tell(f"  {hint}")
    _write(session, job, run_options)
    return exit_code(job)


def _report_detached(
    session: Session, job: JobOut, run_options: RunOptions, stop: Interrupts
) -> int:
    """Report how to continue a job that a signal made us leave."""
    if job.state == "paused":
        session.tell(
            f"paused after {count_noun(job.usage.pages, 'page')}; nothing is lost. Resume it with"
        )
        session.tell(f"  {_resume(session, job.id, run_options)}")
    else:
        session.tell(f"the job continues ({job.state}). Watch it with")
        session.tell(f"  {session.full_command(f'jobs watch {job.id}')}")
    _write(session, job, run_options)
    return stop.exit_code


def _resume(session: Session, job_id: str, run_options: RunOptions) -> str:
    """Return the command that continues the job as it was started."""
    if session.worker_for is None and not run_options.works:
        return session.full_command(f"jobs watch {job_id}")
    export = f" {run_options.export.options}" if run_options.export is not None else ""
    return session.full_command(f"jobs resume {job_id} --watch{export}")


def _write(session: Session, job: JobOut, run_options: RunOptions) -> None:
    if run_options.silent or (run_options.export is not None and run_options.export.to_stdout):
        return  # stdout has the pages or the findings
    if session.common.json:
        output.write_one(job, Style.JSON)
    elif session.common.quiet:
        write_line(job.id)
