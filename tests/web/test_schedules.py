"""Schedules over HTTP: made, changed, paused, run, made up for, looked ahead."""

from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from crawlyard.core.access.user import LOCAL
from tests.web.rig import URL, Rig, pointers, problem

ANY = {"If-Match": "*"}
HOURLY: dict[str, Any] = {"name": "nightly", "when": "@hourly", "overrides": {"urls": [URL]}}


async def a_schedule(rig: Rig, by: str = LOCAL.id, **fields: Any) -> dict[str, Any]:
    answer = await rig.post("schedules", HOURLY | fields, by=by)
    assert answer.status_code == 201, answer.text
    schedule: dict[str, Any] = answer.json()
    return schedule


async def patched(rig: Rig, ref: str, change: object, **more: Any) -> httpx.Response:
    return await rig.ask("PATCH", f"schedules/{ref}", json=change, **({"headers": ANY} | more))


async def test_a_schedule_is_made_and_found_by_id_and_name(rig: Rig) -> None:
    answer = await rig.post("schedules", HOURLY | {"zone": "Europe/Berlin", "jitter_s": 60})

    schedule = answer.json()
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/api/v1/schedules/{schedule['id']}"
    defaults = {
        name: schedule[name] for name in ("zone", "jitter_s", "grace_s", "enabled", "overlap")
    }
    assert defaults == {
        "zone": "Europe/Berlin",
        "jitter_s": 60.0,
        "grace_s": 300.0,
        "enabled": True,
        "overlap": "skip",
    }
    for ref in (schedule["id"], "nightly", "local%2Fnightly"):
        response = await rig.get(f"schedules/{ref}")
        assert response.json() == schedule
        assert response.headers["etag"] == answer.headers["etag"]


async def test_what_is_wrong_is_named(rig: Rig) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"name": ""}, "/name"),
        ({"name": "a/b"}, "/name"),
        ({"name": None}, "/name"),
        ({"when": "61 * * * *"}, "/when"),
        ({"when": "at 2020-01-01T00:00"}, "/when"),
        ({"when": "every 1s"}, "/when"),
        ({"zone": "Europe/Berlim"}, "/zone"),
        ({"grace_s": -1}, "/grace_s"),
        ({"jitter_s": 1e9}, "/jitter_s"),
        ({"overlap": "sometimes"}, "/overlap"),
        ({"catch_up": 0}, "/catch_up"),
        ({"template_version": 0}, "/template_version"),
        ({"starts_at": "tomorrow"}, "/starts_at"),
        ({"starts_at": "2027-01-01T00:00:00"}, "/starts_at"),
        ({"starts_at": 5}, "/starts_at"),
        ({"starts_at": "9999-12-31T23:59:59Z"}, "/starts_at"),
        ({"starts_at": "2028-01-01T00:00:00Z", "ends_at": "2027-01-01T00:00:00Z"}, "/ends_at"),
        ({"overrides": {"urls": [URL], "limits": {"pages": 0}}}, "/overrides/limits/pages"),
        ({"overrides": {"urls": [URL], "urlz": []}}, "/overrides/urlz"),
        ({"overrides": {"urls": []}}, "/overrides/urls"),
        ({"overrides": {"urls": ["http://127.0.0.1/"]}}, "/overrides/urls"),
        ({"overrides": []}, "/overrides"),
        ({"params": 5}, "/params"),
        ({"enabled": True}, "/enabled"),
        ({"cron": "@daily"}, "/cron"),
    ]
    for change, pointer in cases:
        response = await rig.post("schedules", HOURLY | change)
        assert pointers(response) == [pointer], change
    assert (await rig.get("schedules")).json()["items"] == []

    await a_schedule(rig)
    for change, pointer in cases:
        changed = await patched(rig, "nightly", change)
        assert pointers(changed) == [pointer], change
        assert (await rig.get("schedules/nightly")).json()["version"] == 1, change


