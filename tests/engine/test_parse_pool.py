import asyncio
import io
import os
import signal
import sys
import threading
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from crawlyard.core.jobs.spec import TextMode
from crawlyard.demo.site import HTML, Answer
from crawlyard.engine.extract import parse_pool
from crawlyard.engine.extract.loop_load import LoopLoad
from crawlyard.engine.extract.page import (
    Extracted,
    ExtractError,
    ExtractOptions,
    PageSource,
    extract,
)
from crawlyard.engine.extract.page_text import DENSE
from crawlyard.engine.extract.parse_child import LARGE, serve
from crawlyard.engine.extract.parse_pool import (
    LARGE_WITH_SELECTORS,
    ParseBudget,
    ParsePool,
    is_heavy,
)
from tests.clock import settle
from tests.engine.rig import a_spec, crawled, opened
from tests.process_memory import tree_bytes
from tests.site import Serve

SENTENCE = (
    b"<p>A sentence of the page, with commas, and with <a href=/x rel=nofollow>links</a>.</p>"
)
PAGE = b"<html lang=en><title>t</title><article>" + SENTENCE * (LARGE // len(SENTENCE) + 1)
WANTED = ExtractOptions(text=TextMode.MAIN, css=(("links", "a@href"), ("title", "title")))
SOURCE = PageSource(
    url="http://h.example/",
    charset="utf-8",
    robots_header=("otherbot: none", "\udcff"),  # a header may have bytes that are no UTF-8
    agent_token="crawlyard",
    options=WANTED,
)

# Programs that stand in for a parser: one that never answers, one that dies of each page
SILENT = (sys.executable, "-c", "import sys; sys.stdin.buffer.read()")
DYING = (sys.executable, "-c", "import sys; sys.stdin.buffer.read(9)")


@pytest.fixture
async def pool() -> AsyncIterator[ParsePool]:
    pool = ParsePool(size=1)
    yield pool
    await pool.close()


def has_exited(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_a_heavy_page_gives_what_it_gives_in_this_process(pool: ParsePool) -> None:
    page = await pool.run(PAGE, SOURCE)

    assert page == extract(PAGE, SOURCE)
    assert len(pool._idle) == 1


async def test_only_a_large_page_is_parsed_in_a_process(pool: ParsePool) -> None:
    for mode in TextMode:
        options = ExtractOptions(text=mode)
        small = await pool.run(PAGE[:LARGE], PageSource(url="http://h/", options=options))
        assert (small.title, pool._idle) == ("t", [])

    large = await pool.run(
        PAGE, PageSource(url="http://h/", options=ExtractOptions(text=TextMode.NONE))
    )

    assert (large.title, len(pool._idle)) == ("t", 1)


def test_a_page_whose_parse_may_take_long_is_heavy_sooner() -> None:
    for options, largest in (
        (ExtractOptions(text=TextMode.NONE), LARGE),
        (ExtractOptions(text=TextMode.TEXT), LARGE),
        (ExtractOptions(text=TextMode.MAIN), LARGE),
        (ExtractOptions(text=TextMode.MARKDOWN), LARGE),
        (ExtractOptions(text=TextMode.NONE, css=(("a", "p"),)), LARGE_WITH_SELECTORS),
    ):
        assert [is_heavy(b"x" * size, options) for size in (largest, largest + 1)] == [False, True]


def test_a_dense_page_is_heavy_sooner_if_its_text_is_laid_out() -> None:
    dense = b"<p>x\n" * (DENSE // 2 + 1)

    assert is_heavy(dense, ExtractOptions(text=TextMode.TEXT))
    assert not is_heavy(dense, ExtractOptions(text=TextMode.NONE))
    assert not is_heavy(dense[: len(dense) - 10], ExtractOptions(text=TextMode.TEXT))


async def test_a_page_that_takes_too_much_memory_is_an_error_of_the_page(pool: ParsePool) -> None:
    values = tuple((f"all{n}", "p") for n in range(3))
    page = b"<p a=1>x" * (LARGE // 8 + 1)

    with pytest.raises(ExtractError, match="takes too much memory"):
        await pool.run(page, PageSource(url="http://h/", options=ExtractOptions(css=values)))

    assert (await pool.run(PAGE, SOURCE)).title == "t"  # and its process goes on


async def test_a_process_is_used_again(pool: ParsePool) -> None:
    await pool.run(PAGE, SOURCE)
    first = pool._idle[0].pid

    await asyncio.gather(*(pool.run(PAGE, SOURCE) for _ in range(3)))

    assert [process.pid for process in pool._idle] == [first]


async def test_a_page_that_takes_too_long_ends_with_its_process() -> None:
    pool = ParsePool(size=1, limit_s=0.05, command=SILENT)

    for _ in range(2):  # the pool goes on
        with pytest.raises(ExtractError, match=r"took longer than 0\.05 s"):
            await pool.run(PAGE, SOURCE)

    assert pool._idle == []


async def test_a_page_of_which_the_process_dies_is_tried_once_more() -> None:
    pool = ParsePool(size=1, command=DYING)

    with pytest.raises(ExtractError, match="crashed its parser process"):
        await pool.run(PAGE, SOURCE)

    assert pool._idle == []


async def test_a_process_that_was_killed_is_replaced(pool: ParsePool) -> None:
    await pool.run(PAGE, SOURCE)
    killed = pool._idle[0]
    killed.send_signal(signal.SIGKILL)

    page = await pool.run(PAGE, SOURCE)

    assert page.title == "t"
    assert pool._idle != [killed]


async def test_a_process_known_to_be_gone_costs_no_try(
    pool: ParsePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pool.run(PAGE, SOURCE)
    pool._idle[0].kill()
    await pool._idle[0].wait()
    monkeypatch.setattr(parse_pool, "_TRIES", 1)

    page = await pool.run(PAGE, SOURCE)

    assert page.title == "t"


async def test_a_command_that_cannot_be_started_is_an_error_of_the_page() -> None:
    pool = ParsePool(command=("/nonexistent/python",))

    with pytest.raises(ExtractError, match="cannot start a parser process"):
        await pool.run(PAGE, SOURCE)


async def test_a_page_that_is_no_longer_wanted_ends_with_its_process() -> None:
    pool = ParsePool(size=1, command=SILENT)
    started: list[Process] = []
    at_work = asyncio.Event()
    original = pool._process

    async def noted() -> Process:
        started.append(await original())
        at_work.set()
        return started[0]

    pool._process = noted  # type: ignore[method-assign]  # to know that it is at work
    task = asyncio.create_task(pool.run(PAGE, SOURCE))
    await at_work.wait()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert pool._idle == []
    assert has_exited(started[0].pid)


async def test_a_closed_pool_has_no_processes() -> None:
    pool = ParsePool(size=2)
    await asyncio.gather(pool.run(PAGE, SOURCE), pool.run(PAGE, SOURCE))
    pids = [process.pid for process in pool._idle]

    await pool.close()
    await pool.close()

    assert len(pids) == 2
    assert all(has_exited(pid) for pid in pids)


async def test_an_error_of_the_parser_comes_back_as_such(pool: ParsePool) -> None:
    options = ExtractOptions(css=(("x", "["),))

    with pytest.raises(ExtractError, match="SelectorSyntaxError"):
        await pool.run(PAGE, PageSource(url="http://h/", options=options))

    assert len(pool._idle) == 1  # which is no reason to end its process


def test_a_process_ends_with_its_questions() -> None:
    answers = io.BytesIO()

    serve(io.BytesIO(), answers)

    assert answers.getvalue() == b""


class Pieces:
    """Pieces of work that each take room until they are ended."""

    def __init__(self, room: ParseBudget) -> None:
        self._room = room
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self.begun: list[str] = []

    async def wait(self, name: str, size: int) -> None:
        """Let a piece of work wait for its turn."""

        async def piece() -> None:
            async with self._room.reserve(size):
                self.begun.append(name)
                await asyncio.Event().wait()

        self._under_way[name] = asyncio.create_task(piece())
        await settle()

    async def end(self, name: str) -> None:
        """End a piece, at work or not."""
        task = self._under_way.pop(name)
        task.cancel()
        await asyncio.wait((task,))
        await settle()


async def test_what_is_parsed_at_once_is_bounded_by_size_and_number() -> None:
    pieces = Pieces(ParseBudget(2, 8))
    for name, size in (("a", 3), ("b", 4), ("third", 1), ("large", 9)):
        await pieces.wait(name, size)
    assert pieces.begun == ["a", "b"]  # the third has to wait, though it would fit

    await pieces.end("a")
    assert pieces.begun == ["a", "b", "third"]
    await pieces.end("b")
    assert pieces.begun[3:] == []  # larger than all the room: it goes alone
    await pieces.end("third")
    assert pieces.begun[3:] == ["large"]
    await pieces.end("large")


async def test_neither_small_pages_nor_large_ones_keep_the_others_waiting() -> None:
    pieces = Pieces(ParseBudget(1, 8))
    await pieces.wait("first", 8)
    for name, size in (("large 1", 8), ("large 2", 7), ("small 1", 1), ("small 2", 2)):
        await pieces.wait(name, size)

    for _ in range(4):
        await pieces.end(pieces.begun[-1])

    assert pieces.begun[1:] == ["small 1", "large 1", "small 2", "large 2"]
    await pieces.end("large 2")


async def test_what_no_longer_waits_takes_no_room() -> None:
    pieces = Pieces(ParseBudget(1, 8))
    for name in ("first", "gone", "next"):
        await pieces.wait(name, 8)

    await pieces.end("gone")
    await pieces.end("first")

    assert pieces.begun == ["first", "next"]
    await pieces.end("next")
    await pieces.wait("last", 8)
    assert pieces.begun[2:] == ["last"]
    await pieces.end("last")


def pages_of_a_site(count: int) -> list[tuple[bytes, PageSource]]:
    bodies = (PAGE[: 2000 + n] for n in range(count))
    return [(body, replace(SOURCE, url=f"http://h/{n}")) for n, body in enumerate(bodies)]


async def extract_all(
    pool: ParsePool, pages: Sequence[tuple[bytes, PageSource]]
) -> list[Extracted]:
    return await asyncio.gather(*(pool.run(*page) for page in pages))


@pytest.fixture
async def helped() -> AsyncIterator[ParsePool]:
    """A pool with one helper, whose event loop counts as short of time."""
    pool = ParsePool(helpers=1, load=busy())
    yield pool
    await pool.close()


def busy() -> LoopLoad:
    load = LoopLoad(high=0, cores=1, wall=iter(range(10**6)).__next__, running=lambda: 0.0)
    assert load.is_high()
    return load


async def test_a_helper_extracts_pages_in_batches_as_this_process_does(helped: ParsePool) -> None:
    pages = pages_of_a_site(30)

    extracted = await extract_all(helped, pages)

    assert extracted == [extract(*page) for page in pages]
    assert len(helped._idle) == 1


async def test_pages_beyond_those_that_wait_for_a_helper_are_extracted_here() -> None:
    pool = ParsePool(helpers=1, load=busy(), command=SILENT)
    pages = pages_of_a_site(60)
    tasks = [asyncio.create_task(pool.run(*page)) for page in pages]

    await asyncio.sleep(0)
    await asyncio.sleep(0)
    are_done = [task.done() for task in tasks]
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await pool.close()
    assert are_done == [False] * 32 + [True] * 28


async def test_pages_of_a_helper_that_was_killed_are_extracted_by_another(
    helped: ParsePool,
) -> None:
    pages = pages_of_a_site(30)
    await extract_all(helped, pages[:1])
    (helper,) = helped._idle
    tasks = [asyncio.create_task(helped.run(*page)) for page in pages]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert helped._idle == []  # it is at work

    helper.send_signal(signal.SIGKILL)

    assert await asyncio.gather(*tasks) == [extract(*page) for page in pages]


async def test_a_page_that_kills_its_helpers_is_an_error_of_that_page() -> None:
    pool = ParsePool(helpers=1, load=busy(), command=DYING)

    with pytest.raises(ExtractError, match="crashed its parser process"):
        await pool.run(PAGE[:2000], SOURCE)

    assert pool._idle == []


async def test_an_error_of_one_page_in_a_batch_leaves_the_others(helped: ParsePool) -> None:
    pages = pages_of_a_site(3)
    faulty = replace(SOURCE, options=ExtractOptions(css=(("x", "["),)))
    pages[1] = (pages[1][0], faulty)

    outcomes = await asyncio.gather(*(helped.run(*page) for page in pages), return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [Extracted, ExtractError, Extracted]


async def test_data_that_messagepack_cannot_encode_comes_back_whole(helped: ParsePool) -> None:
    body = (
        b'<title>t</title><script type="application/ld+json">'
        b'{"@type": "Thing", "name": "half \\ud83d", "size": 123456789012345678901234567890}'
        b"</script>"
    )

    page = await helped.run(body, SOURCE)

    assert page == extract(body, SOURCE)
    assert "123456789012345678901234567890" in str(page.structured)


async def test_a_closed_pool_ends_its_helpers() -> None:
    pool = ParsePool(helpers=1, load=busy(), command=SILENT)
    task = asyncio.create_task(pool.run(PAGE[:2000], SOURCE))
    await asyncio.sleep(0.1)
    task.cancel()

    await pool.close()

    assert (pool._helping, pool._idle) == (set(), [])
    with pytest.raises(asyncio.CancelledError):
        await task


MIB = 1024 * 1024


class LargePages:
    """A site of four pages of 8 MiB, which take 340 MB each while they are parsed."""

    page = b"<!doctype html><title>t</title>" + b"<li>a" * ((8 * MIB - 100) // 5)

    def answer(self, method: str, path: str, host: str) -> Answer:
        links = b"".join(b"<a href=/%d>x</a>" % n for n in range(4))
        return Answer(200, (("Content-Type", HTML),), links if path == "/" else self.page)


@pytest.mark.slow
async def test_large_pages_of_one_crawl_are_not_all_parsed_at_once(
    tmp_path: Path, site_server: Serve
) -> None:
    site, before, ended = (
        await site_server(LargePages()),
        tree_bytes(os.getpid()),
        threading.Event(),
    )
    memory = [before]

    def look() -> None:
        while not ended.wait(0.05):
            memory.append(tree_bytes(os.getpid()))

    looking = asyncio.create_task(asyncio.to_thread(look))
    try:
        async with opened(tmp_path) as yard:
            result = await crawled(yard, a_spec(f"{site.url}/", text=TextMode.MAIN))
    finally:
        ended.set()
        await looking

    assert len(result.ok) == 5
    assert max(memory) - before < 500 * MIB
