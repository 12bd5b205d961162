"""`EventLog` over a list."""

# ruff: noqa: D102  # the Protocols in store/base.py say what each method does

from dataclasses import dataclass
from itertools import islice

from crawlyard.core.event import Event
from crawlyard.store.memory.shelf import Shelf


@dataclass(frozen=True, slots=True)
class MemoryEvents:
    """`EventLog` in memory."""

    _shelf: Shelf

    async def events(
        self, job_id: str | None = None, after: int = 0, limit: int = 1000
    ) -> list[Event]:
        later = islice(self._shelf.events, after, None)  # the n-th event has seq n
        return list(islice((e for e in later if job_id in (None, e.job_id)), limit))
