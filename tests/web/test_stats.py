"""Figures for a dashboard, and what a server says of itself."""

from datetime import timedelta
from typing import Any

from crawlyard.about import VERSION
from crawlyard.core.access.user import LOCAL
from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.jobs.checkpoint import Asker, Batch
from crawlyard.core.jobs.job_log import Course, Point
from crawlyard.core.jobs.lifecycle import State, StateReason
from crawlyard.core.jobs.limits import Usage
from tests.builders import LEASE, a_batch, a_target, failed
from tests.builders_serve import a_report
from tests.web.crawled import crawled
from tests.web.rig import Rig, problem


async def used(rig: Rig, job_id: str, pages: int) -> None:
    """Let a job fetch pages now."""
    now = rig.clock.now()
    claim = await rig.yard.store.leases.claim(Asker("w1", only=job_id), now, LEASE)
    assert claim is not None
    usage = Usage(pages=pages, bytes=pages * 1000, errors=1)
    await rig.yard.store.frontier.record([(claim.lease, Batch(usage=usage))], now, LEASE)


async def figures(rig: Rig, query: str = "", **more: Any) -> dict[str, Any]:
    answer = await rig.get(f"stats{query}", **more)
    assert answer.status_code == 200, answer.text
    figures_: dict[str, Any] = answer.json()
    return figures_


class TestStats:
    async def test_jobs_pages_and_ends_are_counted(self, rig: Rig) -> None:
        first, second, _ = [(await rig.job())["id"] for _ in range(3)]
        await used(rig, first, 7)
        await rig.clock.advance(timedelta(hours=2))
        await rig.post(f"jobs/{second}/cancel")
        await rig.clock.advance(timedelta(minutes=30))
        now = rig.clock.now()
        await rig.yard.store.workers.save_heartbeat(a_report(beat_at=now, started_at=now))

        stats = await figures(rig)

        cards = stats["cards"]
        assert cards["jobs"] == dict.fromkeys(map(str, State), 0) | {
            "pending": 1,
            "running": 1,
            "cancelled": 1,
        }
        assert cards["ended"] == {"cancelled": 1, "completed": 0, "failed": 0}
        assert (cards["workers"], cards["pages_today"], cards["bytes_today"]) == (1, 7, 7000)
        assert (len(stats["finished"]), stats["step_s"]) == (24, 3600)
        assert [step["ended"]["cancelled"] for step in stats["finished"]] == [0] * 23 + [1]
        assert [step["stopped"] for step in stats["finished"]] == [0] * 24
        assert [day["pages"] for day in stats["days"]] == [0, 7]

    async def test_runs_tell_when_jobs_ran_and_how_they_ended(self, rig: Rig) -> None:
        await rig.user("ada")
        job, _ = await crawled(rig)
        await rig.job()
        await rig.clock.advance(timedelta(minutes=1))
        assert (await rig.get("stats/runs", by="ada")).json()["items"] == []

        runs = (await rig.get("stats/runs")).json()

        [run] = runs["items"]
        assert (runs["object"], runs["whole"]) == ("runs", True)
        assert (run["job_id"], run["state"], run["stopped"]) == (job, "running", False)
        assert (run["ended_at"], run["schedule_id"]) == (None, None)
        for query in ("?since=2030-01-01T00:00:00Z", "?until=1970-01-01T00:00:00Z"):
            assert problem(await rig.get(f"stats/runs{query}"))[0] == 422, query

    async def test_the_pace_adds_up_what_jobs_have_fetched_in_each_step(self, rig: Rig) -> None:
        await rig.user("ada")
        now = rig.clock.now()
        minutes = (150, 149, 61, 59)
        for owner in (LOCAL.id, "ada"):
            job_id = (await rig.job(owner))["id"]
            claim = await rig.yard.store.leases.claim(Asker("w1", only=job_id), now, LEASE)
            assert claim is not None
            points = [
                Point(at=now - timedelta(minutes=m), pages=m, latency_ms=float(n))
                for n, m in enumerate(minutes)
            ]
            batch = Batch(course=Course(points=tuple(points)))
            await rig.yard.store.frontier.record([(claim.lease, batch)], now, LEASE)

        pace = (await rig.get("stats/pace", by="ada")).json()
        every = (await rig.get("stats/pace")).json()

        last = [(step["pages"], step["latency_ms"]) for step in pace["steps"][-4:]]
        assert last == [(0, None), (299, 0.5), (61, 2.0), (59, 3.0)]
        assert [step["pages"] for step in every["steps"][-4:]] == [0, 598, 122, 118]
        assert (len(pace["steps"]), pace["step_s"], pace["whole"]) == (24, 3600, True)

    async def test_a_user_counts_own_jobs_and_an_admin_all(self, rig: Rig) -> None:
        await rig.user("ada")
        await used(rig, (await rig.job("ada"))["id"], 5)
        await used(rig, (await rig.job())["id"], 2)

        own = (await figures(rig, by="ada"))["cards"]
        every = (await figures(rig))["cards"]
        mine = (await figures(rig, "?owner=me"))["cards"]

        assert (own["jobs"]["running"], own["pages_today"]) == (1, 5)
        assert (every["jobs"]["running"], every["pages_today"]) == (2, 7)
        assert (mine["jobs"]["running"], mine["pages_today"]) == (1, 2)

    async def test_failing_hosts_are_listed_worst_first(self, rig: Rig) -> None:
        await rig.user("ada")
        await crawled(rig)  # a time-out and a 404 of example.com
        job_id = (await rig.job("ada"))["id"]
        now = rig.clock.now()
        claim = await rig.yard.store.leases.claim(Asker("w1", only=job_id), now, LEASE)
        assert claim is not None
        hosts = ["b.example:8443"] * 3 + [f"h{n:02}.example" for n in range(11)]
        targets = [a_target(str(n), host=host) for n, host in enumerate(hosts)]
        outcomes = [failed(target, ErrorKind.DNS, fetched_at=now) for target in targets]
        batch = a_batch(targets, outcomes)
        await rig.yard.store.frontier.record([(claim.lease, batch)], now, LEASE)
        await rig.clock.advance(timedelta(minutes=1))

        every = (await figures(rig))["failing_hosts"]
        own = (await figures(rig, by="ada"))["failing_hosts"]
        mine = (await figures(rig, "?owner=me"))["failing_hosts"]

        assert every[0] == {
            "host": "b.example:8443",
            "errors": 3,
            "kinds": {"dns": 3},
            "last_at": every[0]["last_at"],
        }
        assert every[0]["last_at"].startswith(f"{now:%Y-%m-%dT%H:%M:%S}")
        assert (every[1]["host"], every[1]["errors"]) == ("example.com", 2)
        assert every[1]["kinds"] == {"http_4xx": 1, "timeout": 1}
        assert len(every) == len(own) == 10
        assert "example.com" not in [host["host"] for host in own]
        assert [host["host"] for host in mine] == ["example.com"]

    async def test_what_failed_before_the_range_is_left_out(self, rig: Rig) -> None:
        await crawled(rig)
        await rig.clock.advance(timedelta(hours=25))
        wide = {"since": (rig.clock.now() - timedelta(hours=26)).isoformat()}
        assert (await figures(rig))["failing_hosts"] == []
        assert len((await rig.get("stats", params=wide)).json()["failing_hosts"]) == 1

    async def test_a_range_has_its_own_steps(self, rig: Rig) -> None:
        until = rig.clock.now()
        since = until - timedelta(minutes=150)
        params = {"since": since.isoformat(), "until": until.isoformat(), "step_s": 3600}
        stats = (await rig.get("stats", params=params)).json()
        assert len(stats["finished"]) == 3
        assert stats["finished"][0]["at"] == stats["since"]

    async def test_a_long_range_has_daily_figures(self, rig: Rig) -> None:
        until = rig.clock.now()
        month = until - timedelta(days=30)

        hours = (await rig.get("stats", params={"since": month.isoformat()})).json()
        longer = (month - timedelta(hours=1)).isoformat()
        days = (await rig.get("stats", params={"since": longer})).json()

        assert (hours["step_s"], len(hours["finished"])) == (3600, 720)
        assert (days["step_s"], len(days["finished"])) == (86_400, 31)

    async def test_what_is_wrong_is_named(self, rig: Rig) -> None:
        for params, parameter in [
            ({"since": "2100-01-01T00:00:00Z"}, "until"),
            ({"since": "2020-01-01T00:00:00Z"}, "since"),
            ({"since": "2025-12-01T00:00:00Z", "step_s": "60"}, "step_s"),
            ({"step_s": "1"}, "step_s"),
            ({"until": "0001-01-01T00:00:00Z"}, "until"),
            ({"since": "yesterday"}, "since"),
            ({"owner": "bob"}, "owner"),
        ]:
            answer = await rig.get("stats", params=params)
            assert problem(answer) == (422, "validation_failed"), params
            assert [error["parameter"] for error in answer.json()["errors"]] == [parameter], params


