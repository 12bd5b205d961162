"""Liveness: shows that this worker is alive, and finds out which others are."""

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, nullcontext

from crawlyard.dispatch.base import Dispatcher, Presence
from crawlyard.services.worker.host_locks import HostLocks


class Liveness:
    """Combines two kinds of locks: files on the same host, and the dispatcher's presence."""

    def __init__(self, worker: str, dispatcher: Dispatcher, files: HostLocks | None) -> None:
        self._worker = worker
        self._dispatcher = dispatcher
        self._files = files
        self._presence: Presence | None = None

    @asynccontextmanager
    async def shown(self, changed: Callable[[], None]) -> AsyncIterator[None]:
        """Show that this worker is alive until the end of the block.

        *changed* is called when `holding` has changed or another worker has died.
        """
        with self._files or nullcontext():
            async with self._dispatcher.presence(self._worker, changed) as self._presence:
                yield

    @property
    def holding(self) -> bool:
        """Return whether the others can see that this worker is alive."""
        return self._presence is not None and self._presence.holding

    def known(self, workers: Collection[str]) -> set[str]:
        """Return those of *workers* of which it is known whether they are alive."""
        near = self._files.known(workers) if self._files is not None else set()
        far = self._presence.known(workers) if self._presence is not None else set()
        return near | far

    def dead(self, workers: Collection[str]) -> set[str]:
        """Return those of *workers* that ran and are dead."""
        near, here = set[str](), set[str]()
        if self._files is not None:
            near, here = self._files.dead(workers), self._files.known(workers)
        far = self._presence.dead(workers) if self._presence is not None else set()
        # a worker whose file is locked is alive even if it lost its connection; it just sends
        # no requests
        return near | (far - here)

    def sweep(self, holders: Collection[str]) -> None:
        """Clean up after dead workers, except for *holders*, which still own leases."""
        if self._files is not None:
            self._files.sweep(holders)
