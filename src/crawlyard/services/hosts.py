"""Hosts: the current load on each, and the rules that admins set."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, TypedDict, Unpack

from msgspec import Meta
from msgspec.structs import replace

from crawlyard.core.access.job_parts import JobPart
from crawlyard.core.access.user import Permit, Role
from crawlyard.core.endpoints.endpoint import Cursor, IfMatch, Limit, Slice, endpoint, make_slice
from crawlyard.core.events.event import Event, EventName
from crawlyard.core.hosts.answers import HostOut, HostRuleOut
from crawlyard.core.hosts.hosts import (
    LONGEST_DELAY_S,
    MAX_NOTE,
    MOST_AT_ONCE,
    DelaySource,
    HostRule,
    HostState,
)
from crawlyard.errors import Conflict, NotFound, Version, check_version
from crawlyard.lazy import lazily
from crawlyard.services.noun import Noun
from crawlyard.services.races import TRIES

# it loads the parser of URLs
with lazily():
    from crawlyard.engine import urls
    from crawlyard.services.jobs import lookup

READ, WRITE = Permit.JOBS_READ, Permit.WORKERS_WRITE


Note = Annotated[str, Meta(max_length=MAX_NOTE)]


class HostChanges(TypedDict, total=False):
    """New values of a rule; ``None`` removes a value."""

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
    """Shows hosts, and lets admins set their rules; users see the hosts of their own jobs.

    A host is named as in a URL, in any spelling. With *version*, the change is made only if that
    version of the rule is current (0: no rule exists); otherwise `Stale` is raised. Setting the
    values that a rule has already changes nothing and writes no event.
    """

    @endpoint("GET /hosts", READ)
    async def list(self, *, limit: Limit = 50, cursor: Cursor = None) -> Slice[HostOut]:
        """List the hosts that are being crawled or have a rule, by name.

        Users see the hosts of the jobs that they see.
        """
        after = cursor or ""
        loads = {load.host: load for load in await self._loads() if load.host > after}
        if self._actor.role is Role.ADMIN:
            rows = await self._services.store.host_rules.find(after, limit + 1)
            rules: dict[str, HostRule | None] = {rule.host: rule for rule in rows}
            names = sorted(loads.keys() | rules.keys())[: limit + 1]
        else:
            names = sorted(loads)[: limit + 1]
            rules = {name: await self._rule(name) for name in names}
        hosts = [_host_with_rule(loads.get(name), name, rules.get(name)) for name in names]
        return make_slice(hosts, limit, lambda host: host, lambda host: host.host)

    @endpoint("GET /jobs/{job_id}/hosts", READ, noun="hosts")
    async def of_job(self, job_id: str, *, limit: Limit = 10) -> Slice[HostOut]:
        """List the hosts that a job is crawling, with their pace, the longest queue first."""
        store = self._services.store
        job = (await lookup.find_job(store, self._actor, job_id, JobPart.STATE)).job
        hosts = await self._services.watching.hosts(self._actor, job.id)
        hosts.sort(key=lambda host: (-host.waiting, host.host))
        ruled = [
            _host_with_rule(host, host.host, await self._rule(host.host)) for host in hosts[:limit]
        ]
        return Slice(items=ruled, has_more=len(hosts) > limit, total=len(hosts))

    @endpoint("GET /hosts/{host}", READ, "live")
    async def get(self, host: str) -> HostOut:
        """Return the load on one host, and its rule; the ETag is the rule's."""
        return await self._host_out(urls.host_named(host))

    @endpoint(
        "PATCH /hosts/{host}",
        WRITE,
        example={"delay_s": 2, "at_once": 1, "note": "Their admin asked us to"},
    )
    async def set(
        self, host: str, *, version: IfMatch = None, **changes: Unpack[HostChanges]
    ) -> HostOut:
        """Limit the combined requests of all jobs to a host; a job's settings may be stricter."""
        values = {
            name: "" if (name, value) == ("note", None) else value
            for name, value in changes.items()
        }
        return await self._change(host, values, EventName.HOST_UPDATED, version)

    @endpoint(
        "POST /hosts/{host}/pause", WRITE, example={"note": "Down for maintenance until Friday"}
    )
    async def pause(
        self, host: str, note: Note | None = None, *, version: IfMatch = None
    ) -> HostOut:
        """Stop requests to a host until it is resumed; its URLs wait.

        Without a note, that of its rule stays.
        """
        changes = _state_changes(HostState.PAUSED, note)
        return await self._change(host, changes, EventName.HOST_PAUSED, version)

    @endpoint(
        "POST /hosts/{host}/block", WRITE, example={"note": "Down for maintenance until Friday"}
    )
    async def block(
        self, host: str, note: Note | None = None, *, version: IfMatch = None
    ) -> HostOut:
        """Stop requests to a host; its URLs are skipped, in running jobs as well.

        Without a note, that of its rule stays.
        """
        changes = _state_changes(HostState.BLOCKED, note)
        return await self._change(host, changes, EventName.HOST_BLOCKED, version)

    @endpoint("POST /hosts/{host}/resume", WRITE)
    async def resume(self, host: str, *, version: IfMatch = None) -> HostOut:
        """Allow requests to a host again, at the rate that its rule sets."""
        changes = _state_changes(HostState.OPEN, None)
        return await self._change(host, changes, EventName.HOST_RESUMED, version)

    @endpoint("DELETE /hosts/{host}", WRITE, status=204)
    async def unset(self, host: str, *, version: IfMatch = None) -> None:
        """Delete the rule of a host: the settings of each job apply again."""
        for _ in range(TRIES):
            old = await self._get_for_change(host, version)
            now = self._services.clock.now()
            event = host_event(
                EventName.HOST_UNSET, replace(old, actor=self._actor.id, updated_at=now)
            )
            with suppress(Conflict):
                return await self._services.store.host_rules.delete(old.host, old.version, event)
        raise _keeps_changing(host)

    @endpoint("GET /hosts/{host}/deletion", WRITE)
    async def deletable(self, host: str, *, version: IfMatch = None) -> HostRuleOut:
        """Check that the rule can be deleted, and return it."""
        return HostRuleOut.filled(await self._get_for_change(host, version))

    async def _get_for_change(self, host: str, version: Version) -> HostRule:
        name = urls.host_named(host)
        self._check_admin("only one says how hosts are asked")
        rule = await self._services.store.host_rules.get(name)
        check_version(f"the rule of host {name}", rule.version, version)
        return rule

    async def _change(
        self, host: str, changes: Mapping[str, Any], event: EventName, version: Version
    ) -> HostOut:
        name = urls.host_named(host)
        self._check_admin("only one says how hosts are asked")
        for _ in range(TRIES):
            now = self._services.clock.now()
            old = await self._rule(name) or HostRule(host=name, version=0, updated_at=now)
            check_version(f"the rule of host {name}", old.version, version)
            if all(getattr(old, field) == value for field, value in changes.items()):
                return await self._host_out(name)
            new = replace(
                old, **changes, actor=self._actor.id, updated_at=now, version=old.version + 1
            )
            with suppress(Conflict):
                await self._services.store.host_rules.save(new, host_event(event, new))
                load = next((host for host in await self._loads() if host.host == name), None)
                return _host_with_rule(load, name, new)
        raise _keeps_changing(name)

    async def _host_out(self, name: str) -> HostOut:
        load = next((host for host in await self._loads() if host.host == name), None)
        visible = load is not None or self._actor.role is Role.ADMIN
        rule = await self._rule(name) if visible else None
        if load is None and rule is None:
            raise NotFound(f"host {name} is not being crawled and has no rule")
        return _host_with_rule(load, name, rule)

    async def _loads(self) -> Sequence[HostOut]:
        return await self._services.watching.hosts(self._actor)

    async def _rule(self, name: str) -> HostRule | None:
        try:
            return await self._services.store.host_rules.get(name)
        except NotFound:
            return None


