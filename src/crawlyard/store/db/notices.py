"""Sending of notices on Postgres, after the transactions that made work due."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence

from crawlyard.core.jobs.notices import written
from crawlyard.core.jobs.queue import Wakeup
from crawlyard.errors import StoreUnavailable

NOTIFY = "SELECT pg_notify(:channel, notice) FROM unnest(CAST(:notices AS text[])) AS notice"

_BREATH_S = 0.02
"""Pause between two sends of one process. Each wakes every listening session on the server."""

_log = logging.getLogger(__name__)


class Notices:
    """Sends wakeups to the workers of all processes; a notice that is lost costs them a poll.

    They are sent after the commit. Within the transaction they would cost it a round trip, and
    Postgres lets one transaction commit at a time while it has notifications to queue.
    """

    def __init__(self, send: Callable[[Sequence[str]], Awaitable[object]]) -> None:
        self._send = send
        self._waiting: set[Wakeup] = set()
        self._sending: asyncio.Task[None] | None = None

    def add(self, dues: Collection[Wakeup]) -> None:
        """Send *dues* soon, together with what else becomes due until then."""
        self._waiting.update(dues)
        if self._waiting and self._sending is None:
            self._sending = asyncio.create_task(self._all())
            self._sending.add_done_callback(self._over)

    async def close(self) -> None:
        """Send what is left."""
        if self._sending is not None:
            await asyncio.wait((self._sending,))

    async def _all(self) -> None:
        while self._waiting:
            dues, self._waiting = self._waiting, set()
            try:
                await self._send(written(dues))
            except StoreUnavailable as error:
                _log.debug("a notice was lost: %s", error)
            if self._waiting:
                await asyncio.sleep(_BREATH_S)

    def _over(self, task: "asyncio.Task[None]") -> None:
        self._sending = None
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("notices cannot be sent; workers find work by polling", exc_info=error)