async def test_a_template_is_named_and_its_parameters_are_blamed(rig: Rig) -> None:
    template = {
        "name": "news",
        "parameters": {"pages": {"type": "integer", "required": True}},
        "spec": {"urls": [URL], "limits": {"pages": "{{pages}}"}},
    }
    new_template = (await rig.post("templates", template)).json()
    form = {"name": "nightly", "when": "@daily", "template": "news"}

    missing = await rig.post("schedules", form)
    unknown = await rig.post("schedules", form | {"template": "olds"})
    fine = await rig.post("schedules", form | {"params": {"pages": 5}})

    assert pointers(missing) == ["/params/pages"]
    assert problem(unknown) == (404, "not_found")
    assert (fine.status_code, fine.json()["template_id"]) == (201, new_template["id"])
    for ref in ("news", "local/news", new_template["id"]):
        response = await rig.get("schedules", params={"template": ref})
        assert [schedule["id"] for schedule in response.json()["items"]] == [fine.json()["id"]]
    assert (await rig.get("schedules?template=olds")).json()["items"] == []


async def test_fields_and_a_file_are_converted_both_ways_and_keep_what_was_sent(rig: Rig) -> None:
    overrides = {"urls": [URL], "headers": {"Authorization": "Bearer s3cret"}}
    body = {"name": "x", "when": "0 3 * * *", "catch_up": 3, "jitter_s": 60, "overlap": "skip"}
    body["overrides"] = overrides
    more = {
        "description": None,
        "params": {"pages": None},
        "starts_at": "2027-01-01T08:00:00+01:00",
    }

    conversion = (await rig.post("schedules/convert", body | more)).json()
    back = (await rig.post("schedules/convert", {"content": conversion["content"]})).json()

    assert conversion["schedule"] == back["schedule"]
    assert conversion["schedule"].pop("starts_at") == "2027-01-01T07:00:00.000Z"
    assert conversion["schedule"] == body
    assert (await rig.get("schedules")).json()["items"] == []  # nothing is kept
    once = {"headers": {"Idempotency-Key": "k"}}
    for _ in range(2):  # an answer with credentials is not kept for a repetition
        answer = await rig.post("schedules/convert", body, **once)
        assert "idempotency-replayed" not in answer.headers


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name: x\nwhenn: 0 3 * * *\n", "whenn: there is no such field; did you mean when?"),
        ("overrides: {pages: 1}\n", "pages: there is no such field"),
        ("overrides: {limits: {pages: many}}\n", "limits.pages: expected"),
        ("name: [x\n", "invalid YAML"),
        ("- x\n", "expected an object"),
    ],
)
async def test_what_is_wrong_in_the_file_of_a_schedule_is_named(
    rig: Rig, content: str, message: str
) -> None:
    answer = await rig.post("schedules/convert", {"content": content})
    assert pointers(answer) == ["/content"]
    assert message in answer.json()["errors"][0]["detail"]
    response = await rig.post("schedules/convert", {"content": content, "name": "x"})
    assert pointers(response) == ["/name"]


async def test_a_list_comes_by_name_in_pages_and_narrows(rig: Rig) -> None:
    await rig.user("ada")
    for name in "cab":
        await a_schedule(rig, name=name)
    await a_schedule(rig, "ada", name="d")
    await rig.post("schedules/b/pause")

    async def names(by: str = LOCAL.id, **params: Any) -> list[str]:
        schedules = (await rig.get("schedules", params=params, by=by)).json()["items"]
        return [schedule["name"] for schedule in schedules]

    first = (await rig.get("schedules?limit=3")).json()
    behind = {"limit": 3, "cursor": first["next_cursor"]}
    second = (await rig.get("schedules", params=behind)).json()

    assert [schedule["name"] for page in (first, second) for schedule in page["items"]] == list(
        "abcd"
    )
    assert await names(paused=True) == ["b"]
    assert await names(paused=False) == ["a", "c", "d"]
    assert await names(owner="me") == ["a", "b", "c"]
    assert await names(owner="ada") == ["d"]
    assert await names(q="A") == ["a"]
    assert await names("ada") == ["d"]
    assert await names("ada", owner="local") == []


async def test_absent_stays_and_null_takes_away(rig: Rig) -> None:
    await a_schedule(
        rig,
        description="x",
        grace_s=60,
        jitter_s=5,
        ends_at="2030-01-01T00:00:00+02:00",
        runs_left=7,
        pause_after=3,
        overlap="allow",
        overrides={"urls": [URL], "limits": {"pages": 5, "errors": 1}},
    )

    change = {
        "description": None,
        "grace_s": None,
        "ends_at": None,
        "runs_left": None,
        "overlap": None,
        "overrides": {"limits": {"pages": None, "bytes": 9}, "max_depth": 2},
    }
    changed = (await patched(rig, "nightly", change)).json()

    fields = {name: changed[name] for name in [*change, "jitter_s", "pause_after", "name"]}
    assert fields == {
        "description": "",
        "grace_s": 300.0,
        "ends_at": None,
        "runs_left": None,
        "overlap": "skip",
        "overrides": {"urls": [URL], "limits": {"errors": 1, "bytes": 9}, "max_depth": 2},
        "jitter_s": 5.0,
        "pause_after": 3,
        "name": "nightly",
    }
    timed = await patched(rig, "nightly", {"when": None})
    assert pointers(timed) == ["/when"]


