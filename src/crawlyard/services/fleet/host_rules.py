"""Host service: the current load on each host, and the rules that operators set."""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.access.user import Actor, Role
from crawlyard.core.event import Event, EventName
from crawlyard.core.hosts.rule import HostRule, HostState
from crawlyard.core.hosts.status import HostStanding
from crawlyard.engine.urls import host_named
from crawlyard.errors import Conflict, Forbidden, NotFound, Version, check_version
from crawlyard.services.fleet.status import Watching
from crawlyard.store.store import Store

_TRIES = 8  # attempts per change: after a lost race it is reread; more losses mean a bug


class HostRules:
    """Shows hosts and changes their rules.

    Admins see and change all of them; other users see the hosts of their own jobs. A host
    is named as in a URL, in any spelling. Setting what a rule already says changes nothing
    and writes no event.
    """

    def __init__(self, store: Store, watching: Watching, clock: Clock) -> None:
        self._store = store
        self._watching = watching
        self._clock = clock

    async def list(self, actor: Actor, *, after: str = "", limit: int = 50) -> list[HostStanding]:
        """Return hosts that are being crawled or have a rule, by name, starting after *after*.

        Users who are not admins see the hosts that are being crawled for their jobs.
        """
        asked = {one.host: one for one in await self._watching.hosts(actor) if one.host > after}
        if actor.role is Role.ADMIN:
            found = await self._store.host_rules.find(after, limit)
            rules: dict[str, HostRule | None] = {rule.host: rule for rule in found}
            shown = sorted(asked.keys() | rules.keys())[:limit]
        else:
            shown = sorted(asked)[:limit]
            rules = {name: await self._rule(name) for name in shown}
        return [_ruled(asked.get(name), name, rules.get(name)) for name in shown]

    async def get(self, actor: Actor, host: str) -> HostStanding:
        """Return the load of all workers on a host, and its rule.

        Raises:
            Invalid: *host* is not a host name.
            NotFound: it is not being crawled for a job of the actor; for an admin: it is not
                being crawled at all, and has no rule.
        """
        name = host_named(host)
        asked = {one.host: one for one in await self._watching.hosts(actor)}
        rule = await self._rule(name) if name in asked or actor.role is Role.ADMIN else None
        if name not in asked and rule is None:
            raise NotFound(f"host {name} is not asked now, and nothing is said of it")
        return _ruled(asked.get(name), name, rule)

    async def set(
        self, actor: Actor, host: str, changes: Mapping[str, Any], *, version: Version = None
    ) -> HostStanding:
        """Change ``delay_s``, ``at_once`` and ``note`` of a host's rule; ``None`` removes a value.

        Raises:
            Invalid: *host* is not a host name, or a value is not valid.
            Forbidden: the actor is not an admin.
            Stale: the rule is not at *version* (0: there is no rule).
            NotFound: there is nothing to change, and the host has no rule and is not being
                crawled.
        """
        said = {
            name: "" if (name, value) == ("note", None) else value
            for name, value in changes.items()
        }
        return await self._change(actor, host, said, EventName.HOST_UPDATED, version)

    async def pause(
        self, actor: Actor, host: str, note: str | None = None, *, version: Version = None
    ) -> HostStanding:
        """Stop requests to a host until it is resumed; its URLs wait.

        Raises:
            Invalid, Forbidden, Stale: as for `set`.
        """
        changes = _moved(HostState.PAUSED, note)
        return await self._change(actor, host, changes, EventName.HOST_PAUSED, version)

    async def block(
        self, actor: Actor, host: str, note: str | None = None, *, version: Version = None
    ) -> HostStanding:
        """Stop requests to a host; its URLs are skipped.

        Raises:
            Invalid, Forbidden, Stale: as for `set`.
        """
        changes = _moved(HostState.BLOCKED, note)
        return await self._change(actor, host, changes, EventName.HOST_BLOCKED, version)

    async def resume(self, actor: Actor, host: str, *, version: Version = None) -> HostStanding:
        """Allow requests to a host again, at the rate that its rule sets.

        Raises:
            Invalid, Forbidden, Stale: as for `set`.
            NotFound: it has no rule, and is not being crawled.
        """
        changes = _moved(HostState.OPEN, None)
        return await self._change(actor, host, changes, EventName.HOST_RESUMED, version)

    async def unset(
        self, actor: Actor, host: str, *, version: Version = None, dry_run: bool = False
    ) -> HostRule:
        """Delete the rule of a host, and return it; the settings of each job apply again.

        With *dry_run*, only return the rule.

        Raises:
            Invalid, Forbidden, Stale: as for `set`.
            NotFound: the host has no rule.
        """
        name = host_named(host)
        _check_admin(actor)
        for _ in range(_TRIES):
            old = await self._store.host_rules.get(name)
            check_version(f"the rule of host {name}", old.version, version)
            if dry_run:
                return old
            gone = replace(old, actor=actor.id, updated_at=self._clock.now())
            try:
                told = host_event(EventName.HOST_UNSET, gone)
                await self._store.host_rules.delete(name, old.version, told)
            except Conflict:
                continue
            return old
        raise _keeps_changing(name)

    async def _change(
        self,
        actor: Actor,
        host: str,
        changes: Mapping[str, Any],
        event: EventName,
        version: Version,
    ) -> HostStanding:
        name = host_named(host)
        _check_admin(actor)
        for _ in range(_TRIES):
            now = self._clock.now()
            old = await self._rule(name) or HostRule(host=name, version=0, updated_at=now)
            check_version(f"the rule of host {name}", old.version, version)
            if all(getattr(old, field) == value for field, value in changes.items()):
                return await self.get(actor, name)
            new = replace(old, **changes, actor=actor.id, updated_at=now, version=old.version + 1)
            try:
                await self._store.host_rules.put(new, host_event(event, new))
            except Conflict:
                continue
            return await self._seen(actor, new)
        raise _keeps_changing(name)

    async def _rule(self, name: str) -> HostRule | None:
        try:
            return await self._store.host_rules.get(name)
        except NotFound:
            return None

    async def _seen(self, actor: Actor, rule: HostRule) -> HostStanding:
        asked = {one.host: one for one in await self._watching.hosts(actor)}
        return _ruled(asked.get(rule.host), rule.host, rule)


def _check_admin(actor: Actor) -> None:
    if actor.role is not Role.ADMIN:
        raise Forbidden(f"{actor.id} is no admin: only one says how hosts are asked")


def _keeps_changing(name: str) -> Conflict:
    return Conflict(f"the rule of host {name} keeps changing; try again")


def _moved(state: HostState, note: str | None) -> Mapping[str, Any]:
    return {"state": state} | ({} if note is None else {"note": note})


def _ruled(asked: HostStanding | None, name: str, rule: HostRule | None) -> HostStanding:
    """Return a host with its rule; if it is not being crawled, with the limits of the rule."""
    if asked is not None:
        return replace(asked, rule=rule)
    return HostStanding(
        host=name,
        at_once=rule.at_once or 0 if rule is not None else 0,
        delay_s=rule.slowed(0.0) if rule is not None else 0.0,
        rule=rule,
    )


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
