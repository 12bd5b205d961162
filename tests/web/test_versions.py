"""Versions: a change that comes between is never overwritten, and what was seen is not sent."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest

from crawlyard.core.jobs.lifecycle import State
from crawlyard.store.store import Store
from crawlyard.web.openapi import document
from tests.web.crawled import in_state
from tests.web.rig import URL, Rig, a_rig, problem

HOOK = "https://93.184.215.14/hook"
ANY = {"If-Match": "*"}


class Meddled:
    """Part of a store with a concurrent change right after a read."""

    def __init__(self, inner: object) -> None:
        self._inner = inner
        self._changes_left = 0
        self._rival: Callable[[], Awaitable[object]] | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def schedule(self, rival: Callable[[], Awaitable[object]], reads: int) -> None:
        """Let *rival* act once, after so many reads from now on."""
        self._rival, self._changes_left = rival, reads

    @property
    def acted(self) -> bool:
        return self._rival is None

    async def get(self, *which: object) -> object:
        return await self._read(self._inner.get(*which))  # type: ignore[attr-defined]

    async def get_by_name(self, *which: object) -> object:
        return await self._read(self._inner.get_by_name(*which))  # type: ignore[attr-defined]

    async def _read(self, reading: Awaitable[object]) -> object:
        record = await reading
        self._changes_left -= 1
        if self._rival is not None and self._changes_left == 0:
            rival, self._rival = self._rival, None
            await rival()
        return record


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A kind of versioned resource, and how to change one."""

    part: str  # of the store
    path: str
    change: Callable[[int], dict[str, object]]  # never the same twice
    method: str = "PATCH"


JOB = Resource(part="jobs", path="jobs", change=lambda n: {"name": f"n{n}"})
TEMPLATE = Resource(part="templates", path="templates", change=lambda n: {"description": f"d{n}"})
SCHEDULE = Resource(part="schedules", path="schedules", change=lambda n: {"description": f"d{n}"})
WEBHOOK = Resource(part="webhooks", path="webhooks", change=lambda n: {"description": f"d{n}"})
CHANNEL = Resource(part="webhooks", path="notifications", change=lambda n: {"digest_s": 300 + n})
VIEW = Resource(part="views", path="views", change=lambda n: {"name": f"n{n}"})
USER = Resource(part="users", path="users", change=lambda n: {"quota": {"running": n}})
HOST = Resource(part="host_rules", path="hosts", change=lambda n: {"delay_s": 10 + n})
SECTION = Resource(
    part="settings", path="settings", change=lambda n: {"pages": 1 + n}, method="PUT"
)
SESSION = Resource(
    part="site_sessions",
    path="sessions",
    change=lambda n: {"kind": "bearer", "url": URL, "secret": f"s{n}"},
    method="PUT",
)


async def create(rig: Rig, path: str, body: Mapping[str, object]) -> str:
    answer = await rig.post(path, body)
    assert answer.status_code in {200, 201, 202}, answer.text
    return str(answer.json()["id"])


async def a_job(rig: Rig) -> str:
    return await create(rig, "jobs", {"urls": [URL]})


async def a_late_job(rig: Rig) -> str:
    start = rig.clock.now() + timedelta(hours=1)
    return await create(rig, "jobs", {"urls": [URL], "start_at": start.isoformat()})


async def a_paused_job(rig: Rig) -> str:
    return await create(rig, f"jobs/{await a_job(rig)}/pause", {})


async def an_ended_job(rig: Rig) -> str:
    return await in_state(rig, State.FAILED)


async def a_template(rig: Rig) -> str:
    count = len((await rig.get("templates")).json()["items"])
    return await create(rig, "templates", {"name": f"t{count}", "spec": {"urls": [URL]}})


async def a_changed_template(rig: Rig) -> str:
    template_id = await a_template(rig)
    change = {"spec": {"urls": [URL], "max_depth": 3}}
    await rig.ask("PATCH", f"templates/{template_id}", json=change, headers=ANY)
    return template_id


async def a_public_template(rig: Rig) -> str:
    template_id = await a_template(rig)
    await rig.post(f"templates/{template_id}/publish")
    return template_id


async def a_schedule(rig: Rig) -> str:
    count = len((await rig.get("schedules")).json()["items"])
    body = {"name": f"s{count}", "when": "every 1h", "overrides": {"urls": [URL]}}
    return await create(rig, "schedules", body)


async def a_paused_schedule(rig: Rig) -> str:
    return await create(rig, f"schedules/{await a_schedule(rig)}/pause", {})


