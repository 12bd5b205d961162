"""Permit: a worker sends no requests while other workers may consider it dead."""

import asyncio
import logging
from collections.abc import Callable

from crawlyard.errors import StoreUnavailable
from crawlyard.services.workers.lease_guard import ORDERS_EVERY
from crawlyard.services.workers.liveness import Liveness
from crawlyard.services.workers.order_watch import read_orders
from crawlyard.services.workers.run import WorkerContext
from crawlyard.services.workers.runs import Runs

_log = logging.getLogger(__name__)


class PermitKeeper:
    """Withdraws the worker's `SendPermit` when its lock is lost, and restores it afterwards."""

    def __init__(
        self, context: WorkerContext, liveness: Liveness, runs: Runs, wake: Callable[[], None]
    ) -> None:
        self._context = context
        self._liveness = liveness
        self._runs = runs
        self._wake = wake
        self._regaining: asyncio.Task[None] | None = None

    def update(self) -> None:
        """Apply a change of the worker's liveness."""
        if not self._liveness.holding:
            self._set(good=False)
        elif not self._context.permit.good and (self._regaining is None or self._regaining.done()):
            self._regaining = asyncio.create_task(self._regain())

    async def _regain(self) -> None:
        """Resume sending now that others see us alive, but not for jobs they have taken."""
        while self._liveness.holding:
            try:
                await read_orders(self._context, tuple(self._runs))
            except StoreUnavailable:
                await self._context.clock.sleep(ORDERS_EVERY)
                continue
            if self._liveness.holding:
                self._set(good=True)
            return

    def _set(self, *, good: bool) -> None:
        if self._context.permit.good == good:
            return
        self._context.permit.good = good
        if not good:
            self._context.tools.rate_limiter.expire_slots()
            _log.warning("this worker's lock is lost: no request is sent until it is held again")
        elif len(self._runs):
            _log.warning("this worker's lock is held again")
        for run in self._runs:
            run.hold(not good)
        if good:
            self._wake()  # it may claim again, which its last round could not
