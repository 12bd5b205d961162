"""Jobs over HTTP: changed, moved and deleted, as their state allows."""

import asyncio
from typing import Any

import httpx
import pytest

from crawlyard.core.jobs.job import actions_of
from crawlyard.core.jobs.lifecycle import LIFECYCLE, Move, State
from tests.clock import settle
from tests.web.crawled import crawled, in_state
from tests.web.rig import Rig, pointers, problem


async def patched(rig: Rig, job_id: str, change: object, **more: Any) -> httpx.Response:
    return await rig.ask("PATCH", f"jobs/{job_id}", json=change, **more)


ACTIONS = {
    "pause": Move.PAUSE,
    "resume": Move.RESUME,
    "cancel": Move.CANCEL,
    "retry": None,
    "retry failed": Move.RETRY_FAILED,
    "retry now": Move.RETRY_NOW,
    "delete": None,
    "patch": None,
}
SO_ALREADY = {
    (State.PAUSED, "pause"),
    (State.CANCELLED, "cancel"),
    (State.RUNNING, "resume"),
    (State.PENDING, "resume"),  # and due
    (State.PENDING, "retry now"),  # and due
}


def expected(state: State, action: str) -> int:
    """Return the status that an action on a job in a state is answered with."""
    match action:
        case "patch":
            return 409 if state is State.CANCELLED else 200
        case "delete":
            return 204 if state.ended or state is State.PAUSED else 409
        case "retry":
            return 202 if state.ended else 409
        case _ if (state, action) in SO_ALREADY:
            return 200
        case _:
            return 202 if ACTIONS[action] in LIFECYCLE[state] else 409


async def done(rig: Rig, job_id: str, action: str) -> httpx.Response:
    match action.split():
        case ["patch"]:
            return await patched(rig, job_id, {"priority": "high"})
        case ["delete"]:
            return await rig.ask("DELETE", f"jobs/{job_id}")
        case ["retry", *scope]:
            body = {"scope": scope[0]} if scope else {}
            return await rig.post(f"jobs/{job_id}/retry", body)
        case _:
            return await rig.post(f"jobs/{job_id}/{action}")


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("state", State)
async def test_every_action_in_every_state_is_answered_as_the_lifecycle_says(
    rig: Rig, state: State, action: str
) -> None:
    job_id = await in_state(rig, state)

    answer = await done(rig, job_id, action)

    assert answer.status_code == expected(state, action), answer.text
    if answer.status_code == 409:
        assert problem(answer) == (409, "invalid_transition")
        assert answer.json()["allowed_actions"] == actions_of(tuple(LIFECYCLE[state]))
        assert (await rig.get(f"jobs/{job_id}")).json()["state"] == state
    elif answer.status_code in (200, 202):
        move = ACTIONS[action]
        after = LIFECYCLE[state].get(move, state) if move else state
        own = answer.json() if action != "retry" else (await rig.get(f"jobs/{job_id}")).json()
        assert own["state"] == after
        assert action == "retry" or answer.headers["etag"].startswith(f'"v{own["version"]}.')


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"name": "n", "tags": ["a", "b"]}, {"name": "n", "tags": ["a", "b"]}),
        ({"priority": "urgent"}, {"priority": "urgent"}),
        ({"limits": {"pages": 7}}, {"limits.pages": 7, "limits.errors": 9}),
        ({"limits": {"errors": None}}, {"limits.pages": 5, "limits.errors": None}),
        ({"limits": {"duration": "2h"}}, {"limits.duration_s": 7200}),
        ({"limits": None}, {"limits.pages": None, "limits.errors": None}),
        ({"max_depth": 3, "delay_s": 2.5}, {"max_depth": 3, "delay_s": 2.5}),
        ({"delay_s": None, "name": None}, {"delay_s": 0.5, "name": ""}),
        ({"include": ["*/a/*"], "exclude": []}, {"include": ["*/a/*"]}),
        ({"per_host": 3, "concurrency": 8}, {"per_host": 3, "concurrency": 8}),
        ({"retention_s": 3600}, {"retention_s": 3600}),
    ],
)
async def test_a_job_is_changed(
    rig: Rig, change: dict[str, object], expected: dict[str, object]
) -> None:
    job = await rig.job(name="old", limits={"pages": 5, "errors": 9})

    answer = await patched(rig, job["id"], change)

    assert answer.status_code == 200, answer.text
    assert answer.json()["version"] == 2
    for path, value in expected.items():
        part_value = answer.json()["spec"]
        for part in path.split("."):
            part_value = part_value[part]
        assert part_value == value, path
    assert (await rig.get(f"jobs/{job['id']}")).json() == answer.json()


