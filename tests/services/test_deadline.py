"""The deadline of a stop: the process exits, and names the tasks that did not end."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from typing import TextIO

import pytest

from crawlyard import Settings, Yard
from crawlyard.cli.server.deadline import Deadline
from crawlyard.yard import IN_MEMORY
from tests.builders import a_spec
from tests.clock import settle
from tests.jobs import submit

PROGRAM = """
import asyncio, sys
from crawlyard.cli.server import deadline
from crawlyard.cli.signals import Interrupts
from crawlyard.cli.server.work import run_together

async def jobs():
    await asyncio.Event().wait()

async def broken():
    raise ZeroDivisionError

async def work():
    stop = deadline.Deadline(0.2)
    stop.before_the_end(lambda: print("children killed", file=sys.stderr))
    await run_together(jobs, {"janitor": broken}, Interrupts(lambda: None), stop.begin)

asyncio.run(work())
"""


def test_a_process_that_does_not_stop_in_time_ends_with_an_error_that_names_what_goes_on() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=60
    )

    last_lines = ended.stderr.splitlines()[-3:]
    assert (ended.returncode, ended.stdout) == (1, "")
    assert last_lines[0] == "children killed"
    assert last_lines[1] == (
        "error: stopping took longer than 0.2 s; this process exits now."
        " Other workers will take over its jobs"
    )
    assert last_lines[2].startswith("  still running: work (crawlyard.cli.server.work:")
    assert ", jobs (__main__:" in last_lines[2]


async def test_an_event_loop_that_hangs_does_not_keep_the_deadline_from_coming() -> None:
    came = threading.Event()
    deadline = Deadline(0.05, end=lambda _: came.set())
    deadline.begin()
    deadline.begin()  # the first counts
    assert came.wait(10)  # blocks the loop


def a_full_pipe() -> tuple[int, TextIO]:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while os.write(writer, b"x" * 65_536):
            pass
    os.set_blocking(writer, True)
    return reader, os.fdopen(writer, "w", encoding="utf-8")


async def test_an_unread_error_stream_does_not_delay_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader, full = a_full_pipe()
    ended = threading.Event()
    monkeypatch.setattr(sys, "stderr", full)
    Deadline(0.01, end=lambda code: ended.set()).begin()

    came = await asyncio.to_thread(ended.wait, 10)

    os.close(reader)  # lets the thread that writes go
    with suppress(BrokenPipeError):
        full.close()
    assert came


async def test_a_stop_that_ends_in_time_ends_nothing() -> None:
    codes: list[int] = []
    deadline = Deadline(0.4, end=codes.append)
    deadline.begin()
    deadline.cancel()
    await asyncio.to_thread(time.sleep, 0.6)
    assert codes == []


async def test_a_worker_reports_once_that_it_is_stopping() -> None:
    async with Yard.open(Settings(database_url=IN_MEMORY)) as yard:
        await submit(yard, a_spec())
        for cancelled in (False, True):
            worker, notices = yard.worker(), list[str]()
            worker.on_stop = partial(notices.append, "stops")
            running = asyncio.create_task(worker.run())
            await settle()
            if cancelled:
                running.cancel()
            else:
                worker.stop()
                worker.stop()
            await asyncio.wait((running,))

            assert notices == ["stops"]
