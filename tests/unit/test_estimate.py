"""Estimates of a crawl from a first look at its site."""

from typing import Any

import pytest

from crawlyard.core.jobs.estimate import Basis, Bound, Estimate, HostPace, Sight, estimate_crawl
from crawlyard.core.jobs.limits import Limits, Usage
from crawlyard.core.jobs.spec import JobSpec

HOST = "docs.example.org"


def a_sight(**how: Any) -> Sight:
    fields: dict[str, Any] = {
        "starts": {HOST: 1},
        "named": {HOST: 3000},
        "whole": True,
        "paces": {HOST: HostPace(delay_s=0.5, answer_s=0.2)},
    }
    return Sight(**fields | how)


def of(sight: Sight, **spec: Any) -> Estimate:
    return estimate_crawl(JobSpec(urls=(f"https://{HOST}/",), **spec), sight)


def verdicts(estimate: Estimate) -> dict[str, str]:
    return {limit.limit: str(limit.verdict) for limit in estimate.limits}


def test_a_host_is_asked_as_often_as_its_delay_lets_and_its_answers_take() -> None:
    assert (of(a_sight()).least_s, of(a_sight()).most_s) == (1500, 1500)
    slow = a_sight(paces={HOST: HostPace(delay_s=0.5, answer_s=2.0)})
    assert (of(slow).least_s, of(slow).most_s) == (3000, 9000)  # two at once
    assert of(a_sight(paces={HOST: HostPace(delay_s=0, answer_s=None)})).least_s is None


def test_hosts_are_crawled_beside_each_other_as_far_as_requests_may_be() -> None:
    hosts = {f"{n}.example.org": 100 for n in range(8)}
    paces = {host: HostPace(delay_s=0, answer_s=1.0) for host in hosts}
    sight = a_sight(starts={}, named=hosts, paces=paces)
    assert of(sight).least_s == 50
    assert of(sight, concurrency=4).least_s == 200


def test_the_pages_are_those_of_sitemaps_else_of_the_last_crawl_else_unknown() -> None:
    last = Usage(pages=1000, bytes=20_000_000, discovered=1200)
    estimate = of(a_sight(earlier=last))
    assert (estimate.basis, estimate.bound, estimate.pages, estimate.bytes) == (
        Basis.SITEMAPS,
        Bound.ABOUT,
        3000,
        60_000_000,
    )
    assert of(a_sight(whole=False)).bound is Bound.AT_LEAST
    assert of(a_sight(), max_depth=2).bound is Bound.AT_MOST
    estimate = of(a_sight(named={}, earlier=last))
    assert (estimate.basis, estimate.pages) == (Basis.EARLIER, 1200)
    assert of(a_sight(named={})).pages is None


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, {"pages": "no", "duration": "no", "bytes": "no"}),
        ({"pages": 10_000, "duration_s": 7200}, {"pages": "no", "duration": "no"}),
        ({"pages": 3200}, {"pages": "perhaps"}),
        ({"pages": 2000, "duration_s": 1400}, {"pages": "yes", "duration": "no"}),
        ({"duration_s": 1400, "bytes": 10}, {"duration": "yes", "bytes": "unknown"}),
    ],
)
def test_a_limit_stops_it_or_not(limits: dict[str, Any], expected: dict[str, str]) -> None:
    by_limit = verdicts(of(a_sight(), limits=Limits(**limits)))
    assert {name: by_limit[name] for name in expected} == expected
