"""Patterns that are added to a job that lives."""

from crawlyard.core.crawl.page import Via
from crawlyard.core.jobs.checkpoint import Asker
from tests.builders import LEASE, a_batch, a_target, done
from tests.web.rig import URL, Rig, pointers, problem


async def with_urls(rig: Rig, job_id: str) -> None:
    """Let a job find URLs, fetch the first, and wait for the others."""
    now = rig.clock.now()
    claim = await rig.yard.store.leases.claim(Asker("w1", only=job_id), now, LEASE)
    assert claim is not None
    seed = a_target()
    paths = ["docs/a", "print/1", "print/2", *(f"print/x{n}" for n in range(20))]
    links = [a_target(path, depth=1, via=Via.LINK) for path in paths]
    maps = a_target("print/sitemap.xml", via=Via.SITEMAP)
    fetched = a_target("print/0", depth=1, via=Via.LINK)
    batch = a_batch([seed, fetched, maps, *links], [done(seed), done(fetched)])
    await rig.yard.store.frontier.record([(claim.lease, batch)], now, LEASE)


async def test_a_dry_run_counts_what_waits_and_changes_nothing(rig: Rig) -> None:
    job = await rig.job()
    await with_urls(rig, job["id"])
    before = (await rig.get(f"jobs/{job['id']}")).json()

    answer = await rig.post(
        f"jobs/{job['id']}/exclusions", {"pattern": "*/print/*", "dry_run": True}
    )

    dry_run = answer.json()
    assert (answer.status_code, dry_run["dry_run"], dry_run["pending_removed"]) == (200, True, 22)
    assert dry_run["samples"][:2] == [f"{URL}print/1", f"{URL}print/2"]
    assert (len(dry_run["samples"]), dry_run["exclude"]) == (10, [])
    assert (await rig.get(f"jobs/{job['id']}")).json() == before


async def test_a_pattern_is_added_to_those_there_are(rig: Rig) -> None:
    job = await rig.job(exclude=["*.pdf"])
    await with_urls(rig, job["id"])

    first = await rig.post(f"jobs/{job['id']}/exclusions", {"pattern": "re:/print/\\d$"})
    again = await rig.post(f"jobs/{job['id']}/exclusions", {"pattern": "re:/print/\\d$"})

    assert (first.status_code, first.json()["pending_removed"]) == (202, 2)
    assert first.json()["exclude"] == ["*.pdf", "re:/print/\\d$"]
    assert first.json()["version"] == again.json()["version"]
    assert again.status_code == 200
    spec = (await rig.get(f"jobs/{job['id']}")).json()["spec"]
    assert spec["exclude"] == ["*.pdf", "re:/print/\\d$"]


async def test_what_is_wrong_is_named(rig: Rig) -> None:
    job = await rig.job()
    for body, pointer in [
        ({"pattern": "re:("}, "/pattern"),
        ({"pattern": "example.com/*"}, "/pattern"),
        ({"pattern": ""}, "/pattern"),
        ({"pattern": "/" + "a" * 3000}, "/pattern"),
        ({}, "/pattern"),
        ({"pattern": "/a", "dry": True}, "/dry"),
    ]:
        answer = await rig.post(f"jobs/{job['id']}/exclusions", body)
        assert pointers(answer) == [pointer], body


async def test_a_job_that_has_ended_takes_none(rig: Rig) -> None:
    job = await rig.job()
    await rig.post(f"jobs/{job['id']}/cancel")
    answer = await rig.post(f"jobs/{job['id']}/exclusions", {"pattern": "/a"})
    assert problem(answer) == (409, "invalid_transition")


async def test_a_pattern_may_be_meant_for_one_version(rig: Rig) -> None:
    job = await rig.job()
    path = f"jobs/{job['id']}/exclusions"
    late = await rig.post(path, {"pattern": "/a"}, headers={"If-Match": '"v7"'})
    good = await rig.post(path, {"pattern": "/a"}, headers={"If-Match": '"v1"'})
    assert problem(late) == (412, "precondition_failed")
    assert good.status_code == 202
