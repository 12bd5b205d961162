"""Worker control: drain, resume and stop running workers."""

from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.access.user import Actor, Role
from crawlyard.core.event import Event, EventName
from crawlyard.core.overview.worker_status import WorkerReport, WorkerState, WorkerWish
from crawlyard.errors import Conflict, Forbidden, IllegalMove
from crawlyard.services.fleet.status import Watching
from crawlyard.store.store import Store

_TRIES = 8  # attempts per change: after a lost race it is reread; more losses mean a bug

_EVENTS = {
    WorkerWish.NONE: EventName.WORKER_RESUMED,
    WorkerWish.QUIET: EventName.WORKER_QUIETED,
    WorkerWish.STOP: EventName.WORKER_STOPPING,
}


class Fleet:
    """Tells workers to drain, resume or stop; a worker notices within a second.

    Repeating a request changes nothing and writes no event.
    """

    def __init__(self, store: Store, watching: Watching, clock: Clock) -> None:
        self._store = store
        self._watching = watching
        self._clock = clock

    async def quiet(self, actor: Actor, worker_id: str) -> WorkerReport:
        """Drain a worker: it claims no more jobs, and continues those that it has.

        Raises:
            NotFound: no such worker.
            Forbidden: the actor is not an admin.
            IllegalMove: the worker is gone or stopping.
        """
        return await self._want(actor, worker_id, WorkerWish.QUIET)

    async def resume(self, actor: Actor, worker_id: str) -> WorkerReport:
        """Let a draining worker claim jobs again.

        Raises:
            NotFound, Forbidden, IllegalMove: as for `quiet`.
        """
        return await self._want(actor, worker_id, WorkerWish.NONE)

    async def stop(self, actor: Actor, worker_id: str) -> WorkerReport:
        """Make a worker release its jobs and exit, as on a signal; other workers continue them.

        Raises:
            NotFound, Forbidden, IllegalMove: as for `quiet`.
        """
        return await self._want(actor, worker_id, WorkerWish.STOP)

    async def _want(self, actor: Actor, worker_id: str, wish: WorkerWish) -> WorkerReport:
        for _ in range(_TRIES):
            report = await self._watching.worker(actor, worker_id)
            if actor.role is not Role.ADMIN:
                raise Forbidden(f"{actor.id} is no admin")
            _check(report, self._watching.state(report), wish)
            if report.wish is wish or (wish is WorkerWish.STOP and report.stopping):
                return report
            try:
                told = self._told(actor, report, wish)
                await self._store.workers.ask(worker_id, wish, report.wish, told)
            except Conflict:
                continue
            return replace(report, wish=wish)
        raise Conflict(f"what is wanted of worker {worker_id} keeps changing; try again")

    def _told(self, actor: Actor, report: WorkerReport, wish: WorkerWish) -> Event:
        return Event(
            name=_EVENTS[wish],
            subject=report.id,
            owner=actor.id,
            at=self._clock.now(),
            actor=actor.id,
            data={"host": report.host, "pid": report.pid},
        )


def _check(report: WorkerReport, state: WorkerState, wish: WorkerWish) -> None:
    if state is WorkerState.GONE:
        raise IllegalMove(f"worker {report.id} is gone")
    if state is WorkerState.STOPPING and wish is not WorkerWish.STOP:
        raise IllegalMove(f"worker {report.id} is stopping")