async def test_a_hidden_credential_is_kept_by_a_change_beside_it(rig: Rig) -> None:
    secret = {"urls": [URL], "headers": {"Authorization": "Bearer hunter2"}}
    schedule = await a_schedule(rig, overrides=secret)
    changed = (await patched(rig, "nightly", {"overrides": {"max_depth": 2}})).json()
    assert "hunter2" not in str(schedule) + str(changed)
    stored_schedule = await rig.yard.store.schedules.get(schedule["id"])
    assert stored_schedule.overrides["headers"] == {"Authorization": "Bearer hunter2"}


async def test_a_schedule_is_paused_for_a_reason_and_resumed(rig: Rig) -> None:
    await a_schedule(rig)

    paused = await rig.post("schedules/nightly/pause", {"reason": "lunch"})
    again = await rig.post("schedules/nightly/pause")
    resumed = await rig.post("schedules/nightly/resume")
    on = await rig.post("schedules/nightly/resume")
    stale = await rig.post("schedules/nightly/pause", headers={"If-Match": '"v1"'})

    schedule = paused.json()
    assert (paused.status_code, schedule["enabled"], schedule["pause_reason"]) == (
        202,
        False,
        "lunch",
    )
    assert (schedule["paused_by"], again.status_code) == ("local", 200)
    assert (resumed.status_code, resumed.json()["enabled"], on.status_code) == (202, True, 200)
    assert problem(stale) == (412, "precondition_failed")
    assert pointers(await rig.post("schedules/nightly/pause", {"reason": "x" * 501})) == ["/reason"]


async def test_what_has_fired_is_another_answer_at_the_same_version(rig: Rig) -> None:
    schedule = await a_schedule(rig)
    path = f"schedules/{schedule['id']}"
    tag = (await rig.get(path)).headers["etag"]
    same = await rig.get(path, headers={"If-None-Match": tag})

    await rig.clock.advance(timedelta(hours=1))
    await rig.yard.scheduler.round()
    fired = await rig.get(path, headers={"If-None-Match": tag})

    assert (same.status_code, fired.status_code) == (304, 200)
    assert fired.json()["version"] == schedule["version"]
    changed = await patched(rig, schedule["id"], {"description": "x"}, headers={"If-Match": tag})
    assert changed.status_code == 200


async def test_a_run_now_is_a_job_and_waits_for_the_one_before(rig: Rig) -> None:
    schedule = await a_schedule(rig)

    run = await rig.post("schedules/nightly/run")
    second = await rig.post("schedules/nightly/run")
    ledger = (await rig.get("schedules/nightly/runs")).json()["items"]

    job = run.json()
    assert (run.status_code, job["object"]) == (201, "job")
    assert job["origin"]["schedule_id"] == schedule["id"]
    assert run.headers["location"] == f"/api/v1/jobs/{job['id']}"
    assert (await rig.get(f"jobs/{job['id']}")).status_code == 200
    assert problem(second) == (409, "invalid_transition")
    assert [(t["outcome"], t["reason"], t["job_id"]) for t in ledger] == [
        ("ran", "by_user", job["id"])
    ]


async def test_the_ledger_comes_in_pages_the_latest_first(rig: Rig) -> None:
    await a_schedule(rig, overlap="allow")
    for _ in range(5):
        await rig.clock.advance(timedelta(hours=1))
        await rig.yard.scheduler.round()

    walked: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await rig.get("schedules/nightly/runs", params={"limit": "2"} | cursor)).json()
        walked += [tick["due_at"] for tick in page["items"]]
        if not page["has_more"]:
            break
        cursor = {"cursor": page["next_cursor"]}

    assert len(walked) == len(set(walked)) == 5
    assert walked == sorted(walked, reverse=True)


