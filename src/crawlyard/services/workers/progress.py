"""Live progress: the pace of each running job, published on a bus."""

from collections import deque

from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.limits import Usage
from crawlyard.core.jobs.progress import Progress, progress_of
from crawlyard.core.jobs.pulse import Pulse, Sample, Workload, pulse_of, sample_of
from crawlyard.messaging.bus import Bus

SAMPLES = 30
_EVERY_S = 1.0, 30.0  # the narrowest and the widest interval between samples

_UNKNOWN = Workload()


class ProgressTracker:
    """Follows the usage of the jobs that run here, and publishes their progress on a bus."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self._history: dict[str, deque[Sample]] = {}

    def observe(self, job_id: str, usage: Usage, workload: Workload = _UNKNOWN) -> Pulse:
        """Record a job's usage and workload, and return its recent pace."""
        history = self._history.setdefault(job_id, deque(maxlen=SAMPLES + 1))
        sample = sample_of(usage, workload, history[-1] if history else None)
        narrowest_s, widest_s = _EVERY_S
        # the samples cover the last third of the running time, but at least half a minute and
        # at most a quarter of an hour
        every_s = min(max(narrowest_s, sample.at_s / 3 / SAMPLES), widest_s)
        if len(history) > 1 and history[-1].active_s - history[-2].active_s < every_s:
            history[-1] = sample  # the newest sample moves until it is wide enough
        else:
            history.append(sample)
        return pulse_of(history, workload)

    async def publish(self, job: Job, usage: Usage, pulse: Pulse, current_url: str) -> Progress:
        """Publish the progress of a running job on the bus, and return it."""
        progress = progress_of(job.limits, usage, pulse, State.RUNNING, current_url)
        await self.bus.publish(job.id, progress)
        return progress

    async def latest(self, job_id: str) -> Progress | None:
        """Return the last progress published for a job, or ``None`` if none is known."""
        return await self.bus.latest(job_id)

    async def notify_events_stored(self) -> None:
        """Notify listeners that events were stored, so that they need not wait for their poll."""
        await self.bus.notify_events_stored()

    def forget(self, job_id: str) -> None:
        """Drop the history of a job that no longer runs here."""
        self._history.pop(job_id, None)
