"""Large pages, parsed in processes that can be killed: at most so many bytes at once.

A page takes 10 to 70 times its size in memory while it is parsed. They are plain child
processes with a pipe, not `multiprocessing`: that would import the caller's main module again,
and its pool does not outlive a worker that is killed.
"""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, BinaryIO

from msgspec.structs import asdict

from crawlyard.core.jobs.spec import TextMode
from crawlyard.engine.extract.page import Extracted, ExtractError, Wanted, extract

LARGE = 2 * 1024 * 1024
"""Bytes of a page from which on it is parsed elsewhere."""

LARGE_IF_SLOW = 1024 * 1024
"""The same, if what is wanted can take long."""

AT_ONCE = 4 * LARGE
"""Bytes that are parsed at once by all processes of a pool: at 50 times as much memory, 400 MB."""

LIMIT_S = 30.0
"""Seconds for one page. Real ones of 6 MB take 0.15."""

_TRIES = 2  # a process that was killed from outside is not the page's fault; one that dies again is
_LENGTH = 8  # bytes of the length before each message
_COMMAND = (sys.executable, "-P", "-m", "crawlyard.engine.extract.parse_pool")


def is_heavy(size: int, wanted: Wanted) -> bool:
    """Tell whether a page of *size* bytes should not be parsed in the event loop's thread.

    Starting a process costs 35 MB and as much CPU as 500 pages: pages of one to two MiB, which
    many sites have a few of, pay for that only where the time of their parse has no bound.
    """
    slow = wanted.text in {TextMode.MAIN, TextMode.MARKDOWN} or bool(wanted.css)
    return size > (LARGE_IF_SLOW if slow else LARGE)


