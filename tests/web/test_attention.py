"""Attention notices and current figures over HTTP."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from crawlyard.core.access.user import LOCAL, Permit, Role
from crawlyard.core.attention.attention import (
    RULES,
    Disk,
    notice,
)
from crawlyard.core.attention.lines import SubjectKind
from crawlyard.core.attention.trouble import Trouble
from crawlyard.core.jobs.lifecycle import State, StateReason
from crawlyard.core.schedules.schedule import BY_ITSELF
from crawlyard.services.attention.overview import Overview
from tests.builders import NOW, a_job, a_spec, its_event
from tests.builders_schedules import a_schedule, schedule_event
from tests.builders_serve import a_report
from tests.builders_webhooks import stored_webhook
from tests.conformance.steps import added, in_state
from tests.web.rig import Rig, problem
from tests.web.test_commands import routes

HOUR = timedelta(hours=1)
GIB = 1 << 30


async def attention(rig: Rig, **more: Any) -> dict[str, Any]:
    answer = await rig.get("attention", **more)
    assert answer.status_code == 200, answer.text
    told_: dict[str, Any] = answer.json()
    return told_


def on_a_disk(rig: Rig, free: int) -> Rig:
    """Return the same server on a disk of 100 GiB."""

    async def room() -> Disk:
        return Disk(folder="/data", free=free, total=100 * GIB)

    watching = rig.yard.services.watching
    return rig.with_services(overview=Overview(rig.yard.store, rig.clock, watching, room))


async def test_where_all_is_well_there_is_nothing(rig: Rig) -> None:
    told_ = await attention(rig)
    assert (told_["items"], told_["counts"], told_["at_least"]) == ([], {}, [])


async def test_each_notice_comes_with_a_request_that_helps(rig: Rig) -> None:
    store = rig.yard.store
    late = a_schedule(name="late / night", fire_at=NOW - HOUR)
    paused = a_schedule(fire_at=None, paused_at=NOW, paused_by=BY_ITSELF, pause_reason="why")
    for schedule in (late, paused):
        await store.schedules.add(schedule, schedule_event(schedule))
    full = await added(store, a_job(state=State.PAUSED, state_reason=StateReason.DISK_FULL))
    webhook = await stored_webhook(store, active=False, disabled_reason="410")
    spec = a_spec(name="https://u:pass@a.example")
    failed = [
        await added(store, in_state(State.FAILED, ended_at=NOW - n * HOUR, spec=spec))
        for n in range(3)
    ]
    last = failed[0]

    items = {item["kind"]: item for item in (await attention(rig))["items"]}

    assert list(items) == [
        "schedule_overdue",
        "schedule_paused",
        "runs_failing",
        "job_paused",
        "webhook_off",
    ]
    overdue = items["schedule_overdue"]
    assert overdue["subject"] == {
        "type": "schedule",
        "id": late.id,
        "name": "late / night",
        "path": f"/api/v1/schedules/{late.id}",
    }
    assert overdue["since"] == "2026-01-02T02:04:05.678901Z"
    assert "pass" not in str(items["runs_failing"])
    assert items["runs_failing"]["job_id"] == last.id
    helps = {kind: item["help"]["path"].removeprefix("/api/v1/") for kind, item in items.items()}
    assert helps == {
        "schedule_overdue": f"schedules/{late.id}/run",
        "schedule_paused": f"schedules/{paused.id}/resume",
        "runs_failing": f"jobs/{last.id}/retry",
        "job_paused": f"jobs/{full.id}/resume",
        "webhook_off": f"webhooks/{webhook.id}/enable",
    }
    for attention_item in items.values():
        assert (
            await rig.ask(attention_item["help"]["method"], attention_item["help"]["path"])
        ).is_success, attention_item


async def test_the_paths_of_subjects_lead_to_them(rig: Rig) -> None:
    job = await rig.job()
    [waiting] = (await attention(rig))["items"]
    assert (waiting["kind"], waiting["help"]) == ("no_worker", None)
    assert (await rig.get(waiting["subject"]["path"])).json()["id"] == job["id"]


def test_what_helps_is_an_endpoint() -> None:
    helps = {kind: rule.help for kind, rule in RULES.items() if rule.help}

    assert set(helps.values()) - routes() == set()
    assert set(helps) == set(Trouble) - {Trouble.NO_WORKER}


def test_a_host_is_named_in_its_path_as_a_path_has_it() -> None:
    shape = notice(Trouble.HOST_REFUSING, "", SubjectKind.HOST, "[::1]:80", "x")
    assert shape.subject is not None
    assert shape.subject.path == "/api/v1/hosts/%5B%3A%3A1%5D%3A80"
    assert shape.help is None  # not a job of this user


async def test_a_dismissal_holds_for_one_user_until_the_trouble_recurs(rig: Rig) -> None:
    await rig.user("ada", Role.ADMIN)
    job = in_state(State.FAILED, ended_at=NOW)
    await added(rig.yard.store, job)
    [notice] = (await attention(rig))["items"]

    answer = await rig.post("attention/dismiss", {"notice": notice["id"]})

    assert answer.status_code == 204
    hidden = await attention(rig)
    assert (hidden["items"], hidden["counts"], hidden["dismissed"]) == ([], {}, 1)
    assert [item["id"] for item in (await attention(rig, by="ada"))["items"]] == [notice["id"]]

    await rig.post("attention/restore", {"notice": "another"})
    assert (await attention(rig))["dismissed"] == 1
    await rig.post("attention/restore", {"notice": notice["id"]})
    assert (await attention(rig))["items"] == [notice]
    await rig.post("attention/dismiss", {"notice": notice["id"]})
    await rig.post("attention/restore", {})
    assert (await attention(rig))["items"] == [notice]

    await rig.post("attention/dismiss", {"notice": notice["id"]})
    await rig.clock.advance(HOUR)
    again = replace(job, ended_at=rig.clock.now(), version=job.version + 1)
    await rig.yard.store.jobs.save(again, its_event(again))
    assert [item["id"] for item in (await attention(rig))["items"]] == [notice["id"]]


async def test_a_disk_is_for_admins(rig: Rig) -> None:
    await rig.user("ada")
    full, roomy = on_a_disk(rig, GIB), on_a_disk(rig, 50 * GIB)
    narrow = await rig.token(LOCAL.id, frozenset({Permit.JOBS_READ}))

    [notice] = (await attention(full))["items"]
    cards = (await roomy.get("stats")).json()["cards"]
    hidden = [
        (await roomy.get("stats", **by)).json()["cards"]["disk_free_bytes"]
        for by in ({"by": "ada"}, {"secret": narrow})
    ]

    assert (notice["kind"], notice["subject"]) == ("disk_full", None)
    assert notice["help"]["path"] == "/api/v1/settings/retention"
    assert (cards["disk_free_bytes"], cards["disk_total_bytes"]) == (50 * GIB, 100 * GIB)
    assert hidden == [None, None]
    for by in ({"by": "ada"}, {"secret": narrow}):
        assert (await attention(full, **by))["items"] == []
    assert (await attention(roomy))["items"] == []


async def test_what_a_token_may_not_read_is_left_out(rig: Rig) -> None:
    schedule = a_schedule(fire_at=NOW - HOUR)
    await rig.yard.store.schedules.add(schedule, schedule_event(schedule))
    jobs_only = await rig.token(LOCAL.id, frozenset({Permit.JOBS_READ}))
    schedules_only = await rig.token(LOCAL.id, frozenset({Permit.SCHEDULES_READ}))

    assert (await attention(rig, secret=jobs_only))["items"] == []
    assert problem(await rig.get("attention", secret=schedules_only)) == (403, "forbidden")
    assert len((await attention(rig))["items"]) == 1


@pytest.mark.parametrize("query", ["", "?owner=me"])
async def test_cards_say_how_things_stand(rig: Rig, query: str) -> None:
    await rig.job()
    await rig.clock.advance(timedelta(minutes=4))
    now = rig.clock.now()
    await rig.yard.store.workers.save_heartbeat(
        a_report(slots=96, running=("a", "b"), pages_per_s=412, beat_at=now)
    )

    cards = (await rig.get(f"stats{query}")).json()["cards"]

    used, rate = (0, 0) if query else (2, 412)
    assert (cards["slots"], cards["slots_used"], cards["pages_per_s"]) == (96, used, rate)
    assert cards["oldest_wait_s"] == 240
    assert (cards["pages"], cards["bytes"], cards["errors"]) == (0, 0, 0)
