"""Visibility of jobs to other users, with the setting that shows them."""

from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from crawlyard.core.access.user import LOCAL, Role
from crawlyard.core.crawl.changes import ChangeKind, RunChanges, StoredChange
from crawlyard.core.jobs.lifecycle import Move, State
from crawlyard.core.schedules.schedule import Tick, TickOutcome, TickReason, tick_event
from crawlyard.store.queries import Firing
from crawlyard.store.store import Store
from tests.builders import NOW
from tests.clock import EarlierClock
from tests.conformance.steps import claimed
from tests.web.crawled import crawled, in_state
from tests.web.live_rig import LiveRig, a_live_rig
from tests.web.rig import URL, Rig, a_rig

ANY = {"If-Match": "*"}
SIGNING = "whsec_" + b64encode(b"CANARY7" * 4).decode()


@pytest.fixture
async def shared(store: Store) -> AsyncIterator[Rig]:
    """A server on which everyone sees what is not private."""
    rig = await a_rig(store)
    await people(rig)
    yield rig
    await rig.close()


async def people(rig: Rig) -> None:
    for name, role in (("ada", Role.OPERATOR), ("bob", Role.OPERATOR), ("vera", Role.VIEWER)):
        await rig.user(name, role)
    await show(rig, "everyone")


async def show(rig: Rig, visibility: str) -> None:
    body = {"visibility": visibility}
    answer = await rig.ask("PUT", "settings/sharing", json=body, headers=ANY)
    assert answer.status_code == 200, answer.text


async def visible_ids(rig: Rig, by: str, **params: Any) -> set[str]:
    answer = await rig.get("jobs", by=by, params=params)
    return {job["id"] for job in answer.json()["items"]}


async def totals(rig: Rig, by: str, **params: Any) -> int:
    total: int = (await rig.get("jobs/counts", by=by, params=params)).json()["total"]
    return total


async def test_a_user_sees_jobs_of_others_in_lists_and_counts_except_private_ones(
    shared: Rig,
) -> None:
    mine, hidden = await shared.job("ada"), await shared.job("ada", shared="private")
    bobs = await shared.job("bob", shared="private", tags=["x"])

    assert await visible_ids(shared, "vera") == {mine["id"]}
    assert await visible_ids(shared, "bob") == {mine["id"], bobs["id"]}
    assert await visible_ids(shared, "bob", owner="me") == {bobs["id"]}
    assert await visible_ids(shared, "bob", owner="ada") == {mine["id"]}
    assert await visible_ids(shared, "ada") == {mine["id"], hidden["id"]}
    assert [await totals(shared, name) for name in ("vera", "bob", "ada")] == [1, 2, 2]
    assert await totals(shared, "vera", tag="x") == 0
    assert await totals(shared, "vera", state="pending", owner="ada") == 1
    assert await totals(shared, LOCAL.id) == 3
    await show(shared, "owner")
    assert (await visible_ids(shared, "vera"), await totals(shared, "vera")) == (set(), 0)
    assert (await shared.get(f"jobs/{mine['id']}", by="bob")).status_code == 404


async def test_a_job_that_becomes_private_is_no_longer_counted_for_others(shared: Rig) -> None:
    job = await shared.job("ada")
    assert await totals(shared, "vera") == 1

    changed = {"shared": "private"}
    await shared.ask("PATCH", f"jobs/{job['id']}", by="ada", json=changed, headers=ANY)

    assert (await totals(shared, "vera"), await totals(shared, "ada")) == (0, 1)
    assert await visible_ids(shared, "vera") == set()


