"""What is asked of a store about the queue as a whole, beside the claim."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Protocol

from crawlyard.core.checkpoint import Asker, Preemption
from crawlyard.core.due import Due
from crawlyard.core.priority import Priority


class QueueStore(Protocol):
    """Who makes room for whom, and who has waited long."""

    async def preempt(
        self, asker: Asker, now: datetime, lease: timedelta, patience: timedelta
    ) -> Preemption | None:
        """Claim an urgent job in place of a low one that *asker* runs, in one transaction.

        As `core.queue.may_preempt` and `core.queue.yields` say: the urgent job that a
        claim by *asker* would take, if it has waited for *patience*; of the low ones, that
        which began last. It waits again where it stood, reason ``preempted``, and its
        lease is its worker's until the last batch is recorded, as after a pause. Two
        workers never yield to one urgent job.
        """
        ...

    async def age(self, now: datetime, step: timedelta, rows: int = 1000) -> int:
        """Raise up to *rows* pending jobs to the levels that `core.queue.aged` says.

        Each is the last of its owner in its new level. Return how many rose: 0 when none
        is left. It is no move: neither version nor events tell of it.
        """
        ...

    async def due(self, now: datetime) -> Collection[Due]:
        """Return what jobs wait and are due at *now*: once for all that are alike to a worker.

        Leases and quotas are not looked at.
        """
        ...

    async def spent(self, now: datetime) -> Mapping[str, str]:
        """Return which part of their quota is used up for the day, by user.

        As `core.quota.spent` says; only of those that have fetched something today.
        """
        ...

    async def waiting(self, tags: Collection[str], least: Priority = Priority.LOW) -> int:
        """Return how many jobs wait, due or not, that a worker with *tags* may take.

        Those of a level below *least* are not counted.
        """
        ...