async def an_old_schedule(rig: Rig) -> str:
    """Return one that was paused while it was due."""
    schedule_id = await a_paused_schedule(rig)
    await rig.clock.advance(timedelta(hours=2))
    await rig.yard.scheduler.round()
    return schedule_id


async def a_webhook(rig: Rig) -> str:
    return await create(rig, "webhooks", {"url": HOOK})


async def a_webhook_that_is_off(rig: Rig) -> str:
    return await create(rig, f"webhooks/{await a_webhook(rig)}/disable", {})


async def a_channel(rig: Rig) -> str:
    count = len((await rig.get("notifications")).json()["items"])
    body = {"name": f"c{count}", "kind": "discord", "to": HOOK}
    return await create(rig, "notifications", body)


async def a_channel_that_is_off(rig: Rig) -> str:
    return await create(rig, f"notifications/{await a_channel(rig)}/disable", {})


async def a_view(rig: Rig) -> str:
    count = len((await rig.get("views")).json()["items"])
    return await create(rig, "views", {"name": f"v{count}", "query": "state:failed"})


async def a_user(rig: Rig) -> str:
    count = len((await rig.get("users")).json()["items"])
    return await create(rig, "users", {"id": f"u{count}"})


async def a_host(rig: Rig) -> str:
    host = f"h{len((await rig.get('hosts')).json()['items'])}.example"
    await rig.ask("PATCH", f"hosts/{host}", json={"delay_s": 1})
    return host


async def a_paused_host(rig: Rig) -> str:
    host = await a_host(rig)
    await rig.post(f"hosts/{host}/pause")
    return host


async def a_section(_rig: Rig) -> str:
    return "ceilings"


async def a_session(rig: Rig) -> str:
    name = f"n{len((await rig.get('sessions')).json()['items'])}"
    answer = await rig.ask("PUT", f"sessions/{name}", json=SESSION.change(0))
    assert answer.is_success, answer.text
    return name


@dataclass(frozen=True, slots=True)
class VersionedOperation:
    """An operation that requires If-Match, and the resource that it changes."""

    operation: str
    kind: Resource
    make: Callable[[Rig], Awaitable[str]]
    body: object = None

    @property
    def name(self) -> str:
        return f"{self.operation} {self.body or ''}".strip()

    async def ask(self, rig: Rig, thing: str, **more: Any) -> httpx.Response:
        method, path = self.operation.split(" /", 1)
        head, _, tail = path.partition("{")
        path = head + thing + tail.partition("}")[2].replace("{version}", "1")
        return await rig.ask(method, path, json=self.body, **more)


_RANGE = {"from": "2026-01-02T00:00:00Z", "dry_run": False}

