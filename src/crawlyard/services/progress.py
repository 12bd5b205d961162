"""Live progress: the pace of each running job, told to whoever looks."""

from collections import deque
from datetime import timedelta

from crawlyard.bus.base import Bus
from crawlyard.core.job import Job
from crawlyard.core.lifecycle import State
from crawlyard.core.limits import Usage
from crawlyard.core.progress import Progress, Pulse, progress_of, pulse_of

SAMPLE_EVERY = timedelta(seconds=1)
SAMPLES = 30
"""The pace is that of the last half minute of running time."""


class ProgressTracker:
    """Follows the usage of the jobs that run here, and publishes their progress on a bus."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._history: dict[str, deque[Usage]] = {}

    def observe(self, job_id: str, usage: Usage) -> Pulse:
        """Take note of a job's usage, at most once a second, and return its recent pace."""
        history = self._history.setdefault(job_id, deque(maxlen=SAMPLES + 1))
        if len(history) > 1 and history[-1].duration - history[-2].duration < SAMPLE_EVERY:
            history[-1] = usage  # the newest sample moves until it is a second wide
        else:
            history.append(usage)
        return pulse_of(history)

    async def publish(self, job: Job, usage: Usage, pulse: Pulse, current_url: str) -> Progress:
        """Publish and return the progress of a running job."""
        progress = progress_of(job.limits, usage, pulse, State.RUNNING, current_url)
        await self._bus.publish(job.id, progress)
        return progress

    async def latest(self, job_id: str) -> Progress | None:
        """Return the last progress published for a job, ``None`` if none is known."""
        return await self._bus.latest(job_id)

    async def happened(self) -> None:
        """Tell who listens that events were stored: he need not wait for his next look."""
        await self._bus.happened()

    def forget(self, job_id: str) -> None:
        """Drop the history of a job that no longer runs here."""
        self._history.pop(job_id, None)
