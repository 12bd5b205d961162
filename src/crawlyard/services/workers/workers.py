"""Workers: their status, and orders to drain, resume or stop."""

from msgspec.structs import replace

from crawlyard.core.access.user import Permit
from crawlyard.core.endpoints.endpoint import Slice, endpoint, reply
from crawlyard.core.events.event import Event, EventName
from crawlyard.core.workers.answers import WorkerOut
from crawlyard.core.workers.status import WorkerReport, WorkerState, WorkerWish
from crawlyard.errors import Conflict, IllegalMove
from crawlyard.services.noun import Noun
from crawlyard.services.races import TRIES

READ, WRITE = Permit.WORKERS_READ, Permit.WORKERS_WRITE


_EVENTS = {
    WorkerWish.NONE: EventName.WORKER_RESUMED,
    WorkerWish.QUIET: EventName.WORKER_QUIETED,
    WorkerWish.STOP: EventName.WORKER_STOPPING,
}


class Workers(Noun):
    """Shows workers; admins can drain, resume and stop them, which takes effect within a second.

    A worker that does not exist raises `NotFound`, an impossible order `IllegalMove`. Repeating an
    order changes nothing and writes no event.
    """

    @endpoint("GET /workers", READ, "seq")
    async def list(self) -> Slice[WorkerOut]:
        """List the workers, including those gone for less than a day."""
        reports = await self._services.watching.workers(self._actor)
        return Slice(items=[self._worker_out(report) for report in reports])

    @endpoint("GET /workers/{worker_id}", READ)
    async def get(self, worker_id: str) -> WorkerOut:
        """Return a worker with its current load."""
        return self._worker_out(await self._services.watching.worker(self._actor, worker_id))

    @endpoint("DELETE /workers/{worker_id}", WRITE, status=204)
    async def forget(self, worker_id: str) -> None:
        """Remove a worker that is gone from the list."""
        watching = self._services.watching
        report = await watching.worker(self._actor, worker_id)
        self._check_admin()
        if watching.is_alive(report):
            raise IllegalMove(f"worker {worker_id} is alive: stop it first")
        await self._services.store.workers.forget(worker_id)

    @endpoint("POST /workers/{worker_id}/quiet", WRITE, status=202)
    async def quiet(self, worker_id: str) -> WorkerOut:
        """Drain a worker: it claims no more jobs, and finishes its running ones."""
        return await self._order(worker_id, WorkerWish.QUIET)

    @endpoint("POST /workers/{worker_id}/resume", WRITE, status=202)
    async def resume(self, worker_id: str) -> WorkerOut:
        """Let a draining worker claim jobs again."""
        return await self._order(worker_id, WorkerWish.NONE)

    @endpoint("POST /workers/{worker_id}/stop", WRITE, status=202)
    async def stop(self, worker_id: str) -> WorkerOut:
        """Make a worker release its jobs and exit; other workers continue them."""
        return await self._order(worker_id, WorkerWish.STOP)

    async def _order(self, worker_id: str, wish: WorkerWish) -> WorkerOut:
        watching = self._services.watching
        for _ in range(TRIES):
            report = await watching.worker(self._actor, worker_id)
            self._check_admin()
            _check(report, watching.state(report), wish)
            if report.wish is wish or (wish is WorkerWish.STOP and report.stopping):
                reply().unchanged = True
                return self._worker_out(report)
            event = Event(
                name=_EVENTS[wish],
                subject=report.id,
                owner=self._actor.id,
                at=self._services.clock.now(),
                actor=self._actor.id,
                data={"host": report.host, "pid": report.pid},
            )
            try:
                await self._services.store.workers.ask(worker_id, wish, report.wish, event)
            except Conflict:
                continue
            return self._worker_out(replace(report, wish=wish))
        raise Conflict(f"the orders to worker {worker_id} keep changing; try again")

    def _worker_out(self, report: WorkerReport) -> WorkerOut:
        return WorkerOut.of(report, alive=self._services.watching.is_alive(report))


def _check(report: WorkerReport, state: WorkerState, wish: WorkerWish) -> None:
    if state is WorkerState.GONE:
        raise IllegalMove(f"worker {report.id} is gone")
    if state is WorkerState.STOPPING and wish is not WorkerWish.STOP:
        raise IllegalMove(f"worker {report.id} is stopping")
