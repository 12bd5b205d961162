"""Webhooks over HTTP: made, changed, switched, tested; what was delivered, and once more."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest

from crawlyard.core.access.user import LOCAL, Permit, Role
from crawlyard.core.webhooks.delivery_limits import Traffic
from crawlyard.core.webhooks.webhook import Delivery, DeliveryAttempt
from tests.web.rig import Rig, pointers, problem

HOOK = "https://hooks.example.org/crawls"
INSIDE = {"inside.example.org": "10.0.0.7", "linked.example.org": "169.254.1.1"}


async def resolve(host: str, port: int) -> Sequence[str]:
    """Resolve a host without a network request."""
    if host == "nowhere.example.org":
        raise OSError("no such host")
    return [INSIDE.get(host, "93.184.216.34")]


@pytest.fixture
def yard(rig: Rig) -> Rig:
    """Return a server that asks no DNS."""
    rig.yard.services.resolve = resolve
    return rig


async def a_webhook(rig: Rig, by: str = LOCAL.id, **fields: Any) -> dict[str, Any]:
    answer = await rig.post("webhooks", {"url": HOOK} | fields, by=by)
    assert answer.status_code == 201, answer.text
    webhook: dict[str, Any] = answer.json()
    return webhook


async def a_delivery(rig: Rig, webhook: Mapping[str, Any]) -> dict[str, Any]:
    """Return the delivery of a test event, once it was tried in vain."""
    await rig.post(f"webhooks/{webhook['id']}/test")
    await rig.yard.store.deliveries.fan_out(rig.clock.now())
    listed = (await rig.get(f"webhooks/{webhook['id']}/deliveries")).json()["items"]
    delivery: dict[str, Any] = listed[0]
    return delivery


async def test_a_secret_is_shown_once(yard: Rig) -> None:
    answer = await yard.post("webhooks", {"url": HOOK, "events": ["job.*"]})

    webhook = answer.json()
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/api/v1/webhooks/{webhook['id']}"
    assert webhook["secret"].startswith("whsec_")
    response = await yard.get(f"webhooks/{webhook['id']}")
    assert response.json() == {name: webhook[name] for name in webhook if name != "secret"}
    for path in ("webhooks", f"webhooks/{webhook['id']}", "events"):
        assert webhook["secret"] not in (await yard.get(path)).text


async def test_a_token_with_scopes_makes_webhooks_for_the_events_it_may_read(yard: Rig) -> None:
    await yard.user("ada")
    blind = await yard.token("ada", frozenset({Permit.WEBHOOKS_WRITE}))
    sees = await yard.token("ada", frozenset({Permit.WEBHOOKS_WRITE, Permit.JOBS_READ}))
    everything = {"url": HOOK, "events": ["*"]}

    refused = await yard.post("webhooks", everything, secret=blind)
    named = await yard.post("webhooks", everything | {"events": ["token.created"]}, secret=sees)
    response = await yard.post("webhooks", {"url": HOOK}, secret=sees)
    path = f"webhooks/{response.json()['id']}"
    widened = await yard.ask(
        "PATCH", path, json={"events": ["*.created", "job.failed"]}, secret=sees
    )
    by_session = await yard.post("webhooks", everything, by="ada")
    moved = await yard.ask(
        "PATCH", f"webhooks/{by_session.json()['id']}", json={"url": f"{HOOK}/other"}, secret=sees
    )
    noted = await yard.ask(
        "PATCH", f"webhooks/{by_session.json()['id']}", json={"description": "x"}, secret=sees
    )

    assert [answer.status_code for answer in (refused, named, moved)] == [422, 422, 403]
    assert pointers(refused) == ["/events"]
    assert response.json()["events"] == ["job.*", "group.*"]
    assert widened.json()["events"] == ["job.created", "job.failed"]
    assert by_session.json()["events"] == ["*"]
    assert noted.status_code == 200


async def test_a_rotated_secret_is_shown_once_and_the_one_before_signs_on(yard: Rig) -> None:
    webhook = await a_webhook(yard)
    rotated = await yard.post(f"webhooks/{webhook['id']}/rotate")
    assert rotated.status_code == 202
    assert rotated.json()["secret"] not in ("", webhook["secret"])
    assert rotated.json()["rotated_until"] is not None
    assert "secret" not in (await yard.get(f"webhooks/{webhook['id']}")).json()


async def test_what_is_wrong_is_named(yard: Rig) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"url": None}, "/url"),
        ({"url": ""}, "/url"),
        ({"url": "hooks"}, "/url"),
        ({"url": "ftp://hooks.example.org/"}, "/url"),
        ({"url": "http://hooks.example.org/"}, "/url"),
        ({"url": "https://user:pass@hooks.example.org/"}, "/url"),
        ({"url": "https://nowhere.example.org/"}, "/url"),
        ({"url": "https://" + "x" * 2_001}, "/url"),
        ({"events": []}, "/events"),
        ({"events": ["jobs.*"]}, "/events"),
        ({"events": ["job.*"] * 101}, "/events"),
        ({"events": ["job.*", "x" * 65]}, "/events/1"),
        ({"description": "x" * 501}, "/description"),
        ({"secret": "whsec_x"}, "/secret"),
        ({"active": False}, "/active"),
    ]
    for change, pointer in cases:
        response = await yard.post("webhooks", {"url": HOOK} | change)
        assert pointers(response) == [pointer], change

        webhook = await a_webhook(yard)
        changed = await yard.ask("PATCH", f"webhooks/{webhook['id']}", json=change)

        assert pointers(changed) == [pointer], change
        assert (await yard.get(f"webhooks/{webhook['id']}")).json()["version"] == 1, change


async def test_no_way_leads_inside(yard: Rig) -> None:
    for host in ("10.1.2.3", *INSIDE):  # all other spellings are in test_ssrf.py
        url = f"https://{host}/"
        response = await yard.post("webhooks", {"url": url})
        webhook = await a_webhook(yard)
        changed = await yard.ask("PATCH", f"webhooks/{webhook['id']}", json={"url": url})
        opened = await yard.post("webhooks", {"url": url, "allow_addresses": ["10.0.0.0/8"]})
        reopened = await yard.ask(
            "PATCH",
            f"webhooks/{webhook['id']}",
            json={"url": url, "allow_addresses": ["127.0.0.1"]},
        )

        assert [pointers(answer) for answer in (response, changed)] == [["/url"], ["/url"]], url
        assert [problem(answer) for answer in (opened, reopened)] == [(403, "forbidden")] * 2, url
        assert (await yard.get(f"webhooks/{webhook['id']}")).json()["url"] == HOOK, url


async def test_an_address_is_opened_where_the_yard_grants_it(yard: Rig) -> None:
    await yard.ask("PUT", "settings/grants", json={"addresses": True}, headers={"If-Match": "*"})
    opened = await yard.post(
        "webhooks", {"url": "http://10.0.0.7/", "allow_addresses": ["10.0.0.7"]}
    )
    beside = await yard.post(
        "webhooks", {"url": "http://10.0.0.8/", "allow_addresses": ["10.0.0.7"]}
    )
    assert (opened.status_code, opened.json()["allow_addresses"]) == (201, ["10.0.0.7"])
    assert pointers(beside) == ["/url"]


async def test_one_may_hear_of_a_schedule_alone(yard: Rig) -> None:
    await yard.user("ada", Role.ADMIN)
    nightly = {"name": "nightly", "when": "@daily", "overrides": {"urls": ["https://a.example/"]}}
    schedule = (await yard.post("schedules", nightly)).json()["id"]

    webhook = await a_webhook(yard, schedule="nightly", events=["job.*"])
    await yard.post(f"schedules/{schedule}/run")
    await yard.post("jobs", {"urls": ["https://b.example/"]})
    await yard.yard.store.deliveries.fan_out(yard.clock.now())

    assert webhook["schedule_id"] == schedule
    deliveries = (await yard.get(f"webhooks/{webhook['id']}/deliveries")).json()["items"]
    assert [delivery["event"] for delivery in deliveries] == ["job.created"]
    every = await yard.ask("PATCH", f"webhooks/{webhook['id']}", json={"schedule": None})
    assert every.json()["schedule_id"] is None
    nowhere = await yard.post("webhooks", {"url": HOOK, "schedule": "weekly"})
    another = await yard.post("webhooks", {"url": HOOK, "schedule": schedule}, by="ada")
    assert pointers(nowhere) == pointers(another) == ["/schedule"]


async def test_a_list_comes_in_pages_the_newest_first(yard: Rig) -> None:
    await yard.user("ada")
    webhook_ids = [(await a_webhook(yard))["id"] for _ in range(3)]
    adas = (await a_webhook(yard, "ada"))["id"]

    async def ids(by: str = LOCAL.id, **params: Any) -> list[str]:
        webhooks = (await yard.get("webhooks", params=params, by=by)).json()["items"]
        return [webhook["id"] for webhook in webhooks]

    first = (await yard.get("webhooks?limit=3")).json()
    second = (
        await yard.get("webhooks", params={"limit": 3, "cursor": first["next_cursor"]})
    ).json()

    walked = [webhook["id"] for page in (first, second) for webhook in page["items"]]
    assert walked == [adas, *webhook_ids[::-1]]
    assert await ids("ada") == [adas]
    assert await ids(owner="me") == webhook_ids[::-1]
    assert await ids(owner="ada") == [adas]
    assert await ids("ada", owner="local") == []


async def test_those_of_a_job_are_listed_by_it(yard: Rig) -> None:
    job = await yard.job(webhooks=[{"url": "https://1.1.1.1/hook"}])  # no name to look up
    await a_webhook(yard)

    webhooks = (await yard.get(f"webhooks?job={job['id']}")).json()["items"]

    assert [webhook["job_id"] for webhook in webhooks] == [job["id"]]
    path = f"webhooks/{webhooks[0]['id']}"
    assert (await yard.get(path)).json() == webhooks[0]
    assert "secret" not in webhooks[0]


async def test_absent_stays_and_null_is_the_default(yard: Rig) -> None:
    webhook = await a_webhook(yard, description="x", events=["job.*"])
    path = f"webhooks/{webhook['id']}"

    described = await yard.ask("PATCH", path, json={"description": "y"})
    cleared = await yard.ask("PATCH", path, json={"description": None, "events": None})

    body = described.json()
    assert (body["description"], body["events"], body["url"]) == ("y", ["job.*"], HOOK)
    assert (cleared.json()["description"], cleared.json()["events"]) == ("", ["*"])
    assert cleared.headers["etag"] == '"v3"'


async def test_a_change_without_a_body_is_none(yard: Rig) -> None:
    webhook = await a_webhook(yard)
    answer = await yard.ask("PATCH", f"webhooks/{webhook['id']}")
    assert pointers(answer) == [""]
    assert (await yard.get(f"webhooks/{webhook['id']}")).json()["version"] == 1


async def test_a_webhook_is_switched_off_and_on(yard: Rig) -> None:
    webhook = await a_webhook(yard)
    path = f"webhooks/{webhook['id']}"

    off = await yard.post(f"{path}/disable")
    still_off = await yard.post(f"{path}/disable")
    untested = await yard.post(f"{path}/test")
    on = await yard.post(f"{path}/enable")
    still_on = await yard.post(f"{path}/enable")

    assert (off.status_code, off.json()["active"], still_off.status_code) == (202, False, 200)
    assert "local" in off.json()["disabled_reason"]
    assert problem(untested) == (409, "invalid_transition")
    assert (on.status_code, on.json()["active"], still_on.status_code) == (202, True, 200)
    events = (await yard.get(f"events?subject={webhook['id']}")).json()["items"]
    assert [event["name"] for event in events] == [*["webhook.updated"] * 2, "webhook.created"]


async def test_deliveries_are_listed_by_state_in_pages(yard: Rig) -> None:
    webhook = await a_webhook(yard)
    for _ in range(3):
        await a_delivery(yard, webhook)
    path = f"webhooks/{webhook['id']}/deliveries"

    first = (await yard.get(f"{path}?limit=2&state=pending")).json()
    behind = {"limit": 2, "state": "pending", "cursor": first["next_cursor"]}
    second = (await yard.get(path, params=behind)).json()

    numbers = [delivery["no"] for page in (first, second) for delivery in page["items"]]
    assert len(numbers) >= 3
    assert numbers == sorted(numbers, reverse=True)
    assert (await yard.get(f"{path}?state=delivered")).json()["items"] == []
    assert problem(await yard.get(f"{path}?state=lost")) == (422, "validation_failed")


async def failed(rig: Rig, delivery_id: str) -> Delivery:
    """Return a delivery after an attempt in vain, and its end."""
    now = rig.clock.now()
    claimed = await rig.yard.store.deliveries.claim(now, timedelta(seconds=30), Traffic())
    for delivery in claimed:
        attempt = DeliveryAttempt(at=now, latency=timedelta(seconds=1), status=500, excerpt="no")
        ended = delivery.delivery.record_attempt(attempt, chance=0.5).give_up(now)
        await rig.yard.store.deliveries.settle(delivery.delivery, ended, None)
    return await rig.yard.store.deliveries.get(delivery_id)


async def test_a_delivery_is_made_once_more(yard: Rig) -> None:
    webhook = await a_webhook(yard)
    delivery = await a_delivery(yard, webhook)
    await failed(yard, delivery["id"])
    path = f"webhooks/{webhook['id']}/deliveries"

    before = (await yard.get(f"{path}?state=failed")).json()["items"]
    await yard.post(f"webhooks/{webhook['id']}/enable")  # its failed delivery has switched it off
    replayed = await yard.post(f"{path}/{delivery['id']}/replay")

    assert [
        listed["attempts"][0]["status"] for listed in before if listed["id"] == delivery["id"]
    ] == [500]
    assert (replayed.status_code, replayed.json()["state"]) == (202, "pending")
    assert replayed.json()["id"] == delivery["id"]


async def test_a_delivery_is_its_own_webhooks_alone(yard: Rig) -> None:
    first, other = await a_webhook(yard), await a_webhook(yard)
    delivery = await a_delivery(yard, first)
    wrong = await yard.post(f"webhooks/{other['id']}/deliveries/{delivery['id']}/replay")
    missing = await yard.post(f"webhooks/{first['id']}/deliveries/msg_x/replay")
    assert [problem(answer) for answer in (wrong, missing)] == [(404, "not_found")] * 2


async def test_a_deleted_webhook_is_gone_with_its_deliveries(yard: Rig) -> None:
    webhook = await a_webhook(yard)
    await a_delivery(yard, webhook)

    deleted = await yard.ask("DELETE", f"webhooks/{webhook['id']}")

    assert deleted.status_code == 204
    for path in (f"webhooks/{webhook['id']}", f"webhooks/{webhook['id']}/deliveries"):
        assert problem(await yard.get(path)) == (404, "not_found")
    assert problem(await yard.ask("DELETE", f"webhooks/{webhook['id']}")) == (404, "not_found")
