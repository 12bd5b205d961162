# made of asynchronous/yard.py by `python -m tests.sync_client`; a test compares it
"""What a yard is doing and how it is set: workers, hosts, figures, settings."""

from collections.abc import Generator, Mapping
from datetime import datetime

from crawlyard.client.synchronous.calls import Calls
from crawlyard.client.transport import if_match, part
from crawlyard.web.wire.attention import AttentionOut
from crawlyard.web.wire.settings import SectionOut
from crawlyard.web.wire.stats import StatsOut
from crawlyard.web.wire.watch import HostOut, WorkerOut


class Workers:
    """Looks at workers."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(self) -> Generator[WorkerOut]:
        """Yield the workers, gone ones for a day as well."""
        return self._calls.whole(WorkerOut, "workers")

    def get(self, worker_id: str) -> WorkerOut:
        """Return a worker."""
        return self._calls.one(WorkerOut, "GET", f"workers/{part(worker_id)}")

    def forget(self, worker_id: str) -> None:
        """Forget a worker that is gone."""
        self._calls.send("DELETE", f"workers/{part(worker_id)}")


class Hosts:
    """Looks at the hosts that are asked now."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(self) -> Generator[HostOut]:
        """Yield the hosts by name: how hard they are asked, and for which jobs."""
        return self._calls.whole(HostOut, "hosts")

    def get(self, host: str) -> HostOut:
        """Return what is done to one host."""
        return self._calls.one(HostOut, "GET", f"hosts/{part(host)}")


class Stats:
    """Counts jobs, pages and bytes."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def get(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        step_s: float | None = None,
        owner: str | None = None,
    ) -> StatsOut:
        """Return what there is now, and what was done from *since* up to and without *until*.

        By default the last day, in steps of an hour. *owner* is ``me`` or nobody: an
        admin is told of all.
        """
        asked = {"since": since, "until": until, "step_s": step_s, "owner": owner}
        return self._calls.one(StatsOut, "GET", "stats", params=asked)


class Attention:
    """Looks at what needs a person."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def get(self) -> AttentionOut:
        """Return it, since when it does, and which endpoint helps."""
        return self._calls.one(AttentionOut, "GET", "attention")


class SettingSections:
    """Reads the settings that an admin changes while the yard runs, and changes them."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(self) -> Generator[SectionOut]:
        """Yield all sections."""
        return self._calls.whole(SectionOut, "settings")

    def get(self, section: str) -> SectionOut:
        """Return a section: what was written, and what holds."""
        return self._calls.one(SectionOut, "GET", f"settings/{part(section)}")

    def put(
        self, section: str, value: Mapping[str, object], *, version: int | None = None
    ) -> SectionOut:
        """Let a section say this and nothing else."""
        return self._calls.one(
            SectionOut,
            "PUT",
            f"settings/{part(section)}",
            body=value,
            headers=if_match(version, required=True),
        )
