"""Scheduled runs: the steps after the run of a schedule's job."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

_log = logging.getLogger(__name__)


class ScheduledRuns:
    """Notifies the scheduler when a run ends, and compares the last runs of its schedule.

    *wake* is called after each comparison.
    """

    def __init__(
        self,
        run_over: Callable[[], None],
        compare: Callable[[str], Awaitable[None]],
        wake: Callable[[], None],
    ) -> None:
        self._run_over = run_over
        self._compare = compare
        self._wake = wake
        self._comparisons: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> bool:
        """True while runs are compared."""
        return bool(self._comparisons)

    def finish(self, schedule_id: str, *, compare: bool) -> None:
        """Handle the end of a run; without *compare*, the next run catches up."""
        self._run_over()
        if compare:
            task = asyncio.create_task(self._compare_runs(schedule_id))
            self._comparisons.add(task)
            task.add_done_callback(self._forget)

    async def close(self) -> None:
        """Cancel the comparisons that are under way."""
        for task in self._comparisons:
            task.cancel()
        await asyncio.gather(*self._comparisons, return_exceptions=True)

    async def _compare_runs(self, schedule_id: str) -> None:
        """Compare the last run of a schedule; after a failure, the next run catches up."""
        try:
            await self._compare(schedule_id)
        except Exception:  # noqa: BLE001 - it harms no run
            _log.exception("the runs of schedule %s cannot be compared", schedule_id)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._comparisons.discard(task)
        self._wake()
