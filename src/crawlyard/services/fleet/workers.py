"""Workers, as one user looks at them and says what is wanted of each."""

from crawlyard.core.access.user import Permit
from crawlyard.core.answers.fleet.watch import WorkerOut
from crawlyard.core.endpoint import Slice, endpoint, reply
from crawlyard.core.overview.worker_status import WorkerReport
from crawlyard.services.noun import Noun

READ, WRITE = Permit.WORKERS_READ, Permit.WORKERS_WRITE


class Workers(Noun):
    """Who runs jobs, and what is wanted of each.

    A worker that there is not raises `NotFound`, and one that cannot do what is wanted
    `IllegalMove`.
    """

    @endpoint("GET /workers", READ, "seq")
    async def list(self) -> Slice[WorkerOut]:
        """List the workers, gone ones for a day as well."""
        found = await self._services.watching.workers(self._actor)
        return Slice(items=[self._shown(report) for report in found])

    @endpoint("GET /workers/{worker_id}", READ)
    async def get(self, worker_id: str) -> WorkerOut:
        """Return a worker."""
        return self._shown(await self._services.watching.worker(self._actor, worker_id))

    @endpoint("DELETE /workers/{worker_id}", WRITE, status=204)
    async def forget(self, worker_id: str) -> None:
        """Forget a worker that is gone."""
        await self._services.watching.forget(self._actor, worker_id)

    @endpoint("POST /workers/{worker_id}/quiet", WRITE, status=202)
    async def quiet(self, worker_id: str) -> WorkerOut:
        """Let a worker claim no more jobs, and go on with those it has."""
        before = await self._services.watching.worker(self._actor, worker_id)
        return self._wanted(before, await self._services.fleet.quiet(self._actor, worker_id))

    @endpoint("POST /workers/{worker_id}/resume", WRITE, status=202)
    async def resume(self, worker_id: str) -> WorkerOut:
        """Let a quiet worker claim jobs again."""
        before = await self._services.watching.worker(self._actor, worker_id)
        return self._wanted(before, await self._services.fleet.resume(self._actor, worker_id))

    @endpoint("POST /workers/{worker_id}/stop", WRITE, status=202)
    async def stop(self, worker_id: str) -> WorkerOut:
        """Let a worker give its jobs back and end; others go on with them where they stand."""
        before = await self._services.watching.worker(self._actor, worker_id)
        return self._wanted(before, await self._services.fleet.stop(self._actor, worker_id))

    def _wanted(self, before: WorkerReport, after: WorkerReport) -> WorkerOut:
        reply().unchanged = before.wish is after.wish
        return self._shown(after)

    def _shown(self, report: WorkerReport) -> WorkerOut:
        return WorkerOut.of(report, alive=self._services.watching.is_alive(report))
