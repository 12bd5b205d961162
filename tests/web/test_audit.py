"""Audit log: who did what, on what, from which address and when."""

import csv
import json
from datetime import timedelta
from io import StringIO
from typing import Any

from crawlyard.core.access.user import LOCAL, Permit, Role
from crawlyard.core.events.event import RESERVED_ACTORS
from tests.conformance.steps import claimed, ended
from tests.web.rig import URL, Rig, problem

ADDRESS, OTHER_ADDRESS = "203.0.113.7", "203.0.113.8"


async def entries(rig: Rig, query: str = "") -> list[dict[str, Any]]:
    """Return the audit log, oldest first."""
    answer = await rig.get(f"audit?limit=200{query}")
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items[::-1]


async def test_an_entry_says_who_did_what_on_what_from_where_and_when(rig: Rig) -> None:
    await rig.user("ada")
    job = (await rig.post("jobs", {"urls": [URL]}, by="ada", address=ADDRESS)).json()
    await rig.clock.advance(timedelta(seconds=5))
    await rig.post(f"jobs/{job['id']}/cancel", by="ada", address=OTHER_ADDRESS)

    created, cancelled = await entries(rig, "&actor=ada")

    assert (created["action"], created["subject"]) == ("job.created", job["id"])
    assert (created["owner"], created["address"]) == ("ada", ADDRESS)
    assert created["at"] == job["created_at"]
    assert (cancelled["action"], cancelled["address"]) == ("job.cancelled", OTHER_ADDRESS)
    assert cancelled["data"]["state"] == "cancelled"
    assert cancelled["at"] > created["at"]


async def test_what_no_user_caused_is_left_out(rig: Rig) -> None:
    job = (await rig.post("jobs", {"urls": [URL]})).json()
    store = rig.yard.store
    claim = await claimed(store, (await store.jobs.get(job["id"])).job)
    await ended(store, claim.lease)

    assert [e["action"] for e in await entries(rig, f"&subject={job['id']}")] == ["job.created"]
    events = (await rig.get(f"events?subject={job['id']}")).json()["items"]
    assert {event["name"] for event in events} > {"job.completed"}
    assert "address" not in events[0]


async def test_no_user_can_act_under_a_name_that_is_left_out(rig: Rig) -> None:
    for name in RESERVED_ACTORS:
        answer = await rig.post("users", {"id": name})
        assert answer.status_code == 422, name
        assert name in answer.text

    await rig.user("janitors")


async def test_a_sign_in_is_recorded_with_its_credential(rig: Rig) -> None:
    secret = await rig.user("ada")
    link = await rig.yard.services.access.link("ada")
    for code in (secret, link.secret):
        signed_in = await rig.post("auth/login", {"code": code}, by=None, address=ADDRESS)
        assert signed_in.status_code == 200

    by_token, by_link = await entries(rig, "&action=user.signed_in")

    assert (by_token["actor"], by_token["address"]) == ("ada", ADDRESS)
    assert (by_token["data"]["by"], by_link["data"]["by"]) == ("token", "link")
    assert secret.startswith(by_token["data"]["prefix"])
    assert link.secret not in json.dumps(by_link)


async def test_refused_credentials_are_recorded_once_a_minute_for_each_address(rig: Rig) -> None:
    wrong = "cyt_wrong"
    for address in (ADDRESS, ADDRESS, OTHER_ADDRESS):
        assert (await rig.get("jobs", secret=wrong, address=address)).status_code == 401
    await rig.clock.advance(timedelta(seconds=61))
    login = await rig.post("auth/login", {"code": "cyl_wrong"}, by=None, address=ADDRESS)
    assert login.status_code == 401

    refused = await entries(rig, "&action=user.refused&actor=unknown")

    assert [(e["address"], e["data"]["kind"]) for e in refused] == [
        (ADDRESS, "token"),
        (OTHER_ADDRESS, "token"),
        (ADDRESS, "link"),
    ]
    assert {e["data"]["reason"] for e in refused} == {"unknown"}
    assert wrong not in json.dumps(refused)