class ParseBudget:
    """Room for work of different sizes: *most* pieces at once, of *total* together.

    What is larger than that has its turn alone. The smallest that waits is next, but every
    other time the one that has waited longest: neither holds up the other for long.
    """

    def __init__(self, most: int, total: int) -> None:
        self._most = most
        self._total = total
        self._taken: list[int] = []
        self._waiting: dict[asyncio.Future[None], int] = {}  # the longest waiting first
        self._overtaken = False  # the last turn was not that of the one that waited longest

    @asynccontextmanager
    async def taken(self, size: int) -> AsyncIterator[None]:
        """Wait for room of *size*, and take it for the block."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting[turn] = size
        try:
            self._give()
            await turn
            yield
        finally:
            if self._waiting.pop(turn, None) is None:
                self._taken.remove(size)
            self._give()

    def _give(self) -> None:
        while self._waiting:
            longest = next(iter(self._waiting))
            smallest = min(self._waiting, key=self._waiting.__getitem__)
            turn = longest if self._overtaken else smallest
            size = self._waiting[turn]
            full = len(self._taken) >= self._most or sum(self._taken) + size > self._total
            if self._taken and full:
                return
            self._overtaken = turn is not longest
            self._taken.append(size)
            del self._waiting[turn]
            if not turn.done():  # its task may just have been cancelled: it gives back
                turn.set_result(None)


class ParsePool:
    """Up to *size* child processes, each started when it is first needed.

    They parse up to *at_once* bytes together, or one page that is larger. *limit_s* is how
    long one page may take. *command* starts a process that answers as `serve` does.
    """

    def __init__(
        self,
        size: int = 2,
        *,
        at_once: int = AT_ONCE,
        limit_s: float = LIMIT_S,
        command: Sequence[str] = _COMMAND,
    ) -> None:
        self._room = ParseBudget(size, at_once)
        self._limit_s = limit_s
        self._command = command
        self._idle: list[Process] = []
        self._closed = False

    async def run(
        self,
        body: bytes,
        charset: str | None,
        url: str,
        robots_header: Sequence[str],
        agent_token: str,
        wanted: Wanted,
    ) -> Extracted:
        """Return what `extract` returns: at once, or from a process if the page `is_heavy`.

        Such a page waits until there is room for it; cancelling it kills the one at work.

        Raises:
            ExtractError: the parser failed, took longer than the limit or died of the page.
        """
        if not is_heavy(len(body), wanted):
            return extract(body, charset, url, robots_header, agent_token, wanted)
        question = {
            "charset": charset,
            "url": url,
            "robots_header": list(robots_header),
            "agent_token": agent_token,
            "text": wanted.text,
            "css": wanted.css,
            "follow_nofollow": wanted.follow_nofollow,
            "limit_s": self._limit_s,
        }
        head = _framed(json.dumps(question).encode()) + _length(body)
        async with self._room.taken(len(body)):
            for _ in range(_TRIES):
                answer = await self._ask(head, body)
                if answer is not None:
                    return _extracted(answer)
        raise ExtractError("the process that parsed the page died of it")

    async def close(self) -> None:
        """Kill the processes; those at work are killed when their `run` is cancelled."""
        self._closed = True
        while self._idle:
            await _killed(self._idle.pop())

    async def _ask(self, head: bytes, body: bytes) -> dict[str, Any] | None:
        """Return the answer of a process to *head* and *body*, ``None`` if it died."""
        process = await self._process()
        keep = False
        try:
            async with asyncio.timeout(self._limit_s):
                answer = await _exchanged(process, head, body)
            keep = answer is not None and not self._closed
        except TimeoutError:
            raise ExtractError(f"took longer than {self._limit_s:g} s") from None
        finally:
            if keep:
                self._idle.append(process)
            else:
                await _killed(process)
        return answer

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
                # it finds what we found, and Ctrl-C is for us: we end it
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,
            )
        except OSError as error:
            raise ExtractError(f"cannot start a process for it: {error}") from error


async def _exchanged(process: Process, head: bytes, body: bytes) -> dict[str, Any] | None:
    if process.stdin is None or process.stdout is None:  # both are pipes
        return None
    try:
        process.stdin.write(head)
        process.stdin.write(body)  # apart: together, it would be copied
        await process.stdin.drain()
        length = int.from_bytes(await process.stdout.readexactly(_LENGTH), "big")
        answer: dict[str, Any] = json.loads(await process.stdout.readexactly(length))
    except (ConnectionError, asyncio.IncompleteReadError):
        return None
    return answer


async def _killed(process: Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


def _extracted(answer: dict[str, Any]) -> Extracted:
    if "error" in answer:
        raise ExtractError(answer["error"])
    page = answer["page"]
    page["links"] = tuple(page["links"])
    page["nofollow"] = tuple(page["nofollow"])
    page["extracted"] = {name: tuple(values) for name, values in page["extracted"].items()}
    return Extracted(**page)


def serve(questions: BinaryIO, answers: BinaryIO) -> None:
    """Answer each page that *questions* brings, until it ends."""
    while head := _read(questions):
        answers.write(_framed(json.dumps(_answer(json.loads(head), _read(questions))).encode()))
        answers.flush()


def _answer(question: dict[str, Any], body: bytes) -> dict[str, object]:
    if hasattr(signal, "setitimer"):
        # should whoever asked be killed meanwhile, nobody else would end a parse that hangs
        signal.setitimer(signal.ITIMER_REAL, question["limit_s"] + 1)
    wanted = Wanted(
        text=TextMode(question["text"]),
        css=tuple((name, css) for name, css in question["css"]),
        follow_nofollow=question["follow_nofollow"],
    )
    try:
        page = extract(
            body,
            question["charset"],
            question["url"],
            question["robots_header"],
            question["agent_token"],
            wanted,
        )
    except ExtractError as error:
        return {"error": str(error)}
    finally:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
    return {"page": asdict(page)}


def _framed(message: bytes) -> bytes:
    return _length(message) + message


def _length(message: bytes) -> bytes:
    return len(message).to_bytes(_LENGTH, "big")


def _read(stream: BinaryIO) -> bytes:
    """Return the next message, nothing at the end."""
    return stream.read(int.from_bytes(stream.read(_LENGTH), "big"))


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
