"""One action on many jobs: a few at once, many by an operation that survives its server."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from crawlyard.core.access.user import LOCAL, Actor, Role
from crawlyard.core.operations.operation import OperationState
from crawlyard.ids import new_id
from crawlyard.services.jobs.lookup import find_job
from crawlyard.services.operations import bulk
from crawlyard.services.operations.operations import LEASE
from tests.surfaces import as_user
from tests.web.rig import URL, Rig, pointers, problem

ADA = Actor(id="ada")


async def some(rig: Rig, count: int, by: str = LOCAL.id, **form: Any) -> list[str]:
    """Return the ids of new jobs, the oldest first."""
    return [(await rig.job(by, **form))["id"] for _ in range(count)]


async def states(rig: Rig, ids: Sequence[str]) -> list[str]:
    return [(await find_job(rig.yard.store, LOCAL, job_id)).job.state for job_id in ids]


@pytest.fixture
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let three jobs be many."""
    monkeypatch.setattr(bulk, "AT_ONCE", 3)
    monkeypatch.setattr(bulk, "_JOBS", 2)


class TestAtOnce:
    async def test_each_job_has_its_result(self, rig: Rig) -> None:
        first, second = await some(rig, 2)
        await rig.post(f"jobs/{second}/cancel")
        nobody = new_id()

        answer = await rig.post(
            "jobs/bulk", {"action": "pause", "ids": [first, second, nobody, first], "reason": "x"}
        )

        batch = answer.json()
        assert (answer.status_code, batch["count"]) == (200, 3)
        assert (batch["succeeded"], batch["failed"], batch["operation"]) == (1, 2, None)
        assert [(r["id"], r["ok"], r["code"], r["state"]) for r in batch["results"]] == [
            (first, True, None, "paused"),
            (second, False, "invalid_transition", "cancelled"),
            (nobody, False, "not_found", None),
        ]
        assert (await rig.get(f"jobs/{first}")).json()["detail"] == "x"

    @pytest.mark.parametrize(
        ("before", "body", "after"),
        [
            ((), {"action": "pause"}, "paused"),
            (("pause",), {"action": "resume"}, "pending"),
            ((), {"action": "cancel"}, "cancelled"),
            (("cancel",), {"action": "retry"}, "cancelled"),
            ((), {"action": "retry", "scope": "now"}, "pending"),
            (("cancel",), {"action": "delete"}, None),
            ((), {"action": "set_priority", "priority": "urgent"}, "pending"),
        ],
    )
    async def test_every_action_is_done(
        self, rig: Rig, before: tuple[str, ...], body: dict[str, str], after: str | None
    ) -> None:
        (job,) = await some(rig, 1)
        for verb in before:
            await rig.post(f"jobs/{job}/{verb}")

        (dry,) = (await rig.post("jobs/bulk", {**body, "ids": [job], "dry_run": True})).json()[
            "results"
        ]
        (result,) = (await rig.post("jobs/bulk", {**body, "ids": [job]})).json()["results"]

        assert (dry["ok"], result["ok"], result["state"]) == (True, True, after)
        if body["action"] == "retry" and "scope" not in body:
            assert (await rig.get(f"jobs/{result['new_id']}")).json()["retry_of"] == job
        if body["action"] == "set_priority":
            assert (await rig.get(f"jobs/{job}")).json()["spec"]["priority"] == "urgent"

    async def test_a_filter_means_what_the_list_shows(self, rig: Rig) -> None:
        docs = await some(rig, 2, tags=["docs"])
        other = await some(rig, 2, tags=["news"])
        chosen = {"tag": ["docs"], "state": ["pending", "paused"], "q": "-tag:news"}
        answer = await rig.post("jobs/bulk", {"action": "cancel", "filter": chosen})
        assert sorted(result["id"] for result in answer.json()["results"]) == sorted(docs)
        assert await states(rig, docs + other) == ["cancelled"] * 2 + ["pending"] * 2

    async def test_a_dry_run_says_what_would_be_done(self, rig: Rig) -> None:
        ids = await some(rig, 2)
        await rig.post(f"jobs/{ids[0]}/cancel")

        answer = await rig.post(
            "jobs/bulk",
            {"action": "pause", "filter": {"created_before": ["2100-01-01"]}, "dry_run": True},
        )

        batch = answer.json()
        assert (answer.status_code, batch["dry_run"], batch["count"]) == (200, True, 2)
        assert {r["id"]: r["ok"] for r in batch["results"]} == {ids[0]: False, ids[1]: True}
        assert await states(rig, ids) == ["cancelled", "pending"]

    async def test_the_count_must_be_about_as_expected(self, rig: Rig) -> None:
        ids = await some(rig, 11)
        body = {"action": "pause", "filter": {"state": ["pending"]}}

        refused = [
            await rig.post("jobs/bulk", {**body, "expected_count": n}) for n in (0, 5, 9, 13)
        ]
        done = await rig.post("jobs/bulk", {**body, "expected_count": 10})

        assert [problem(answer) for answer in refused] == [(409, "conflict")] * 4
        assert done.status_code == 200
        assert set(await states(rig, ids)) == {"paused"}

    async def test_others_jobs_are_not_there(self, rig: Rig) -> None:
        await rig.user("ada")
        await rig.user("bob")
        await rig.user("vera", Role.VIEWER)
        own, foreign = await some(rig, 1, "ada"), await some(rig, 1, "bob")

        by_id = await rig.post("jobs/bulk", {"action": "cancel", "ids": foreign}, by="ada")
        by_filter = await rig.post(
            "jobs/bulk", {"action": "cancel", "filter": {"state": ["pending"]}}, by="ada"
        )
        looked = await rig.post("jobs/bulk", {"action": "cancel", "ids": foreign}, by="vera")

        assert by_id.json()["results"][0]["code"] == "not_found"
        assert [result["id"] for result in by_filter.json()["results"]] == own
        assert problem(looked) == (403, "forbidden")
        assert await states(rig, foreign) == ["pending"]

    async def test_what_is_wrong_is_named(self, rig: Rig) -> None:
        for body, pointer in [
            ({"action": "pause"}, "/ids"),
            ({"action": "pause", "ids": ["a"], "filter": {"q": "a"}}, "/ids"),
            ({"action": "pause", "filter": {}}, "/filter"),
            ({"action": "pause", "filter": {"state": ["nothing"]}}, "/filter/state"),
            ({"action": "pause", "filter": {"q": "a:b"}}, "/filter/q"),
            ({"action": "pause", "filter": {"stat": ["paused"]}}, "/filter/stat"),
            ({"action": "set_priority", "ids": ["a"]}, "/priority"),
            ({"action": "pause", "ids": ["a"], "priority": "low"}, "/priority"),
            ({"action": "set_priority", "ids": ["a"], "priority": "top"}, "/priority"),
            ({"action": "explode", "ids": ["a"]}, "/action"),
            ({"action": "pause", "ids": ["a"] * 10_001}, "/ids"),
        ]:
            answer = await rig.post("jobs/bulk", body)
            assert pointers(answer) == [pointer], body