@pytest.mark.parametrize("change", [{}, {"name": "old"}, {"limits": {}}, {"tags": None}])
async def test_a_change_that_changes_nothing_makes_no_version(
    rig: Rig, change: dict[str, object]
) -> None:
    job = await rig.job(name="old")
    answer = await patched(rig, job["id"], change)
    assert (answer.status_code, answer.json()["version"]) == (200, 1)


async def test_what_is_wrong_in_a_change_is_named(rig: Rig) -> None:
    job = await rig.job()
    for change, pointer in [
        ({"urls": ["https://a.example/"]}, "/urls"),
        ({"colour": "red"}, "/colour"),
        ({"colour": None}, "/colour"),
        ({"": None}, ""),
        ({"limits": {"page": 1}}, "/limits/page"),
        ({"limits": {"page": None}}, "/limits/page"),
        ({"limits": {"pages": 0}}, "/limits/pages"),
        ({"limits": {"duration_s": -1}}, "/limits/duration_s"),
        ({"limits": 5}, "/limits"),
        ({"concurrency": 0}, "/concurrency"),
        ({"priority": "highest"}, "/priority"),
        ({"include": ["re:("]}, "/include"),
        ({"state": "paused"}, "/state"),
        ({"urls": None}, "/urls"),
    ]:
        answer = await patched(rig, job["id"], change)
        assert pointers(answer) == [pointer], change
        assert (await rig.get(f"jobs/{job['id']}")).json()["version"] == 1, change


async def test_a_change_may_be_a_merge_patch_and_nothing_else(rig: Rig) -> None:
    job = await rig.job()
    kind = {"Content-Type": "application/merge-patch+json"}
    ok = await rig.ask("PATCH", f"jobs/{job['id']}", content=b'{"name": "n"}', headers=kind)
    no = await patched(rig, job["id"], [{"op": "remove", "path": "/name"}])
    assert (ok.status_code, ok.json()["spec"]["name"]) == (200, "n")
    assert problem(no) == (422, "validation_failed")


class TestDelete:
    async def test_a_deleted_job_is_gone(self, rig: Rig) -> None:
        job_id = await in_state(rig, State.COMPLETED)
        deleted = await rig.ask("DELETE", f"jobs/{job_id}")
        assert (deleted.status_code, deleted.content) == (204, b"")
        assert problem(await rig.ask("DELETE", f"jobs/{job_id}")) == (404, "not_found")
        assert problem(await rig.get(f"jobs/{job_id}/pages")) == (404, "not_found")

    async def test_a_dry_run_says_what_would_go(self, rig: Rig) -> None:
        job_id = await in_state(rig, State.COMPLETED)

        response = await rig.get(f"jobs/{job_id}/deletion")

        assert response.status_code == 200
        assert response.json() == {
            "object": "job_deletion",
            "job_id": job_id,
            "dry_run": True,
            "pages": 2,
            "bytes": 1000,
            "urls": 6,
        }
        assert (await rig.get(f"jobs/{job_id}")).status_code == 200
        running, _ = await crawled(rig)
        refused = await rig.get(f"jobs/{running}/deletion")
        assert problem(refused) == (409, "invalid_transition")

    async def test_its_space_is_freed_soon_after_by_the_janitor(self, rig: Rig) -> None:
        janitor = asyncio.create_task(rig.yard.janitor.run())
        await settle()
        job_id = await in_state(rig, State.COMPLETED)
        await settle()

        await rig.ask("DELETE", f"jobs/{job_id}")
        await settle()

        assert not await rig.yard.store.upkeep.purge()
        janitor.cancel()
