"""`HostRuleStore` over a dictionary."""

# ruff: noqa: D102  # the Protocols in store/base say what each method does

from msgspec import Struct

from crawlyard.core.event import Event
from crawlyard.core.host_rule import HostRule
from crawlyard.errors import Conflict, NotFound
from crawlyard.store.memory.shelf import Shelf
from crawlyard.store.text import scrubbed


class MemoryHostRules(Struct, frozen=True):
    """`HostRuleStore` in memory."""

    _shelf: Shelf

    async def find(self, after: str, limit: int) -> list[HostRule]:
        rules = self._shelf.host_rules
        return [rules[host] for host in sorted(rules) if host > after][:limit]

    async def get(self, host: str) -> HostRule:
        rule = self._shelf.host_rules.get(host)
        if rule is None:
            raise NotFound(f"no rule for host {host}")
        return rule

    async def put(self, rule: HostRule, event: Event) -> None:
        self._check_version(rule.host, rule.version - 1)
        self._shelf.host_rules[rule.host] = scrubbed(rule)
        self._shelf.tell(event)

    async def delete(self, host: str, version: int, event: Event) -> None:
        self._check_version(host, version)
        del self._shelf.host_rules[host]
        self._shelf.tell(event)

    def _version(self, host: str) -> int:
        rule = self._shelf.host_rules.get(host)
        return rule.version if rule is not None else 0

    def _check_version(self, host: str, version: int) -> None:
        if self._version(host) != version:
            raise Conflict(f"the rule of host {host} is not at version {version} any more")
