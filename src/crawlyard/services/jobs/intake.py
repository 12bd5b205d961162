"""Lets new jobs in, those of several callers in one transaction."""

import asyncio
from collections import deque
from collections.abc import Sequence

from msgspec import Struct

from crawlyard.dispatch.base import Dispatcher
from crawlyard.errors import StoreUnavailable
from crawlyard.store.jobs.intake import IntakeStore
from crawlyard.store.queries import Entered, Entrant

MOST = 500
"""Jobs of one transaction: others who write wait for all of them (50 ms on SQLite)."""

HEAVIEST = 20_000
"""URLs with which those jobs begin, all together, unless there is one alone (0.1 s)."""


class _Asked(Struct, frozen=True):
    """What one caller wants, and where he waits for what comes of it."""

    entrants: Sequence[Entrant]
    answer: "asyncio.Future[list[Entered]]"


class Intake:
    """Gathers what is submitted while a transaction is under way, and writes it with the next.

    Who comes alone waits for nobody. Order is that of the calls; each has an answer of its
    own, and what is wrong with one is no other's affair.
    """

    def __init__(self, store: IntakeStore, dispatcher: Dispatcher) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._waiting: deque[_Asked] = deque()
        self._task: asyncio.Task[None] | None = None

    async def enter(self, entrants: Sequence[Entrant]) -> list[Entered]:
        """Let jobs in, and return an answer to each; see `IntakeStore.enter`.

        They share a transaction: at most `MOST` of them, and `HEAVIEST` URLs. A caller who is
        cancelled before it begins has asked for nothing; later, his jobs may be there.

        Raises:
            StoreUnavailable: nothing is written, or nobody can tell.
        """
        if not entrants:
            return []
        answer: asyncio.Future[list[Entered]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Asked(entrants, answer))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write_all())
        return await answer

    async def _write_all(self) -> None:
        while taken := self._taken():
            await self._write(taken)

    def _taken(self) -> list[_Asked]:
        taken: list[_Asked] = []
        room, urls = MOST, HEAVIEST
        while self._waiting:
            asked = self._waiting[0]
            weight = sum(entrant.urls for entrant in asked.entrants)
            if taken and (len(asked.entrants) > room or weight > urls):
                break
            self._waiting.popleft()
            if not asked.answer.done():
                taken.append(asked)
                room -= len(asked.entrants)
                urls -= weight
        return taken

    async def _write(self, taken: Sequence[_Asked]) -> None:
        entrants = [entrant for asked in taken for entrant in asked.entrants]
        try:
            answers = await self._store.enter(entrants)
        except Exception as error:  # noqa: BLE001 - those who wait hear of it
            if len(taken) > 1 and not isinstance(error, StoreUnavailable):
                for asked in taken:  # a defect in what one asks is no other's
                    await self._write([asked])
                return
            for asked in taken:
                if not asked.answer.done():
                    asked.answer.set_exception(error)
            return
        self._announce(answers)
        rest = iter(answers)
        for asked in taken:
            own = [next(rest) for _ in asked.entrants]
            if not asked.answer.done():
                asked.answer.set_result(own)

    def _announce(self, answers: Sequence[Entered]) -> None:
        """Wake workers once for all of a transaction: they look for what is due by themselves."""
        dues = [one.due_at for one in answers if not isinstance(one, Exception)]
        if dues:
            self._dispatcher.announce(min(dues))
