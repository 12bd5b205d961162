"""Live status: workers, and the hosts they crawl."""

from collections import defaultdict
from collections.abc import Sequence

from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.access.job_parts import JobPart
from crawlyard.core.access.user import Actor, Role
from crawlyard.core.hosts.answers import HostOut
from crawlyard.core.hosts.hosts import HostBooking, HostReport, HostState
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.workers.status import WorkerReport, WorkerState
from crawlyard.errors import NotFound
from crawlyard.services.jobs.lookup import visible_query
from crawlyard.services.workers.reporting import ALIVE
from crawlyard.store.queries import JobQuery
from crawlyard.store.store import Store

_MOST_JOBS = 10_000


class Watching:
    """Shows workers and hosts; jobs of other users are counted, not named."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def workers(self, actor: Actor) -> list[WorkerReport]:
        """Return the last report of each worker, including gone ones, the oldest worker first.

        Users who are not admins see only their own jobs in a report, and no hosts.
        """
        reports = await self._store.workers.find()
        if actor.role is Role.ADMIN:
            return reports
        own = await self._running(actor)
        return [_narrow(report, own) for report in reports]

    async def worker(self, actor: Actor, worker_id: str) -> WorkerReport:
        """Return the last report of a worker.

        Raises:
            NotFound: no such worker.
        """
        for report in await self.workers(actor):
            if report.id == worker_id:
                return report
        raise NotFound(f"no worker {worker_id}")

    def is_alive(self, report: WorkerReport) -> bool:
        """Return whether the last heartbeat of a worker is recent enough."""
        return self._clock.now() - report.beat_at <= ALIVE

    def state(self, report: WorkerReport) -> WorkerState:
        """Return the state of a worker, derived from its report and heartbeat."""
        return report.state(alive=self.is_alive(report))

    async def hosts(self, actor: Actor, job_id: str | None = None) -> list[HostOut]:
        """Return the hosts being crawled for jobs that the actor sees, by name.

        With *job_id*, only the hosts of that job, and only its URLs are counted as waiting.
        Their rules are left out.
        """
        reports: dict[str, list[tuple[str, HostReport]]] = defaultdict(list)
        for report in await self._store.workers.find():
            if self.is_alive(report):
                for host in report.hosts:
                    if job_id is None:
                        reports[host.host].append((report.id, host))
                    elif job_id in host.jobs:
                        own_queue = replace(host, waiting=host.queues.get(job_id, 0))
                        reports[host.host].append((report.id, own_queue))
        own = None if actor.role is Role.ADMIN else await self._running(actor)
        booked = await self._store.hosts.read_bookings(reports) if reports else {}
        every = (_standing(name, reports[name], booked.get(name), own) for name in sorted(reports))
        return [host for host in every if own is None or host.jobs]

    async def _running(self, actor: Actor) -> frozenset[str]:
        query = JobQuery(states=frozenset({State.RUNNING}))
        query = await visible_query(self._store, actor, query, JobPart.STATE)
        standings = await self._store.jobs.find(query, _MOST_JOBS)
        return frozenset(standing.job.id for standing in standings)


def _narrow(report: WorkerReport, own: frozenset[str]) -> WorkerReport:
    """Return the part of a report that may be shown to a user who sees the jobs *own*."""
    return WorkerReport(
        id=report.id,
        host=report.host,
        pid=report.pid,
        version=report.version,
        slots=report.slots,
        reserved=report.reserved,
        tags=report.tags,
        browsers=report.browsers,
        running=tuple(job_id for job_id in report.running if job_id in own),
        quiet=report.quiet,
        stopping=report.stopping,
        wish=report.wish,
        started_at=report.started_at,
        beat_at=report.beat_at,
    )


def _standing(
    name: str,
    worker_reports: Sequence[tuple[str, HostReport]],
    booking: HostBooking | None,
    own: frozenset[str] | None,
) -> HostOut:
    reports = [report for _, report in worker_reports]
    jobs = sorted({job for report in reports for job in report.jobs})
    visible = jobs if own is None else [job for job in jobs if job in own]
    slowest = max(reports, key=lambda report: report.delay_s)
    holds = [report.held_until for report in reports] + [booking.held_until if booking else None]
    return HostOut(
        host=name,
        state=HostState.OPEN.value,
        version=0,
        rule=None,
        in_flight=sum(report.in_flight for report in reports),
        at_once=min(report.at_once for report in reports),
        delay_s=slowest.delay_s,
        delay_from=slowest.delay_from.value,
        refusals=max(report.refusals for report in reports),
        held_until=max((hold for hold in holds if hold is not None), default=None),
        booked_until=booking.booked_until if booking else None,
        waiting=sum(report.waiting for report in reports),
        jobs=tuple(visible),
        others=len(jobs) - len(visible),
        workers=tuple(sorted({worker for worker, _ in worker_reports})),
    )
