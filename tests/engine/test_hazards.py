"""Every hazard of the test site, crawled: what must come of it does, and nothing else."""

import resource

import pytest

from crawlyard import Limits, Scope, StateReason, Yard
from crawlyard.core.crawl.page import Page
from tests.engine.rig import Outcome, a_spec, crawled
from tests.hazards import (
    EXPECTED,
    FOUND,
    GROUPS,
    TITLES,
    VERDICTS,
    HazardSite,
    RobotsKind,
    RobotsSite,
    World,
    trespasses,
)
from tests.jobs import submit
from tests.site import GraphSite, Serve, refetched


def verdict(run: Outcome, url: str) -> str:
    """Return what became of a URL, in the words of `EXPECTED`."""
    for page in run.pages:
        if url in {page.url, page.final_url}:
            return _word(page)
    return "skipped"  # a redirect that ends at a rule has the rule at its end


def _word(page: Page) -> str:
    if page.error is not None:
        return f"failed:{page.error.kind.value}"
    return "truncated" if page.truncated else "page"


# these ask for waits of an hour and more, or for many short ones: unit tests wait for them
PATIENT = (
    "re:[0-9]/err/429(-year|-huge|-always|-past|-negative|-nonsense)?$",
    "/err/503-always",
)


# only the time-out ends these; it must end nothing else, however busy the machine is
TIMED = tuple(path for path, words in EXPECTED.items() if "failed:timeout" in words)


@pytest.mark.parametrize("group", sorted(set(GROUPS) - {"trap", "sm", "grow"}))
async def test_each_hazard_of_a_group_comes_to_what_it_must(
    yard: Yard, site_server: Serve, group: str
) -> None:
    other = await site_server(HazardSite(World()), host="127.0.0.2")
    canary = await site_server(GraphSite({"/": []}), host="127.0.0.3")
    site = HazardSite(World(canary=canary.authority, other=other.authority))
    server = await site_server(site)
    spec = a_spec(
        f"{server.url}/{group}/",
        allow_private=False,
        allow_addresses=("127.0.0.1", "127.0.0.2"),
        scope=Scope.ANY if group == "ssrf" else Scope.HOST,
        exclude=(
            *(f"/{other_group}/*" for other_group in set(GROUPS) - {group}),
            *PATIENT,
            *TIMED,
            "re:/found/l/([0-9]{2,4}|1[0-9]{3}[0-8])$",  # 20,000 links: some will do
        ),
        max_body=4 * 1024 * 1024,
        timeout_s=60,
        url_retries=2 if group == "err" else 0,
        concurrency=64,
        per_host=64,
        limits=Limits(pages=3000),
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    run = await crawled(yard, spec)

    assert run.job.state_reason is StateReason.EXHAUSTED
    skipped = {u.removeprefix(server.url) for u, rule in run.rules.items() if "exclude" in rule}
    expected = {p: EXPECTED[p] for p in GROUPS[group] if p in EXPECTED and p not in skipped}
    expected = {p: words for p, words in expected.items() if "endless" not in words}
    came = {path: verdict(run, f"{server.url}{path}") for path in expected}
    assert {p: w for p, w in came.items() if w not in expected[p]} == {}
    if group != "dup":
        assert f"{server.url}/ok/{group}" in run.ok  # and the pages beside go on
    paths = {hit.path for hit in server.hits}
    assert paths >= expected.keys()
    for path in expected:
        assert paths.issuperset(FOUND.get(path, ())), path
    titles = {page.url.removeprefix(server.url): page.title for page in run.pages}
    group_titles = {path: title for path, title in TITLES.items() if path in titles}
    assert {path: titles[path] for path in group_titles} == group_titles
    assert not canary.hits
    assert not trespasses(server.hits)
    assert grown_mb(before) < 200  # a bomb of gigabytes, an endless body: capped


async def test_what_only_a_time_out_ends_comes_to_what_it_must(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(HazardSite())
    spec = a_spec(
        *(f"{server.url}{path}" for path in TIMED),
        f"{server.url}/ok/body",
        max_body=4 * 1024 * 1024,
        timeout_s=2,
        concurrency=64,
        per_host=64,
        max_depth=0,
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    run = await crawled(yard, spec)

    assert run.job.state_reason is StateReason.EXHAUSTED
    came = {path: verdict(run, f"{server.url}{path}") for path in TIMED}
    assert {path: word for path, word in came.items() if word not in EXPECTED[path]} == {}
    assert f"{server.url}/ok/body" in run.ok
    assert grown_mb(before) < 200


def grown_mb(before_kb: int) -> float:
    """Return by how much the peak of this process's memory has grown."""
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) / 1024


@pytest.mark.slow
async def test_hostile_sitemaps_are_read_as_far_as_they_go(yard: Yard, site_server: Serve) -> None:
    canary = await site_server(GraphSite({"/": []}), host="127.0.0.3")
    server = await site_server(HazardSite(World(canary=canary.authority)))
    named = [path for path in GROUPS["sm"] if "endless" not in path]
    spec = a_spec(
        f"{server.url}/ok/sm",
        sitemaps=tuple(f"{server.url}{path}" for path in named),
        exclude=("re:/found/sm/n/([0-9]{2,4}|[1-9][0-9]{3}[0-8])$",),
        concurrency=64,
        per_host=64,
        max_depth=0,
    )

    run = await crawled(yard, spec)

    paths = {hit.path for hit in server.hits}
    assert run.job.state_reason is StateReason.EXHAUSTED
    for path in named:
        assert paths.issuperset(FOUND.get(path, ())), path
    assert not canary.hits
    assert not trespasses(server.hits)


async def test_a_sitemap_that_names_itself_for_ever_ends(yard: Yard, site_server: Serve) -> None:
    server = await site_server(HazardSite(World()))
    spec = a_spec(f"{server.url}/ok/sm", sitemaps=(f"{server.url}/sm/endless.xml",))

    run = await crawled(yard, spec)

    assert run.job.state_reason is StateReason.EXHAUSTED
    assert len(server.hits) < 15


async def test_endless_traps_end_by_a_limit_and_the_good_pages_come_first(
    yard: Yard, site_server: Serve
) -> None:
    server = await site_server(HazardSite(World()))
    spec = a_spec(f"{server.url}/trap/", limits=Limits(pages=300))

    run = await crawled(yard, spec)

    assert run.job.state_reason is StateReason.LIMIT_PAGES
    assert run.usage.pages == 300
    assert f"{server.url}/ok/trap" in run.ok
    assert not refetched(server.hits)


async def test_each_kind_of_robots_txt_closes_and_opens_what_it_must(
    yard: Yard, site_server: Serve
) -> None:
    servers = {}
    for kind, must in VERDICTS.items():
        other = await site_server(RobotsSite(kind), host="127.0.0.2")
        servers[kind] = await site_server(RobotsSite(kind, other=other.authority))
        spec = a_spec(
            f"{servers[kind].url}/",
            timeout_s=60 if must.open else 1,
            crawl_delay_cap_s=0.05,
            # a silent host is retried for a minute; it is enough to see it stay closed
            limits=Limits() if must.open else Limits(duration_s=3),
        )
        await submit(yard, spec)

    await yard.worker(slots=len(servers)).run(drain=True)

    assert servers.keys() == set(RobotsKind)
    for kind, server in servers.items():
        paths = {hit.path for hit in server.hits}
        must = VERDICTS[kind]
        assert must.open in (None, "/open" in paths), kind
        assert must.closed in (None, "/closed" in paths), kind
        if must.open is False:
            assert "/" not in paths, kind
