"""Summary of an ended job, in a line, and commands to run next."""

from collections.abc import Sequence
from datetime import timedelta

from crawlyard.cli.render import words
from crawlyard.cli.render.job_display import state_words
from crawlyard.cli.session import Session
from crawlyard.cli.values import duration_text, size_text
from crawlyard.core.crawl.page_answers import ErrorGroupOut
from crawlyard.core.jobs.answers import JobOut
from crawlyard.core.jobs.limits import Limits
from crawlyard.core.quantity import count_noun
from crawlyard.core.words import ERRORS

ENDED = frozenset({"completed", "failed", "cancelled"})
STILL = ENDED | {"paused"}
"""States in which nothing happens without a command."""

_LIMIT = "limit_"


def exit_code(job: JobOut) -> int:
    """Return the exit code of a command that watched *job*."""
    if job.state == "failed":
        return 10
    if job.state == "cancelled":
        return 11
    if job.state == "completed" and job.state_reason == "limit_errors":
        return 12
    # a pause by a user is intended; one by a full disk or a logout is not
    return 0 if job.state_reason not in {"disk_full", "logged_out"} else 1


def sentence(job: JobOut, groups: Sequence[ErrorGroupOut], saved: str = "") -> str:
    """Return the result of the job: ``completed in 24 s · 498 pages, …``."""
    failed = ", ".join(f"{words.number(g.count)} {ERRORS.get(g.kind, g.kind)}" for g in groups)
    pages = f"{count_noun(job.usage.pages, 'page')}, {words.amount(job.usage.bytes)}"
    if job.usage.unchanged:
        pages += f", {words.number(job.usage.unchanged)} unchanged"
    if job.usage.rendered:
        pages += f", {words.number(job.usage.rendered)} rendered"
    if groups:
        pages += f", {words.number(sum(g.count for g in groups))} failed ({failed})"
    parts = [f"{state_words(job)} in {words.span(job.usage.duration_s)}", pages]
    return " · ".join([*parts, saved] if saved else parts)


def scripts_needed(pages: int) -> str:
    """Return the note on a job with so many pages that need scripts."""
    need, text = ("page needs", "its text is") if pages == 1 else ("pages need", "their text is")
    return f"{words.number(pages)} {need} scripts; {text} empty or partial"


def hints(session: Session, job: JobOut) -> list[str]:
    """Return useful next commands, each with its purpose."""
    lines: list[str] = []
    limit = job.state_reason.removeprefix(_LIMIT)
    if job.state_reason.startswith(_LIMIT) and job.usage.discovered > job.usage.done:
        raised = f"limits.{limit}={_twice(job.spec.limits, limit)}"
        lines.append(f"continue: {session.full_command(f'jobs set {job.id} {raised}')}")
        lines.append(f"          {session.full_command(f'jobs resume {job.id} --watch')}")
    elif job.state == "cancelled" and job.usage.discovered > job.usage.done:
        lines.append(f"continue anyway: {session.full_command(f'jobs resume {job.id} --watch')}")
    elif job.state == "failed":
        lines.append(f"what happened: {session.full_command(f'jobs events {job.id}')}")
    if job.usage.needs_scripts:
        which = session.full_command(f"jobs pages {job.id} --needs-scripts")
        lines.append(f"{scripts_needed(job.usage.needs_scripts)}: {which}")
    if job.usage.errors and job.state in ENDED and not job.damaged:
        lines.append(
            f"retry the failed URLs: {session.full_command(f'jobs retry {job.id} --failed')}"
        )
    return lines


def _twice(limits: Limits, name: str) -> str:
    """Return twice a ceiling, in the syntax of `jobs set`: a suggestion for the user to edit."""
    if name in ("duration", "render"):
        return duration_text(2 * timedelta(seconds=getattr(limits, f"{name}_s") or 0))
    if name == "bytes":
        return size_text(2 * (limits.bytes or 0))
    return str(2 * int(getattr(limits, name) or 0))