async def test_no_credential_of_a_job_is_shown_to_others(shared: Rig) -> None:
    body = {"kind": "bearer", "url": URL, "secret": "CANARY1"}
    await shared.ask("PUT", "sessions/CANARY2", by="ada", json=body)
    job = await shared.job(
        "ada",
        session="CANARY2",
        unique_key="CANARY3",
        headers={"X-Api-Key": "CANARY4"},
        proxies=["http://ada:CANARY5@93.184.216.34:3128"],
        webhooks=[{"url": "https://93.184.216.34/CANARY6", "secret": SIGNING}],
    )
    parts = ("/progress", "/attempts", "/shards", "/metrics", "/config", "/events")
    paths = ("", *parts, "/wait?timeout_s=0")

    store = shared.yard.store
    claim = await claimed(store, (await store.jobs.get(job["id"])).job)
    failed = claim.job.apply_move(
        Move.FAIL, NOW, actor="worker:w1", detail="session CANARY2 is logged out"
    )
    await store.leases.settle(claim.lease, *failed)

    listed = ("jobs?fields=spec,detail,progress,origin", "events")
    for path in (*(f"jobs/{job['id']}{path}" for path in paths), *listed):
        answer = await shared.get(path, by="vera")
        assert answer.status_code == 200, (path, answer.text)
        assert "CANARY" not in answer.text, path
        assert SIGNING not in answer.text, path
    spec = (await shared.get(f"jobs/{job['id']}", by="ada")).json()["spec"]
    assert (spec["session"], spec["unique_key"]) == ("CANARY2", "CANARY3")


@pytest.mark.parametrize(
    "form",
    [
        {"headers": {"Authorization": "Bearer x"}},
        {"session": "login"},
    ],
)
async def test_pages_fetched_with_credentials_are_hidden_unless_their_owner_shares_them(
    shared: Rig, form: dict[str, Any]
) -> None:
    body = {"kind": "bearer", "url": URL, "secret": "x"}
    await shared.ask("PUT", "sessions/login", by="ada", json=body)
    job, _ = await crawled(shared, "ada", **form)

    assert (await shared.get(f"jobs/{job}", by="vera")).status_code == 200
    for path in ("pages", "errors", "export", "log", "log/stream"):
        assert (await shared.get(f"jobs/{job}/{path}", by="vera")).status_code == 404, path
    assert (await shared.get("pages", by="vera")).json()["items"] == []

    shares = {"share_pages": True}
    await shared.ask("PATCH", f"jobs/{job}", by="ada", json=shares, headers=ANY)

    assert (await shared.get(f"jobs/{job}/pages", by="vera")).status_code == 200
    assert (await shared.get("pages", by="vera")).json()["items"] != []


async def test_stored_responses_are_seen_by_others_only_if_they_are_shared(shared: Rig) -> None:
    statuses, exports = {}, {}
    for share in (False, True):
        job, _ = await crawled(shared, "ada", keep_html=True, share_pages=share)
        [page, *_] = (await shared.get(f"jobs/{job}/pages", by="vera")).json()["items"]
        for by in ("ada", "vera"):
            at = f"jobs/{job}/pages/{page['id']}"
            paths = [f"{at}?part=html", f"{at}?part=headers", f"{at}/screenshot"]
            statuses[by, share] = [(await shared.get(p, by=by)).status_code for p in paths]
            statuses[by, share].append((await shared.get(f"{at}?part=text", by=by)).status_code)
            exports[by, share] = (
                "alert(1)"
                in (await shared.get(f"jobs/{job}/export", by=by)).text.partition('"html"')[2]
            )
    assert statuses["vera", False] == [404, 404, 404, 200]
    assert statuses["ada", False] == statuses["ada", True] == [200, 200, 200, 200]
    assert statuses["vera", True] == [200, 200, 200, 200]
    assert exports == {
        ("ada", False): True,
        ("vera", False): False,
        ("ada", True): True,
        ("vera", True): True,
    }


async def test_others_control_a_job_that_is_shared_for_writing_but_do_not_own_it(
    shared: Rig,
) -> None:
    job = await shared.job("ada", shared="write")
    at = f"jobs/{job['id']}"
    actions = {}
    for by in ("ada", "bob", "vera"):
        actions[by] = set((await shared.get(at, by=by)).json()["allowed_actions"])
    assert actions["bob"] == actions["ada"] - {"delete"}
    assert actions["vera"] == set()

    paused = await shared.post(f"{at}/pause", {}, by="bob", headers=ANY)
    priority = {"priority": "high"}
    edited = await shared.ask("PATCH", at, by="bob", json=priority, headers=ANY)
    assert (paused.status_code, edited.status_code) == (202, 200)
    for change in ({"shared": "private"}, {"share_pages": True}):
        refused = await shared.ask("PATCH", at, by="bob", json=change, headers=ANY)
        assert refused.status_code == 403
        assert "only ada and admins" in refused.json()["detail"]
    assert (await shared.ask("DELETE", at, by="bob", headers=ANY)).status_code == 403


