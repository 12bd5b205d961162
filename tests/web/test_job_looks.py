"""Details of a job over HTTP: progress, settings, attempts, shards, events."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import httpx
import msgspec
import pytest

from crawlyard.api.follow import is_quiet
from crawlyard.core.access.user import LOCAL
from crawlyard.core.jobs.answers import JobOut
from crawlyard.core.jobs.checkpoint import Asker, Lease
from crawlyard.core.jobs.lifecycle import Move, State
from crawlyard.services.jobs.follow import wait_for
from crawlyard.services.surface import Surface
from tests.builders import LEASE, a_batch, a_target, done
from tests.clock import FakeClock
from tests.conformance.steps import recorded
from tests.surfaces import as_user
from tests.web.crawled import crawled, in_state
from tests.web.rig import URL, Rig, problem


@pytest.mark.parametrize("path", ["", "/progress", "/events"])
async def test_there_is_no_job_whose_id_is_none(rig: Rig, path: str) -> None:
    for place in ("0192", "nonsense"):
        assert problem(await rig.get(f"jobs/{place}{path}")) == (404, "not_found")


async def test_the_links_of_a_job_lead_somewhere(rig: Rig) -> None:
    job = await rig.job()
    for name, path in job["links"].items():
        answer = await rig.get(path)
        assert answer.status_code == 200, (name, answer.text)


class TestProgress:
    async def test_it_is_small_and_says_how_far_the_job_has_come(self, rig: Rig) -> None:
        job_id, _ = await crawled(rig, limits={"pages": 9})
        progress = (await rig.get(f"jobs/{job_id}/progress")).json()
        assert progress["object"] == "job_progress"
        assert (progress["id"], progress["state"], progress["pages"]) == (job_id, "running", 2)
        assert (progress["discovered"], progress["done"], progress["failed"]) == (4, 3, 2)
        assert progress["limits"]["pages"] == 9

    async def test_it_is_not_sent_again_until_it_changes(self, rig: Rig) -> None:
        job_id, answer = await crawled(rig)
        path = f"jobs/{job_id}/progress"
        headers = {"If-None-Match": (await rig.get(path)).headers["etag"]}

        same = await rig.get(path, headers=headers)
        await recorded(
            rig.yard.store, answer.lease, a_batch([a_target("5")], [done(a_target("5"))])
        )
        other = await rig.get(path, headers=headers)

        assert (same.status_code, same.content) == (304, b"")
        assert (other.status_code, other.json()["done"]) == (200, 4)


@dataclass(frozen=True, slots=True)
class Waits:
    """A request that waits for a job."""

    task: asyncio.Task[httpx.Response]
    clock: FakeClock
    others: int  # other sleepers of the clock

    @classmethod
    async def begun(cls, rig: Rig, path: str) -> "Waits":
        sleepers = rig.clock.sleepers
        waits = cls(asyncio.create_task(rig.get(path)), rig.clock, sleepers)
        await waits.answered()
        return waits

    async def answered(self) -> httpx.Response | None:
        """Return what came, or ``None`` once it waits for time to pass."""
        async with asyncio.timeout(120):
            # a turn of the loop is not enough: a request may pass through a thread
            while not (self.task.done() or self.clock.sleepers > self.others):  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        return self.task.result() if self.task.done() else None

    async def answer(self) -> httpx.Response:
        """Return what comes; no more time passes on the clock of the yard."""
        async with asyncio.timeout(120):
            return await self.task


class TestWait:
    async def test_a_wait_returns_a_state_change_within_300_ms(self, rig: Rig) -> None:
        job = await rig.job()
        waits = await Waits.begun(rig, f"jobs/{job['id']}/wait")
        await rig.clock.advance(timedelta(seconds=10))
        assert await waits.answered() is None

        await rig.yard.services.writer.move(LOCAL, job["id"], Move.PAUSE)
        await rig.clock.advance(timedelta(milliseconds=300))

        answer = await waits.answer()
        assert answer.json()["state"] == "paused"
        assert answer.headers["etag"] == (await rig.get(f"jobs/{job['id']}")).headers["etag"]

    async def test_an_edit_is_no_change_of_state(self, rig: Rig) -> None:
        job = await rig.job()
        waits = await Waits.begun(rig, f"jobs/{job['id']}/wait?timeout_s=5")

        await rig.yard.services.writer.edit(LOCAL, job["id"], {"name": "n"})
        await rig.clock.advance(timedelta(seconds=4))
        assert await waits.answered() is None
        await rig.clock.advance(timedelta(seconds=1))

        answer = await waits.answer()
        assert (answer.json()["state"], answer.json()["spec"]["name"]) == ("pending", "n")

    async def test_it_may_wait_for_states_and_ends_with_the_job(self, rig: Rig) -> None:
        job = await rig.job()
        path = f"jobs/{job['id']}/wait?states=running,completed&timeout_s=60"
        waits = await Waits.begun(rig, path)
        await rig.yard.services.writer.move(LOCAL, job["id"], Move.PAUSE)
        await rig.clock.advance(timedelta(seconds=1))
        assert await waits.answered() is None

        await rig.yard.services.writer.move(LOCAL, job["id"], Move.CANCEL)
        await rig.clock.advance(timedelta(milliseconds=300))

        answer = await waits.answer()
        assert answer.json()["state"] == "cancelled"

    @pytest.mark.parametrize("states", ["", "?states=running"])
    async def test_a_wait_for_an_ended_job_returns_immediately(self, rig: Rig, states: str) -> None:
        job_id = await in_state(rig, State.COMPLETED)
        assert (await rig.get(f"jobs/{job_id}/wait{states}")).json()["state"] == "completed"

    async def test_a_wait_for_the_current_state_returns_immediately(self, rig: Rig) -> None:
        job = await rig.job()
        assert (await rig.get(f"jobs/{job['id']}/wait?states=pending")).status_code == 200

    async def test_a_deleted_job_is_not_waited_for(self, rig: Rig) -> None:
        job_id = await in_state(rig, State.PAUSED)
        waits = await Waits.begun(rig, f"jobs/{job_id}/wait")
        await rig.yard.services.writer.delete(LOCAL, job_id)
        await rig.clock.advance(timedelta(milliseconds=300))
        answer = await waits.answer()
        assert problem(answer) == (404, "not_found")

    async def test_a_wait_ends_when_its_client_disconnects(self, rig: Rig) -> None:
        job = await rig.job()
        disconnected = asyncio.Event()

        async def has_gone() -> bool:
            return disconnected.is_set()

        minute = timedelta(seconds=60)
        yard = rig.site.yard
        waiting = wait_for(yard.store, yard.clock, LOCAL, job["id"], (), minute, has_gone)
        task = asyncio.create_task(waiting)
        await rig.clock.advance(timedelta(seconds=5))
        assert not task.done()
        disconnected.set()
        await rig.clock.advance(timedelta(milliseconds=300))

        assert (await task).job.state is State.PENDING

    async def test_what_is_wrong_is_named(self, rig: Rig) -> None:
        job = await rig.job()
        for query in ["timeout_s=61", "timeout_s=-1", "timeout_s=x", "states=x"]:
            answer = await rig.get(f"jobs/{job['id']}/wait?{query}")
            assert problem(answer) == (422, "validation_failed"), query
            assert answer.json()["errors"][0]["parameter"] == query.partition("=")[0], query


class TestConfig:
    async def test_it_says_where_each_value_comes_from(self, rig: Rig) -> None:
        job = await rig.job(limits={"pages": 5})
        await rig.ask("PATCH", f"jobs/{job['id']}", json={"delay_s": 0.5, "limits": {"errors": 3}})

        config = (await rig.get(f"jobs/{job['id']}/config")).json()

        assert (config["object"], config["job_id"]) == ("job_config", job["id"])
        assert config["config"]["limits"] == {
            "pages": 5,
            "bytes": None,
            "duration_s": None,
            "errors": 3,
            "render_s": None,
        }
        own = {path for path, source in config["sources"].items() if source == "this job"}
        assert own == {"urls", "limits.pages", "limits.errors", "delay_s"}
        assert config["sources"]["timeout_s"] == "default"
        assert (config["template"], config["differences"]) == (None, [])

    async def test_it_says_what_differs_from_the_template(self, rig: Rig) -> None:
        spec = {"urls": ["https://{{host}}/"], "limits": {"pages": 10, "duration": "1h"}}
        draft = {
            "name": "news",
            "spec": spec | {"headers": {"Authorization": "Bearer s3cret"}},
            "parameters": [{"name": "host", "required": True}],
        }
        response = await rig.post("templates", draft)
        assert response.status_code == 201, response.text
        body = {
            "template": "news",
            "params": {"host": "a.example"},
            "limits": {"pages": 20},
            "priority": "high",
        }
        answer = await rig.post("jobs", body)
        assert answer.status_code == 201, answer.text

        config = (await rig.get(f"jobs/{answer.json()['id']}/config")).json()

        sources = config["sources"]
        assert [sources[p] for p in ("urls", "limits.duration_s", "headers")] == ["template v1"] * 3
        assert [sources[p] for p in ("limits.pages", "priority")] == ["this job"] * 2
        assert config["template"] == {
            "id": response.json()["id"],
            "name": "news",
            "owner": "local",
            "version": 1,
        }
        assert config["differences"] == [
            {"path": "urls", "template": ["https://{{host}}/"], "job": ["https://a.example/"]},
            {"path": "priority", "template": "normal", "job": "high"},
            {"path": "limits.pages", "template": 10, "job": 20},
        ]
        assert "s3cret" not in str(config)

    async def test_a_template_that_is_gone_is_still_named_as_the_source(self, rig: Rig) -> None:
        await rig.post("templates", {"name": "news", "spec": {"urls": [URL], "max_depth": 3}})
        job = (await rig.post("jobs", {"template": "news", "name": "mine"})).json()
        await as_user(rig.yard).templates.delete("news", version=None)

        config = (await rig.get(f"jobs/{job['id']}/config")).json()

        assert config["template"] is None
        assert config["sources"]["max_depth"] == "template v1"
        assert config["sources"]["name"] == "this job"
        assert config["sources"]["per_host"] == "default"

    async def test_settings_and_ceilings_are_sources_as_well(self, rig: Rig) -> None:
        settings = Surface(rig.yard.services, LOCAL).settings
        await settings.put("defaults", {"per_host": 4})
        await settings.put("ceilings", {"pages": 100})
        job = await rig.job(limits={"pages": 500})

        config = (await rig.get(f"jobs/{job['id']}/config")).json()

        assert config["sources"]["per_host"] == "settings"
        assert config["sources"]["limits.pages"] == "ceiling"
        assert config["config"]["limits"]["pages"] == 100


class TestAttempts:
    async def test_each_time_that_a_worker_had_the_job_is_one(self, rig: Rig) -> None:
        job_id, first = await crawled(rig)
        store = rig.yard.store

        async def settled(lease: Lease, move: Move) -> None:
            await rig.clock.advance(timedelta(seconds=60))
            job = (await store.jobs.get(job_id)).job
            event = job.apply_move(
                move, rig.clock.now(), actor=f"worker:{lease.worker}", detail="why"
            )
            await store.leases.settle(lease, *event)

        await settled(first.lease, Move.REQUEUE)
        claim = await store.leases.claim(Asker("w2"), rig.clock.now(), LEASE)
        assert claim is not None

        attempts = (await rig.get(f"jobs/{job_id}/attempts")).json()["items"]

        assert [(a["number"], a["worker"], a["outcome"]) for a in attempts] == [
            (1, "w1", "requeued"),
            (2, "w2", "running"),
        ]
        assert (attempts[0]["detail"], attempts[0]["reason"]) == ("why", "waiting_slot")
        assert attempts[0]["ended_at"] == attempts[1]["begun_at"]
        assert (attempts[1]["ended_at"], attempts[1]["pages"]) == (None, None)

    @pytest.mark.parametrize(
        ("state", "outcome"),
        [
            (State.COMPLETED, "completed"),
            (State.FAILED, "failed"),
            (State.PAUSED, "paused"),
            (State.CANCELLED, "cancelled"),
            (State.RUNNING, "running"),
        ],
    )
    async def test_the_only_one_has_all_pages(self, rig: Rig, state: State, outcome: str) -> None:
        job_id = await in_state(rig, state)
        [attempt] = (await rig.get(f"jobs/{job_id}/attempts")).json()["items"]
        assert (attempt["outcome"], attempt["pages"]) == (outcome, 2)

    async def test_a_job_that_was_moved_while_it_waited_had_none(self, rig: Rig) -> None:
        job = await rig.job()
        for verb in ("pause", "resume", "cancel"):
            await rig.post(f"jobs/{job['id']}/{verb}")
        assert (await rig.get(f"jobs/{job['id']}/attempts")).json()["items"] == []


class TestShards:
    async def test_each_part_of_a_job_that_is_spread_says_who_has_it(self, rig: Rig) -> None:
        job_id, _ = await crawled(rig, spread=2)

        shards = (await rig.get(f"jobs/{job_id}/shards")).json()["items"]
        job = (await rig.get(f"jobs/{job_id}")).json()

        leased, free = sorted(shards, key=lambda shard: shard["worker"] is None)
        assert sorted(shard["number"] for shard in shards) == [1, 2]
        assert (leased["worker"], leased["free_since"]) == ("w1", None)
        assert (leased["pages"], leased["errors"], leased["attempt"]) == (2, 2, 1)
        assert (free["worker"], free["pages"], free["updated_at"]) == (None, 0, None)
        assert free["free_since"] is not None
        assert (job["worker"], job["workers"]) == (None, 1)

    async def test_a_job_that_has_ended_says_more_while_a_part_of_it_is_held(
        self, rig: Rig
    ) -> None:
        job_id, answer = await crawled(rig, spread=2)
        await rig.post(f"jobs/{job_id}/cancel")

        meanwhile = msgspec.convert((await rig.get(f"jobs/{job_id}")).json(), JobOut)
        await rig.yard.store.leases.free(answer.lease)
        afterwards = msgspec.convert((await rig.get(f"jobs/{job_id}")).json(), JobOut)

        assert (meanwhile.state, afterwards.state) == ("cancelled", "cancelled")
        assert [is_quiet(meanwhile), is_quiet(afterwards)] == [False, True]

    async def test_a_job_that_one_worker_has_is_in_no_parts(self, rig: Rig) -> None:
        job_id, _ = await crawled(rig)
        assert (await rig.get(f"jobs/{job_id}/shards")).json()["items"] == []
        assert (await rig.get(f"jobs/{job_id}")).json()["workers"] == 1


async def test_events_come_in_pages_oldest_first(rig: Rig) -> None:
    job = await rig.job()
    await rig.job()
    for verb in ("pause", "resume", "cancel"):
        await rig.post(f"jobs/{job['id']}/{verb}")

    first = (await rig.get(f"jobs/{job['id']}/events?limit=3")).json()
    second = await rig.get(
        f"jobs/{job['id']}/events", params={"limit": 3, "cursor": first["next_cursor"]}
    )

    names = [event["name"] for event in first["items"] + second.json()["items"]]
    assert names == ["job.created", "job.paused", "job.resumed", "job.cancelled"]
    assert second.json()["has_more"] is False
