"""What the command line asks of a yard about workers and hosts."""

from collections.abc import Mapping
from typing import Protocol

from crawlyard.core.answers.fleet.watch import HostOut, WorkerOut


class WorkerKeeper(Protocol):
    """Looks at workers and says what is wanted of them. What is not there is `NotFound`.

    What a worker's state does not allow is `IllegalMove`.
    """

    async def workers(self) -> list[WorkerOut]:
        """Return the workers, gone ones for a day as well."""
        ...

    async def quiet(self, worker_id: str) -> WorkerOut:
        """Let a worker claim no more jobs."""
        ...

    async def resume(self, worker_id: str) -> WorkerOut:
        """Let a quiet worker claim jobs again."""
        ...

    async def stop(self, worker_id: str) -> WorkerOut:
        """Let a worker give its jobs back and end."""
        ...

    async def forget(self, worker_id: str) -> None:
        """Forget a worker that is gone."""
        ...


class HostKeeper(Protocol):
    """Looks at hosts and says how they are to be asked. What names no host is `Invalid`."""

    async def hosts(self, limit: int) -> list[HostOut]:
        """Return the hosts that are asked now or have a rule, by name, at most *limit*."""
        ...

    async def host(self, host: str) -> HostOut:
        """Return a host. Raises `NotFound` if it is not asked now and has no rule."""
        ...

    async def set_host(self, host: str, changes: Mapping[str, object]) -> HostOut:
        """Change ``delay_s``, ``at_once`` and ``note`` of a rule; ``None`` takes one away."""
        ...

    async def pause_host(self, host: str, note: str | None) -> HostOut:
        """Let nobody ask a host until it is resumed."""
        ...

    async def block_host(self, host: str, note: str | None) -> HostOut:
        """Let nobody ask a host; its URLs are skipped."""
        ...

    async def resume_host(self, host: str) -> HostOut:
        """Let a host be asked again."""
        ...

    async def unset_host(self, host: str) -> None:
        """Delete the rule of a host. Raises `NotFound` if it has none."""
        ...


class FleetClient(WorkerKeeper, HostKeeper, Protocol):
    """Both; each method is one call of the services, or one endpoint of the API."""