async def schedule_of(rig: Rig, by: str = "ada", **overrides: Any) -> str:
    """Return the id of a new schedule."""
    body = {"name": "nightly", "when": "@daily", "overrides": {"urls": [URL], **overrides}}
    answer = await rig.post("schedules", body, by=by)
    assert answer.status_code == 201, answer.text
    schedule_id: str = answer.json()["id"]
    return schedule_id


async def test_a_schedule_shows_others_no_credential_and_what_they_may_do(shared: Rig) -> None:
    body = {"kind": "bearer", "url": URL, "secret": "CANARY1"}
    await shared.ask("PUT", "sessions/CANARY2", by="ada", json=body)
    schedule = await schedule_of(
        shared,
        session="CANARY2",
        unique_key="CANARY3",
        headers={"X-Api-Key": "CANARY4"},
        webhooks=[{"url": "https://93.184.216.34/CANARY6", "secret": SIGNING}],
        shared="write",
    )

    for path in (f"schedules/{schedule}", "schedules/ada%2Fnightly", "schedules?expand=recent"):
        answer = await shared.get(path, by="vera")
        assert answer.status_code == 200, (path, answer.text)
        assert "CANARY" not in answer.text, path
        assert SIGNING not in answer.text, path
    actions = [
        (await shared.get(f"schedules/{schedule}", by=by)).json()["allowed_actions"]
        for by in ("ada", "bob", "vera")
    ]
    assert actions == [
        ["run", "pause", "backfill", "edit", "delete"],
        ["run", "pause", "backfill"],
        [],
    ]
    run = await shared.post(f"schedules/{schedule}/run", {}, by="bob")
    assert (run.status_code, run.json()["owner"]) == (201, "ada")


async def test_a_refused_run_of_a_schedule_names_no_session_to_others(shared: Rig) -> None:
    schedule = await schedule_of(shared, session="CANARY")
    tick = Tick(
        schedule_id=schedule,
        due_at=NOW,
        outcome=TickOutcome.SKIPPED,
        reason=TickReason.REFUSED,
        detail="log in to session CANARY first",
        decided_at=NOW,
    )
    store = shared.yard.store
    after = await store.schedules.get(schedule)
    firing = Firing(
        after=replace(after, beat=after.beat + 1),
        ticks=(tick,),
        events=(tick_event(after, tick, "scheduler"),),
    )
    assert await store.ticks.fire([firing]) == [True]

    for path in (f"schedules/{schedule}/runs", "events"):
        texts = [(await shared.get(path, by=by)).text for by in ("ada", "vera")]
        assert ["CANARY" in text for text in texts] == [True, False], path
        assert all(schedule in text for text in texts), path


async def test_a_long_backfill_by_another_operator_runs_as_one(shared: Rig) -> None:
    body = {"name": "often", "when": "* * * * *", "overlap": "allow"}
    overrides = {"urls": [URL], "shared": "write"}
    created = await shared.post("schedules", body | {"overrides": overrides}, by="ada")
    since = (NOW - timedelta(hours=4)).isoformat()

    form = {"from": since, "dry_run": False}
    begun = await shared.post(f"schedules/{created.json()['id']}/backfill", form, by="bob")

    assert begun.json()["operation_id"] is not None, begun.text
    while await shared.yard.operations.work_at_one():
        pass
    operation = await shared.get(f"operations/{begun.json()['operation_id']}", by="bob")
    assert (operation.json()["state"], operation.json()["done"]) == ("completed", 240)
    assert await totals(shared, "ada", owner="me") == 240


