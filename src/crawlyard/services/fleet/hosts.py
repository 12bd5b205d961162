"""Hosts, as one user looks at them and says how each is to be asked."""

from typing import Annotated, TypedDict, Unpack

from msgspec import Meta

from crawlyard.core.access.user import Permit
from crawlyard.core.answers.fleet.watch import HostOut, HostRuleOut
from crawlyard.core.endpoint import Cursor, IfMatch, Limit, Slice, endpoint, sliced
from crawlyard.core.hosts.rule import LONGEST_DELAY_S, MAX_NOTE, MOST_AT_ONCE
from crawlyard.services.noun import Noun

READ, WRITE = Permit.JOBS_READ, Permit.WORKERS_WRITE

Note = Annotated[str, Meta(max_length=MAX_NOTE)]


class HostChanges(TypedDict, total=False):
    """What is to be said of a host from now on; ``None`` takes it away."""

    delay_s: Annotated[
        Annotated[float, Meta(ge=0, le=LONGEST_DELAY_S)] | None,
        Meta(description="Seconds between two requests, at least."),
    ]
    at_once: Annotated[
        Annotated[int, Meta(ge=1, le=MOST_AT_ONCE)] | None,
        Meta(description="Requests at the same time, at most."),
    ]
    note: Note | None


class Hosts(Noun):
    """What is done to each host, and what operators say of it.

    With *version*, only a rule of that version is changed (0: where there is none): else `Stale`
    is raised and nothing is written.
    """

    @endpoint("GET /hosts", READ)
    async def list(self, *, limit: Limit = 50, cursor: Cursor = None) -> Slice[HostOut]:
        """List the hosts that are asked now or have a rule, by name; a user sees their own."""
        found = await self._services.host_rules.list(
            self._actor, after=cursor or "", limit=limit + 1
        )
        return sliced(found, limit, HostOut.of, lambda one: one.host)

    @endpoint("GET /hosts/{host}", READ, "live")
    async def get(self, host: str) -> HostOut:
        """Return what is done to one host, and its rule; the ETag is the rule's."""
        return HostOut.of(await self._services.host_rules.get(self._actor, host))

    @endpoint(
        "PATCH /hosts/{host}",
        WRITE,
        example={"delay_s": 2, "at_once": 1, "note": "Their admin asked us to"},
    )
    async def set(
        self, host: str, *, version: IfMatch = None, **changes: Unpack[HostChanges]
    ) -> HostOut:
        """Say how gently a host is to be asked by all jobs together; they may be gentler still."""
        return HostOut.of(
            await self._services.host_rules.set(self._actor, host, changes, version=version)
        )

    @endpoint(
        "POST /hosts/{host}/pause", WRITE, example={"note": "Down for maintenance until Friday"}
    )
    async def pause(
        self, host: str, note: Note | None = None, *, version: IfMatch = None
    ) -> HostOut:
        """Let nobody ask a host until it is resumed; its URLs wait.

        Without a note, that of its rule stays.
        """
        return HostOut.of(
            await self._services.host_rules.pause(self._actor, host, note, version=version)
        )

    @endpoint(
        "POST /hosts/{host}/block", WRITE, example={"note": "Down for maintenance until Friday"}
    )
    async def block(
        self, host: str, note: Note | None = None, *, version: IfMatch = None
    ) -> HostOut:
        """Let nobody ask a host; its URLs are skipped, in running jobs as well.

        Without a note, that of its rule stays.
        """
        return HostOut.of(
            await self._services.host_rules.block(self._actor, host, note, version=version)
        )

    @endpoint("POST /hosts/{host}/resume", WRITE)
    async def resume(self, host: str, *, version: IfMatch = None) -> HostOut:
        """Let a host be asked again, at the pace that its rule says."""
        return HostOut.of(
            await self._services.host_rules.resume(self._actor, host, version=version)
        )

    @endpoint("DELETE /hosts/{host}", WRITE, status=204)
    async def unset(self, host: str, *, version: IfMatch = None) -> None:
        """Delete the rule of a host: it is asked as its jobs wish."""
        await self._services.host_rules.unset(self._actor, host, version=version)

    @endpoint("GET /hosts/{host}/deletion", WRITE)
    async def deletable(self, host: str, *, version: IfMatch = None) -> HostRuleOut:
        """Return the rule that deleting it would delete, or refuse as that would be."""
        return HostRuleOut.of(
            await self._services.host_rules.unset(self._actor, host, version=version, dry_run=True)
        )