@pytest.mark.usefixtures("few_at_once")
class TestBulkOperations:
    async def started(self, rig: Rig, by: str = LOCAL.id, **body: Any) -> dict[str, Any]:
        answer = await rig.post("jobs/bulk", body, by=by)
        assert answer.status_code == 202, answer.text
        operation: dict[str, Any] = answer.json()["operation"]
        assert answer.headers["location"] == f"/api/v1/operations/{operation['id']}"
        return operation

    async def test_many_jobs_are_worked_off_in_the_background(self, rig: Rig) -> None:
        ids = await some(rig, 7)
        await rig.post(f"jobs/{ids[2]}/cancel")
        operation = await self.started(rig, action="pause", ids=ids)

        assert (operation["state"], operation["total"], operation["done"]) == ("running", 7, 0)
        assert set(await states(rig, ids)) == {"pending", "cancelled"}
        assert await rig.yard.operations.work_at_one()

        current_operation = (await rig.get(f"operations/{operation['id']}")).json()
        assert (
            current_operation["state"],
            current_operation["done"],
            current_operation["failed"],
        ) == ("completed", 7, 1)
        assert [(failure["id"], failure["code"]) for failure in current_operation["failures"]] == [
            (ids[2], "invalid_transition")
        ]
        assert current_operation["ended_at"] is not None
        assert (await states(rig, ids)).count("paused") == 6
        assert not await rig.yard.operations.work_at_one()

    async def test_a_filter_selects_the_jobs_that_exist_at_the_request(self, rig: Rig) -> None:
        ids = await some(rig, 5)
        operation = await self.started(
            rig, action="cancel", filter={"state": ["pending"]}, expected_count=5
        )
        later = await some(rig, 1)

        await rig.yard.operations.work_at_one()

        assert await states(rig, ids + later) == ["cancelled"] * 5 + ["pending"]
        current_operation = (await rig.get(f"operations/{operation['id']}")).json()
        assert (current_operation["done"], current_operation["request"]["where"][0]["words"]) == (
            5,
            ["pending"],
        )

    async def test_one_that_was_broken_off_goes_on_where_it_was(self, rig: Rig) -> None:
        ids = await some(rig, 5)
        for job_id in ids:
            await rig.post(f"jobs/{job_id}/cancel")
        operation = await self.started(rig, action="retry", ids=ids)
        store, now = rig.yard.store.operations, rig.clock.now()
        mine = await store.claim(now, now + LEASE)
        assert mine is not None
        # the server dies after it has retried two, and written down one
        for job_id in ids[:2]:
            await rig.yard.services.writer.retry(LOCAL, job_id)
        await store.save(replace(mine, cursor="1", done=1, version=mine.version + 1))

        assert not await rig.yard.operations.work_at_one()
        await rig.clock.advance(LEASE)
        assert await rig.yard.operations.work_at_one()

        current_operation = (await rig.get(f"operations/{operation['id']}")).json()
        assert (
            current_operation["state"],
            current_operation["done"],
            current_operation["failed"],
        ) == ("completed", 5, 0)
        jobs = (await rig.get("jobs?limit=50&origin=retry&fields=retry_of")).json()["items"]
        assert sorted(job["retry_of"] for job in jobs) == sorted(ids)

    async def test_a_cancelled_one_does_no_more(self, rig: Rig) -> None:
        ids = await some(rig, 5)
        operation = await self.started(rig, action="cancel", ids=ids)
        path = f"operations/{operation['id']}"

        cancelled = await rig.post(f"{path}/cancel")
        again = await rig.post(f"{path}/cancel")
        worked = await rig.yard.operations.work_at_one()

        assert (cancelled.status_code, cancelled.json()["state"]) == (202, "cancelled")
        assert (again.status_code, again.json()) == (200, cancelled.json())
        assert not worked
        assert set(await states(rig, ids)) == {"pending"}

    async def test_one_that_is_cancelled_meanwhile_stops_after_its_portion(self, rig: Rig) -> None:
        ids = await some(rig, 6)
        operation = await self.started(rig, action="cancel", ids=ids)
        now = rig.clock.now()
        mine = await rig.yard.store.operations.claim(now, now + LEASE)
        assert mine is not None
        await rig.post(f"operations/{operation['id']}/cancel")

        after = await rig.yard.operations._step(mine, again=False)

        assert after is None
        assert (await states(rig, ids)).count("cancelled") == 2
        stored_operation = await rig.yard.store.operations.get(operation["id"])
        assert stored_operation.state is OperationState.CANCELLED

    async def test_it_acts_as_its_owner_as_he_is_by_then(self, rig: Rig) -> None:
        await rig.user("ada")
        ids = await some(rig, 4, "ada")
        operation = await self.started(rig, "ada", action="cancel", ids=ids)
        await rig.ask("PATCH", "users/ada", json={"disabled": True})

        await rig.yard.operations.work_at_one()

        current_operation = (await rig.get(f"operations/{operation['id']}")).json()
        assert (current_operation["state"], current_operation["detail"]) == (
            "failed",
            "the user ada is disabled",
        )
        assert set(await states(rig, ids)) == {"pending"}

    async def test_they_come_in_pages(self, rig: Rig) -> None:
        ids = await some(rig, 4)
        operation_ids = [(await self.started(rig, action="pause", ids=ids))["id"] for _ in range(3)]
        first = (await rig.get("operations?limit=2")).json()
        rest = await rig.get("operations", params={"limit": 2, "cursor": first["next_cursor"]})
        listed = [operation["id"] for operation in first["items"] + rest.json()["items"]]
        assert listed == operation_ids[::-1]


