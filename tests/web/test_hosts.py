"""Hosts and their rules over HTTP."""

from datetime import timedelta
from typing import Any

import pytest

from crawlyard.core.events.event import EventName, Topic
from crawlyard.core.hosts.hosts import DelaySource, HostReport
from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.store.queries import EventQuery
from tests.builders import LEASE
from tests.builders_serve import a_report
from tests.docs import undocumented
from tests.web.rig import Rig, a_rig, pointers, problem
from tests.web.test_versions import Meddled


async def report_host(rig: Rig, *hosts: HostReport, running: tuple[str, ...] = ()) -> None:
    await rig.yard.store.workers.save_heartbeat(
        a_report(beat_at=rig.clock.now(), hosts=hosts, running=running)
    )


OF_HOSTS = EventQuery(names=Topic.HOSTS.names)


async def names(rig: Rig) -> list[EventName]:
    return [event.name for event in await rig.yard.store.events.events(OF_HOSTS)]


async def test_a_rule_can_be_set_for_a_host_that_is_not_crawled(rig: Rig) -> None:
    body = {"delay_s": 2, "at_once": 1, "note": "as they asked"}

    response = await rig.ask("PATCH", "hosts/example.org", json=body)

    host = (await rig.get("hosts/example.org")).json()
    [listed] = (await rig.get("hosts")).json()["items"]
    assert response.status_code == 200
    assert response.headers["ETag"] == '"v1"'
    assert host == listed == response.json()
    assert (host["state"], host["in_flight"], host["jobs"]) == ("open", 0, [])
    assert (host["delay_s"], host["at_once"]) == (2, 1)
    assert host["rule"] | body == host["rule"]
    assert host["rule"]["updated_by"] == "local"
    assert await names(rig) == [EventName.HOST_UPDATED]


async def test_null_takes_a_part_of_a_rule_away_and_nothing_else(rig: Rig) -> None:
    await rig.ask("PATCH", "hosts/a.example", json={"delay_s": 2, "at_once": 1, "note": "why"})
    response = await rig.ask("PATCH", "hosts/a.example", json={"delay_s": None, "note": None})
    rule = response.json()["rule"]
    assert (rule["delay_s"], rule["at_once"], rule["note"], rule["version"]) == (None, 1, "", 2)


async def test_a_host_is_paused_blocked_and_resumed(rig: Rig) -> None:
    await rig.ask("PATCH", "hosts/a.example", json={"delay_s": 2})

    paused = (await rig.post("hosts/a.example/pause", {"note": "down"})).json()
    blocked = (await rig.post("hosts/a.example/block")).json()
    resumed = (await rig.post("hosts/a.example/resume")).json()

    assert (paused["state"], paused["rule"]["note"]) == ("paused", "down")
    assert (blocked["state"], blocked["rule"]["note"]) == ("blocked", "down")
    assert (resumed["state"], resumed["rule"]["delay_s"]) == ("open", 2)
    assert undocumented(await rig.yard.store.events.events(OF_HOSTS)) == []
    assert (await names(rig))[1:] == [
        EventName.HOST_PAUSED,
        EventName.HOST_BLOCKED,
        EventName.HOST_RESUMED,
    ]


async def test_what_a_rule_says_already_is_no_change(rig: Rig) -> None:
    await rig.ask("PATCH", "hosts/a.example", json={"delay_s": 2})
    await rig.post("hosts/a.example/pause", {"note": "down"})
    again = [
        await rig.ask("PATCH", "hosts/a.example", json={"delay_s": 2}),
        await rig.ask("PATCH", "hosts/a.example", json={}),
        await rig.post("hosts/a.example/pause"),
        await rig.post("hosts/a.example/pause", {"note": "down"}),
    ]
    assert [answer.status_code for answer in again] == [200] * 4
    assert {answer.json()["version"] for answer in again} == {2}
    assert len(await names(rig)) == 2


async def test_a_rule_that_is_deleted_is_gone(rig: Rig) -> None:
    await rig.ask("PATCH", "hosts/a.example", json={"delay_s": 2})

    would = await rig.get("hosts/a.example/deletion")
    still = await rig.get("hosts/a.example")
    response = await rig.ask("DELETE", "hosts/a.example")

    assert (would.status_code, would.json()["delay_s"], still.status_code) == (200, 2, 200)
    assert response.status_code == 204
    assert problem(await rig.get("hosts/a.example")) == (404, "not_found")
    assert problem(await rig.ask("DELETE", "hosts/a.example")) == (404, "not_found")
    assert problem(await rig.post("hosts/a.example/resume")) == (404, "not_found")
    assert await names(rig) == [EventName.HOST_UPDATED, EventName.HOST_UNSET]


async def test_a_crawled_host_shows_its_rule_and_its_activity(rig: Rig) -> None:
    await report_host(rig, HostReport(host="a.example", in_flight=2, at_once=3, delay_s=0.5))

    bare = (await rig.get("hosts/a.example")).json()
    await rig.post("hosts/a.example/pause")

    [host] = (await rig.get("hosts")).json()["items"]
    assert (bare["rule"], bare["state"], bare["version"]) == (None, "open", 0)
    assert (host["in_flight"], host["at_once"], host["state"]) == (2, 3, "paused")
    assert (host["rule"]["delay_s"], host["rule"]["at_once"]) == (None, None)


