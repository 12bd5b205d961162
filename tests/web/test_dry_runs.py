"""Dry runs: what would be done is told, what refuses it is answered, and nothing is written."""

from collections.abc import Mapping
from typing import Any

import httpx

from crawlyard.core.access.user import LOCAL, Role
from tests.web.rig import URL, Rig, problem

HOOK = "https://93.184.215.14/hook"
DRY = "?dry_run=true"
INVALID = (422, "validation_failed")
KEY = {"Idempotency-Key": "k1"}


async def last_event_seq(rig: Rig) -> int:
    """Return how much has happened so far."""
    return await rig.yard.store.events.last()


async def planned(rig: Rig, body: Mapping[str, object], **more: Any) -> dict[str, Any]:
    answer = await rig.post("jobs/plan", body, **more)
    assert answer.status_code == 200, answer.text
    plan: dict[str, Any] = answer.json()
    return plan


async def put_section(rig: Rig, section: str, value: dict[str, object]) -> None:
    answer = await rig.ask("PUT", f"settings/{section}", json=value, headers={"If-Match": "*"})
    assert answer.status_code == 200, answer.text


class TestDryRunJobs:
    async def test_a_job_plan_shows_the_job_and_creates_nothing(self, rig: Rig) -> None:
        before = await last_event_seq(rig)

        plan = await planned(rig, {"urls": [URL], "name": "docs", "priority": "high"})

        assert (plan["object"], plan["dry_run"], plan["owner"]) == ("job_plan", True, LOCAL.id)
        assert (plan["name"], plan["state"], plan["priority"]) == ("docs", "pending", "high")
        assert plan["config"]["urls"] == [URL]
        assert (plan["sources"]["name"], plan["sources"]["scope"]) == ("this job", "default")
        assert [wait["reason"] for wait in plan["waits_for"]] == ["no_worker", "queue"]
        assert (await rig.get("jobs")).json()["items"] == []
        assert await last_event_seq(rig) == before

    async def test_a_plan_matches_the_job_that_is_created(self, rig: Rig) -> None:
        await put_section(rig, "defaults", {"delay_s": 3})
        spec = {"urls": ["{{start}}"], "limits": {"pages": 7}}
        parameters = {"start": {"type": "url"}}
        template: dict[str, object] = {"name": "t", "spec": spec, "parameters": parameters}
        await rig.post("templates", template)
        at = "2026-01-03T00:00:00Z"
        form = {"template": "t", "params": {"start": URL}, "max_depth": 2, "start_at": at}

        plan = await planned(rig, form)
        job = (await rig.post("jobs", form)).json()
        config = (await rig.get(f"jobs/{job['id']}/config")).json()

        assert plan["due_at"] == job["due_at"] == "2026-01-03T00:00:00Z"
        assert (plan["config"], plan["sources"]) == (config["config"], config["sources"])
        assert (plan["limits"], plan["origin"]) == (job["spec"]["limits"], job["origin"])
        assert plan["sources"]["limits.pages"] == "template v1"
        assert plan["sources"]["delay_s"] == "settings"

    async def test_a_plan_shows_limits_as_cut_by_ceilings(self, rig: Rig) -> None:
        await rig.user("ada")
        await put_section(rig, "ceilings", {"pages": 100, "duration_s": 60})
        form = {"urls": [URL], "limits": {"pages": 5000, "errors": 3}}

        plan = await planned(rig, form, by="ada")

        assert plan["limits"] == {
            "pages": 100,
            "bytes": None,
            "duration_s": 60,
            "errors": 3,
            "render_s": None,
        }
        assert plan["cut"] == ["limits.pages", "limits.duration_s"]
        assert plan["sources"]["limits.pages"] == "ceiling"
        assert plan["sources"]["limits.errors"] == "this job"

    async def test_credentials_are_not_shown(self, rig: Rig) -> None:
        headers = [["Authorization", "Bearer s3cret"]]
        plan = await planned(rig, {"urls": [URL], "headers": headers})
        assert plan["config"]["headers"] == [["Authorization", "***"]]

    async def test_it_is_refused_as_the_real_one(self, rig: Rig) -> None:
        await rig.user("ada")
        await rig.user("vera", Role.VIEWER)
        await rig.user("carl")
        await rig.ask("PATCH", "users/carl", json={"quota": {"pending": 0}})
        for body, by, answered in [
            ({"urls": []}, "ada", INVALID),
            ({"urls": [URL], "limits": {"pages": 0}}, "ada", INVALID),
            ({"urls": [URL], "webhooks": [{"url": "http://127.0.0.1/"}]}, "ada", INVALID),
            ({"template": "none"}, "ada", (404, "not_found")),
            ({"urls": [URL], "ignore_robots": True}, "ada", (403, "forbidden")),
            ({"urls": [URL]}, "vera", (403, "forbidden")),
            ({"urls": [URL]}, "carl", (429, "limit_exceeded")),
        ]:
            dry, real = (
                await rig.post("jobs/plan", body, by=by),
                await rig.post("jobs", body, by=by),
            )

            assert problem(dry) == problem(real) == answered, (body, by)
            assert dry.json()["detail"].replace("jobs/plan", "jobs") == real.json()["detail"], (
                body,
                by,
            )


