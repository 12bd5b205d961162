"""Progress of a running job: a live display on a terminal, lines elsewhere."""

import contextlib
from collections.abc import Callable
from typing import Protocol

from crawlyard.cli.render import words
from crawlyard.cli.render.advice import with_commands
from crawlyard.cli.render.output import Screen
from crawlyard.core.jobs.answers import JobOut
from crawlyard.core.jobs.limits import LIMITS, Limits
from crawlyard.core.jobs.outcome import STOPPED
from crawlyard.core.quantity import count_noun
from crawlyard.core.words import REASONS, STATES
from crawlyard.lazy import lazily

# not needed for lines
with lazily():
    from rich import console as rich_console
    from rich import live as rich_live
    from rich import progress_bar as rich_bar
    from rich import spinner as rich_spinner
    from rich import table as rich_table
    from rich import text as rich_text

LINE_EVERY_S = 10.0
_BAR = 24  # columns
_DOT = " · "

STATE_STYLES = {
    "running": "cyan",
    "paused": "yellow",
    "completed": "green",
    "failed": "red",
    "cancelled": "magenta",
}


class Display(Protocol):
    """Shows the progress of a job until it is closed."""

    def show(self, job: JobOut) -> None:
        """Show the current state of the job."""
        ...

    def close(self) -> None:
        """Restore the terminal; may be called twice."""
        ...


def display_on(screen: Screen, now: Callable[[], float], *, quiet: bool) -> Display:
    """Return the display for *screen*; *now* returns monotonic seconds."""
    if quiet:
        return SilentDisplay()
    if screen.is_terminal and not screen.console.is_dumb_terminal:
        return LivePanel(screen.console)
    return LineDisplay(screen.say, now)


class SilentDisplay:
    """A display for `--quiet`: it ignores the job."""

    def show(self, job: JobOut) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class LineDisplay:
    """Writes a line for each change of state, and one every ten seconds."""

    def __init__(self, say: Callable[[str], None], now: Callable[[], float]) -> None:
        self._say = say
        self._now = now
        self._last = ("", "")
        self._due = 0.0

    def show(self, job: JobOut) -> None:
        """Write a line if one is due."""
        state = (job.state, job.state_reason)
        if state == self._last and self._now() < self._due:
            return
        self._last, self._due = state, self._now() + LINE_EVERY_S
        parts = [state_words(job), *(numbers(job) if job.usage.discovered else ()), *outlook(job)]
        if job.current_url:
            parts.append(words.printable(job.current_url))
        self._say(_DOT.join(parts))

    def close(self) -> None:
        """Do nothing: lines are complete."""


class LivePanel:
    """Draws a few lines at the bottom of the terminal, four times a second."""

    def __init__(self, console: "rich_console.Console") -> None:
        self._spinner = rich_spinner.Spinner("dots")
        self._live = rich_live.Live(
            console=console, refresh_per_second=4, transient=True, redirect_stdout=False
        )

    def show(self, job: JobOut) -> None:
        """Redraw the lines from the current state of the job."""
        self._live.start()
        self._live.update(panel(job, self._spinner))

    def close(self) -> None:
        """Erase the lines and show the cursor again."""
        with contextlib.suppress(OSError):  # the terminal was closed
            self._live.stop()


def panel(job: JobOut, spinner: "rich_console.RenderableType") -> "rich_console.Group":
    """Return the lines of the live display."""
    head = rich_table.Table.grid(padding=(0, 1))
    state = rich_text.Text(state_words(job), style=STATE_STYLES.get(job.state, ""))
    head.add_row(
        spinner,
        state,
        rich_text.Text(words.printable(title(job)), no_wrap=True, overflow="ellipsis"),
    )
    middle = rich_table.Table.grid(padding=(0, 1))
    bar = rich_bar.ProgressBar(total=1.0, completed=fraction(job), width=_BAR)
    middle.add_row(bar, rich_text.Text(_DOT.join(numbers(job)), no_wrap=True, overflow="ellipsis"))
    url = rich_text.Text(
        words.printable(job.current_url), style="dim", no_wrap=True, overflow="ellipsis"
    )
    return rich_console.Group(head, middle, rich_text.Text(_DOT.join(outlook(job)) or " "), url)


def time_left(job: JobOut) -> str:
    """Return the time left as a range; empty if it is unknown."""
    eta = job.progress.eta
    if eta is None:
        return ""
    return words.span_range(eta.p10_s, eta.p90_s)


def title(job: JobOut) -> str:
    """Return the name of a job, or its first start URL."""
    first = (*job.spec.urls, *job.spec.sitemaps)[0]
    return str(job.spec.name) or first


def state_words(job: JobOut) -> str:
    """Return the state, and its reason if that adds something."""
    state, reason = state_word(job), reason_words(job)
    if job.state == "completed" or state == STATES[STOPPED]:
        return job.outcome[:1].lower() + job.outcome[1:]
    if job.state == "running" or job.state_reason == "by_user":
        return state
    return reason if reason.startswith(state) else f"{state} ({reason})"


def state_word(job: JobOut) -> str:
    """Return the word for the state of a job: "stopped early" if URLs were left at its end."""
    return STATES[STOPPED if job.outcome.startswith("Stopped") else job.state]


def reason_words(job: JobOut) -> str:
    """Return the reason of a job's state in words."""
    return REASONS.get(job.state_reason, job.state_reason)


def numbers(job: JobOut) -> list[str]:
    """Return the counters of a job, the most important first."""
    progress = job.progress
    parts = [f"{words.number(progress.done)}/{count_noun(progress.discovered, 'URL')}"]
    if progress.failed:
        parts.append(f"{words.number(progress.failed)} failed")
    if progress.rate:
        parts.append(words.rate(progress.rate))
    return [*parts, words.amount(progress.bytes), words.span(progress.elapsed_s)]


def outlook(job: JobOut) -> list[str]:
    """Return the time left and the limit that will end the job, or why they are unknown."""
    detail = with_commands(job.detail)
    if job.due_in_s:
        attempt = f"attempt {job.failures + 1} of {job.spec.retry.attempts} "
        limits = f"{attempt if job.failures else 'begins '}in {words.span(job.due_in_s)}"
        return [limits, detail] if detail else [limits]
    if job.state != "running":
        return [detail] if detail else []
    eta = job.progress.eta
    parts = [f"{time_left(job)} left"] if eta else [f"time left: {job.progress.eta_unknown}"]
    if eta is not None and eta.limit is not None:
        parts.append(f"then the limit of {ceiling(job.spec.limits, eta.limit)}")
    elif limits := limits_words(job.spec.limits):
        parts.append(f"limits: {limits}")
    return parts


def limits_words(limits: Limits) -> str:
    """Return the limits that are set, separated by commas."""
    set_ = [name for name in LIMITS if getattr(limits, LIMITS[name]) is not None]
    return ", ".join(ceiling(limits, name) for name in set_)


def ceiling(limits: Limits, name: str) -> str:
    """Return one limit in words: ``500 pages``, ``2 h 00 min``."""
    value = getattr(limits, LIMITS[name])
    if name in ("duration", "render"):
        return words.span(value) + (" of rendering" if name == "render" else "")
    return words.amount(value) if name == "bytes" else count_noun(value, name.removesuffix("s"))


def fraction(job: JobOut) -> float:
    """Return the progress from 0 to 1: of the frontier, or of the limit that comes first."""
    usage = job.usage
    parts = [usage.done / usage.discovered if usage.discovered else 0.0]
    for field in LIMITS.values():
        most = getattr(job.spec.limits, field)
        if most:
            parts.append(getattr(usage, field) / most)
    return min(1.0, max(parts))