ROWS = (
    VersionedOperation("PATCH /jobs/{job_id}", JOB, a_job, {"priority": "high"}),
    VersionedOperation("DELETE /jobs/{job_id}", JOB, a_paused_job),
    VersionedOperation("POST /jobs/{job_id}/pause", JOB, a_job, {}),
    VersionedOperation("POST /jobs/{job_id}/cancel", JOB, a_job, {}),
    VersionedOperation("POST /jobs/{job_id}/resume", JOB, a_paused_job),
    VersionedOperation("POST /jobs/{job_id}/retry", JOB, an_ended_job, {"scope": "all"}),
    VersionedOperation("POST /jobs/{job_id}/retry", JOB, an_ended_job, {"scope": "failed"}),
    VersionedOperation("POST /jobs/{job_id}/retry", JOB, a_late_job, {"scope": "now"}),
    VersionedOperation("POST /jobs/{job_id}/exclusions", JOB, a_job, {"pattern": "*/print/*"}),
    VersionedOperation("PATCH /templates/{ref}", TEMPLATE, a_template, {"name": "mine"}),
    VersionedOperation("DELETE /templates/{ref}", TEMPLATE, a_template),
    VersionedOperation("POST /templates/{ref}/publish", TEMPLATE, a_template),
    VersionedOperation("POST /templates/{ref}/unpublish", TEMPLATE, a_public_template),
    VersionedOperation(
        "POST /templates/{ref}/versions/{version}/restore", TEMPLATE, a_changed_template
    ),
    VersionedOperation("PATCH /schedules/{ref}", SCHEDULE, a_schedule, {"grace_s": 7}),
    VersionedOperation("PATCH /schedules/{ref}", SCHEDULE, a_schedule, {"when": "@daily"}),
    VersionedOperation("DELETE /schedules/{ref}", SCHEDULE, a_schedule),
    VersionedOperation("POST /schedules/{ref}/pause", SCHEDULE, a_schedule, {}),
    VersionedOperation("POST /schedules/{ref}/resume", SCHEDULE, a_paused_schedule),
    VersionedOperation("POST /schedules/{ref}/run", SCHEDULE, a_schedule),
    VersionedOperation("POST /schedules/{ref}/backfill", SCHEDULE, an_old_schedule, _RANGE),
    VersionedOperation("PATCH /webhooks/{webhook_id}", WEBHOOK, a_webhook, {"events": ["job.*"]}),
    VersionedOperation("DELETE /webhooks/{webhook_id}", WEBHOOK, a_webhook),
    VersionedOperation("POST /webhooks/{webhook_id}/test", WEBHOOK, a_webhook),
    VersionedOperation("POST /webhooks/{webhook_id}/rotate", WEBHOOK, a_webhook),
    VersionedOperation("POST /webhooks/{webhook_id}/enable", WEBHOOK, a_webhook_that_is_off),
    VersionedOperation("POST /webhooks/{webhook_id}/disable", WEBHOOK, a_webhook),
    VersionedOperation("PATCH /notifications/{ref}", CHANNEL, a_channel, {"on": ["failed"]}),
    VersionedOperation("DELETE /notifications/{ref}", CHANNEL, a_channel),
    VersionedOperation("POST /notifications/{ref}/test", CHANNEL, a_channel),
    VersionedOperation("POST /notifications/{ref}/enable", CHANNEL, a_channel_that_is_off),
    VersionedOperation("POST /notifications/{ref}/disable", CHANNEL, a_channel),
    VersionedOperation("PATCH /views/{view_id}", VIEW, a_view, {"query": "state:running"}),
    VersionedOperation("DELETE /views/{view_id}", VIEW, a_view),
    VersionedOperation("PATCH /users/{user_id}", USER, a_user, {"role": "viewer"}),
    VersionedOperation("PATCH /hosts/{host}", HOST, a_host, {"at_once": 2}),
    VersionedOperation("POST /hosts/{host}/pause", HOST, a_host, {}),
    VersionedOperation("POST /hosts/{host}/block", HOST, a_host, {}),
    VersionedOperation("POST /hosts/{host}/resume", HOST, a_paused_host),
    VersionedOperation("DELETE /hosts/{host}", HOST, a_host),
    VersionedOperation("PUT /settings/{section}", SECTION, a_section, {"errors": 5}),
    VersionedOperation("PUT /sessions/{name}", SESSION, a_session, SESSION.change(9)),
    VersionedOperation("DELETE /sessions/{name}", SESSION, a_session),
)


NEEDING = {
    "PATCH /templates/{ref}",
    "DELETE /templates/{ref}",
    "PATCH /schedules/{ref}",
    "DELETE /schedules/{ref}",
    "PUT /settings/{section}",
}
"""Operations that are refused without If-Match."""


def test_every_operation_that_checks_a_version_has_a_row(rig: Rig) -> None:
    openapi = document()
    prefix = "/api/v1"
    heeding = {
        f"{method.upper()} {path.removeprefix(prefix)}"
        for path, operations in openapi["paths"].items()
        for method, operation in operations.items()
        if "412" in operation["responses"] and method != "get"  # dry runs of changes
    }
    assert heeding == {row.operation for row in ROWS}


async def changed(rig: Rig, kind: Resource, thing: str, number: int, **more: Any) -> httpx.Response:
    path = f"{kind.path}/{thing}"
    return await rig.ask(kind.method, path, json=kind.change(number), **({"headers": ANY} | more))


async def all_events(rig: Rig) -> list[object]:
    return [*await rig.yard.store.events.events(limit=10_000)]


@dataclass(frozen=True, slots=True)
class Scene:
    """Two servers on one store: the second interferes with requests of the first."""

    rig: Rig
    slow: Rig
    meddled: Meddled
    row: VersionedOperation

    async def came_between(self, reads: int) -> bool:
        """Ask for a change while another one is made after so many reads; tell if that came first.

        Then it is what is there, and nothing but it was written.
        """
        kind, rig = self.row.kind, self.rig
        thing = await self.row.make(rig)
        path = f"{kind.path}/{thing}"
        etag = (await rig.get(path)).headers["etag"]
        before = len(await all_events(rig))
        after: dict[str, Any] = {}

        async def rival() -> None:
            response = await changed(rig, kind, thing, reads)
            after["told"] = await all_events(rig)
            after["first"] = response.is_success and len(after["told"]) <= before + 1
            after["version"] = response.json().get("version")

        self.meddled.schedule(rival, reads)
        answer = await self.row.ask(self.slow, thing, headers={"If-Match": etag})

        if not self.meddled.acted or not after["first"]:
            # it does not read so often, or reads once more what it has written
            assert answer.is_success, answer.text
            return False
        assert problem(answer) == (412, "precondition_failed"), (reads, answer.text)
        assert answer.json()["current_version"] == after["version"]
        assert (await rig.get(path)).json()["version"] == after["version"]
        assert await all_events(rig) == after["told"]
        return True


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_a_change_that_comes_between_is_not_overwritten(
    store: Store, row: VersionedOperation
) -> None:
    meddled = Meddled(getattr(store, row.kind.part))
    parts: dict[str, Any] = {row.kind.part: meddled}
    rig = await a_rig(store)
    slow = await a_rig(store.with_parts(**parts), clock=rig.clock)
    scene = Scene(rig, slow, meddled, row)

    reads = 1
    while await scene.came_between(reads):
        reads += 1

    assert reads > 1  # a write reads first


