"""In-memory bus inside one process."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from crawlyard.clock import Clock
from crawlyard.core.jobs.progress import Progress
from crawlyard.messaging.bus import KEPT, BusReach, Ear


class MemoryBus:
    """Bus that keeps the last progress of each job for a day, and the process's subscribers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._latest: dict[str, tuple[float, Progress]] = {}  # in the order of publication
        self._ears: list[Ear] = []

    @property
    def reach(self) -> BusReach:
        """Always `BusReach.PROCESS`."""
        return BusReach.PROCESS

    @property
    def heard(self) -> bool:
        """True if there is any subscriber."""
        return bool(self._ears)

    def begin(self) -> None:
        """Do nothing, as there is nothing to connect to."""

    async def check(self) -> BusReach:
        """Return `BusReach.PROCESS`."""
        return self.reach

    async def publish(self, job_id: str, progress: Progress) -> None:
        """Replace the progress of a job, and drop what is older than a day."""
        now = self._clock.monotonic()
        self._latest.pop(job_id, None)
        self._latest[job_id] = (now, progress)
        for old, (at, _) in list(self._latest.items()):
            if now - at <= KEPT.total_seconds():
                break
            del self._latest[old]
        self.tell({job_id: progress}, happened=False)

    async def happened(self) -> None:
        """Notify subscribers that events were stored."""
        self.tell({}, happened=True)

    def tell(self, progress: Mapping[str, Progress], *, happened: bool) -> None:
        """Pass messages to subscribers without keeping them."""
        for ear in self._ears:
            ear.put(progress, happened=happened)

    async def latest(self, job_id: str) -> Progress | None:
        """Return the last progress published in the last 24 hours, or ``None``."""
        at, progress = self._latest.get(job_id, (0.0, None))
        if self._clock.monotonic() - at > KEPT.total_seconds():
            return None
        return progress

    @contextmanager
    def listen(self) -> Iterator[Ear]:
        """Subscribe, for the block, to all that is published."""
        ear = Ear()
        self._ears.append(ear)
        try:
            yield ear
        finally:
            self._ears.remove(ear)

    async def close(self) -> None:
        """Do nothing, as nothing is open."""
