# made of asynchronous/fleet.py by `python -m tests.sync_client`; a test compares it
"""Who works in a yard and whom it asks: workers and hosts, and what is said of them."""

from collections.abc import Generator, Mapping

from crawlyard.client.synchronous.calls import Calls
from crawlyard.client.transport import if_match, part
from crawlyard.core.answers.fleet.watch import HostOut, HostRuleOut, WorkerOut


class Workers:
    """Looks at workers, and says what is wanted of them."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(self) -> Generator[WorkerOut]:
        """Yield the workers, gone ones for a day as well."""
        return self._calls.whole(WorkerOut, "workers")

    def get(self, worker_id: str) -> WorkerOut:
        """Return a worker."""
        return self._calls.one(WorkerOut, "GET", f"workers/{part(worker_id)}")

    def quiet(self, worker_id: str) -> WorkerOut:
        """Let a worker claim no more jobs, and go on with those it has."""
        return self._want(worker_id, "quiet")

    def resume(self, worker_id: str) -> WorkerOut:
        """Let a quiet worker claim jobs again."""
        return self._want(worker_id, "resume")

    def stop(self, worker_id: str) -> WorkerOut:
        """Let a worker give its jobs back and end; others go on with them where they stand."""
        return self._want(worker_id, "stop")

    def forget(self, worker_id: str) -> None:
        """Forget a worker that is gone."""
        self._calls.send("DELETE", f"workers/{part(worker_id)}")

    def _want(self, worker_id: str, what: str) -> WorkerOut:
        return self._calls.one(WorkerOut, "POST", f"workers/{part(worker_id)}/{what}")


class Hosts:
    """Looks at hosts, and says how they are to be asked."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(self, *, limit: int | None = None) -> Generator[HostOut]:
        """Yield the hosts that are asked now or have a rule, by name."""
        return self._calls.every(HostOut, "hosts", limit=limit)

    def get(self, host: str) -> HostOut:
        """Return what is done to one host, and its rule."""
        return self._calls.one(HostOut, "GET", _path(host))

    def set(
        self, host: str, changes: Mapping[str, object], *, version: int | None = None
    ) -> HostOut:
        """Change ``delay_s``, ``at_once`` and ``note`` of a rule; ``None`` takes one away."""
        return self._calls.one(
            HostOut, "PATCH", _path(host), body=changes, headers=if_match(version)
        )

    def pause(self, host: str, note: str | None = None, *, version: int | None = None) -> HostOut:
        """Let nobody ask a host until it is resumed; its URLs wait."""
        return self._act(host, "pause", {"note": note}, version)

    def block(self, host: str, note: str | None = None, *, version: int | None = None) -> HostOut:
        """Let nobody ask a host; its URLs are skipped."""
        return self._act(host, "block", {"note": note}, version)

    def resume(self, host: str, *, version: int | None = None) -> HostOut:
        """Let a host be asked again, at the pace that its rule says."""
        return self._act(host, "resume", None, version)

    def unset(self, host: str, *, version: int | None = None) -> None:
        """Delete the rule of a host: it is asked as its jobs wish."""
        self._calls.send("DELETE", _path(host), headers=if_match(version))

    def deletable(self, host: str, *, version: int | None = None) -> HostRuleOut:
        """Return the rule that `unset` would delete."""
        return self._calls.one(
            HostRuleOut, "GET", f"{_path(host)}/deletion", headers=if_match(version)
        )

    def _act(self, host: str, verb: str, body: object, version: int | None) -> HostOut:
        path = f"{_path(host)}/{verb}"
        return self._calls.one(HostOut, "POST", path, body=body, headers=if_match(version))


def _path(host: str) -> str:
    return f"hosts/{part(host)}"