async def test_jobs_of_a_private_schedule_are_private(shared: Rig) -> None:
    schedule = await schedule_of(shared, shared="private")

    job = (await shared.post(f"schedules/{schedule}/run", {}, by="ada")).json()

    assert job["spec"]["shared"] == "private"
    assert (await shared.get(f"jobs/{job['id']}", by="vera")).status_code == 404


async def test_a_schedule_shows_others_nothing_of_its_private_jobs(shared: Rig) -> None:
    schedule = await schedule_of(shared)
    job = (await shared.post(f"schedules/{schedule}/run", {}, by="ada")).json()["id"]
    paths = (
        f"schedules/{schedule}/runs?expand=job",
        f"schedules/{schedule}?expand=recent",
        "schedules/calendar?from=2026-01-01T00:00:00Z",
    )

    async def facts(by: str) -> list[bool]:
        texts = [(await shared.get(path, by=by)).text for path in paths]
        runs = await shared.get(f"schedules/{schedule}/changes", by=by)
        return [*('"pending"' in text for text in texts), bool(runs.json()["items"])]

    assert await facts("vera") == [True, True, True, True]
    changed = {"shared": "private"}
    await shared.ask("PATCH", f"jobs/{job}", by="ada", json=changed, headers=ANY)
    assert await facts("ada") == [True, True, True, True]
    assert await facts("vera") == [False, False, False, False]


@pytest.mark.parametrize("hidden_later", [False, True])
async def test_others_see_changes_only_of_runs_whose_pages_are_shown_since_a_shown_run(
    shared: Rig, hidden_later: bool
) -> None:
    schedule = await schedule_of(shared)
    private = {"shared": "private"}
    first = {} if hidden_later else private
    ids = [
        (await in_state(shared, State.COMPLETED, "ada", name=name, **form))
        for name, form in (("base", first), ("second", {}), ("third", {}))
    ]
    store = shared.yard.store
    for number, job_id in enumerate(ids):
        job = (await store.jobs.get(job_id)).job
        run = RunChanges(
            job_id=job_id,
            schedule_id=schedule,
            base_id=ids[number - 1] if number else None,
            compared_at=NOW,
            ended_at=job.ended_at,
            counts={},
        )
        url = f"https://example.com/CANARY{number}"
        change = StoredChange(job_id=job_id, schedule_id=schedule, kind=ChangeKind.GONE, url=url)
        assert await store.changes.save(run, (change,), ())

    if hidden_later:
        assert "CANARY1" in (await shared.get("changes", by="vera")).text
        for job_id in ids[:2]:
            await shared.ask("PATCH", f"jobs/{job_id}", by="ada", json=private, headers=ANY)
    for path in (f"changes?schedule={schedule}", "changes", f"schedules/{schedule}/changes.atom"):
        adas, veras = [(await shared.get(path, by=by)).text for by in ("ada", "vera")]
        assert [f"CANARY{n}" in adas for n in range(3)] == [True, True, True], path
        assert "CANARY" not in veras, path
    diff = await shared.get(f"jobs/{ids[1]}/diff/{ids[2]}", by="vera")
    assert diff.status_code == (404 if hidden_later else 403)


async def test_bulk_actions_by_filter_change_only_what_the_user_owns(shared: Rig) -> None:
    adas = await shared.job("ada", shared="write")
    bobs = await shared.job("bob")

    body = {"action": "cancel", "filter": {"state": ["pending"]}}
    answer = await shared.post("jobs/bulk", body, by="bob")

    assert answer.status_code == 200, answer.text
    states = [(await shared.get(f"jobs/{j['id']}")).json()["state"] for j in (adas, bobs)]
    assert states == ["pending", "cancelled"]


async def test_a_wrong_visibility_is_named(shared: Rig) -> None:
    body = {"visibility": "all"}
    answer = await shared.ask("PUT", "settings/sharing", json=body, headers=ANY)
    assert answer.status_code == 422
    assert "visibility: expected owner or everyone, got 'all'" in answer.text


