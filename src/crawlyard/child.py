"""The child process of an isolated job: `python -m crawlyard.child`, started by a worker."""

import asyncio
import json
import os
import signal
import sys
import threading
from dataclasses import replace
from typing import Any

from crawlyard.config import Settings
from crawlyard.core.checkpoint import Claim, Lease
from crawlyard.core.lifecycle import State
from crawlyard.errors import StoreUnavailable
from crawlyard.services.isolation import STORE_AWAY
from crawlyard.services.run import JobRun, watch_orders
from crawlyard.services.worker import ORDERS_EVERY
from crawlyard.yard import Yard


async def _run(order: dict[str, Any]) -> None:
    settings = Settings.model_validate(order["settings"])
    given = Lease(**order["lease"])
    async with Yard.open(settings) as yard:
        standing = await yard.store.jobs.get(given.job_id)
        job, shard = standing.job, standing.shard
        ours = (shard.worker, shard.attempt) == (given.worker, given.attempt)
        if not ours or job.state is not State.RUNNING:
            return  # taken by another meanwhile, or moved by an operator: the parent sees to it
        lease = replace(given, seq=shard.seq, version=job.version)
        claim = Claim(lease=lease, job=job, shard=shard)
        shop = yard.workshop()
        run = JobRun(claim, shop)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, run.drain, settings.shutdown_s)
        watch = asyncio.create_task(watch_orders(shop, lambda: [run], ORDERS_EVERY))
        try:
            await run.run()
        finally:
            watch.cancel()


def _line() -> bytes:
    """Return the first line of stdin, read without a buffer whose lock a thread could keep."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    return line


def _die_with_parent() -> None:
    while os.read(0, 1024):  # returns nothing when the other end of the pipe is gone
        pass
    os._exit(1)


def main() -> None:
    """Read the order from the first line of stdin, and run its job to its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    order = json.loads(_line())
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        asyncio.run(_run(order))
    except StoreUnavailable:
        sys.exit(STORE_AWAY)


if __name__ == "__main__":
    main()