class TestMeta:
    async def test_a_server_says_what_it_is(self, rig: Rig) -> None:
        meta = (await rig.get("meta")).json()
        assert (meta["version"], meta["api"]) == (VERSION, "v1")
        assert "preview" in meta["features"]
        assert meta["limits"]["page_items"] == 200
        assert problem(await rig.get("meta", by=None)) == (401, "unauthenticated")

    async def test_every_word_of_a_list_has_its_meaning(self, rig: Rig) -> None:
        enums = (await rig.get("meta/enums")).json()["enums"]

        assert list(enums["states"]) == list(State)
        assert list(enums["state_reasons"]) == list(StateReason)
        assert enums["states"]["paused"] == "paused by a user or by Crawlyard; its queue is kept"
        assert list(enums["priorities"]) == ["low", "normal", "high", "urgent"]
        assert enums["overlaps"]["skip"]
        for name in ("states", "state_reasons", "wait_reasons", "error_kinds", "settings_sections"):
            assert all(enums[name].values()), name

    async def test_the_forms_have_schemas(self, rig: Rig) -> None:
        schemas = (await rig.get("meta/schemas")).json()["schemas"]
        assert set(schemas) == {"job", "template", "schedule", "webhook", "bulk"}
        assert "limits" in schemas["job"]["properties"]
        assert "when" in schemas["schedule"]["properties"]
        assert all(schema["type"] == "object" for schema in schemas.values())