def _keeps_changing(name: str) -> Conflict:
    return Conflict(f"the rule of host {name} keeps changing; try again")


def _state_changes(state: HostState, note: str | None) -> Mapping[str, Any]:
    return {"state": state} | ({} if note is None else {"note": note})


def _host_with_rule(load: HostOut | None, name: str, rule: HostRule | None) -> HostOut:
    """Return a host with its rule; if it is not being crawled, with the limits of the rule."""
    idle = HostOut(
        host=name,
        state=HostState.OPEN.value,
        version=0,
        rule=None,
        in_flight=0,
        at_once=rule.at_once or 0 if rule is not None else 0,
        delay_s=rule.effective_delay_s(0.0) if rule is not None else 0.0,
        delay_from=DelaySource.RULE.value,
        refusals=0,
        held_until=None,
        booked_until=None,
        waiting=0,
        jobs=(),
        others=0,
        workers=(),
    )
    return (load or idle).under(rule)


def host_event(name: EventName, rule: HostRule) -> Event:
    """Return the event of a change to a host's rule; *rule* is the new one."""
    return Event(
        name=name,
        subject=rule.host,
        owner=rule.actor,
        at=rule.updated_at,
        actor=rule.actor,
        data={
            "state": rule.state.value,
            "delay_s": rule.delay_s,
            "at_once": rule.at_once,
            "note": rule.note,
            "version": rule.version,
        },
    )