class TestStreams:
    @pytest.fixture
    async def live(self, store: Store) -> AsyncIterator[LiveRig]:
        async with a_live_rig(store, clock=EarlierClock()) as live:
            await people(live.rig)
            yield live

    async def test_a_stream_has_the_jobs_of_others_that_are_not_private(
        self, live: LiveRig
    ) -> None:
        async with live.listen(by="vera") as listener:
            await listener.until("hello")
            counts = await listener.until("counts")
            assert counts.data["pending"] == 0
            await live.rig.job("ada", shared="private", name="CANARY")
            await live.rig.job("ada", name="open", webhooks=["https://93.184.216.34/CANARY"])
            created = await listener.until("job.created")
            counts = await listener.until("counts")

        assert (created.data["job"]["name"], created.data["owner"]) == ("open", "ada")
        assert created.data["job"]["allowed_actions"] == []
        assert counts.data["pending"] == 1
        assert "CANARY" not in repr(listener.messages)

    async def test_a_stream_has_the_schedules_of_others_that_are_not_private(
        self, live: LiveRig
    ) -> None:
        async with live.listen(by="vera") as listener:
            await listener.until("hello")
            for name, sharing in (("CANARY", "private"), ("open", "read")):
                body = {"name": name, "when": "@daily"}
                spec = {"urls": [URL], "shared": sharing, "unique_key": "CANARY"}
                await live.rig.post("schedules", body | {"overrides": spec}, by="ada")
            created = await listener.until("schedule.created")

        assert (created.data["data"]["name"], created.data["owner"]) == ("open", "ada")
        assert "CANARY" not in repr(listener.messages)

    async def test_a_stream_ends_when_the_settings_hide_jobs_again(self, live: LiveRig) -> None:
        async with live.listen(by="vera") as listener:
            await listener.until("counts")
            await show(live.rig, "owner")
            bye = await listener.until("bye")
            with pytest.raises(StopAsyncIteration):
                await listener.next()
        assert bye.event == "bye"

    async def test_a_client_that_missed_events_of_others_reads_its_lists_again(
        self, live: LiveRig
    ) -> None:
        await live.job("ada")
        async with live.listen(by="vera", after=0) as listener:
            resync = await listener.until("resync")
        assert resync.data["reason"] == "gap"

    @pytest.mark.parametrize("ends", ["deleted", "private"])
    async def test_others_hear_that_a_job_is_gone_but_not_of_a_private_one(
        self, live: LiveRig, ends: str
    ) -> None:
        visible = await in_state(live.rig, State.PAUSED, "ada")
        secret = await in_state(live.rig, State.PAUSED, "ada", shared="private")
        async with live.listen(by="vera") as listener:
            await listener.until("counts")
            for job in (secret, visible):
                if ends == "deleted":
                    await live.rig.ask("DELETE", f"jobs/{job}", by="ada", headers=ANY)
                else:
                    changed = {"name": "CANARY", "shared": "private"}
                    answer = await live.rig.ask(
                        "PATCH", f"jobs/{job}", by="ada", json=changed, headers=ANY
                    )
                    assert answer.status_code == 200, answer.text
            message = await listener.until("job.deleted")

        assert (message.subject, message.data["job"], message.data["data"]) == (visible, None, {})
        assert secret not in repr(listener.messages)
        assert "CANARY" not in repr(listener.messages)

    async def test_the_stream_of_a_job_ends_when_its_owner_hides_it(self, live: LiveRig) -> None:
        job = await live.job("ada")
        async with live.listen(by="vera", job=job) as listener:
            await listener.until("hello")
            changed = {"shared": "private"}
            await live.rig.ask("PATCH", f"jobs/{job}", by="ada", json=changed, headers=ANY)
            await listener.until("bye")
            with pytest.raises(StopAsyncIteration):
                await listener.next()

    @pytest.mark.parametrize("by", ["ada", "vera"])
    async def test_the_stream_of_a_job_that_does_not_run_has_its_latest_pages(
        self, live: LiveRig, by: str
    ) -> None:
        job = await in_state(live.rig, State.PAUSED, "ada")
        async with live.listen(by=by, job=job) as listener:
            latest = await listener.until("job.pages")
        assert len(latest.data["pages"]) == 3