@pytest.mark.parametrize(
    ("spelled", "host"),
    [
        ("EXAMPLE.org", "example.org"),
        ("example.org:80", "example.org"),
        ("example.org:443", "example.org"),
        ("example.org:8080", "example.org:8080"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("[::1]:8080", "[::1]:8080"),
        ("0x7f.1", "127.0.0.1"),
    ],
)
async def test_a_host_has_one_rule_however_it_is_spelled(rig: Rig, spelled: str, host: str) -> None:
    response = await rig.post(f"hosts/{spelled}/pause")
    assert (response.status_code, response.json()["host"]) == (200, host)
    assert (await rig.get(f"hosts/{spelled}")).json()["state"] == "paused"
    assert (await rig.yard.store.host_rules.get(host)).host == host


@pytest.mark.parametrize(
    "nonsense", ["a..b", "a b", "user@a.example", "a.example%3Fq", "%20", "a:b", "*.a.example"]
)
@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_what_names_no_host_is_refused(rig: Rig, nonsense: str, method: str) -> None:
    body: dict[str, Any] = {"json": {"delay_s": 1}} if method == "PATCH" else {}
    answer = await rig.ask(method, f"hosts/{nonsense}", **body)
    assert problem(answer) == (422, "validation_failed")
    assert "expected a host" in answer.json()["detail"]
    assert await rig.yard.store.host_rules.find("", 10) == []


async def test_a_value_that_is_none_is_refused_by_its_name(rig: Rig) -> None:
    for field, value in [
        ("delay_s", -1),
        ("delay_s", 1e9),
        ("delay_s", "2"),
        ("at_once", 0),
        ("at_once", 1.5),
        ("at_once", 1000),
        ("note", "x" * 501),
        ("state", "paused"),
    ]:
        answer = await rig.ask("PATCH", "hosts/a.example", json={field: value})
        assert pointers(answer) == [f"/{field}"], value


async def test_hosts_are_listed_in_pages_rules_and_all(rig: Rig) -> None:
    await report_host(rig, *(HostReport(host=f"{name}.example") for name in "bdf"))
    for name in "aceg":
        await rig.post(f"hosts/{name}.example/pause")
    await rig.post("hosts/b.example/pause")

    listed: list[tuple[str, str]] = []
    cursor: str | None = None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await rig.get("hosts", params=params)).json()
        listed += [(host["host"][0], host["state"]) for host in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break

    paused = set("abceg")
    assert listed == [(name, "paused" if name in paused else "open") for name in "abcdefg"]


async def test_a_user_sees_rules_only_for_hosts_of_own_jobs(rig: Rig) -> None:
    await rig.user("ada")
    job = (await rig.job("ada"))["id"]
    await rig.yard.store.leases.claim(Asker("w1"), rig.clock.now(), LEASE)
    hers = HostReport(host="a.example", jobs=(job,))
    await report_host(rig, hers, HostReport(host="b.example", jobs=("another",)), running=(job,))
    for name in "abc":
        await rig.post(f"hosts/{name}.example/pause", {"note": f"why {name}"})

    [host] = (await rig.get("hosts", by="ada")).json()["items"]

    assert (host["host"], host["state"], host["rule"]["note"]) == ("a.example", "paused", "why a")
    assert (await rig.get("hosts/a.example", by="ada")).json()["state"] == "paused"
    for name in "bc":
        answer = await rig.get(f"hosts/{name}.example", by="ada")
        assert problem(answer) == (404, "not_found")
    assert problem(await rig.post("hosts/a.example/resume", by="ada")) == (403, "forbidden")


async def test_a_job_shows_its_hosts_with_their_pace_the_longest_queue_first(rig: Rig) -> None:
    job = (await rig.job())["id"]
    until = rig.clock.now() + timedelta(seconds=30)
    slow = HostReport(
        host="a.example",
        delay_s=5,
        delay_from=DelaySource.ROBOTS,
        waiting=2019,
        queues={job: 7, "another": 2012},
        jobs=(job, "another"),
    )
    held_host = HostReport(
        host="b.example",
        held_until=until,
        refusals=2,
        waiting=90,
        queues={job: 90},
        jobs=(job,),
    )
    other_host = HostReport(host="c.example", waiting=500, jobs=("another",))
    await report_host(rig, slow, held_host, other_host, running=(job,))
    await rig.ask("PATCH", "hosts/b.example", json={"delay_s": 2, "note": "as they asked"})

    page = (await rig.get(f"jobs/{job}/hosts")).json()
    first = (await rig.get(f"jobs/{job}/hosts?limit=1")).json()

    [b, a] = page["items"]
    assert (a["host"], a["delay_s"], a["delay_from"], a["waiting"]) == ("a.example", 5, "robots", 7)
    assert (b["host"], b["refusals"], b["waiting"]) == ("b.example", 2, 90)
    assert b["rule"]["note"] == "as they asked"
    assert b["held_until"] is not None
    assert (page["total"], page["has_more"]) == (2, False)
    assert ([host["host"] for host in first["items"]], first["has_more"]) == (["b.example"], True)


async def test_a_host_without_recent_requests_is_not_listed(rig: Rig) -> None:
    await report_host(rig, HostReport(host="a.example"))
    await rig.clock.advance(timedelta(minutes=1))
    assert (await rig.get("hosts")).json()["items"] == []


async def test_what_another_admin_says_meanwhile_is_not_lost(rig: Rig) -> None:
    await rig.ask("PATCH", "hosts/a.example", json={"delay_s": 1})
    rules = Meddled(rig.yard.store.host_rules)
    parts: dict[str, Any] = {"host_rules": rules}
    slow = await a_rig(rig.yard.store.with_parts(**parts), clock=rig.clock)
    rules.schedule(lambda: rig.ask("PATCH", "hosts/a.example", json={"at_once": 4}), reads=1)

    changed = await slow.ask("PATCH", "hosts/a.example", json={"delay_s": 3})

    rule = changed.json()["rule"]
    assert rules.acted
    assert (rule["delay_s"], rule["at_once"], rule["version"]) == (3, 4, 3)
    assert (await rig.get("hosts/a.example")).json()["rule"] == rule
