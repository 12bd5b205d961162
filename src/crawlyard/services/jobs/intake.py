"""Intake of new jobs: those submitted during a transaction share the next one."""

import asyncio
from collections import deque
from collections.abc import Sequence

from msgspec import Struct

from crawlyard.errors import StoreUnavailable
from crawlyard.messaging.dispatcher import Dispatcher
from crawlyard.store.jobs.intake import IntakeStore
from crawlyard.store.queries import Entered, Entrant

MOST = 500
"""Maximum number of jobs in one transaction, which other writers wait for (50 ms on SQLite)."""

HEAVIEST = 20_000
"""Maximum number of start URLs in one transaction (0.1 s), unless one caller has more."""


class _Call(Struct, frozen=True):
    """The jobs of one caller, and the future on which they wait for the answers."""

    entrants: Sequence[Entrant]
    answer: "asyncio.Future[list[Entered]]"


class Intake:
    """Collects jobs submitted while a transaction is in progress, and stores them with the next.

    A single caller does not wait. Jobs are stored in the order of the calls. Each call gets its own
    answer, and an error in one does not affect the others.
    """

    def __init__(self, store: IntakeStore, dispatcher: Dispatcher) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._waiting: deque[_Call] = deque()
        self._task: asyncio.Task[None] | None = None

    async def enter(self, entrants: Sequence[Entrant]) -> list[Entered]:
        """Store jobs, and return an answer to each; see `IntakeStore.enter`.

        The jobs share a transaction: pass at most `MOST` of them, with `HEAVIEST` URLs. If the
        caller is cancelled before the transaction begins, nothing is stored; after that, the
        jobs may have been.

        Raises:
            StoreUnavailable: nothing was written, or it is unknown whether it was.
        """
        if not entrants:
            return []
        answer: asyncio.Future[list[Entered]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Call(entrants, answer))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write_all())
        return await answer

    async def _write_all(self) -> None:
        while calls := self._next_portion():
            await self._write(calls)

    def _next_portion(self) -> list[_Call]:
        calls: list[_Call] = []
        room, urls = MOST, HEAVIEST
        while self._waiting:
            call = self._waiting[0]
            weight = sum(entrant.urls for entrant in call.entrants)
            if calls and (len(call.entrants) > room or weight > urls):
                break
            self._waiting.popleft()
            if not call.answer.done():
                calls.append(call)
                room -= len(call.entrants)
                urls -= weight
        return calls

    async def _write(self, calls: Sequence[_Call]) -> None:
        entrants = [entrant for call in calls for entrant in call.entrants]
        try:
            answers = await self._store.enter(entrants)
        except Exception as error:  # noqa: BLE001 - it is passed on to the callers
            if len(calls) > 1 and not isinstance(error, StoreUnavailable):
                for call in calls:  # a defect in one caller's jobs must not affect the others
                    await self._write([call])
                return
            for call in calls:
                if not call.answer.done():
                    call.answer.set_exception(error)
            return
        self._announce(answers)
        rest = iter(answers)
        for call in calls:
            own = [next(rest) for _ in call.entrants]
            if not call.answer.done():
                call.answer.set_result(own)

    def _announce(self, answers: Sequence[Entered]) -> None:
        """Wake workers once per transaction; they find all due jobs by themselves."""
        dues = [answer.due_at for answer in answers if not isinstance(answer, Exception)]
        if dues:
            self._dispatcher.announce(min(dues))
