"""Dispatcher interface: wakes workers when work is due, and reports which workers are alive.

These are only hints; the jobs table is authoritative.
"""

from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Protocol

from msgspec import Struct, field

from crawlyard.core.jobs.spec import Priority


class WakeSignal(Protocol):
    """Wake-up signal of one worker."""

    def wake(self) -> None:
        """Wake only this worker: end its current wait, or the next one."""
        ...

    async def wait(self, at_most: timedelta, *, least: Priority | None = Priority.LOW) -> None:
        """Return when there is a reason to look for work, or after *at_most*.

        The worker has looked for work before the call. It currently takes jobs of priority
        *least* and above, none if it is ``None``; other work is left to other workers.
        """
        ...


class Listener(Struct, frozen=True, kw_only=True):
    """Worker that wants to be woken for work."""

    worker: str
    tags: frozenset[str] = field(default_factory=frozenset)
    least: Priority = Priority.LOW  # lowest priority that it takes while all its slots are free
    choosy: bool = False  # it only takes one particular job, so other wake-ups don't concern it


class Dispatcher(Protocol):
    """Carries wake-ups from the processes that queue jobs to the workers.

    A wake-up names no job. It may be lost, late or duplicated, which costs at most one poll.
    """

    def announce(self, due_at: datetime) -> None:
        """Notify the workers of this process that a job is due at *due_at*."""
        ...

    def wake_signal(self, listener: Listener) -> AbstractAsyncContextManager[WakeSignal]:
        """Return the signal of one worker, for as long as it runs."""
        ...

    def presence(
        self, worker: str, changed: Callable[[], None]
    ) -> AbstractAsyncContextManager["Presence"]:
        """Show that a worker is alive while it runs, and return the presence of the others.

        *changed* is called when `holding` has changed or another worker has died.
        """
        ...

    async def close(self) -> None:
        """Close open connections."""
        ...


class Presence(Protocol):
    """Liveness of workers, as far as it is known before their leases expire."""

    @property
    def holding(self) -> bool:
        """True if others can see that this worker is alive; if not, it sends no requests."""
        ...

    @property
    def fleet(self) -> int:
        """Number of workers that are seen alive, this one included."""
        ...

    def filter_known(self, workers: Collection[str]) -> set[str]:
        """Return those of *workers* whose liveness is known."""
        ...

    def dead(self, workers: Collection[str]) -> set[str]:
        """Return those of *workers* that have died."""
        ...
