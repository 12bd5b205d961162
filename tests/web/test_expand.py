"""`expand` adds what a job belongs to, as far as it may be seen, and a schedule's last ticks."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from crawlyard.core.access.user import LOCAL, Permit
from crawlyard.core.schedules.calendar import RecentTick
from crawlyard.store.schedules.ticks import TickStore
from tests.web.rig import URL, Rig, a_rig, problem

WHOLE = "template,schedule"


async def a_template(rig: Rig, name: str = "t", by: str = LOCAL.id) -> dict[str, Any]:
    body = {"name": name, "spec": {"urls": [URL]}}
    template: dict[str, Any] = (await rig.post("templates", body, by=by)).json()
    return template


async def a_scheduled_job(rig: Rig, by: str = LOCAL.id) -> str:
    """Return the id of a job that a schedule made of a template."""
    await a_template(rig, by=by)
    params = {"token": "s3cret"}
    await rig.ask(
        "PATCH",
        "templates/t",
        json={"parameters": {"token": {}}, "spec": {"user_agent": "x {{token}}"}},
        headers={"If-Match": "*"},
        by=by,
    )
    body = {"name": "nightly", "when": "@daily", "template": "t", "params": params}
    await rig.post("schedules", body, by=by)
    return str((await rig.post("schedules/nightly/run", by=by)).json()["id"])


async def expanded(rig: Rig, path: str, **more: Any) -> dict[str, Any]:
    answer = await rig.get(path, **more)
    assert answer.status_code == 200, answer.text
    expansion: dict[str, Any] = answer.json()["expanded"]
    return expansion


class TestExpandJobs:
    async def test_expanded_objects_equal_their_own_responses(self, rig: Rig) -> None:
        await rig.user("ada")
        job_id = await a_scheduled_job(rig, "ada")
        expansion = await expanded(rig, f"jobs/{job_id}?expand={WHOLE}", by="ada")
        assert expansion == {
            "template": (await rig.get("templates/t", by="ada")).json(),
            "schedule": (await rig.get("schedules/nightly", by="ada")).json(),
        }
        assert expansion["schedule"]["params"] == {"token": "***"}

    async def test_what_is_not_named_is_not(self, rig: Rig) -> None:
        job_id = await a_scheduled_job(rig)

        plain = (await rig.get(f"jobs/{job_id}")).json()
        expansion = await expanded(rig, f"jobs/{job_id}?expand=template")
        two = await expanded(rig, f"jobs/{job_id}?expand=schedule&expand=template")

        assert "expanded" not in plain
        assert (expansion["template"]["name"], expansion["schedule"]) == ("t", None)
        assert (two["template"]["name"], two["schedule"]["name"]) == ("t", "nightly")

    async def test_the_template_is_the_version_that_the_job_was_made_of(self, rig: Rig) -> None:
        await a_template(rig)
        job = (await rig.post("jobs", {"template": "t"})).json()
        change = {"description": "new"}
        await rig.ask("PATCH", "templates/t", json=change, headers={"If-Match": "*"})
        expansion = await expanded(rig, f"jobs/{job['id']}?expand=template")
        assert (expansion["template"]["version"], expansion["template"]["description"]) == (1, "")

    async def test_what_belongs_to_nothing_has_nothing_added(self, rig: Rig) -> None:
        job = await rig.job()
        expansion = await expanded(rig, f"jobs/{job['id']}?expand=template,schedule")
        assert expansion == {"template": None, "schedule": None}

    async def test_what_may_not_be_seen_any_more_is_null(self, rig: Rig) -> None:
        await rig.user("ada")
        template = await a_template(rig)
        await rig.post("templates/t/publish")
        job = (await rig.post("jobs", {"template": template["id"]}, by="ada")).json()
        path = f"jobs/{job['id']}?expand=template"

        expansion = await expanded(rig, path, by="ada")
        await rig.post("templates/t/unpublish")
        unseen = await expanded(rig, path, by="ada")
        by_admin = await expanded(rig, path)

        assert expansion["template"]["owner"] == by_admin["template"]["owner"] == LOCAL.id
        assert unseen["template"] is None

    async def test_a_token_sees_what_it_is_good_for(self, rig: Rig) -> None:
        job_id = await a_scheduled_job(rig)
        path = f"jobs/{job_id}?expand="
        some = await rig.token(LOCAL.id, frozenset({Permit.JOBS_READ, Permit.TEMPLATES_READ}))

        expansion = await expanded(rig, f"{path}template", secret=some)
        refused = await rig.get(f"{path}{WHOLE}", secret=some)

        assert expansion["template"]["name"] == "t"
        assert problem(refused) == (403, "forbidden")
        assert "expand needs schedules:read, which" in refused.json()["detail"]

    async def test_its_tag_changes_with_what_it_belongs_to(self, rig: Rig) -> None:
        job_id = await a_scheduled_job(rig)
        path = f"jobs/{job_id}?expand=schedule"
        tag = (await rig.get(path)).headers["etag"]

        same = await rig.get(path, headers={"If-None-Match": tag})
        without = await rig.get(f"jobs/{job_id}", headers={"If-None-Match": tag})
        await rig.post("schedules/nightly/pause")
        other = await rig.get(path, headers={"If-None-Match": tag})

        assert (same.status_code, without.status_code, other.status_code) == (304, 200, 200)
        assert other.json()["expanded"]["schedule"]["enabled"] is False
        changed = await rig.ask(
            "PATCH", f"jobs/{job_id}", json={"name": "n"}, headers={"If-Match": tag}
        )
        assert changed.status_code == 200

    async def test_its_tag_changes_when_its_schedule_is_due_again(self, rig: Rig) -> None:
        job_id = await a_scheduled_job(rig)
        await rig.post(f"jobs/{job_id}/cancel")
        path = f"jobs/{job_id}?expand=schedule"
        first = await rig.get(path)

        await rig.clock.advance(timedelta(days=1))
        await rig.yard.scheduler.round()
        other = await rig.get(path, headers={"If-None-Match": first.headers["etag"]})

        assert other.status_code == 200
        old, new = [answer.json()["expanded"]["schedule"] for answer in (first, other)]
        assert old["version"] == new["version"]
        assert old["next_at"] < new["next_at"]

    async def test_fields_of_them_can_be_named(self, rig: Rig) -> None:
        job_id = await a_scheduled_job(rig)
        answer = await rig.get(f"jobs/{job_id}?expand=template&fields=state,expanded.template.name")
        assert answer.json() == {"state": "pending", "expanded": {"template": {"name": "t"}}}


class TestExpandRecentTicks:
    async def test_the_last_ticks_of_each_come_with_the_states_of_their_jobs(
        self, rig: Rig
    ) -> None:
        job_id = await a_scheduled_job(rig)
        body = {"name": "idle", "when": "@daily", "overrides": {"urls": [URL]}}
        await rig.post("schedules", body)
        await rig.post(f"jobs/{job_id}/pause")

        listed = (await rig.get("schedules?expand=recent")).json()["items"]
        plain = (await rig.get("schedules")).json()["items"]

        idle, nightly = [schedule["expanded"] for schedule in listed]
        assert idle == {"recent": []}
        [tick] = nightly["recent"]
        assert (tick["outcome"], tick["reason"]) == ("ran", "by_user")
        assert (tick["job_id"], tick["job_state"]) == (job_id, "paused")
        assert tick["due_at"] == "2026-01-02T03:04:05.678901Z"
        assert all("expanded" not in schedule for schedule in plain)

    async def test_one_has_them_too_and_its_tag_changes_with_them(self, rig: Rig) -> None:
        job_id = await a_scheduled_job(rig)
        path = "schedules/nightly?expand=recent"
        [listed] = (await rig.get("schedules?expand=recent")).json()["items"]
        first = await rig.get(path)

        headers = {"If-None-Match": first.headers["etag"]}
        same = await rig.get(path, headers=headers)
        plain = await rig.get("schedules/nightly", headers=headers)
        await rig.post(f"jobs/{job_id}/pause")
        other = await rig.get(path, headers=headers)

        assert first.json() == listed
        assert (same.status_code, plain.status_code, other.status_code) == (304, 200, 200)
        assert other.json()["expanded"]["recent"][0]["job_state"] == "paused"
        assert "expanded" not in plain.json()

    async def test_they_are_read_by_one_question_for_all(self, rig: Rig) -> None:
        for name in ("a", "b", "c"):
            body = {"name": name, "when": "@daily", "overrides": {"urls": [URL]}}
            await rig.post("schedules", body)
        counted_store = CountedTicks(rig.yard.store.ticks)
        rig = await a_rig(rig.yard.store.with_parts(ticks=counted_store))

        items = (await rig.get("schedules?expand=recent&limit=2")).json()["items"]

        assert len(items) == 2
        assert [len(ids) for ids in counted_store.queries] == [2]

    async def test_a_token_sees_states_of_jobs_if_it_is_good_for_jobs(self, rig: Rig) -> None:
        await a_scheduled_job(rig)
        alone = await rig.token(LOCAL.id, frozenset({Permit.SCHEDULES_READ}))
        refused = await rig.get("schedules?expand=recent", secret=alone)
        assert problem(refused) == (403, "forbidden")
        assert "jobs:read" in refused.json()["detail"]


@dataclass
class CountedTicks:
    """A store that counts what it is asked for."""

    of: TickStore
    queries: list[Collection[str]] = field(default_factory=list)

    async def recent(
        self, schedule_ids: Collection[str], limit: int, reader: str | None
    ) -> Mapping[str, Sequence[RecentTick]]:
        self.queries.append(schedule_ids)
        return await self.of.recent(schedule_ids, limit, reader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.of, name)


async def test_what_cannot_be_is_refused_with_what_can(rig: Rig) -> None:
    job_id = await a_scheduled_job(rig)
    for path, accepted in [("jobs/{job}", "template, schedule"), ("schedules", "recent")]:
        answer = await rig.get(path.format(job=job_id) + "?expand=colour")

        assert problem(answer) == (422, "validation_failed"), path
        [error] = answer.json()["errors"]
        assert error["parameter"] == "expand", path
        assert error["detail"] == f"expected {accepted}, got 'colour'", path
