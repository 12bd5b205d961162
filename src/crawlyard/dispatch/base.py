"""What tells workers that work is due, and who of them is alive.

Only hints: the jobs table is the truth.
"""

from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Protocol, TypeAlias

from msgspec import Struct, field

from crawlyard.core.jobs.priority import Priority
from crawlyard.core.wakeup import Wakeup

LookForDue: TypeAlias = Callable[[], Awaitable[Collection[Wakeup]]]
"""Returns what waits for a worker: jobs that are due, and shards of those that run."""


class Bell(Protocol):
    """What one worker waits at."""

    def ring(self) -> None:
        """End the wait of this worker alone, now or the next: it has a reason to look."""
        ...

    async def wait(self, at_most: timedelta, *, least: Priority | None = Priority.LOW) -> None:
        """Return when there is a reason to look for work, or after *at_most*.

        The worker has looked before, and takes jobs of the level *least* and above by now,
        none if it is ``None``: what else comes is for others.
        """
        ...


class Listener(Struct, frozen=True, kw_only=True):
    """A worker that wants to hear of work."""

    worker: str
    tags: frozenset[str] = field(default_factory=frozenset)
    due: LookForDue
    left: LookForDue  # what of that it has to leave to others for a while, though it has room
    least: Priority = Priority.LOW  # of the jobs that it takes while all its slots are free
    choosy: bool = False  # it takes one job alone: word of others' is not for it


class Dispatcher(Protocol):
    """Carries wake-ups from those who queue jobs to those who run them.

    A wake-up names no job and may be lost, late or doubled: it costs one poll at most.
    """

    def announce(self, due_at: datetime) -> None:
        """Tell the workers of this process that a job is due at *due_at*."""
        ...

    def bell(self, listener: Listener) -> AbstractAsyncContextManager[Bell]:
        """Return the bell of one worker, for as long as it works."""
        ...

    def presence(
        self, worker: str, changed: Callable[[], None]
    ) -> AbstractAsyncContextManager["Presence"]:
        """Show that a worker is alive, for as long as it works, and return what is known of others.

        *changed* is called when `holding` has changed, or somebody else has died.
        """
        ...

    async def close(self) -> None:
        """Let go of what is open."""
        ...


class Presence(Protocol):
    """Which workers are alive, as far as that can be told before their leases lapse."""

    @property
    def holding(self) -> bool:
        """Tell whether the others can see that this worker is alive; if not, it sends nothing."""
        ...

    def known(self, workers: Collection[str]) -> set[str]:
        """Return those of *workers* of whom it can be told whether they are alive."""
        ...

    def dead(self, workers: Collection[str]) -> set[str]:
        """Return those of *workers* that ran and do no more."""
        ...
