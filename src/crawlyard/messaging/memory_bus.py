"""In-memory bus inside one process."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from crawlyard.clock import Clock
from crawlyard.core.jobs.progress import Progress
from crawlyard.messaging.bus import PROGRESS_KEPT_FOR, BusReach, BusSubscription


class MemoryBus:
    """Bus that keeps the last progress of each job for a day, and the process's subscribers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._latest: dict[str, tuple[float, Progress]] = {}  # in the order of publication
        self._subscriptions: list[BusSubscription] = []

    @property
    def reach(self) -> BusReach:
        """Always `BusReach.PROCESS`."""
        return BusReach.PROCESS

    @property
    def has_subscribers(self) -> bool:
        """True if there is any subscriber."""
        return bool(self._subscriptions)

    def begin(self) -> None:
        """Do nothing, as there is nothing to connect to."""

    async def check(self) -> BusReach:
        """Return the reach at once: no transport can fail."""
        return self.reach

    async def publish(self, job_id: str, progress: Progress) -> None:
        """Replace the progress of a job, and drop what is older than a day."""
        now = self._clock.monotonic()
        self._latest.pop(job_id, None)
        self._latest[job_id] = (now, progress)
        for old, (at, _) in list(self._latest.items()):
            if now - at <= PROGRESS_KEPT_FOR.total_seconds():
                break
            del self._latest[old]
        self.deliver({job_id: progress}, events_stored=False)

    async def notify_events_stored(self) -> None:
        """Notify subscribers that events were stored."""
        self.deliver({}, events_stored=True)

    def deliver(self, progress: Mapping[str, Progress], *, events_stored: bool) -> None:
        """Pass messages to subscribers without keeping them."""
        for subscription in self._subscriptions:
            subscription.add(progress, events_stored=events_stored)

    async def latest(self, job_id: str) -> Progress | None:
        """Return the last progress published in the last 24 hours, or ``None``."""
        at, progress = self._latest.get(job_id, (0.0, None))
        if self._clock.monotonic() - at > PROGRESS_KEPT_FOR.total_seconds():
            return None
        return progress

    @contextmanager
    def subscribe(self) -> Iterator[BusSubscription]:
        """Subscribe, for the block, to all that is published."""
        subscription = BusSubscription()
        self._subscriptions.append(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.remove(subscription)

    async def close(self) -> None:
        """Do nothing, as nothing is open."""
