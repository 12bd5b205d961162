"""What a crawl would take, by what was seen of its site."""

from typing import Any

import pytest

from crawlyard.core.jobs.estimate import Basis, Bound, Estimate, HostPace, Sight, estimated
from crawlyard.core.jobs.limits import Limits, Usage
from crawlyard.core.jobs.spec import JobSpec

HOST = "docs.example.org"


def seen(**how: Any) -> Sight:
    given: dict[str, Any] = {
        "starts": {HOST: 1},
        "named": {HOST: 3000},
        "whole": True,
        "paces": {HOST: HostPace(delay_s=0.5, answer_s=0.2)},
    }
    return Sight(**given | how)


def of(sight: Sight, **spec: Any) -> Estimate:
    return estimated(JobSpec(urls=(f"https://{HOST}/",), **spec), sight)


def verdicts(found: Estimate) -> dict[str, str]:
    return {one.limit: str(one.verdict) for one in found.limits}


def test_a_host_is_asked_as_often_as_its_delay_lets_and_its_answers_take() -> None:
    assert (of(seen()).least_s, of(seen()).most_s) == (1500, 1500)
    slow = seen(paces={HOST: HostPace(delay_s=0.5, answer_s=2.0)})
    assert (of(slow).least_s, of(slow).most_s) == (3000, 9000)  # two at once
    assert of(seen(paces={HOST: HostPace(delay_s=0, answer_s=None)})).least_s is None


def test_hosts_are_crawled_beside_each_other_as_far_as_requests_may_be() -> None:
    hosts = {f"{n}.example.org": 100 for n in range(8)}
    paces = {host: HostPace(delay_s=0, answer_s=1.0) for host in hosts}
    sight = seen(starts={}, named=hosts, paces=paces)
    assert of(sight).least_s == 50
    assert of(sight, concurrency=4).least_s == 200


def test_the_pages_are_those_of_sitemaps_else_of_the_last_crawl_else_unknown() -> None:
    last = Usage(pages=1000, bytes=20_000_000, discovered=1200)
    found = of(seen(earlier=last))
    assert (found.basis, found.bound, found.pages, found.bytes) == (
        Basis.SITEMAPS,
        Bound.ABOUT,
        3000,
        60_000_000,
    )
    assert of(seen(whole=False)).bound is Bound.AT_LEAST
    assert of(seen(), max_depth=2).bound is Bound.AT_MOST
    found = of(seen(named={}, earlier=last))
    assert (found.basis, found.pages) == (Basis.EARLIER, 1200)
    assert of(seen(named={})).pages is None


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
    found = verdicts(of(seen(), limits=Limits(**limits)))
    assert {name: found[name] for name in expected} == expected
