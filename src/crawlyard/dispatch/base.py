"""What tells workers that work is due. Only a hint: the jobs table is the truth."""

from datetime import datetime, timedelta
from typing import Protocol


class Dispatcher(Protocol):
    """Carries wake-ups from those who queue jobs to those who run them.

    A wake-up names no job and may be lost, late or doubled: it costs one poll at most.
    """

    def announce(self, due_at: datetime) -> None:
        """Tell the workers that a job is due at *due_at*."""
        ...

    async def wait(self, at_most: timedelta) -> None:
        """Return when something was announced since the last call, or after *at_most*."""
        ...
