"""Child process of an isolated job: `python -m crawlyard.child`, started by a worker."""

import asyncio
import json
import os
import signal
import sys
import threading
from contextlib import suppress
from typing import Any

from crawlyard.config import Settings
from crawlyard.core.jobs.checkpoint import Lease
from crawlyard.errors import StoreUnavailable
from crawlyard.services.worker.isolation import GO_ON, MAY_SEND, STORE_AWAY, seats_of
from crawlyard.services.worker.lease_guard import SendPermit
from crawlyard.services.worker.leased_moves import reclaimed
from crawlyard.services.worker.order_watch import watch_orders
from crawlyard.services.worker.run import JobRun
from crawlyard.yard import Yard


async def _run(settings: Settings) -> None:
    async with Yard.open(settings) as yard:
        context = yard.worker_context()
        given = await asyncio.to_thread(_given, context.permit)
        context.tools.gate.sit_as(seats_of(given, os.getpid()))
        claim = await reclaimed(yard.store, given)
        if claim is None:
            return  # claimed by another or moved by an operator meanwhile: the parent handles it
        run = JobRun(claim, context, alone=True)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, run.drain, settings.shutdown_s)
        watch = asyncio.create_task(watch_orders(context, lambda: [run]))
        try:
            await run.run()
        finally:
            watch.cancel()


def _given(permit: SendPermit) -> Lease:
    """Tell the parent that the child is ready, and return the lease that it sends.

    From then on, *permit* follows the parent.
    """
    with suppress(BrokenPipeError):  # the parent has died
        os.write(1, b"ready\n")
    os.dup2(2, 1)  # the parent stops reading our stdout
    line = _line()
    if not line:
        os._exit(1)  # the parent has died
    said: dict[str, Any] = json.loads(line)
    permit.good = said.pop(MAY_SEND)
    threading.Thread(target=_heed_parent, args=(permit,), daemon=True).start()
    return Lease(**said)


def _line() -> bytes:
    """Return the next line of stdin, read without a buffer whose lock a thread could hold."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    return line


def _heed_parent(permit: SendPermit) -> None:
    """Follow the parent's permission to send requests, and exit when the parent does."""
    while said := os.read(0, 1024):  # empty when the other end of the pipe is gone
        permit.good = said.endswith(GO_ON)
    os._exit(1)


def main() -> None:
    """Read settings and then a lease from the first lines of stdin, and run the job to its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    settings = Settings.model_validate_json(_line())
    try:
        asyncio.run(_run(settings))
    except StoreUnavailable:
        sys.exit(STORE_AWAY)


if __name__ == "__main__":
    main()
