"""A bus inside one process."""

from datetime import timedelta

from crawlyard.clock import Clock
from crawlyard.core.progress import Progress

KEPT = timedelta(hours=24)


class MemoryBus:
    """The last progress of each job, kept for a day."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._latest: dict[str, tuple[float, Progress]] = {}  # in the order of publication

    async def publish(self, job_id: str, progress: Progress) -> None:
        """Replace what is known of *job_id*, and forget what is older than a day."""
        now = self._clock.monotonic()
        self._latest.pop(job_id, None)
        self._latest[job_id] = (now, progress)
        for old, (at, _) in list(self._latest.items()):
            if now - at <= KEPT.total_seconds():
                break
            del self._latest[old]

    async def latest(self, job_id: str) -> Progress | None:
        """Return the last progress published in the last 24 hours, or ``None``."""
        at, progress = self._latest.get(job_id, (0.0, None))
        if self._clock.monotonic() - at > KEPT.total_seconds():
            return None
        return progress