async def test_a_backfill_is_a_dry_run_until_confirmed(rig: Rig) -> None:
    await a_schedule(rig)
    begun = rig.clock.wall()
    await rig.clock.advance(timedelta(hours=3))
    form = {"from": (begun - timedelta(hours=2)).isoformat(), "to": begun.isoformat()}

    dry = await rig.post("schedules/nightly/backfill", form)
    none = (await rig.get("jobs")).json()["items"]
    done = await rig.post("schedules/nightly/backfill", form | {"dry_run": False})
    again = await rig.post("schedules/nightly/backfill", form | {"dry_run": False})

    assert (dry.status_code, dry.json()["dry_run"], len(dry.json()["runs"])) == (200, True, 2)
    assert none == []
    assert (done.status_code, len(done.json()["runs"])) == (202, 2)
    # beside the two, the latest of the missed ones
    assert len((await rig.get("jobs")).json()["items"]) == 3
    assert (again.status_code, again.json()["runs"], again.json()["kept"]) == (200, [], 2)


async def test_a_range_that_is_none_is_named(rig: Rig) -> None:
    await a_schedule(rig)
    for range_, pointer in [
        ({}, "/from"),
        ({"from": "2020-01-01T00:00:00Z", "to": "2019-01-01T00:00:00Z"}, "/to"),
        ({"from": "2020-01-01T00:00:00Z", "to": "2099-01-01T00:00:00Z"}, "/to"),
        ({"from": "2000-01-01T00:00:00Z"}, "/from"),
        ({"from": "x"}, "/from"),
        ({"from": "0001-01-01T00:00:00Z", "dry_run": False}, "/from"),
        ({"since": "2020-01-01T00:00:00Z"}, "/from"),
    ]:
        answer = await rig.post("schedules/nightly/backfill", range_)
        assert pointer in pointers(answer), range_


async def test_the_next_runs_are_listed(rig: Rig) -> None:
    await a_schedule(rig, zone="Europe/Berlin")

    ahead = (await rig.get("schedules/nightly/next?count=3")).json()

    instants = [datetime.fromisoformat(plan["at"]) for plan in ahead["next"]]
    assert len(instants) == 3
    assert instants[1] - instants[0] == timedelta(hours=1)
    assert ahead["next"][0]["zone"] in {"CET", "CEST"}
    for count in (0, 101, "x"):
        refused = await rig.get(f"schedules/nightly/next?count={count}")
        assert problem(refused) == (422, "validation_failed")


async def looked(rig: Rig, **params: Any) -> dict[str, Any]:
    answer = await rig.post("schedules/preview", params)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_a_timetable_preview_has_a_description_and_instants(rig: Rig) -> None:
    preview = await looked(rig, when="30 8 * * mon-fri", zone="Europe/Berlin", count=2)
    assert (preview["kind"], len(preview["next"]), preview["warnings"]) == ("cron", 2, [])
    assert preview["text"].endswith("(Europe/Berlin)")
    assert all("T08:30:00" in plan["local"] for plan in preview["next"])


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"when": "* * * * *"}, "too_often"),
        ({"when": "every 10s"}, "too_often"),
        ({"when": "at 2020-01-01T08:00"}, "never"),
        ({"when": "@daily", "ends_at": "2020-01-01T08:00:00Z"}, "never"),
        ({"when": "@hourly", "jitter_s": 7200}, "wide_jitter"),
        (
            {
                "when": "30 2 * * *",
                "zone": "Europe/Berlin",
                "starts_at": "2027-03-27T00:00:00Z",
            },
            "clock_change",
        ),
    ],
)
async def test_a_timetable_preview_shows_warnings(
    rig: Rig, params: dict[str, Any], code: str
) -> None:
    preview = await looked(rig, **params)
    assert [warning["code"] for warning in preview["warnings"]] == [code]


async def test_a_time_table_that_is_none_is_named(rig: Rig) -> None:
    for params, pointer in [
        ({}, "/when"),
        ({"when": "61 * * * *"}, "/when"),
        ({"when": "0 0 31 2 *"}, "/when"),
        ({"when": "@daily", "zone": "Mars"}, "/zone"),
        ({"when": "@daily", "count": 101}, "/count"),
        ({"when": "@daily", "cron": ""}, "/cron"),
        ({"when": "every 6h", "starts_at": "0001-01-01T00:00:00Z"}, "/starts_at"),
        ({"when": "@daily", "ends_at": "9999-12-31T23:59:59Z"}, "/ends_at"),
    ]:
        assert pointers(await rig.post("schedules/preview", params)) == [pointer], params


