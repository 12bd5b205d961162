import asyncio
import io
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator

import pytest

from crawlyard.core.spec import TextMode
from crawlyard.engine import heavy
from crawlyard.engine.extract import ExtractError, Wanted, extract
from crawlyard.engine.heavy import LARGE, HeavyPool, is_heavy, serve

SENTENCE = (
    b"<p>A sentence of the page, with commas, and with <a href=/x rel=nofollow>links</a>.</p>"
)
PAGE = b"<html lang=en><title>t</title><article>" + SENTENCE * (LARGE // len(SENTENCE) + 1)
WANTED = Wanted(text=TextMode.MAIN, css=(("links", "a@href"), ("title", "title")))
ARGUMENTS = (PAGE, "utf-8", "http://h.example/", ("otherbot: none",), "crawlyard", WANTED)

# Programs that stand in for a parser: one that never answers, one that dies of each page
SILENT = (sys.executable, "-c", "import sys; sys.stdin.buffer.read()")
DYING = (sys.executable, "-c", "import sys; sys.stdin.buffer.read(9)")


@pytest.fixture
async def pool() -> AsyncIterator[HeavyPool]:
    pool = HeavyPool(size=1)
    yield pool
    await pool.close()


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_a_heavy_page_gives_what_it_gives_in_this_process(pool: HeavyPool) -> None:
    assert is_heavy(PAGE, WANTED)

    page = await pool.run(*ARGUMENTS)

    assert page == extract(*ARGUMENTS)
    assert len(pool._idle) == 1


async def test_only_a_large_page_of_which_much_is_wanted_is_heavy(pool: HeavyPool) -> None:
    small = PAGE[:LARGE]
    for body, wanted in [
        (small, WANTED),
        (PAGE, Wanted(text=TextMode.TEXT)),
        (PAGE, Wanted(text=TextMode.NONE)),
    ]:
        assert (await pool.run(body, None, "http://h/", (), "crawlyard", wanted)).title == "t"

    assert pool._idle == []  # no process was needed


async def test_a_process_is_used_again(pool: HeavyPool) -> None:
    await pool.run(*ARGUMENTS)
    first = pool._idle[0].pid

    await asyncio.gather(*(pool.run(*ARGUMENTS) for _ in range(3)))

    assert [process.pid for process in pool._idle] == [first]


async def test_a_page_that_takes_too_long_ends_with_its_process() -> None:
    pool = HeavyPool(size=1, limit_s=0.05, command=SILENT)

    for _ in range(2):  # the pool goes on
        with pytest.raises(ExtractError, match=r"took longer than 0\.05 s"):
            await pool.run(*ARGUMENTS)

    assert pool._idle == []


async def test_a_page_of_which_the_process_dies_is_tried_once_more() -> None:
    pool = HeavyPool(size=1, command=DYING)

    with pytest.raises(ExtractError, match="died of it"):
        await pool.run(*ARGUMENTS)

    assert pool._idle == []


async def test_a_process_that_was_killed_is_replaced(pool: HeavyPool) -> None:
    await pool.run(*ARGUMENTS)
    killed = pool._idle[0]
    killed.send_signal(signal.SIGKILL)

    page = await pool.run(*ARGUMENTS)

    assert page.title == "t"
    assert pool._idle != [killed]


async def test_a_process_known_to_be_gone_costs_no_try(
    pool: HeavyPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pool.run(*ARGUMENTS)
    pool._idle[0].kill()
    await pool._idle[0].wait()
    monkeypatch.setattr(heavy, "_TRIES", 1)

    page = await pool.run(*ARGUMENTS)

    assert page.title == "t"


async def test_a_command_that_cannot_be_started_is_an_error_of_the_page() -> None:
    pool = HeavyPool(command=("/nonexistent/python",))

    with pytest.raises(ExtractError, match="cannot start a process"):
        await pool.run(*ARGUMENTS)


async def test_a_page_that_is_no_longer_wanted_ends_with_its_process() -> None:
    pool = HeavyPool(size=1, command=SILENT)
    started: list[Process] = []
    at_work = asyncio.Event()
    original = pool._process

    async def noted() -> Process:
        started.append(await original())
        at_work.set()
        return started[0]

    pool._process = noted  # type: ignore[method-assign]  # to know that it is at work
    task = asyncio.create_task(pool.run(*ARGUMENTS))
    await at_work.wait()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert pool._idle == []
    assert gone(started[0].pid)


async def test_a_closed_pool_has_no_processes() -> None:
    pool = HeavyPool(size=2)
    await asyncio.gather(pool.run(*ARGUMENTS), pool.run(*ARGUMENTS))
    pids = [process.pid for process in pool._idle]

    await pool.close()
    await pool.close()

    assert len(pids) == 2
    assert all(gone(pid) for pid in pids)


async def test_an_error_of_the_parser_comes_back_as_such(pool: HeavyPool) -> None:
    wanted = Wanted(css=(("x", "["),))

    with pytest.raises(ExtractError, match="SelectorSyntaxError"):
        await pool.run(PAGE, None, "http://h/", (), "crawlyard", wanted)

    assert len(pool._idle) == 1  # which is no reason to end its process


def test_a_process_ends_with_its_questions() -> None:
    answers = io.BytesIO()

    serve(io.BytesIO(), answers)

    assert answers.getvalue() == b""