async def test_a_refused_credential_of_a_user_names_them(rig: Rig) -> None:
    secret = await rig.user("ada")
    [token] = (await rig.get("tokens", by="ada")).json()["items"]
    await rig.ask("PATCH", "users/ada", json={"disabled": True})
    await rig.get("jobs", secret=secret, address=ADDRESS)
    await rig.ask("DELETE", f"tokens/{token['id']}")
    await rig.get("jobs", secret=secret, address=OTHER_ADDRESS)
    stale = {"Cookie": "crawlyard=cys_ended"}
    await rig.get("jobs", by=None, headers=stale, address="203.0.113.9")

    refused = await entries(rig, "&action=user.refused")

    assert [(e["actor"], e["data"]["reason"]) for e in refused] == [
        ("ada", "disabled"),
        ("ada", "ended"),
    ]
    assert {e["subject"] for e in refused} == {token["id"]}


async def test_refusals_of_many_addresses_are_bounded(rig: Rig) -> None:
    for number in range(70):
        await rig.get("jobs", secret="cyt_wrong", address=f"203.0.113.{number}")
    assert len(await entries(rig, "&action=user.refused")) == 60


async def test_the_log_is_filtered_and_read_page_by_page(rig: Rig) -> None:
    await rig.user("ada")
    for number in range(3):
        await rig.clock.advance(timedelta(seconds=10))
        await rig.post("jobs", {"urls": [f"{URL}{number}"]}, by="ada")
    first, second, third = await entries(rig, "&actor=ada&action=job.*")
    assert [e["seq"] for e in await entries(rig, f"&actor=ada&since={second['at']}")] == [
        second["seq"],
        third["seq"],
    ]
    assert await entries(rig, f"&actor=ada&until={second['at']}") == [first]
    assert await entries(rig, f"&subject={third['subject']}") == [third]
    await rig.post("jobs", {"urls": [URL]})
    assert {e["actor"] for e in await entries(rig, "&actor=me")} == {LOCAL.id}

    seqs, cursor = [], ""
    while True:
        part = (await rig.get(f"audit?limit=2{cursor}")).json()
        seqs += [entry["seq"] for entry in part["items"]]
        if not part["has_more"]:
            break
        cursor = f"&cursor={part['next_cursor']}"
    assert seqs == [entry["seq"] for entry in await entries(rig)][::-1]

    wrong = await rig.get("audit?action=nothing.*")
    assert problem(wrong)[0] == 422
    assert wrong.json()["errors"][0]["parameter"] == "action"


async def test_the_log_is_exported_as_it_is_listed(rig: Rig) -> None:
    await rig.user("ada")
    await rig.post("jobs", {"urls": [URL]}, by="ada", address=ADDRESS)
    listed = (await entries(rig))[::-1]
    for entry in listed:
        entry["at"] = f"{entry['at'][:23]}Z"  # files have milliseconds

    lines = (await rig.get("audit/export")).text.splitlines()
    answer = await rig.get("audit/export?format=csv&actor=ada")
    rows = list(csv.DictReader(StringIO(answer.text)))

    assert [json.loads(line) for line in lines] == listed
    assert answer.headers["content-disposition"] == 'attachment; filename="audit.csv"'
    assert [(row["actor"], row["address"]) for row in rows] == [("ada", ADDRESS)]
    assert json.loads(rows[0]["data"]) == listed[0]["data"]
    assert (await rig.get("audit/export?action=nothing")).status_code == 422


async def test_the_command_line_has_no_address(rig: Rig) -> None:
    await rig.user("bob")
    created = [e for e in await entries(rig) if e["subject"] == "bob"]
    assert [(e["action"], e["address"]) for e in created] == [("user.created", "")]


async def test_only_admins_read_the_log(rig: Rig) -> None:
    for name, role in {"eve": Role.VIEWER, "ada": Role.OPERATOR}.items():
        await rig.user(name, role)
        for path in ("audit", "audit/export"):
            refused = await rig.get(path, by=name)
            assert problem(refused) == (403, "forbidden")
            assert "admin" in refused.json()["detail"]
    limited = await rig.token(LOCAL.id, frozenset({Permit.JOBS_READ}))
    assert (await rig.get("audit", secret=limited)).status_code == 403