class TestKeys:
    async def test_a_dry_run_leaves_its_key_for_the_real_request(self, rig: Rig) -> None:
        dry = [await rig.post("jobs/plan", {"urls": [URL]}, headers=KEY) for _ in range(2)]
        real = await rig.post("jobs", {"urls": [URL]}, headers=KEY)
        again = await rig.post("jobs", {"urls": [URL]}, headers=KEY)

        assert [answer.json()["object"] for answer in dry] == ["job_plan"] * 2
        assert "idempotency-replayed" not in dry[1].headers
        assert (real.status_code, again.json()["id"]) == (201, real.json()["id"])
        assert len((await rig.get("jobs")).json()["items"]) == 1

    async def test_so_does_one_that_says_so_in_its_body(self, rig: Rig) -> None:
        job = await rig.job()
        path, body = f"jobs/{job['id']}/exclusions", {"pattern": "*/print/*"}
        dry = await rig.post(path, body | {"dry_run": True}, headers=KEY)
        real = await rig.post(path, body, headers=KEY)
        assert (dry.status_code, real.status_code) == (200, 202)
        assert (await rig.get(f"jobs/{job['id']}")).json()["spec"]["exclude"] == ["*/print/*"]


async def deleted(rig: Rig, path: str, query: str = DRY, **more: Any) -> httpx.Response:
    if query and path.startswith("schedules/"):
        return await rig.get(f"{path}/deletion", **more)
    headers = {} if query else {"If-Match": "*"}
    return await rig.ask("DELETE", path + query, **({"headers": headers} | more))


async def deletable(rig: Rig, path: str, **more: Any) -> httpx.Response:
    return await rig.get(f"{path}/deletion", **more)


class TestDeletions:
    async def test_a_template_deletion_plan_counts_its_versions(self, rig: Rig) -> None:
        template = (await rig.post("templates", {"name": "t", "spec": {"urls": [URL]}})).json()
        path = f"templates/{template['id']}"
        await rig.ask("PATCH", path, json={"description": "x"}, headers={"If-Match": "*"})
        before = await last_event_seq(rig)

        answer = await deletable(rig, path)

        assert answer.status_code == 200
        assert answer.json() == {
            "object": "template_deletion",
            "template_id": template["id"],
            "name": "t",
            "dry_run": True,
            "versions": 2,
        }
        assert await last_event_seq(rig) == before
        assert (await deleted(rig, path, "")).status_code == 204

    async def test_a_template_deletion_plan_names_schedules_that_use_it(self, rig: Rig) -> None:
        template = (await rig.post("templates", {"name": "t", "spec": {"urls": [URL]}})).json()
        await rig.post("schedules", {"name": "nightly", "when": "@daily", "template": "t"})

        path = f"templates/{template['id']}"

        dry, real = await deletable(rig, path), await deleted(rig, path, "")

        assert problem(dry) == problem(real) == (409, "conflict")
        assert "schedule nightly" in dry.json()["detail"]
        assert dry.json()["detail"] == real.json()["detail"]

    async def test_a_schedule_deletion_plan_counts_its_runs(self, rig: Rig) -> None:
        body = {"name": "nightly", "when": "@daily", "overrides": {"urls": [URL]}}
        schedule = (await rig.post("schedules", body)).json()
        job = (await rig.post("schedules/nightly/run")).json()
        before = await last_event_seq(rig)

        answer = await deleted(rig, "schedules/nightly")

        assert answer.status_code == 200
        assert answer.json() == {
            "object": "schedule_deletion",
            "schedule_id": schedule["id"],
            "name": "nightly",
            "dry_run": True,
            "runs": 1,
        }
        assert await last_event_seq(rig) == before
        assert (await deleted(rig, "schedules/nightly", "")).status_code == 204
        assert (await rig.get(f"jobs/{job['id']}")).status_code == 200

    async def test_a_deletion_itself_is_not_taken_for_a_dry_run(self, rig: Rig) -> None:
        body = {"name": "nightly", "when": "@daily", "overrides": {"urls": [URL]}}
        await rig.post("schedules", body)
        answer = await rig.ask("DELETE", f"schedules/nightly{DRY}", headers={"If-Match": "*"})
        assert problem(answer) == INVALID
        assert (await rig.get("schedules/nightly")).status_code == 200

    async def test_a_webhook_deletion_plan_counts_its_deliveries(self, rig: Rig) -> None:
        webhook = (await rig.post("webhooks", {"url": HOOK, "events": ["job.created"]})).json()
        for _ in range(2):
            await rig.job()
        await rig.yard.store.deliveries.fan_out(rig.clock.now())
        before = await last_event_seq(rig)

        answer = await deletable(rig, f"webhooks/{webhook['id']}")

        assert answer.status_code == 200
        assert answer.json() == {
            "object": "webhook_deletion",
            "webhook_id": webhook["id"],
            "url": HOOK,
            "dry_run": True,
            "deliveries": 2,
            "waiting": 2,
        }
        assert await last_event_seq(rig) == before
        assert (await deleted(rig, f"webhooks/{webhook['id']}", "")).status_code == 204

    async def test_it_may_depend_on_the_version_that_was_seen(self, rig: Rig) -> None:
        await rig.user("ada")
        bodies: dict[str, dict[str, object]] = {
            "templates": {"name": "t", "spec": {"urls": [URL]}},
            "schedules": {"name": "s", "when": "@daily", "overrides": {"urls": [URL]}},
            "webhooks": {"url": HOOK},
        }
        for kind in ["templates", "schedules", "webhooks"]:
            resource = (await rig.post(kind, bodies[kind], by="ada")).json()
            path = f"{kind}/{resource['id']}"
            stale = await deletable(rig, path, by="ada", headers={"If-Match": '"v7"'})

            assert problem(stale) == (412, "precondition_failed"), kind
            assert (await deletable(rig, path, by="ada")).status_code == 200, kind
