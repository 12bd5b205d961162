"""`HostRuleStore`: what operators say of hosts, and who said it last."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from crawlyard.core.events.event import Event, EventName
from crawlyard.core.hosts.hosts import HostRule, HostState
from crawlyard.errors import Conflict
from crawlyard.store.store import Store
from tests.builders import NOW


def a_rule(host: str = "example.org", **fields: Any) -> HostRule:
    defaults: dict[str, Any] = {"host": host, "actor": "ada", "updated_at": NOW}
    return HostRule(**(defaults | fields))


def its_event(host: str = "example.org") -> Event:
    return Event(name=EventName.HOST_UPDATED, subject=host, owner="ada", at=NOW, actor="ada")


async def save_rules(store: Store, *rules: HostRule) -> None:
    for rule in rules:
        await store.host_rules.save(rule, its_event(rule.host))


async def test_a_rule_comes_back_as_it_was_put_with_its_event(store: Store) -> None:
    rule = a_rule("[2001:db8::1]:8080", state=HostState.PAUSED, delay_s=2.5, at_once=3, note="Ü")

    await save_rules(store, rule, a_rule())

    assert await store.host_rules.get(rule.host) == rule
    assert await store.host_rules.get("example.org") == a_rule()
    assert [e.subject for e in await store.events.events()] == [rule.host, "example.org"]


async def test_rules_are_found_by_host_from_one_on(store: Store) -> None:
    names = ("b.example", "a.example", "a-b.example", "a.example:81", "c.example")
    await save_rules(store, *map(a_rule, names))

    every = [rule.host for rule in await store.host_rules.find("", 10)]
    behind = [rule.host for rule in await store.host_rules.find("a.example", 2)]

    assert every == sorted(names)
    assert behind == ["a.example:81", "b.example"]


async def test_a_rule_is_replaced_by_its_next_version_alone(store: Store) -> None:
    await save_rules(store, a_rule())
    later = NOW + timedelta(seconds=1)
    second = a_rule(state=HostState.BLOCKED, delay_s=1, actor="bob", version=2, updated_at=later)

    await save_rules(store, second)

    for version in (1, 2, 4):
        with pytest.raises(Conflict, match=r"rule of host example\.org is not at version"):
            await save_rules(store, replace(second, note="too late", version=version))
    assert await store.host_rules.get("example.org") == second
    assert len(await store.events.events()) == 2


async def test_only_a_first_version_makes_a_rule(store: Store) -> None:
    with pytest.raises(Conflict):
        await save_rules(store, a_rule(version=2))

    assert await store.host_rules.find("", 10) == []
    assert await store.events.events() == []


async def test_a_rule_is_deleted_at_the_version_that_was_seen(store: Store) -> None:
    await save_rules(store, a_rule(), a_rule("other.example"), a_rule(version=2))

    for version in (1, 3):
        with pytest.raises(Conflict):
            await store.host_rules.delete("example.org", version, its_event())
    await store.host_rules.delete("example.org", 2, its_event())
    with pytest.raises(Conflict):
        await store.host_rules.delete("example.org", 2, its_event())

    assert [rule.host for rule in await store.host_rules.find("", 10)] == ["other.example"]
    assert len(await store.events.events()) == 4
    await save_rules(store, a_rule())