async def test_a_calendar_shows_ones_own_and_says_if_it_is_not_whole(rig: Rig) -> None:
    await rig.user("ada")
    await a_schedule(rig)
    await a_schedule(rig, "ada", name="adas", when="@daily")

    week = (await rig.get("schedules/calendar", by="ada")).json()
    year = (
        await rig.get(
            "schedules/calendar",
            params={"from": "2030-01-01T00:00:00Z", "to": "2031-01-01T00:00:00Z"},
        )
    ).json()

    assert [occurrence["schedule_name"] for occurrence in week["occurrences"]] == ["adas"] * 7
    assert week["whole"] is True
    assert (len(year["occurrences"]), year["whole"]) == (2_000, False)


async def test_the_hours_of_a_calendar_are_of_one_schedule_or_of_all(rig: Rig) -> None:
    await a_schedule(rig)
    await a_schedule(rig, name="daily", when="@daily")
    day = {"from": "2030-01-01T00:00:00Z", "to": "2030-01-02T00:00:00Z", "zone": "Asia/Kolkata"}

    all_hours = (await rig.get("schedules/calendar/hours", params=day)).json()
    daily_hours = (
        await rig.get("schedules/calendar/hours", params=day | {"schedule": "daily"})
    ).json()

    assert sum(hour["runs"] for hour in all_hours["hours"]) == 25
    assert max(hour["together"] for hour in all_hours["hours"]) == 2
    assert (
        all_hours["hours"][0]["at"] == "2029-12-31T23:30:00Z"
    )  # an hour there begins at half past
    assert [(hour["at"], hour["runs"]) for hour in daily_hours["hours"]] == [
        ("2029-12-31T23:30:00Z", 1)
    ]
    assert (all_hours["until"], all_hours["whole"]) == ("2030-01-02T00:00:00Z", True)
    for wrong in ("zone", "schedule"):
        answer = await rig.get("schedules/calendar/hours", params=day | {wrong: "nowhere"})
        assert problem(answer) == (422, "validation_failed"), answer.text
        assert answer.json()["errors"][0]["parameter"] == wrong


async def test_runs_come_with_how_far_their_jobs_came_and_what_they_changed(rig: Rig) -> None:
    schedule = await a_schedule(rig)
    job = (await rig.post(f"schedules/{schedule['id']}/run")).json()
    await rig.post(f"jobs/{job['id']}/cancel")

    path = f"schedules/{schedule['id']}/runs"
    [bare] = (await rig.get(path)).json()["items"]
    [run] = (await rig.get(f"{path}?expand=job")).json()["items"]

    assert run == bare | {"expanded": run["expanded"]}
    assert run["expanded"]["fate"] == "cancelled"
    run_result = {name: run["expanded"]["job"][name] for name in ("outcome", "pages", "changes")}
    assert run_result == {"outcome": "Cancelled", "pages": 0, "changes": None}


async def test_a_calendar_of_no_range_is_refused(rig: Rig) -> None:
    for query in [
        "from=2031-01-01T00:00:00Z&to=2030-01-01T00:00:00Z",
        "from=yesterday",
        "from=2031-01-01T00:00:00",
        "to=9999-12-31T23:59:59Z",
        "from=9999-12-31T23:59:59Z",
        "from=5",
    ]:
        answer = await rig.get(f"schedules/calendar?{query}")
        assert problem(answer) == (422, "validation_failed"), query


async def test_a_filter_by_an_unknown_schedule_is_refused(rig: Rig) -> None:
    answer = await rig.get("changes?schedule=nobody")
    assert problem(answer) == (422, "validation_failed")
    assert answer.json()["errors"][0]["parameter"] == "schedule"
    assert "nobody" in answer.json()["errors"][0]["detail"]


async def test_the_feed_of_changes_is_xml_of_the_kind_that_is_accepted(rig: Rig) -> None:
    path = f"schedules/{(await a_schedule(rig))['id']}/changes.atom"
    for accept, kind in [
        ("*/*", "application/atom+xml"),
        ("application/atom+xml, text/xml;q=0.9", "application/atom+xml"),
        ("text/xml", "text/xml; charset=utf-8"),
    ]:
        answer = await rig.ask("GET", path, headers={"Accept": accept})
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind), answer.text
        assert answer.text.startswith("<?xml")
