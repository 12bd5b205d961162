"""Parse pool: extracts pages in killable child processes, with a bound on memory.

Parsing takes 10 to 20 times the size of the page in memory; hostile markup could take 220 times.
So large pages have a process of their own. The others are extracted where the event loop runs, or
in batches by helpers while its thread is short of time and other cores are free.
The processes are plain children with a pipe, not `multiprocessing`, which would import the caller's
main module again and whose pool does not survive a killed worker.
"""

import asyncio
import os
import sys
from asyncio import Future
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple, cast

import msgspec

from crawlyard.core.jobs.spec import TextMode
from crawlyard.engine.extract.loop_load import LoopLoad
from crawlyard.engine.extract.page import (
    Extracted,
    ExtractError,
    ExtractOptions,
    PageSource,
    extract,
)
from crawlyard.engine.extract.page_text import is_dense
from crawlyard.engine.extract.parse_child import (
    LARGE,
    LENGTH,
    ParseBatch,
    ParseReplies,
    ParseRequest,
    frame,
    pack,
    unpack,
)

LARGE_WITH_SELECTORS = 1024 * 1024
"""The same as `LARGE` for pages of which selectors extract data, as their time has no bound."""

AT_ONCE = 4 * LARGE
"""Bytes parsed at once by all processes of a pool: 250 to 310 MB of memory (`memory_for`)."""

LIMIT_S = 30.0
"""Seconds for one page. Real pages of 6 MB take 0.15 s."""

_BATCH = 16  # pages: their exchange takes 0.03 ms each in this process, that of one 0.08 ms
_BATCH_BYTES = 1024 * 1024
_QUEUE = 2 * _BATCH  # pages that wait for a helper; beyond, this thread does its share
_TRIES = 2  # a process killed from outside isn't the page's fault; one that dies again is
_COMMAND = (sys.executable, "-P", "-m", "crawlyard.engine.extract.parse_child")


def is_heavy(body: bytes, options: ExtractOptions) -> bool:
    """Return whether a page should be parsed outside the event loop's thread.

    Starting a process costs 45 MB and as much CPU as 500 pages. For pages of 1 to 2 MiB, which
    many sites have a few of, that is worth it only if their time has no bound. In any mode, real
    ones take up to 0.1 s, and the worst that are not dense 0.9 s.
    """
    if len(body) > (LARGE_WITH_SELECTORS if options.css else LARGE):
        return True
    return options.text is not TextMode.NONE and is_dense(body)


