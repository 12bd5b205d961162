"""Hosts: keys, rules, and jobs that wait for them."""

import math
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from crawlyard.core.hosts.hosts import HostReport, HostRule, HostState
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.spec import JobSpec, Scope
from crawlyard.core.jobs.waiting import WaitReason, running_waits
from crawlyard.core.parse import hosts_in
from crawlyard.engine.http.guard import BlockedAddress, Guard
from crawlyard.engine.scope import Boundary
from crawlyard.engine.urls import (
    canonical,
    for_rules,
    host_named,
    host_of,
    hostname_of,
    origin_of,
    port_of,
    spelled_origin_of,
)
from crawlyard.errors import Invalid
from tests.builders import NOW, a_job
from tests.builders_serve import a_report

PLAIN = "https://example.org/a"
DOTTED = "https://example.org./a"
ALL_BUT_ANY = [scope for scope in Scope if scope is not Scope.ANY]


def test_the_host_of_a_url_has_no_dot_at_its_end() -> None:
    for url, host, port in [
        (DOTTED, "example.org", 443),
        ("http://example.org.:8080/?x=.:/", "example.org:8080", 8080),
        ("http://example.org/a./b", "example.org", 80),
        ("http://127.0.0.1.:81/", "127.0.0.1:81", 81),
        ("http://[::1]:81/.:/", "[::1]:81", 81),
    ]:
        normalized = canonical(url)
        assert (host_of(normalized), port_of(normalized)) == (host, port), url
        assert hostname_of(normalized) == host.removesuffix(":8080").removesuffix(":81").strip(
            "[]"
        ), url
        assert origin_of(normalized) == f"{url.partition(':')[0]}://{host}", url
        assert (
            for_rules(normalized) == origin_of(normalized) + normalized[normalized.index("/", 8) :]
        ), url


def test_the_url_itself_keeps_its_dot_and_the_origin_that_secrets_go_to() -> None:
    assert canonical(DOTTED) == DOTTED
    assert spelled_origin_of(DOTTED) == "https://example.org."


def test_an_operator_names_a_host_with_a_dot_or_without() -> None:
    for named in ["Example.org.", "example.org", "https://example.org./x"]:
        assert host_named(named) == "example.org", named


@pytest.mark.parametrize("scope", ALL_BUT_ANY)
@pytest.mark.parametrize(("seed", "url"), [(PLAIN, DOTTED), (DOTTED, PLAIN)])
def test_a_dot_leads_out_of_no_scope(scope: Scope, seed: str, url: str) -> None:
    assert Boundary(JobSpec(urls=(seed,), scope=scope), [seed]).verdict(url, 1) is None


def test_a_dot_leads_past_no_pattern() -> None:
    spec = JobSpec(urls=(PLAIN,), exclude=("https://example.org/private/*",), include=("*/a",))
    boundary = Boundary(spec, [PLAIN])
    shut = boundary.verdict("https://example.org./private/x", 1)
    assert shut == "exclude: https://example.org/private/*"
    assert boundary.verdict(DOTTED, 1) is None


def test_an_allowed_name_is_the_one_with_a_dot_too(subtests: pytest.Subtests) -> None:
    for entry in ["intern.example", "intern.example."]:
        name = hostname_of(canonical("http://intern.example./"))
        Guard([entry]).check(name, "10.0.0.1", 80)
        with subtests.test(entry=entry), pytest.raises(BlockedAddress):
            Guard(["other.example"]).check(name, "10.0.0.1", 80)


def test_jobs_are_found_by_their_host_whichever_way_it_is_spelled() -> None:
    assert hosts_in([DOTTED, "http://example.org.:81/", PLAIN]) == ("example.org", "example.org:81")


def test_a_value_out_of_its_range_is_refused_by_its_name(subtests: pytest.Subtests) -> None:
    for field, value in [
        ("host", ""),
        ("host", "Example.org"),
        ("host", "https://example.org"),
        ("host", "example.org/"),
        ("host", "ann@example.org"),
        ("host", "example org"),
        ("host", "a" * 261),
        ("delay_s", -0.1),
        ("delay_s", 86_401),
        ("delay_s", math.nan),
        ("delay_s", math.inf),
        ("at_once", 0),
        ("at_once", 257),
        ("note", "x" * 501),
    ]:
        fields: dict[str, Any] = {"host": "example.org", field: value, "updated_at": NOW}
        with (
            subtests.test(value=value),
            pytest.raises(Invalid, match=f"^{field}: expected .*, got") as refused,
        ):
            HostRule(**fields)
        assert refused.value.field == field, value


def test_a_host_is_taken_as_it_stands_in_a_url() -> None:
    for host in ["example.org", "localhost:8080", "[::1]:81", "xn--bcher-kva.de"]:
        assert HostRule(host=host, delay_s=0, at_once=256, updated_at=NOW).host == host, host


def test_a_rule_makes_gentler_and_never_rougher_and_may_say_nothing() -> None:
    rule = HostRule(host="example.org", delay_s=2, at_once=3, updated_at=NOW)
    assert [rule.effective_delay_s(delay_s) for delay_s in (0.0, 5.0)] == [2, 5]
    assert [rule.effective_at_once(at_once) for at_once in (1, 8)] == [1, 3]
    rule = HostRule(host="example.org", updated_at=NOW)
    assert (rule.effective_delay_s(0.5), rule.effective_at_once(8)) == (0.5, 8)


JOB = a_job(id="j1", state=State.RUNNING)
SOON = NOW + timedelta(seconds=30)


def host_report(host: str, **fields: Any) -> HostReport:
    return HostReport(host=host, jobs=(JOB.id,), **fields)


def detail(hosts: Sequence[HostReport]) -> str:
    waits = running_waits(JOB, NOW, [a_report(hosts=tuple(hosts))])
    assert all(wait.reason is WaitReason.HOST for wait in waits)
    return "".join(wait.detail for wait in waits)


def test_hosts_that_are_paused_or_held_are_waited_for() -> None:
    shut = [host_report(host, state=HostState.PAUSED) for host in ("b", "a")]
    assert detail(shut) == "an operator has paused a, b"
    paused, waiting = host_report("a", state=HostState.PAUSED), host_report("b", held_until=SOON)
    sentence = "an operator has paused a; b refused requests; next request in 30s"
    assert detail([paused, waiting]) == sentence
    (wait,) = running_waits(JOB, NOW, [a_report(hosts=(paused, waiting))])
    assert (wait.hosts, wait.until) == (("a", "b"), SOON)


def test_a_job_waits_for_no_host_while_it_may_ask_one_or_nothing_waits_there() -> None:
    paused = host_report("a", state=HostState.PAUSED)
    assert detail([paused, host_report("b")]) == ""
    assert detail([paused, host_report("b", state=HostState.BLOCKED)]) == ""
    assert detail([host_report("a", state=HostState.PAUSED, in_flight=1)]) == ""
    assert detail([paused, host_report("b", idle=True)]) == "an operator has paused a"
    assert detail([host_report("b", idle=True)]) == ""
