"""Why: what jobs wait for, and what became of a URL."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from crawlyard.core.crawl.page import Outcome, Skipped, TargetState, Via
from crawlyard.core.hosts.hosts import HostReport
from crawlyard.core.jobs.checkpoint import Asker, Batch, Claim
from crawlyard.core.jobs.limits import Usage
from tests.builders import LEASE, a_batch, a_target, done, failed
from tests.builders_serve import a_report
from tests.web.rig import URL, Rig, problem

HOUR = timedelta(hours=1)


async def alive(rig: Rig, **fields: Any) -> None:
    """Let a worker say that it is alive."""
    now = rig.clock.now()
    await rig.yard.store.workers.save_heartbeat(a_report(started_at=now, beat_at=now, **fields))


async def reasons(rig: Rig, job_id: str) -> list[str]:
    job = (await rig.get(f"jobs/{job_id}")).json()
    return [wait["reason"] for wait in job["waits_for"]]


async def claim(rig: Rig, job_id: str) -> Claim:
    claimed = await rig.yard.store.leases.claim(Asker("w1", only=job_id), rig.clock.now(), LEASE)
    assert claimed is not None
    return claimed


async def crawled(rig: Rig, job_id: str, batch: Batch) -> Claim:
    claimed = await claim(rig, job_id)
    await rig.yard.store.frontier.record([(claimed.lease, batch)], rig.clock.now(), LEASE)
    return claimed


class TestExplainJobs:
    async def test_a_job_says_when_it_is_due(self, rig: Rig) -> None:
        await alive(rig)
        job = await rig.job(start_at=(rig.clock.now() + HOUR).isoformat())

        current_job = (await rig.get(f"jobs/{job['id']}")).json()

        (wait,) = current_job["waits_for"]
        assert (wait["reason"], wait["until"]) == ("due_time", current_job["due_at"])
        assert wait["detail"] == "starts in 1h"
        assert current_job["state_reason"] == "scheduled"

    async def test_a_job_says_its_place_in_the_queue(self, rig: Rig) -> None:
        await alive(rig)
        first, second = await rig.job(), await rig.job()
        urgent = await rig.job(priority="urgent")

        listed = (await rig.get("jobs?fields=id,waits_for")).json()["items"]
        alone = (await rig.get(f"jobs/{second['id']}")).json()

        places = {job["id"]: job["waits_for"][0]["position"] for job in listed}
        assert places == {urgent["id"]: 1, first["id"]: 2, second["id"]: 3}
        assert alone["waits_for"][0]["detail"] == "2 jobs are ahead of it"
        [there] = [job["waits_for"] for job in listed if job["id"] == second["id"]]
        assert alone["waits_for"] == there

    async def test_a_job_shows_that_no_worker_is_running(self, rig: Rig) -> None:
        job = await rig.job()

        nobody = await reasons(rig, job["id"])
        await alive(rig)
        somebody = await reasons(rig, job["id"])
        await rig.clock.advance(HOUR)
        without_workers = await reasons(rig, job["id"])
        await alive(rig, stopping=True)
        stopping = await reasons(rig, job["id"])

        assert nobody == without_workers == stopping == ["no_worker", "queue"]
        assert somebody == ["queue"]

    async def test_the_queue_says_who_is_next_and_what_holds_the_others_back(
        self, rig: Rig
    ) -> None:
        await alive(rig, slots=5)
        normal, urgent = await rig.job(), await rig.job(priority="urgent")
        picky = await rig.job(priority="high", worker_tags=["gpu"])

        queue = (await rig.get("jobs/queue")).json()
        first = (await rig.get("jobs/queue?limit=1")).json()

        assert [job["id"] for job in queue["items"]] == [urgent["id"], picky["id"], normal["id"]]
        waits = [[wait["reason"] for wait in job["waits_for"]] for job in queue["items"]]
        assert waits == [["queue"], ["worker_tags", "queue"], ["queue"]]
        assert queue["priorities"] == {"urgent": 1, "high": 1, "normal": 1, "low": 0}
        assert (len(first["items"]), first["has_more"]) == (1, True)

    async def test_a_job_says_that_all_slots_are_taken(self, rig: Rig) -> None:
        await alive(rig, slots=2, running=("a", "b"))
        job = await rig.job()
        assert await reasons(rig, job["id"]) == ["slot", "queue"]

    async def test_a_job_says_that_the_free_slots_are_reserved_for_urgent_ones(
        self, rig: Rig
    ) -> None:
        await alive(rig, slots=2, reserved=1, running=("a",))
        normal, urgent = await rig.job(), await rig.job(priority="urgent")

        (wait, queue) = (await rig.get(f"jobs/{normal['id']}")).json()["waits_for"]

        assert (wait["reason"], queue["reason"]) == ("slot", "queue")
        assert wait["detail"] == "the 1 free slot is reserved for urgent jobs"
        assert await reasons(rig, urgent["id"]) == ["queue"]
        await alive(rig, slots=5, reserved=3, running=("a", "b"))
        (wait, _) = (await rig.get(f"jobs/{normal['id']}")).json()["waits_for"]
        assert wait["detail"] == "the 3 free slots are reserved for urgent jobs"
        await alive(rig, slots=2, reserved=1)
        assert await reasons(rig, normal["id"]) == ["queue"]

    async def test_a_job_says_that_no_worker_has_the_tags_that_it_needs(self, rig: Rig) -> None:
        await alive(rig, id="w1", tags=("eu",))
        job = await rig.job(worker_tags=["gpu", "eu"])

        nobody = (await rig.get(f"jobs/{job['id']}")).json()["waits_for"]
        await alive(rig, id="w2", tags=("eu", "gpu"), slots=1, running=("a",))
        reasons_then = await reasons(rig, job["id"])
        await alive(rig, id="w2", tags=("eu", "gpu"), slots=2, running=("a",))
        free = await reasons(rig, job["id"])

        assert [wait["reason"] for wait in nobody] == ["worker_tags", "queue"]
        assert nobody[0]["detail"] == ("no worker has the tags eu, gpu; start one")
        assert reasons_then == ["slot", "queue"]
        assert free == ["queue"]

    @pytest.mark.parametrize(
        ("quota", "part"),
        [
            ({"running": 1}, "running"),
            ({"pages_per_day": 5}, "pages_per_day"),
            ({"bytes_per_day": 500}, "bytes_per_day"),
        ],
    )
    async def test_a_job_says_that_a_quota_holds_it_back(
        self, rig: Rig, quota: dict[str, int], part: str
    ) -> None:
        await alive(rig)
        await rig.user("ada")
        begun = await rig.job("ada")
        await rig.ask("PATCH", "users/ada", json={"quota": quota})
        await crawled(rig, begun["id"], Batch(usage=Usage(pages=5, bytes=500)))
        job = await rig.job("ada")
        other = await rig.job()

        current_job = (await rig.get(f"jobs/{job['id']}", by="ada")).json()
        listed = (await rig.get("jobs", by="ada")).json()["items"]

        assert (current_job["state"], current_job["state_reason"]) == ("pending", "waiting_quota")
        (wait,) = current_job["waits_for"]
        assert (wait["reason"], wait["quota"]) == ("quota", part)
        assert (wait["until"] is None) == (part == "running")
        assert listed[0]["state_reason"] == "waiting_quota"
        assert await reasons(rig, other["id"]) == ["queue"]

    async def test_a_job_that_is_still_held_says_so(self, rig: Rig) -> None:
        await alive(rig)
        job = await rig.job()
        await claim(rig, job["id"])
        await rig.post(f"jobs/{job['id']}/pause")
        await rig.post(f"jobs/{job['id']}/resume")
        assert await reasons(rig, job["id"]) == ["lease", "queue"]

    async def test_a_running_job_says_that_its_hosts_hold_it_off(self, rig: Rig) -> None:
        job = await rig.job()
        await claim(rig, job["id"])
        until = rig.clock.now() + timedelta(seconds=30)
        held_host = HostReport(host="a.example", held_until=until, jobs=(job["id"],))
        free = HostReport(host="b.example", jobs=(job["id"],))
        other_host = HostReport(host="c.example", jobs=("another",))

        await alive(rig, hosts=(held_host, free, other_host))
        some = await reasons(rig, job["id"])
        await alive(rig, hosts=(held_host, other_host))
        waits_for = (await rig.get(f"jobs/{job['id']}")).json()["waits_for"]
        await alive(rig, hosts=(replace(held_host, in_flight=1),))
        asking = await reasons(rig, job["id"])

        assert (some, asking) == ([], [])
        assert [(w["reason"], w["hosts"]) for w in waits_for] == [("host", ["a.example"])]
        assert waits_for[0]["detail"] == "a.example refused requests; next request in 30s"

    async def test_a_job_that_has_ended_or_is_paused_waits_for_nothing(self, rig: Rig) -> None:
        job = await rig.job()
        await rig.post(f"jobs/{job['id']}/pause")
        paused = await reasons(rig, job["id"])
        await rig.post(f"jobs/{job['id']}/cancel")
        assert paused == await reasons(rig, job["id"]) == []

    async def test_a_new_place_in_the_queue_is_news(self, rig: Rig) -> None:
        await alive(rig)
        job = await rig.job()
        tag = (await rig.get(f"jobs/{job['id']}")).headers["etag"]

        same = await rig.get(f"jobs/{job['id']}", headers={"If-None-Match": tag})
        await rig.job(priority="high")
        moved = await rig.get(f"jobs/{job['id']}", headers={"If-None-Match": tag})
        paused = await rig.post(f"jobs/{job['id']}/pause", headers={"If-Match": tag})

        assert (same.status_code, moved.status_code) == (304, 200)
        assert paused.status_code == 202


class TestExplainURLs:
    async def explain(self, rig: Rig, job_id: str, url: str) -> dict[str, Any]:
        answer = await rig.get(f"jobs/{job_id}/why", params={"url": url})
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def test_the_outcome_of_each_url_is_explained(self, rig: Rig) -> None:
        job = await rig.job(max_depth=5)
        seed = a_target()
        links = {
            path: a_target(path, depth=1, via=Via.LINK, parent=seed.fp)
            for path in ("ok", "bad", "moved", "again", "robots", "w1", "w2", "out")
        }
        outcomes = (
            done(seed),
            done(links["ok"], status=404),
            failed(links["bad"]),
            Outcome(links["moved"], TargetState.REDIRECTED, rule=f"redirect to {URL}new"),
            Outcome(links["again"], TargetState.SKIPPED, rule=f"redirect to {URL}: already known"),
            Outcome(links["robots"], TargetState.SKIPPED, rule="robots: Disallow: /robots"),
        )
        targets = [seed, *(target for path, target in links.items() if path != "out")]
        skipped = [Skipped(links["out"], "exclude: */out")]
        await crawled(rig, job["id"], a_batch(targets, outcomes, skipped))

        explanations = {
            path: await self.explain(rig, job["id"], t.url) for path, t in links.items()
        }

        assert {path: explanation["outcome"] for path, explanation in explanations.items()} == {
            "ok": "fetched",
            "bad": "failed",
            "moved": "redirected",
            "again": "skipped",
            "robots": "skipped",
            "w1": "waiting",
            "w2": "waiting",
            "out": "skipped",
        }
        pages = (await rig.get(f"jobs/{job['id']}/pages")).json()
        ids = {page["url"]: page["id"] for page in pages.get("items", ())}
        assert explanations["ok"]["status"] == 404
        assert explanations["ok"]["page_id"] == ids.get(
            links["ok"].url, explanations["ok"]["page_id"]
        )
        assert (
            explanations["ok"]["parent"],
            explanations["ok"]["via"],
            explanations["ok"]["depth"],
        ) == (URL, "link", 1)
        assert (explanations["bad"]["error"], explanations["bad"]["status"]) == ("timeout", None)
        assert explanations["moved"]["redirected_to"] == f"{URL}new"
        assert (explanations["again"]["redirected_to"], explanations["again"]["rule"]) == (
            URL,
            "already known",
        )
        assert explanations["robots"]["rule"] == "robots: Disallow: /robots"
        assert (explanations["w1"]["position"], explanations["w2"]["position"]) == (1, 2)
        assert explanations["out"]["rule"] == "exclude: */out"

    async def test_a_waiting_url_that_an_edit_keeps_out_says_so(self, rig: Rig) -> None:
        job = await rig.job()
        waiting = [a_target(path, depth=1, via=Via.LINK) for path in ("out", "in")]
        maps = a_target("out/sitemap.xml", via=Via.SITEMAP)
        await crawled(rig, job["id"], a_batch([a_target(), *waiting, maps]))
        await rig.post(f"jobs/{job['id']}/exclusions", {"pattern": "*/out*"})

        out, remaining = [await self.explain(rig, job["id"], target.url) for target in waiting]
        sitemap = await self.explain(rig, job["id"], maps.url)

        assert (out["outcome"], out["rule"], out["position"]) == (
            "waiting",
            "exclude: */out*",
            None,
        )
        assert out["detail"] == "it is waiting and will be skipped (exclude: */out*)"
        assert (remaining["outcome"], remaining["rule"], remaining["position"]) == (
            "waiting",
            "",
            4,
        )
        assert (sitemap["outcome"], sitemap["rule"]) == ("waiting", "")

    async def test_a_url_that_was_never_found_is_judged(self, rig: Rig) -> None:
        job = await rig.job(exclude=["*/private/*"], include=["*/docs/*"])

        inside = await self.explain(rig, job["id"], f"{URL}docs/a")
        excluded = await self.explain(rig, job["id"], f"{URL}docs/private/a")
        not_included = await self.explain(rig, job["id"], f"{URL}blog")
        elsewhere = await self.explain(rig, job["id"], "https://other.example/docs/")

        every = (inside, excluded, not_included, elsewhere)
        assert {explanation["outcome"] for explanation in every} == {"never_found"}
        assert [explanation["rule"] for explanation in every] == [
            "",
            "exclude: */private/*",
            "include: no pattern matches",
            "scope: other host",
        ]
        assert "in scope" in inside["detail"]

    async def test_where_a_start_url_led_to_is_in_scope(self, rig: Rig) -> None:
        job = await rig.job()
        hop = a_target(host="www.example.com", via=Via.SEED, hops=1)
        await crawled(rig, job["id"], a_batch([a_target(), hop]))
        explanation = await self.explain(rig, job["id"], "https://www.example.com/x")
        assert (explanation["outcome"], explanation["rule"]) == ("never_found", "")

    async def test_a_url_is_known_in_any_spelling_and_refused_if_it_is_none(self, rig: Rig) -> None:
        job = await rig.job()
        await crawled(rig, job["id"], a_batch([a_target()], [done(a_target())]))
        explanation = await self.explain(rig, job["id"], "HTTPS://Example.com:443/a/..#top")
        assert (explanation["url"], explanation["outcome"]) == (URL, "fetched")
        for url in ["ftp://a.example/", "nothing", "", "x" * 9000]:
            answer = await rig.get(f"jobs/{job['id']}/why", params={"url": url})
            assert problem(answer) == (422, "validation_failed"), url
