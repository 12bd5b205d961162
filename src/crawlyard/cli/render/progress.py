"""Progress of a long operation: a bar on a terminal, occasional lines elsewhere."""

from collections.abc import Callable
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from crawlyard.cli.render import words
from crawlyard.core.quantity import count_noun
from crawlyard.databases import CopyProgress

LINE_EVERY_S = 10.0
_BAR = 24  # columns
_SOON_S = 1.0  # minimum elapsed time for an estimate


class Gauge(Protocol):
    """Shows progress until it is closed."""

    def show(self, progress: CopyProgress) -> None:
        """Update the display."""
        ...

    def close(self) -> None:
        """Restore the terminal; may be called twice."""
        ...


def gauge_on(console: Console, now: Callable[[], float], *, quiet: bool) -> Gauge:
    """Return the gauge for *console*; *now* returns monotonic seconds."""
    if quiet:
        return SilentGauge()
    if console.is_terminal and not console.is_dumb_terminal:
        return BarGauge(console, now)
    return LineGauge(console, now)


class SilentGauge:
    """A gauge for `--quiet`: it ignores the progress."""

    def show(self, progress: CopyProgress) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Pace:
    """Estimates the time left from the pace so far."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._began = now()
        self._first: float | None = None  # share completed by an earlier run

    def sentence(self, progress: CopyProgress) -> str:
        """Return share, step, rows and time left: "40% · copying pages · 2 min left"."""
        if self._first is None:
            self._first = progress.share
        parts = [f"{progress.share:.0%}", progress.doing]
        if progress.rows:
            parts.append(count_noun(progress.rows, "row"))
        passed, done = self._now() - self._began, progress.share - self._first
        if passed >= _SOON_S and done > 0:
            parts.append(f"{words.span(passed * (1 - progress.share) / done)} left")
        return " · ".join(parts)


class LineGauge:
    """Writes a line at the start, and one every ten seconds."""

    def __init__(self, console: Console, now: Callable[[], float]) -> None:
        self._console = console
        self._now = now
        self._pace = Pace(now)
        self._due = now()

    def show(self, progress: CopyProgress) -> None:
        """Write a line if one is due."""
        sentence = self._pace.sentence(progress)
        if self._now() >= self._due:
            self._due = self._now() + LINE_EVERY_S
            self._console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Do nothing: lines are complete."""


class BarGauge:
    """Draws one line at the bottom of the terminal."""

    def __init__(self, console: Console, now: Callable[[], float]) -> None:
        self._pace = Pace(now)
        self._live = Live(
            console=console, refresh_per_second=4, transient=True, redirect_stdout=False
        )

    def show(self, progress: CopyProgress) -> None:
        """Redraw the bar from the current progress."""
        line = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=1.0, completed=progress.share, width=_BAR)
        line.add_row(bar, self._pace.sentence(progress))
        self._live.start()
        self._live.update(line)

    def close(self) -> None:
        """Erase the line and show the cursor again."""
        self._live.stop()