class ParseBudget:
    """Semaphore for work of different sizes: at most *most* pieces, *total* bytes together.

    A piece larger than *total* runs alone. The smallest piece that waits goes next, except
    every other time the one that has waited longest, so that neither starves.
    """

    def __init__(self, most: int, total: int) -> None:
        self._most = most
        self._total = total
        self._running: list[int] = []
        self._waiting: dict[asyncio.Future[None], int] = {}  # longest waiting first
        self._skipped_longest = False  # the last piece was not the longest waiting

    @asynccontextmanager
    async def reserve(self, size: int) -> AsyncIterator[None]:
        """Wait until *size* bytes are free, and reserve them for the block."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting[turn] = size
        try:
            self._start_waiting()
            await turn
            yield
        finally:
            if self._waiting.pop(turn, None) is None:
                self._running.remove(size)
            self._start_waiting()

    def _start_waiting(self) -> None:
        while self._waiting:
            longest = next(iter(self._waiting))
            smallest = min(self._waiting, key=self._waiting.__getitem__)
            turn = longest if self._skipped_longest else smallest
            size = self._waiting[turn]
            full = len(self._running) >= self._most or sum(self._running) + size > self._total
            if self._running and full:
                return
            self._skipped_longest = turn is not longest
            self._running.append(size)
            del self._waiting[turn]
            if not turn.done():  # if done, its task was just cancelled and releases its bytes
                turn.set_result(None)


class _Waiting(NamedTuple):
    """A page that waits for a helper."""

    request: ParseRequest
    page: "Future[Extracted | None]"


class ParsePool:
    """Pool of child processes, started on demand: *size* for heavy pages, and *helpers*.

    Those for heavy pages parse up to *at_once* bytes together, or one larger page. *limit_s* is the
    time limit for one page. *command* starts a process that speaks the protocol of
    `parse_child.serve`. Helpers take over the other pages while *load* is high.
    """

    def __init__(
        self,
        size: int = 2,
        *,
        at_once: int = AT_ONCE,
        limit_s: float = LIMIT_S,
        command: Sequence[str] = _COMMAND,
        helpers: int = 0,
        load: LoopLoad | None = None,
    ) -> None:
        self._budget = ParseBudget(size, at_once)
        self._limit_s = limit_s
        self._command = command
        self._helpers = helpers
        self._load = load or LoopLoad()
        self._waiting: deque[_Waiting] = deque()
        self._helping: set[asyncio.Task[None]] = set()
        self._idle: list[Process] = []
        self._closed = False

    async def run(self, body: bytes, source: PageSource) -> Extracted:
        """Call `extract`, or have a child process do so for a PDF or a page that `is_heavy`.

        Such a page waits until its bytes are free. Cancelling kills its process. Other pages are
        left to helpers while the load is high.

        Raises:
            ExtractError: the parser failed, took longer than the limit or crashed.
        """
        if not (source.is_pdf or is_heavy(body, source.options)):
            if not self._helpers or len(self._waiting) >= _QUEUE or not self._load.is_high():
                return extract(body, source)
            page = await self._leave_to_helper(ParseRequest(pack(source), body))
            if page is not None:
                return page
        batch = ParseBatch((ParseRequest(pack(source), body),), self._limit_s)
        async with self._budget.reserve(len(body)):
            for _ in range(_TRIES):
                replies = await self._extract_in_child(batch)
                if replies is not None:
                    reply = replies.replies[0]
                    if reply.error:
                        raise ExtractError(reply.error)
                    return unpack(reply.page, Extracted)
        raise ExtractError("the page crashed its parser process")

    async def close(self) -> None:
        """Kill the idle processes and the helpers.

        Other busy ones are killed when their `run` ends or is cancelled.
        """
        self._closed = True
        helping = tuple(self._helping)
        for task in helping:
            task.cancel()
        await asyncio.gather(*helping, return_exceptions=True)
        while self._idle:
            await _kill(self._idle.pop())

    async def _leave_to_helper(self, request: ParseRequest) -> Extracted | None:
        """Return the data of a page, ``None`` if its helper died or the page has an error."""
        page: Future[Extracted | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(request, page))
        if len(self._helping) < self._helpers:
            self._helping.add(asyncio.create_task(self._help()))
        return await page

    async def _help(self) -> None:
        """Have the waiting pages extracted, batch after batch, until none waits."""
        try:
            while batch := self._next_batch():
                await self._extract_batch(batch)
        finally:  # at once, since a page that comes next needs another helper
            self._helping.remove(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _extract_batch(self, batch: Sequence[_Waiting]) -> None:
        pages: Sequence[Extracted | None] = [None] * len(batch)
        requests = tuple(waiting.request for waiting in batch)
        try:
            with self._load.relief():
                replies = await self._extract_in_child(ParseBatch(requests, self._limit_s))
            if replies is not None:
                pages = [unpack(r.page, Extracted) if r.page else None for r in replies.replies]
        except ExtractError:  # took too long, or no process could be started
            pass
        finally:
            for waiting, page in zip(batch, pages, strict=True):
                if not waiting.page.done():
                    waiting.page.set_result(page)

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        while self._waiting and len(batch) < _BATCH and size < _BATCH_BYTES:
            waiting = self._waiting.popleft()
            if not waiting.page.done():  # else it was cancelled
                batch.append(waiting)
                size += len(waiting.request.body)
        return batch

    async def _extract_in_child(self, batch: ParseBatch) -> ParseReplies | None:
        """Return the replies of a process, ``None`` if it died."""
        process = await self._process()
        keep = False
        try:
            async with asyncio.timeout(self._limit_s):
                replies = await _exchange(process, batch)
            keep = replies is not None and not replies.is_last and not self._closed
        except TimeoutError:
            raise ExtractError(f"took longer than {self._limit_s:g} s") from None
        finally:
            if keep:
                self._idle.append(process)
            else:
                await _kill(process)
        return replies

    async def _process(self) -> Process:
        while self._idle:
            process = self._idle.pop()
            if process.returncode is None:
                return process
        try:
            return await asyncio.create_subprocess_exec(
                *self._command,
                stdin=PIPE,
                stdout=PIPE,
                # same import path as ours; its own session, so that Ctrl-C reaches only us
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,
            )
        except OSError as error:
            raise ExtractError(f"cannot start a parser process: {error}") from error


async def _exchange(process: Process, batch: ParseBatch) -> ParseReplies | None:
    """Return the replies of a process; ``None`` if it died."""
    if process.stdin is None or process.stdout is None:  # both are pipes
        return None
    try:
        process.stdin.write(frame(batch))
        await process.stdin.drain()
        length = int.from_bytes(await process.stdout.readexactly(LENGTH), "big")
        data = await process.stdout.readexactly(length)
    except (ConnectionError, asyncio.IncompleteReadError):
        return None
    return msgspec.msgpack.decode(data, type=ParseReplies)


async def _kill(process: Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()
