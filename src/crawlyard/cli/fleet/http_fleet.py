"""Workers and hosts of a yard that is asked over HTTP."""

from collections.abc import Mapping

from crawlyard.client import AsyncClient
from crawlyard.core.answers.fleet.watch import HostOut, WorkerOut


class HttpFleet:
    """Asks a server; each method is a request or as many as its list has pages."""

    def __init__(self, client: AsyncClient) -> None:
        self._workers = client.workers
        self._hosts = client.hosts

    async def workers(self) -> list[WorkerOut]:
        """Return the workers, gone ones for a day as well."""
        return [worker async for worker in self._workers.list()]

    async def quiet(self, worker_id: str) -> WorkerOut:
        """Let a worker claim no more jobs."""
        return await self._workers.quiet(worker_id)

    async def resume(self, worker_id: str) -> WorkerOut:
        """Let a quiet worker claim jobs again."""
        return await self._workers.resume(worker_id)

    async def stop(self, worker_id: str) -> WorkerOut:
        """Let a worker give its jobs back and end."""
        return await self._workers.stop(worker_id)

    async def forget(self, worker_id: str) -> None:
        """Forget a worker that is gone."""
        await self._workers.forget(worker_id)

    async def hosts(self, limit: int) -> list[HostOut]:
        """Return the hosts that are asked now or have a rule, by name, at most *limit*."""
        return [host async for host in self._hosts.list(limit=limit)]

    async def host(self, host: str) -> HostOut:
        """Return a host."""
        return await self._hosts.get(host)

    async def set_host(self, host: str, changes: Mapping[str, object]) -> HostOut:
        """Change ``delay_s``, ``at_once`` and ``note`` of a rule; ``None`` takes one away."""
        return await self._hosts.set(host, changes)

    async def pause_host(self, host: str, note: str | None) -> HostOut:
        """Let nobody ask a host until it is resumed."""
        return await self._hosts.pause(host, note)

    async def block_host(self, host: str, note: str | None) -> HostOut:
        """Let nobody ask a host; its URLs are skipped."""
        return await self._hosts.block(host, note)

    async def resume_host(self, host: str) -> HostOut:
        """Let a host be asked again."""
        return await self._hosts.resume(host)

    async def unset_host(self, host: str) -> None:
        """Delete the rule of a host."""
        await self._hosts.unset(host)
