"""Parse pool: parses large pages in killable child processes, with a bound on memory.

Parsing takes 10 to 20 times the size of the page in memory; hostile markup could take 220 times.
The processes are plain children with a pipe, not `multiprocessing`, which would import the caller's
main module again and whose pool does not survive a killed worker.
"""

import asyncio
import gc
import json
import os
import resource
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from msgspec.structs import replace

from crawlyard.core.jobs.spec import TextMode
from crawlyard.engine.extract.page import (
    Extracted,
    ExtractError,
    ExtractOptions,
    PageSource,
    extract,
)
from crawlyard.engine.extract.page_text import is_dense

LARGE = 2 * 1024 * 1024
"""Pages with more bytes are parsed in a child process."""

LARGE_IF_SLOW = 1024 * 1024
"""The same for pages whose extraction may be slow."""

AT_ONCE = 4 * LARGE
"""Bytes parsed at once by all processes of a pool: 250 to 310 MB of memory (`memory_for`)."""

MAX_RETAINED = 64 * 1024 * 1024
"""Bytes that a process may retain after a page; with more, it is replaced."""

LIMIT_S = 30.0
"""Seconds for one page. Real pages of 6 MB take 0.15 s."""

_TRIES = 2  # a process killed from outside isn't the page's fault; one that dies again is
_LENGTH = 8  # bytes of the length prefix of each message
_COMMAND = (sys.executable, "-P", "-m", "crawlyard.engine.extract.parse_pool")


def is_heavy(body: bytes, options: ExtractOptions) -> bool:
    """Return whether a page should be parsed outside the event loop's thread.

    Starting a process costs 35 MB and as much CPU as 500 pages. For pages of 1 to 2 MiB, which
    many sites have a few of, that is worth it only if their parse time has no bound.
    """
    slow = options.text not in {TextMode.NONE, TextMode.TEXT} or bool(options.css)
    if len(body) > (LARGE_IF_SLOW if slow else LARGE):
        return True
    return options.text is not TextMode.NONE and is_dense(body)


def memory_for(size: int) -> int:
    """Return the bytes of memory that the process which parses a page of *size* bytes may take."""
    return 16 * 1024 * 1024 + 28 * max(size, LARGE)


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


class ParsePool:
    """Pool of up to *size* child processes, started on demand.

    They parse up to *at_once* bytes together, or one larger page. *limit_s* is the time limit
    for one page. *command* starts a process that speaks the protocol of `serve`.
    """

    def __init__(
        self,
        size: int = 2,
        *,
        at_once: int = AT_ONCE,
        limit_s: float = LIMIT_S,
        command: Sequence[str] = _COMMAND,
    ) -> None:
        self._budget = ParseBudget(size, at_once)
        self._limit_s = limit_s
        self._command = command
        self._idle: list[Process] = []
        self._closed = False

    async def run(self, body: bytes, source: PageSource) -> Extracted:
        """Call `extract` directly, or in a child process for a PDF or a page that `is_heavy`.

        Such a page waits until its bytes are free. Cancelling kills its process.

        Raises:
            ExtractError: the parser failed, took longer than the limit or crashed.
        """
        if not (source.is_pdf or is_heavy(body, source.options)):
            return extract(body, source)
        # not msgspec.json, which encodes no lone surrogates
        request = {"source": msgspec.to_builtins(source), "limit_s": self._limit_s}
        head = _frame(json.dumps(request).encode()) + _length(body)
        async with self._budget.reserve(len(body)):
            for _ in range(_TRIES):
                page = await self._parse_in_child(head, body)
                if page is not None:
                    return page
        raise ExtractError("the page crashed its parser process")

    async def close(self) -> None:
        """Kill the idle processes; busy ones are killed when their `run` ends or is cancelled."""
        self._closed = True
        while self._idle:
            await _kill(self._idle.pop())

    async def _parse_in_child(self, head: bytes, body: bytes) -> Extracted | None:
        """Send *head* and *body* to a process; return its page, ``None`` if it died."""
        process = await self._process()
        keep = False
        try:
            async with asyncio.timeout(self._limit_s):
                reply = await _exchange(process, head, body)
            keep = reply is not None and not reply[0]["is_last"] and not self._closed
        except TimeoutError:
            raise ExtractError(f"took longer than {self._limit_s:g} s") from None
        finally:
            if keep:
                self._idle.append(process)
            else:
                await _kill(process)
        return None if reply is None else _extracted(*reply)

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


async def _exchange(
    process: Process, head: bytes, body: bytes
) -> tuple[dict[str, Any], bytes] | None:
    """Return the reply of a process and the text of the page; ``None`` if it died."""
    if process.stdin is None or process.stdout is None:  # both are pipes
        return None
    try:
        process.stdin.write(head)
        process.stdin.write(body)  # separately, to avoid copying it
        await process.stdin.drain()
        reply: dict[str, Any] = json.loads(await _receive(process.stdout))
        return reply, await _receive(process.stdout)
    except (ConnectionError, asyncio.IncompleteReadError):
        return None


async def _receive(stream: asyncio.StreamReader) -> bytes:
    length = int.from_bytes(await stream.readexactly(_LENGTH), "big")
    return await stream.readexactly(length)


async def _kill(process: Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


def _extracted(reply: dict[str, Any], text: bytes) -> Extracted:
    if "error" in reply:
        raise ExtractError(reply["error"])
    page = msgspec.convert(reply["page"], Extracted)
    return page if page.text is None else replace(page, text=text.decode("utf-8", "surrogatepass"))


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Extract each page read from *requests* and write the result, until end of file."""
    start = _used_bytes()
    while head := _read(requests):
        reply, text = _reply(json.loads(head), _read(requests), start)
        gc.collect()  # a parsed document is a reference cycle
        reply["is_last"] = _used_bytes() - start - 2 * len(text) > MAX_RETAINED
        replies.write(_frame(json.dumps(reply).encode()))
        replies.write(_length(text))
        replies.write(text)
        replies.flush()


def _reply(request: dict[str, Any], body: bytes, start: int) -> tuple[dict[str, Any], bytes]:
    """Return the reply and, separately, the text: in JSON it could be six times as long.

    *start* is the memory that this process used before its first page.
    """
    if hasattr(signal, "setitimer"):
        # if the parent is killed meanwhile, nothing else would end a parse that hangs
        signal.setitimer(signal.ITIMER_REAL, request["limit_s"] + 1)
    source = msgspec.convert(request["source"], PageSource)
    most = start + memory_for(len(body)) if start and not source.is_pdf else 0
    try:
        with _limited_memory(most):
            page = extract(body, source)
    except ExtractError as error:
        return {"error": str(error)}, b""
    finally:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
    text = (page.text or "").encode("utf-8", "surrogatepass")
    rest = replace(page, text=page.text and "")
    return {"page": msgspec.to_builtins(rest)}, text


def _used_bytes() -> int:
    """Return the address space of this process, 0 if the system does not report it."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").partition(" ")[0])
    except OSError:
        return 0
    return pages * resource.getpagesize()


@contextmanager
def _limited_memory(most: int) -> Iterator[None]:
    """Make allocations raise MemoryError beyond *most* bytes of address space; 0: no limit."""
    if not most:
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _frame(message: bytes) -> bytes:
    return _length(message) + message


def _length(message: bytes) -> bytes:
    return len(message).to_bytes(_LENGTH, "big")


def _read(stream: BinaryIO) -> bytes:
    """Return the next message, b"" at the end of the stream."""
    return stream.read(int.from_bytes(stream.read(_LENGTH), "big"))


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
