"""What may be lost: the latest progress of each running job."""

from typing import Protocol

from crawlyard.core.progress import Progress


class Bus(Protocol):
    """Keeps the last progress of each job for a day, for whoever looks."""

    async def publish(self, job_id: str, progress: Progress) -> None:
        """Replace what is known of *job_id*; lost without harm."""
        ...

    async def latest(self, job_id: str) -> Progress | None:
        """Return the last progress published, ``None`` if none is known (any more)."""
        ...
