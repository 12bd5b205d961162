"""What the store orders of running jobs between their checkpoints."""

from collections.abc import Callable, Sequence
from datetime import timedelta

from crawlyard.errors import StoreUnavailable
from crawlyard.services.allowance import hold_spent
from crawlyard.services.granting import hold_ungranted
from crawlyard.services.run import JobRun, Workshop


async def watch_orders(
    shop: Workshop, runs: Callable[[], Sequence[JobRun]], every: timedelta
) -> None:
    """Read the orders of all running jobs with one query each time, until cancelled.

    A job whose grant is withdrawn is paused first, and one whose owner may fetch no more
    today waits again.
    """
    while True:
        await shop.clock.sleep(every)
        current = runs()
        if not current:
            continue
        try:
            held = [(run.lease, run.job) for run in current]
            await hold_ungranted(shop.store, shop.clock, held)
            await hold_spent(shop.store, shop.clock, held)
            orders = await shop.store.leases.orders([lease for lease, _ in held])
        except StoreUnavailable:
            continue  # the next checkpoint says so
        for run, (lease, _), order in zip(current, held, orders, strict=True):
            if (run.lease.shard, run.lease.attempt) == (lease.shard, lease.attempt):
                run.obey(order)  # else it has gone on with another shard
