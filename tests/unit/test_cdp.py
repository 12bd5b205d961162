"""The CDP client and the supervisor of a browser, without a browser."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable

import pytest

from crawlyard.engine.render.cdp import BrowserLost, CdpConnection, CommandFailed, Message
from crawlyard.engine.render.pipe import PipeTransport
from crawlyard.engine.render.process import BrowserProcess, measure

Say = Callable[[Message], Awaitable[None]]


class Peer:
    """The browser's end of a pipe."""

    def __init__(self) -> None:
        self._in, peer_out = os.pipe()
        ours, self._out = os.pipe()
        self._ends = (ours, peer_out)

    async def connection(self) -> CdpConnection:
        return CdpConnection(await PipeTransport.open(*self._ends))

    async def read_message(self) -> Message:
        text = b""
        while not text.endswith(b"\0"):
            text += await asyncio.to_thread(os.read, self._in, 65_536)
        message: Message = json.loads(text[:-1])
        return message

    def say(self, *messages: Message) -> None:
        os.write(self._out, b"".join(json.dumps(message).encode() + b"\0" for message in messages))

    def close(self) -> None:
        os.close(self._in)
        os.close(self._out)


async def test_an_answer_is_given_to_the_command_that_it_is_for() -> None:
    peer = Peer()
    connection = await peer.connection()
    listening = asyncio.ensure_future(connection.listen())
    first = asyncio.ensure_future(connection.call("A.one", "S", text="ω\0"))
    command = await peer.read_message()
    second = asyncio.ensure_future(connection.call("A.two"))
    also = await peer.read_message()

    peer.say({"id": 99, "result": {}})  # without a waiting call
    peer.say({"id": also["id"], "error": {"message": "no such thing"}}, {"id": command["id"]})

    assert await first == {}
    with pytest.raises(CommandFailed, match=r"A\.two: no such thing"):
        await second
    assert command == {"id": 1, "method": "A.one", "params": {"text": "ω\0"}, "sessionId": "S"}
    peer.close()
    with pytest.raises(BrowserLost):
        await listening
    await connection.close()


async def test_events_are_sent_only_to_their_session() -> None:
    peer = Peer()
    connection = await peer.connection()
    listening = asyncio.ensure_future(connection.listen())
    received: list[tuple[str, Message]] = []
    done = asyncio.Event()

    def hear(method: str, params: Message) -> None:
        received.append((method, params))
        if method == "P.last":
            done.set()

    connection.subscribe("S", hear)
    peer.say(
        {"method": "P.other", "sessionId": "T"},
        {"method": "P.none"},
        {"method": "P.first", "params": {"a": 1}, "sessionId": "S"},
        {"method": "P.last", "sessionId": "S"},
    )
    await done.wait()

    assert received == [("P.first", {"a": 1}), ("P.last", {})]
    listening.cancel()
    peer.close()
    await connection.close()


async def test_calls_to_a_lost_browser_fail_immediately() -> None:
    peer = Peer()
    connection = await peer.connection()
    call = asyncio.ensure_future(connection.call("A.one"))
    await peer.read_message()
    peer.close()

    with pytest.raises(BrowserLost):
        await connection.listen()

    with pytest.raises(BrowserLost):
        await call
    with pytest.raises(BrowserLost):
        await connection.call("A.two")
    await connection.close()


async def test_a_process_is_measured_and_ends_with_all_it_has_started() -> None:
    # a grandchild that leaves its session, as crash handlers do, and holds the pipe open
    detached = """if not os.fork():
        os.setsid()
        if os.fork():
            os._exit(0)
        os.write(3, b"x")"""
    detached = f"import os, time\n{detached}\ntime.sleep(99)"
    ours, child_out = os.pipe()
    command = (sys.executable, "-c", detached)
    ends = (child_out, os.dup(child_out))
    process = await BrowserProcess.start(command, {}, ends, forks=True)
    for end in ends:
        os.close(end)

    assert await asyncio.to_thread(os.read, ours, 1) == b"x"
    assert process.alive
    assert process.directory.is_dir()
    assert not await process.dies_within(0.01)
    assert process.usage().rss_bytes > 1_000_000
    assert measure(os.getpid(), forks=True).rss_bytes > measure(os.getpid(), forks=False).rss_bytes
    assert await process.end() == ""

    assert not process.directory.exists()
    assert await asyncio.to_thread(os.read, ours, 1) == b""  # all who had the other end are gone
    os.close(ours)


async def test_a_process_that_ends_by_itself_leaves_its_last_words() -> None:
    command = (sys.executable, "-c", "import sys; sys.exit('a library is missing')")
    process = await BrowserProcess.start(command, {}, forks=False)

    assert await process.dies_within(60.0)
    assert await process.end() == "a library is missing"
    assert process.usage().rss_bytes == 0


async def test_a_browser_gets_no_variables_of_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRAWLYARD_DATABASE_URL", "postgresql://user:secret@host/db")
    command = (sys.executable, "-c", "import os, sys; sys.exit(str(sorted(os.environ)))")
    process = await BrowserProcess.start(command, {"ALSO": "1"}, forks=False)

    assert await process.dies_within(60.0)
    environment = await process.end()
    assert "'ALSO', 'HOME'" in environment
    assert "CRAWLYARD" not in environment


async def test_a_program_that_is_not_there_says_so() -> None:
    process = await BrowserProcess.start(("/nowhere/browser",), {}, forks=False)

    assert await process.dies_within(60.0)
    assert "/nowhere/browser: No such file or directory" in await process.end()
