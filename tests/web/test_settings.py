"""Settings over HTTP, and what they and quotas do to jobs, through every door."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from crawlyard.core.access.user import LOCAL, Actor
from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.limits import Limits
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.errors import Forbidden, QuotaExceeded
from crawlyard.store.queries import EventQuery
from tests.jobs import submit
from tests.surfaces import as_user
from tests.web.rig import URL, Rig, pointers, problem

ADA = Actor(id="ada")


async def put_section(rig: Rig, section: str, value: dict[str, Any], **more: Any) -> Any:
    answer = await rig.ask(
        "PUT", f"settings/{section}", json=value, headers={"If-Match": "*"}, **more
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


async def quota(rig: Rig, user: str, **fields: Any) -> None:
    answer = await rig.ask("PATCH", f"users/{user}", json={"quota": fields})
    assert answer.status_code == 200, answer.text


class TestSections:
    async def test_what_was_never_written_is_empty_and_says_what_holds(self, rig: Rig) -> None:
        listed = (await rig.get("settings")).json()["items"]
        assert [section["section"] for section in listed] == [
            "grants",
            "ceilings",
            "retention",
            "defaults",
            "sharing",
        ]
        assert [(section["version"], section["value"]) for section in listed[:4]] == [(0, {})] * 4
        assert listed[0]["effective"] == {
            "addresses": False,
            "private": False,
            "ignore_robots": False,
        }
        assert listed[2]["effective"] == {
            "paused_ttl_days": 7.0,
            "retention_days": 30.0,
            "events_days": 90.0,
            "audit_days": 90.0,
            "operations_days": 30.0,
            "credentials_days": 30.0,
            "usage_days": 400.0,
        }
        assert listed[3]["effective"]["per_host"] == 2

    async def test_a_section_is_replaced_whole_with_an_event(self, rig: Rig) -> None:
        await put_section(rig, "ceilings", {"pages": "20k", "bytes": "1GB"})
        second = await put_section(rig, "ceilings", {"duration_s": 60})

        assert second["value"] == dict.fromkeys(Limits.__struct_fields__) | {"duration_s": 60}
        assert (second["version"], second["updated_by"]) == (2, LOCAL.id)
        assert (await rig.get("settings/ceilings")).json() == second
        query = EventQuery(names=frozenset({EventName.SETTINGS_UPDATED}))
        events = await rig.yard.store.events.events(query)
        assert [event.data["version"] for event in events] == [1, 2]

    async def test_what_is_wrong_is_named(self, rig: Rig) -> None:
        for section, value, pointer in [
            ("grants", {"address": True}, "/address"),
            ("grants", {"section": True}, "/section"),  # the path has a parameter of that name
            ("grants", {"addresses": "perhaps"}, "/addresses"),
            ("ceilings", {"pages": 0}, "/pages"),
            ("ceilings", {"duration_s": 0}, "/duration_s"),
            ("ceilings", {"pages": 10**30}, "/pages"),
            ("ceilings", {"duration": 5}, "/duration"),
            ("retention", {"retention_days": -1}, "/retention_days"),
            ("retention", {"retention_days": 4000}, "/retention_days"),
            ("defaults", {"urls": [URL]}, "/urls"),
            ("defaults", {"delay_s": "soon"}, "/delay_s"),
            ("defaults", {"per_host": 0}, "/per_host"),
            ("defaults", {"include": ["re:("]}, "/include"),
            ("defaults", {"headers": {"Cookie": "a=b"}}, "/headers"),
        ]:
            answer = await rig.ask(
                "PUT", f"settings/{section}", json=value, headers={"If-Match": "*"}
            )
            assert pointers(answer) == [pointer], value
            assert (await rig.get(f"settings/{section}")).json()["version"] == 0, value

    async def test_without_a_body_a_section_stays_as_it_is(self, rig: Rig) -> None:
        await put_section(rig, "grants", {"private": True})
        answer = await rig.ask("PUT", "settings/grants", headers={"If-Match": "*"})
        assert problem(answer) == (422, "validation_failed")
        assert (await rig.get("settings/grants")).json()["value"]["private"] is True

    async def test_the_seal_is_no_section(self, rig: Rig) -> None:
        assert problem(await rig.get("settings/seal")) == (404, "not_found")
        hidden = await rig.ask("PUT", "settings/seal", json={}, headers={"If-Match": "*"})
        assert problem(hidden) == (404, "not_found")


class TestGrantSettings:
    @pytest.mark.parametrize(
        ("form", "grant"),
        [
            ({"allow_addresses": ["127.0.0.1"]}, "addresses"),
            ({"allow_private": True}, "private"),
            ({"ignore_robots": True}, "ignore_robots"),
        ],
    )
    async def test_what_opens_a_way_inside_is_granted_first(
        self, rig: Rig, form: dict[str, Any], grant: str
    ) -> None:
        body = {"urls": [URL], **form}
        scheduled = {"name": "s", "when": "@daily", "overrides": body}

        refused = await rig.post("jobs", body)
        by_schedule = await rig.post("schedules", scheduled)
        await put_section(rig, "grants", {grant: True})
        granted = await rig.post("jobs", body)

        assert problem(refused) == problem(by_schedule) == (403, "forbidden")
        assert next(iter(form)) in refused.json()["detail"]
        assert granted.status_code == 201, granted.text

    async def test_the_command_on_the_stores_own_files_is_granted_all(self, rig: Rig) -> None:
        spec = JobSpec(urls=(URL,), allow_private=True, ignore_robots=True)
        job = await submit(rig.yard, spec)
        again = await rig.post(f"jobs/{job.id}/cancel")
        retried = await rig.post(f"jobs/{job.id}/retry")
        assert again.status_code == 202
        assert problem(retried) == (403, "forbidden")

    async def test_a_schedule_made_on_the_files_keeps_what_its_flags_said(self, rig: Rig) -> None:
        overrides = {"urls": [URL], "allow_private": True}

        schedule = await as_user(rig.yard).schedules.create("s", "@daily", overrides=overrides)
        job = await as_user(rig.yard).schedules.run(schedule.id)

        assert job.spec.allow_private
        with pytest.raises(Forbidden, match="allow_private"):
            await as_user(rig.yard, ADA).schedules.create("s", "@daily", overrides=overrides)

    async def test_a_webhook_opens_no_address_that_is_not_granted(self, rig: Rig) -> None:
        body = {"url": "http://127.0.0.1:9/", "allow_addresses": ["127.0.0.1"]}
        refused = await rig.post("webhooks", body)
        await put_section(rig, "grants", {"addresses": True})
        granted = await rig.post("webhooks", body)
        assert problem(refused) == (403, "forbidden")
        assert granted.status_code == 201, granted.text


class TestCeilings:
    async def test_the_smaller_wins_and_the_event_says_what_was_cut(self, rig: Rig) -> None:
        await rig.user("ada")
        await put_section(rig, "ceilings", {"pages": 100, "duration_s": 3600})
        await quota(rig, "ada", ceilings={"pages": 500, "errors": 5})

        job = await rig.job("ada", limits={"pages": 1000, "bytes": 10, "errors": 3})

        cut = {"pages": 100, "bytes": 10, "duration_s": 3600, "errors": 3}
        assert job["spec"]["limits"] == dict.fromkeys(Limits.__struct_fields__) | cut
        (event,) = await rig.yard.store.events.events(EventQuery(subject=job["id"]))
        assert event.data["cut"] == {"limits.pages": 100, "limits.duration_s": 3600}

    async def test_what_is_within_is_left_as_it_is(self, rig: Rig) -> None:
        await put_section(rig, "ceilings", {"pages": 100})
        job = await rig.job(limits={"pages": 99})
        (event,) = await rig.yard.store.events.events(EventQuery(subject=job["id"]))
        assert job["spec"]["limits"]["pages"] == 99
        assert "cut" not in event.data

    async def test_an_edit_does_not_lift_a_limit_over_a_ceiling(self, rig: Rig) -> None:
        await put_section(rig, "ceilings", {"pages": 100})
        job = await submit(rig.yard, JobSpec(urls=(URL,), limits=Limits(pages=5)))
        edited = await rig.yard.services.writer.edit(LOCAL, job.id, {"limits.pages": 10**6})
        assert edited.limits.pages == 100


class TestPending:
    async def test_as_many_jobs_wait_as_may_and_no_more(self, rig: Rig) -> None:
        await rig.user("ada")
        await quota(rig, "ada", pending=3)

        answers = await asyncio.gather(
            *(rig.post("jobs", {"urls": [URL]}, by="ada") for _ in range(10))
        )

        assert sorted(answer.status_code for answer in answers) == [201] * 3 + [429] * 7
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert problem(refused) == (429, "limit_exceeded")
        assert refused.json()["quota"] == "pending"
        assert (await rig.post("jobs", {"urls": [URL]})).status_code == 201

    async def test_a_retry_and_a_run_of_a_schedule_count_as_well(self, rig: Rig) -> None:
        await rig.user("ada")
        schedule = await as_user(rig.yard, ADA).schedules.create("s", "@hourly", URL)
        ended = await rig.job("ada")
        await rig.post(f"jobs/{ended['id']}/cancel", by="ada")
        await quota(rig, "ada", pending=0)

        retried = await rig.post(f"jobs/{ended['id']}/retry", by="ada")

        assert problem(retried) == (429, "limit_exceeded")
        with pytest.raises(QuotaExceeded):
            await as_user(rig.yard, ADA).schedules.run(schedule.id)

    async def test_a_tick_beyond_the_quota_is_skipped_for_it(self, rig: Rig) -> None:
        await rig.user("ada")
        await quota(rig, "ada", pending=1)
        schedule = await as_user(rig.yard, ADA).schedules.create("s", "@hourly", URL)
        await rig.job("ada")

        await rig.clock.advance(timedelta(hours=1))
        await rig.yard.scheduler.round()

        (tick,) = (await as_user(rig.yard, ADA).schedules.runs(schedule.id)).items
        assert (tick.outcome, tick.reason) == ("skipped", "quota")
        assert "1 job of ada waits already" in tick.detail


class TestDefaults:
    async def test_they_lie_under_what_a_job_says(self, rig: Rig) -> None:
        await put_section(
            rig, "defaults", {"delay_s": 3, "limits": {"pages": 7}, "user_agent": "us/1"}
        )
        job = await rig.job(delay=1)
        assert job["spec"]["delay_s"] == 1
        assert (job["spec"]["limits"]["pages"], job["spec"]["user_agent"]) == (7, "us/1")

    async def test_a_template_lies_over_them(self, rig: Rig) -> None:
        await put_section(rig, "defaults", {"delay_s": 3, "per_host": 1, "limits": {"pages": 7}})
        spec = {"urls": [URL], "delay_s": 2, "limits": {"errors": 4}}
        response = await rig.post("templates", {"name": "t", "spec": spec})
        assert response.status_code == 201, response.text

        job = await rig.post("jobs", {"template": "t", "concurrency": 5})

        body = job.json()
        assert (body["spec"]["delay_s"], body["spec"]["per_host"]) == (2, 1)
        assert (body["spec"]["limits"]["pages"], body["spec"]["limits"]["errors"]) == (7, 4)
        assert body["spec"]["concurrency"] == 5

    async def test_the_command_line_goes_without_them(self, rig: Rig) -> None:
        await put_section(rig, "defaults", {"delay_s": 3})
        job = await submit(rig.yard, JobSpec(urls=(URL,)))
        assert job.spec.delay_s == 0.5


class TestRetentionSettings:
    async def test_the_janitor_goes_by_what_is_written_now(self, rig: Rig) -> None:
        job = await rig.job()
        await rig.post(f"jobs/{job['id']}/cancel")
        await rig.clock.advance(timedelta(days=2))

        async def swept() -> int:
            sweeping = asyncio.create_task(rig.yard.janitor.sweep())
            while not sweeping.done():
                await rig.clock.advance(timedelta(seconds=1))
            return sweeping.result().deleted

        before = await swept()
        section = await put_section(rig, "retention", {"retention_days": 1})
        after = await swept()

        assert (before, after) == (0, 1)
        assert section["effective"]["retention_days"] == 1
        assert problem(await rig.get(f"jobs/{job['id']}")) == (404, "not_found")
