"""A token asks for no more through what others have made than it may ask for itself."""

from typing import Any

import pytest

from crawlyard import Move
from crawlyard.core.access.user import LOCAL, Permit
from crawlyard.core.schedules.schedule import Tick, TickReason
from tests.surfaces import as_user
from tests.web.rig import URL, Rig, problem

INSIDE = {"urls": ["http://10.0.0.5/"], "allow_addresses": ["10.0.0.5"]}
WRITES = frozenset({Permit.TEMPLATES_READ, Permit.TEMPLATES_WRITE})


async def create_template_and_schedule(rig: Rig, spec: dict[str, Any]) -> tuple[str, str]:
    """Return the ids of a template of the command line's, and of a schedule that follows it."""
    local = as_user(rig.yard)
    template = await local.templates.create({"name": "news", "spec": spec})
    return template.id, (await local.schedules.create("hourly", "@hourly", template="news")).id


async def patched(rig: Rig, template_id: str, patch: dict[str, Any]) -> None:
    """Change a template by a token that may do nothing else."""
    secret = await rig.token(LOCAL.id, WRITES)
    path, every = f"templates/{template_id}", {"If-Match": "*"}
    answer = await rig.ask("PATCH", path, json=patch, secret=secret, headers=every)
    assert answer.status_code == 200, answer.text


async def decided(rig: Rig, schedule_id: str) -> Tick:
    """Return what became of the next instant of a schedule."""
    due_at = (await rig.yard.store.schedules.get(schedule_id)).next_at
    assert due_at is not None
    await rig.clock.advance(due_at - rig.clock.wall())
    await rig.yard.scheduler.round()
    [tick] = await rig.yard.store.ticks.ticks(schedule_id, limit=1)
    return tick


@pytest.mark.parametrize(
    "patch",
    [
        {"spec": INSIDE},
        {"spec": {"allow_private": True}},
        {"spec": {"ignore_robots": True}},
    ],
)
async def test_a_token_for_templates_opens_nothing_for_the_schedules_of_its_user(
    rig: Rig, patch: dict[str, Any]
) -> None:
    template_id, schedule_id = await create_template_and_schedule(rig, {"urls": [URL]})
    await patched(rig, template_id, patch)
    tick = await decided(rig, schedule_id)
    assert (tick.job_id, tick.reason) == (None, TickReason.REFUSED)
    assert "not granted on this server" in tick.detail


async def test_it_leads_no_address_that_was_opened_to_another_use(rig: Rig) -> None:
    template_id, schedule_id = await create_template_and_schedule(rig, INSIDE)

    before = await decided(rig, schedule_id)
    await patched(rig, template_id, {"spec": {"urls": ["http://10.0.0.5/delete?all"]}})
    await rig.yard.services.writer.move(LOCAL, before.job_id or "", Move.CANCEL)
    tick = await decided(rig, schedule_id)

    assert before.job_id is not None
    assert (tick.job_id, tick.reason) == (None, TickReason.REFUSED)


async def test_only_an_admin_grants_one_crawl_an_address(rig: Rig) -> None:
    form = {"urls": ["http://10.0.0.5/"], "allow_addresses": ["10.0.0.5"]}
    await rig.user("devi")
    narrow = await rig.token(LOCAL.id, frozenset({Permit.JOBS_WRITE}))

    response = await rig.post("jobs", form | {"grant": True})
    refused = [
        await rig.post("jobs", form | {"grant": True}, by="devi"),
        await rig.post("jobs/preview", form | {"grant": True}, by="devi"),
        await rig.post("jobs", form | {"grant": True}, secret=narrow),
        await rig.post("jobs", form),  # only where it is said
    ]

    assert response.status_code == 201
    assert [problem(response) for response in refused] == [(403, "forbidden")] * 4
    many = (await rig.post("jobs/batch", {"jobs": [form | {"grant": True}]})).json()
    assert [(result["code"], result["field"]) for result in many["results"]] == [
        ("validation_failed", "grant")
    ]
    events = (await rig.get(f"jobs/{response.json()['id']}/events")).json()["items"]
    assert [event["data"].get("granted") for event in events] == [["addresses"]]
    assert (await rig.get("settings/grants")).json()["value"] == {}


async def test_nor_does_it_grant_itself_anything(rig: Rig) -> None:
    secret = await rig.token(LOCAL.id, WRITES)
    tag = (await rig.get("settings/grants")).headers["etag"]
    answer = await rig.ask(
        "PUT",
        "settings/grants",
        json={"addresses": True},
        secret=secret,
        headers={"If-Match": tag},
    )
    assert problem(answer) == (403, "forbidden")
