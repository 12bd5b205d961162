"""Order watch: reads the store's orders to running jobs between their checkpoints."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from crawlyard.clock import Clock
from crawlyard.errors import StoreUnavailable
from crawlyard.services.workers.isolation import Run
from crawlyard.services.workers.lease_guard import ORDERS_EVERY
from crawlyard.services.workers.leased_moves import hold_spent, hold_ungranted
from crawlyard.services.workers.run import WorkerContext

_log = logging.getLogger(__name__)


_PAUSE = timedelta(milliseconds=10)  # the shortest pause between two rounds


async def watch_orders(context: WorkerContext, runs: Callable[[], Sequence[Run]]) -> None:
    """Read the orders of all running jobs, with one query each time, until cancelled.

    Also pauses jobs whose grant was withdrawn and requeues jobs whose owner has used up the
    daily quota. Both run in a task of their own, so that the orders don't wait for them.
    """

    async def read() -> None:
        await read_orders(context, runs())

    async def hold() -> None:
        leases = [(run.lease, run.job) for run in runs()]
        if leases:
            await hold_ungranted(context.store, context.clock, leases)
            await hold_spent(context.store, context.clock, leases)

    async with asyncio.TaskGroup() as group:
        for look in (read, hold):
            group.create_task(_repeat(look, context.clock))


async def _repeat(look: Callable[[], Awaitable[None]], clock: Clock) -> None:
    """Call *look* every 250 ms, from the start of one call to the start of the next."""
    while True:
        began = clock.monotonic()
        try:
            await look()
        except StoreUnavailable:
            pass  # the next checkpoint will report it
        except Exception:  # noqa: BLE001 - without orders nothing is sent, so keep reading them
            _log.exception("the orders of jobs could not be read")
        took = timedelta(seconds=clock.monotonic() - began)
        await clock.sleep(max(ORDERS_EVERY - took, _PAUSE))


async def read_orders(context: WorkerContext, runs: Sequence[Run]) -> None:
    """Read the orders of some runs and make the runs obey them.

    Raises:
        StoreUnavailable: the store is unavailable.
    """
    if not runs:
        return
    asked_at, began = context.clock.now(), context.clock.monotonic()
    leases = [run.lease for run in runs]
    orders = await context.store.leases.orders(leases)
    context.permit.round_trip.took(context.clock.monotonic() - began)
    for run, lease, order in zip(runs, leases, orders, strict=True):
        if (run.lease.shard, run.lease.attempt) == (lease.shard, lease.attempt):
            run.apply_order(order, asked_at)  # otherwise it has moved on to another shard