async def test_a_change_that_names_no_version_is_merged_with_one_that_comes_between(
    store: Store, subtests: pytest.Subtests
) -> None:
    meddled = Meddled(store.schedules)
    parts: dict[str, Any] = {"schedules": meddled}
    rig = await a_rig(store)
    slow = await a_rig(store.with_parts(**parts), clock=rig.clock)
    replanned = {"when": "@daily"}
    for reads, more in ((1, {}), (1, replanned), (2, replanned), (3, replanned)):
        path = f"schedules/{await a_schedule(rig)}"

        async def rival(path: str = path) -> None:
            limits = {"overrides": {"limits": {"pages": 7}}}
            await rig.ask("PATCH", path, json=limits, headers=ANY)

        meddled.schedule(rival, reads)
        change = {"overrides": {"tags": ["nightly"]}, **more}
        answer = await slow.ask("PATCH", path, json=change, headers=ANY)

        with subtests.test(reads=reads, more=more):
            assert (answer.status_code, meddled.acted) == (200, True), answer.text
            overrides = (await rig.get(path)).json()["overrides"]
            assert overrides == {"urls": [URL], "limits": {"pages": 7}, "tags": ["nightly"]}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_a_change_to_what_has_changed_since_is_refused(
    rig: Rig, row: VersionedOperation
) -> None:
    thing = await row.make(rig)
    etag = (await rig.get(f"{row.kind.path}/{thing}")).headers["etag"]
    other = await changed(rig, row.kind, thing, 1)

    late = await row.ask(rig, thing, headers={"If-Match": etag})

    assert problem(late) == (412, "precondition_failed")
    assert late.json()["current_version"] == other.json()["version"]


async def test_some_changes_have_to_say_what_they_were_made_from(rig: Rig) -> None:
    answers = {row.name: await row.ask(rig, await row.make(rig)) for row in ROWS}
    refused = {name for name, answer in answers.items() if answer.status_code == 428}

    assert refused == {row.name for row in ROWS if row.operation in NEEDING}
    assert problem(answers["DELETE /templates/{ref}"]) == (428, "precondition_required")


SAME = (
    (JOB, a_job),
    (TEMPLATE, a_template),
    (SCHEDULE, a_schedule),
    (WEBHOOK, a_webhook),
    (VIEW, a_view),
    (USER, a_user),
    (HOST, a_host),
    (SECTION, a_section),
)


@pytest.mark.parametrize(("kind", "make"), SAME, ids=lambda value: getattr(value, "path", ""))
async def test_of_many_changes_to_one_version_one_is_made(
    store: Store, kind: Resource, make: Callable[[Rig], Awaitable[str]]
) -> None:
    rig = await a_rig(store)
    thing = await make(rig)
    etag = (await rig.get(f"{kind.path}/{thing}")).headers["etag"]

    answers = await asyncio.gather(
        *(changed(rig, kind, thing, n, headers={"If-Match": etag}) for n in range(1, 9))
    )

    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7
    [won] = [answer.json() for answer in answers if answer.status_code == 200]
    assert (await rig.get(f"{kind.path}/{thing}")).json()["version"] == won["version"]


@pytest.mark.parametrize(("kind", "make"), SAME, ids=lambda value: getattr(value, "path", ""))
async def test_what_was_seen_is_not_sent_again(
    rig: Rig, kind: Resource, make: Callable[[Rig], Awaitable[str]]
) -> None:
    path = f"{kind.path}/{await make(rig)}"
    headers = {"If-None-Match": (await rig.get(path)).headers["etag"]}

    same = await rig.get(path, headers=headers)
    await rig.ask(kind.method, path, json=kind.change(1), headers=ANY)
    other = await rig.get(path, headers=headers)

    if kind is HOST:  # it shows what goes on at it as well
        assert same.status_code == 200
    else:
        assert (same.status_code, same.content) == (304, b"")
    assert other.status_code == 200