class TestBackfills:
    async def test_a_long_one_is_an_operation(self, rig: Rig) -> None:
        schedule = await as_user(rig.yard).schedules.create("s", "@hourly", URL)
        until = rig.clock.now()
        since = until - timedelta(hours=250)
        body = {"from": since.isoformat(), "to": until.isoformat(), "dry_run": False}

        answer = await rig.post(f"schedules/{schedule.id}/backfill", body)
        await rig.yard.operations.work_at_one()

        assert answer.status_code == 202, answer.text
        operation = (await rig.get(f"operations/{answer.json()['operation_id']}")).json()
        assert (operation["kind"], operation["state"]) == ("backfill", "completed")
        assert (operation["total"], operation["done"]) == (250, 250)
        counts = (await rig.get("jobs/counts", params={"schedule": schedule.id})).json()
        assert counts["total"] == 250

    async def test_one_that_was_broken_off_makes_no_job_twice(self, rig: Rig) -> None:
        schedule = await as_user(rig.yard).schedules.create("s", "@hourly", URL)
        until = rig.clock.now()
        since = until - timedelta(hours=250)
        body = {"from": since.isoformat(), "to": until.isoformat(), "dry_run": False}
        await rig.post(f"schedules/{schedule.id}/backfill", body)
        middle = since + timedelta(hours=50)
        await as_user(rig.yard).schedules.backfill(schedule.id, since, middle, dry_run=False)

        await rig.yard.operations.work_at_one()

        counts = (await rig.get("jobs/counts", params={"schedule": schedule.id})).json()
        assert counts["total"] == 250

    async def test_a_quota_ends_it_and_says_so(self, rig: Rig) -> None:
        await rig.user("ada")
        schedule = await as_user(rig.yard, ADA).schedules.create("s", "@hourly", URL)
        await rig.ask("PATCH", "users/ada", json={"quota": {"pending": 120}})
        until = rig.clock.now()
        since = until - timedelta(hours=250)
        body = {"from": since.isoformat(), "to": until.isoformat(), "dry_run": False}

        answer = await rig.post(f"schedules/{schedule.id}/backfill", body, by="ada")
        await rig.yard.operations.work_at_one()

        path = f"operations/{answer.json()['operation_id']}"
        operation = (await rig.get(path, by="ada")).json()
        assert (operation["state"], operation["done"]) == ("failed", 100)
        assert "quota.pending" in operation["detail"]
