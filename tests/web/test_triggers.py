"""Triggers over HTTP: what a call starts, as whom, and what it may set."""

import logging
from typing import Any

import pytest

from crawlyard.core.access.user import LOCAL
from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.web.site import SiteOptions
from tests.web.rig import URL, Rig, a_rig, pointers, problem
from tests.web.test_templates import NEWS

NIGHTLY = {"name": "nightly", "when": "@daily", "overrides": {"urls": [URL]}}


async def a_schedule(rig: Rig, by: str = LOCAL.id) -> str:
    answer = await rig.post("schedules", NIGHTLY, by=by)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def a_trigger(rig: Rig, by: str = LOCAL.id, **fields: Any) -> dict[str, Any]:
    answer = await rig.post("triggers", {"name": "CMS"} | fields, by=by)
    assert answer.status_code == 201, answer.text
    trigger: dict[str, Any] = answer.json()
    return trigger


async def called(rig: Rig, trigger: dict[str, Any], body: object = None) -> Any:
    return await rig.post(f"/hooks/{trigger['token']}", body, by=None)


async def test_a_trigger_starts_its_schedule_without_any_other_credential(rig: Rig) -> None:
    trigger = await a_trigger(rig, schedule=await a_schedule(rig))

    answer = await called(rig, trigger, {"published": True})

    assert answer.status_code == 202, answer.text
    job = (await rig.get(f"jobs/{answer.json()['job_id']}")).json()
    assert (job["owner"], job["source"], job["url"]) == (LOCAL.id, "schedule", URL)
    listed = (await rig.get("triggers")).json()["items"]
    assert [each["id"] for each in listed] == [trigger["id"]]
    assert listed[0]["last_used_at"] is not None
    assert "token" not in listed[0]


async def test_a_call_sets_the_parameters_that_the_trigger_maps(rig: Rig) -> None:
    await rig.post("templates", NEWS)
    mapping = {"start_url": "/pages/0/a~1b", "pages": "/count"}
    trigger = await a_trigger(rig, template="news", params={"start_url": URL}, mapping=mapping)

    body = {"pages": [{"a/b": f"{URL}new"}], "count": 7, "more": "ignored"}
    answer = await called(rig, trigger, body)

    assert answer.status_code == 202, answer.text
    job = (await rig.get(f"jobs/{answer.json()['job_id']}")).json()
    assert (job["spec"]["urls"], job["spec"]["limits"]["pages"]) == ([f"{URL}new"], 7)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"url": "https://other.example/"}, ["/urls"]),  # another host
        ({"url": "http://169.254.169.254/"}, ["/params/start_url"]),
        ({"link": URL}, ["/url"]),
        ({"url": {"not": "text"}}, ["/params/start_url"]),
        (None, ["/url"]),
    ],
)
async def test_a_call_with_another_site_or_without_a_value_starts_nothing(
    rig: Rig, body: object, where: list[str]
) -> None:
    await rig.post("templates", NEWS)
    mapping = {"start_url": "/url"}
    trigger = await a_trigger(rig, template="news", params={"start_url": URL}, mapping=mapping)

    answer = await called(rig, trigger, body)

    assert problem(answer) == (422, "validation_failed")
    assert pointers(answer) == where
    assert (await rig.get("jobs")).json()["items"] == []


async def test_a_trigger_acts_with_the_permissions_its_user_has_at_that_time(rig: Rig) -> None:
    await rig.user("ada")
    trigger = await a_trigger(rig, by="ada", schedule=await a_schedule(rig, by="ada"))
    version = {"If-Match": "*"}

    await rig.ask("PATCH", "users/ada", json={"role": "viewer"}, headers=version)
    as_viewer = await called(rig, trigger)
    await rig.ask("PATCH", "users/ada", json={"disabled": True}, headers=version)
    disabled = await called(rig, trigger)

    assert problem(as_viewer) == (403, "forbidden")
    assert problem(disabled) == (401, "unauthenticated")


async def test_a_revoked_trigger_is_unknown(rig: Rig) -> None:
    trigger = await a_trigger(rig, schedule=await a_schedule(rig))

    revoked = await rig.ask("DELETE", f"triggers/{trigger['id']}")
    answer = await called(rig, trigger)

    assert revoked.status_code == 204
    assert problem(answer) == (401, "unauthenticated")
    assert (await rig.ask("DELETE", f"triggers/{trigger['id']}")).status_code == 404


async def test_a_token_is_no_trigger_and_a_trigger_no_token(rig: Rig) -> None:
    trigger = await a_trigger(rig, schedule=await a_schedule(rig))

    as_trigger = await rig.post(f"/hooks/{rig.secrets[LOCAL.id]}", by=None)
    as_token = await rig.get("jobs", secret=trigger["token"])

    assert (as_trigger.status_code, as_token.status_code) == (401, 401)


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({}, ["/schedule"]),
        ({"schedule": "nightly", "template": "news"}, ["/schedule"]),
        ({"schedule": "nightly", "params": {"a": 1}}, ["/params"]),
        ({"schedule": "nightly", "mapping": {"a": "/a"}}, ["/mapping"]),
        ({"template": "news", "mapping": {"start_url": "/url"}}, ["/params/start_url"]),
        ({"template": "news", "mapping": {"site": "/url"}}, ["/mapping/site"]),
        ({"template": "news", "mapping": {"start_url": "url"}}, ["/mapping/start_url"]),
    ],
)
async def test_a_trigger_that_could_start_nothing_is_refused(
    rig: Rig, fields: dict[str, Any], where: list[str]
) -> None:
    await a_schedule(rig)
    await rig.post("templates", NEWS)

    answer = await rig.post("triggers", {"name": "CMS"} | fields)

    assert problem(answer) == (422, "validation_failed")
    assert pointers(answer) == where


async def test_calls_are_limited_and_guesses_more_so() -> None:
    rig = await a_rig(open_in_memory(), SiteOptions(rate_limits=True))
    trigger = await a_trigger(rig, schedule=await a_schedule(rig))

    guesses = [(await rig.post("/hooks/cyh_guess", by=None)).status_code for _ in range(6)]
    calls = [(await called(rig, trigger)).status_code for _ in range(121)]
    await rig.close()

    assert guesses == [401] * 5 + [429]
    assert calls == [202] + [409] * 119 + [429]  # one run of the schedule at a time


async def test_neither_problems_nor_logs_nor_the_store_have_the_token(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    trigger = await a_trigger(rig, schedule=await a_schedule(rig))
    token = trigger["token"]
    broken = rig.with_services(ticker=None)

    with caplog.at_level(logging.DEBUG):
        failed = await called(broken, trigger)
        refused = await rig.post(f"/hooks/{token}x", by=None)

    stored = await rig.yard.store.credentials.get(trigger["id"])
    assert (failed.status_code, refused.json()["instance"]) == (500, "/hooks/…")
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("crawlyard")]
    assert "request POST /hooks/… failed" in ours
    assert token not in "".join(ours) + failed.text + refused.text + repr(stored)
