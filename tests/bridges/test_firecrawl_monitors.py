"""Monitors of Firecrawl's bridge, and what it says of an account."""

from typing import Any

import pytest

from crawlyard.core.access.user import LOCAL
from crawlyard.services.surface import Surface
from tests.web.rig import Rig

URL = "https://example.com/docs/"
MONITOR = {
    "name": "docs",
    "schedule": {"cron": "0 4 * * *", "timezone": "Europe/Berlin"},
    "targets": [{"type": "crawl", "url": URL, "crawlOptions": {"limit": 5}}],
    "retentionDays": 30,
}


async def created(rig: Rig, **fields: Any) -> dict[str, Any]:
    answer = await rig.post("/v2/monitor", MONITOR | fields)
    assert answer.status_code == 200, answer.text
    monitor: dict[str, Any] = answer.json()["data"]
    return monitor


async def test_a_monitor_is_a_schedule(bridged: Rig) -> None:
    monitor = await created(bridged)

    surface = Surface(bridged.yard.services, LOCAL)
    schedule = await surface.schedules.get(monitor["id"])
    assert (schedule.when, schedule.zone) == ("0 4 * * *", "Europe/Berlin")
    assert schedule.overrides["limits"] == {"pages": 5}
    assert schedule.overrides["retention_s"] == 30 * 86_400
    assert (monitor["status"], monitor["retentionDays"]) == ("active", 30)
    assert monitor["targets"][0]["url"] == URL

    path = f"/v2/monitor/{monitor['id']}"
    change = {"status": "paused", "schedule": {"text": "hourly"}}
    edited = (await bridged.ask("PATCH", path, json=change)).json()["data"]
    assert (edited["status"], edited["schedule"]["cron"]) == ("paused", "0 * * * *")
    target = {"type": "scrape", "urls": [URL, f"{URL}a"]}
    edited = (await bridged.ask("PATCH", path, json={"targets": [target]})).json()["data"]
    assert edited["targets"] == [target | {"id": monitor["id"]}]
    assert (edited["retentionDays"], edited["status"]) == (30, "paused")
    assert (await bridged.ask("DELETE", path)).json() == {"success": True}
    assert (await bridged.get(path)).status_code == 404


async def test_other_schedules_are_no_monitors(bridged: Rig) -> None:
    surface = Surface(bridged.yard.services, LOCAL)
    other = await surface.schedules.create("other", "@daily", URL)
    monitor = await created(bridged)

    listed = (await bridged.get("/v2/monitor")).json()["data"]
    assert [each["id"] for each in listed] == [monitor["id"]]
    assert (await bridged.get(f"/v2/monitor/{other.id}")).status_code == 404
    assert (await bridged.ask("DELETE", f"/v2/monitor/{other.id}")).status_code == 404


async def test_a_run_is_a_check(bridged: Rig) -> None:
    monitor = await created(bridged)
    path = f"/v2/monitor/{monitor['id']}"

    check = (await bridged.post(f"{path}/run", {})).json()["data"]

    assert (check["monitorId"], check["trigger"]) == (monitor["id"], "manual")
    assert check["status"] == "queued"
    listed = (await bridged.get(f"{path}/checks")).json()["data"]
    assert [each["id"] for each in listed] == [check["id"]]
    detail = (await bridged.get(f"{path}/checks/{check['id']}")).json()["data"]
    assert detail["pages"] == []
    assert (await bridged.get(f"{path}/checks/{monitor['id']}")).status_code == 404


async def test_an_address_of_the_own_network_needs_its_grant(bridged: Rig) -> None:
    targets = [{"type": "scrape", "urls": ["http://127.0.0.1:81/"]}]
    refused = await bridged.post("/v2/monitor", MONITOR | {"targets": targets})
    assert refused.status_code == 400
    assert "127.0.0.1 is loopback" in refused.json()["error"]

    grants = {"addresses": True, "private": False, "ignore_robots": False}
    await bridged.ask("PUT", "/api/v1/settings/grants", json=grants, headers={"If-Match": "*"})
    monitor = await created(bridged, targets=targets)

    schedule = await Surface(bridged.yard.services, LOCAL).schedules.get(monitor["id"])
    assert schedule.overrides["allow_addresses"] == ["127.0.0.1:81"]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"goal": "prices"}, "goal"),
        ({"judgeEnabled": True}, "judgeEnabled"),
        ({"webhook": {"url": URL}}, "webhook"),
        ({"schedule": {"text": "every other day"}}, "schedule.text"),
        ({"targets": [{"type": "search", "queries": ["x"]}]}, "targets[0].type"),
        ({"targets": [*MONITOR["targets"]] * 2}, "targets"),  # type: ignore[misc]
    ],
)
async def test_what_is_not_supported_is_named(
    bridged: Rig, change: dict[str, Any], name: str
) -> None:
    answer = await bridged.post("/v2/monitor", MONITOR | change)
    assert (answer.status_code, answer.json()["success"]) == (400, False)
    assert answer.json()["error"].startswith(f"{name}: ")


async def test_an_account_is_told_its_quota(bridged: Rig) -> None:
    await bridged.user("ada")
    quota = {"running": 3, "pages_per_day": 100}
    changed = await bridged.ask(
        "PATCH", "/api/v1/users/ada", json={"quota": quota}, headers={"If-Match": "*"}
    )
    assert changed.status_code == 200, changed.text
    await bridged.job(by="ada")

    pages = (await bridged.get("/v2/team/credit-usage", by="ada")).json()["data"]
    assert pages == {"remainingCredits": 100, "planCredits": 100}
    queue = (await bridged.get("/v2/team/queue-status", by="ada")).json()
    assert (queue["jobsInQueue"], queue["waitingJobsInQueue"], queue["maxConcurrency"]) == (1, 1, 3)
    slots = (await bridged.get("/v2/concurrency-check", by="ada")).json()["data"]
    assert slots == {"concurrency": 0, "maxConcurrency": 3}
