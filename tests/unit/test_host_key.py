"""A name with a dot at its end is the same host: for the scope, patterns, guard and filters."""

import pytest

from crawlyard.core.jobs.filter import hosts_in
from crawlyard.core.jobs.spec import JobSpec, Scope
from crawlyard.engine.http.guard import BlockedAddress, Guard
from crawlyard.engine.scope import Boundary
from crawlyard.engine.urls import (
    canonical,
    host_named,
    host_of,
    hostname_of,
    judged,
    origin_of,
    port_of,
    spelled_origin_of,
)

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
        kept = canonical(url)

        assert (host_of(kept), port_of(kept)) == (host, port), url
        assert hostname_of(kept) == host.removesuffix(":8080").removesuffix(":81").strip("[]"), url
        assert origin_of(kept) == f"{url.partition(':')[0]}://{host}", url
        assert judged(kept) == origin_of(kept) + kept[kept.index("/", 8) :], url


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
