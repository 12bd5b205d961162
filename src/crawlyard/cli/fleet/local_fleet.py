"""Workers and hosts of a yard that is open in this process."""

from collections.abc import Mapping

from crawlyard.core.access.user import Actor
from crawlyard.core.answers.fleet.watch import HostOut, WorkerOut
from crawlyard.core.overview.worker_status import WorkerReport
from crawlyard.services.fleet.host_rules import HostRules
from crawlyard.services.fleet.status import Watching
from crawlyard.services.fleet.worker_orders import Fleet
from crawlyard.yard import Yard


class LocalFleet:
    """Calls the services of a yard that is open in this process."""

    def __init__(self, yard: Yard, actor: Actor) -> None:
        self._actor = actor
        self._watching = watching = Watching(yard.store, yard.jobs, yard.clock)
        self._fleet = Fleet(yard.store, watching, yard.clock)
        self._hosts = HostRules(yard.store, watching, yard.clock)

    async def workers(self) -> list[WorkerOut]:
        """Return the workers, gone ones for a day as well."""
        return [self._out(report) for report in await self._watching.workers(self._actor)]

    async def quiet(self, worker_id: str) -> WorkerOut:
        """Let a worker claim no more jobs."""
        return self._out(await self._fleet.quiet(self._actor, worker_id))

    async def resume(self, worker_id: str) -> WorkerOut:
        """Let a quiet worker claim jobs again."""
        return self._out(await self._fleet.resume(self._actor, worker_id))

    async def stop(self, worker_id: str) -> WorkerOut:
        """Let a worker give its jobs back and end."""
        return self._out(await self._fleet.stop(self._actor, worker_id))

    async def forget(self, worker_id: str) -> None:
        """Forget a worker that is gone."""
        await self._watching.forget(self._actor, worker_id)

    async def hosts(self, limit: int) -> list[HostOut]:
        """Return the hosts that are asked now or have a rule, by name, at most *limit*."""
        found = await self._hosts.list(self._actor, limit=limit)
        return [HostOut.of(standing) for standing in found]

    async def host(self, host: str) -> HostOut:
        """Return a host."""
        return HostOut.of(await self._hosts.get(self._actor, host))

    async def set_host(self, host: str, changes: Mapping[str, object]) -> HostOut:
        """Change ``delay_s``, ``at_once`` and ``note`` of a rule; ``None`` takes one away."""
        return HostOut.of(await self._hosts.set(self._actor, host, changes))

    async def pause_host(self, host: str, note: str | None) -> HostOut:
        """Let nobody ask a host until it is resumed."""
        return HostOut.of(await self._hosts.pause(self._actor, host, note))

    async def block_host(self, host: str, note: str | None) -> HostOut:
        """Let nobody ask a host; its URLs are skipped."""
        return HostOut.of(await self._hosts.block(self._actor, host, note))

    async def resume_host(self, host: str) -> HostOut:
        """Let a host be asked again."""
        return HostOut.of(await self._hosts.resume(self._actor, host))

    async def unset_host(self, host: str) -> None:
        """Delete the rule of a host."""
        await self._hosts.unset(self._actor, host)

    def _out(self, report: WorkerReport) -> WorkerOut:
        return WorkerOut.of(report, alive=self._watching.is_alive(report))
