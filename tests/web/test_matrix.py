"""Authorization matrix: every route, for every caller and owner."""

import asyncio
import contextlib
import json
import re
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

import pytest

from crawlyard.core.access.user import LOCAL, Permit, Role
from crawlyard.core.answer import API as PREFIX
from crawlyard.core.endpoints.endpoint import ANYBODY
from crawlyard.core.events.event import EventName
from crawlyard.services.surface import Surface
from crawlyard.web.by_hand import ENDPOINTS
from crawlyard.web.endpoints import path_of
from crawlyard.web.openapi import document
from crawlyard.web.reference import ROUTES
from tests.web.matrix import (
    MAKERS,
    MISSING_ID,
    OF_MISSING,
    OWNERS,
    PERSONAL,
    PUBLISHED,
    SECRET,
    RouteStatuses,
    Who,
    Whose,
)
from tests.web.matrix_rows import ROWS
from tests.web.rig import Rig

READS = frozenset(permit for permit in Permit if permit.endswith(":read"))
NAMED = {row.name: row for row in ROWS}


def routes() -> Iterator[tuple[str, str]]:
    """Yield method and whole path of every route, with its name in the table."""
    yield from ((f"{e.method} {e.path}", path_of(PREFIX, e)) for e in ENDPOINTS)
    yield from ((f"GET {endpoint.path.removeprefix(PREFIX)}", endpoint.path) for endpoint in ROUTES)


PATHS = dict(routes())


def test_every_route_has_one_row_and_every_row_a_route() -> None:
    assert [row.name for row in ROWS if row.name not in PATHS] == []
    assert [name for name in PATHS if name not in NAMED] == []
    assert len(NAMED) == len(ROWS)


async def asking(rig: Rig) -> Mapping[Who, str | None]:
    """Return the tokens of all who ask."""
    ada, bob = await rig.user("ada"), await rig.user("bob")
    tokens = Surface(rig.yard.services, LOCAL).tokens
    revoked = await tokens.create("lost", user="ada")
    await tokens.revoke(revoked.id)
    return {
        Who.OWNER: ada,
        Who.OTHER: bob,
        Who.READER: await rig.token("bob", READS),
        Who.VIEWER: await rig.user("vera", Role.VIEWER),
        Who.ADMIN: rig.secrets[LOCAL.id],
        Who.REVOKED: revoked.token,
        Who.NOBODY: None,
    }


async def begun(rig: Rig, url: str, secret: str | None) -> int:
    """Return the status of an answer that does not end, and hang up."""
    path, _, query = url.partition("?")
    headers = [(b"host", b"127.0.0.1")]
    if secret is not None:
        headers.append((b"authorization", f"Bearer {secret}".encode()))
    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8700),
    }
    status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    sent = False

    async def receive() -> MutableMapping[str, Any]:
        nonlocal sent
        if sent:
            await asyncio.Event().wait()  # the client stays
        sent = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start" and not status.done():
            status.set_result(message["status"])

    answering = asyncio.create_task(rig.app(scope, receive, send))
    code = await status
    answering.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await answering
    return code


async def thing_of(rig: Rig, row: RouteStatuses, whose: Whose) -> Mapping[str, str]:
    """Return the parameters of a path to something of ada's, or to nothing."""
    if not row.thing or whose is Whose.MISSING:
        return dict.fromkeys(re.findall(r"{(\w+)}", row.path), MISSING_ID) | OF_MISSING
    return await MAKERS[row.thing](rig, whose is Whose.PUBLIC)


async def answered(
    rig: Rig, row: RouteStatuses, caller: Who, secrets: Mapping[Who, str | None], url: str
) -> tuple[int, str]:
    """Return status and text of an answer."""
    secret = secrets[caller]
    if row.streams:
        return await begun(rig, url, secret), ""
    headers = {} if row.method == "GET" else {"If-Match": "*"}
    more: dict[str, Any] = {}
    if row.body is not None:
        headers["Content-Type"] = "application/json"
        more["content"] = json.dumps(row.body).replace("{who}", caller)
    answer = await rig.ask(row.method, url, by=None, secret=secret, headers=headers, **more)
    return answer.status_code, answer.text


def cells(row: RouteStatuses) -> Iterator[Whose]:
    yield Whose.PRIVATE
    if "{" in row.path:
        yield Whose.MISSING
    if row.thing in PUBLISHED:
        yield Whose.PUBLIC


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_each_caller_gets_the_status_that_the_access_matrix_says(
    rig: Rig, row: RouteStatuses
) -> None:
    secrets = await asking(rig)
    statuses, expected = {}, {}

    for whose in cells(row):
        for caller in Who:
            url = PATHS[row.name].format(**await thing_of(rig, row, whose)) + row.query
            before = await rig.yard.store.events.last()
            statuses[caller, whose], _ = await answered(rig, row, caller, secrets, url)
            expected[caller, whose] = row.rule(caller, whose)
            if expected[caller, whose] >= 400:
                events = await rig.yard.store.events.events(after=before)
                names = {event.name for event in events} - {EventName.USER_REFUSED}
                assert names == set(), (caller, whose)

    assert statuses == expected


ANY_TOKEN = {
    "GET /auth/me",
    "GET /events",  # of the topics that its scopes permit
    "GET /events/stream",
    "GET /meta",
    "GET /meta/enums",
    "GET /meta/schemas",
    "GET /settings",
    "GET /settings/{section}",
    "GET /views",
    "GET /views/{view_id}",
    "POST /auth/logout",
}
"""What a token may do whatever its scopes."""


def test_what_needs_no_scope_is_listed_here() -> None:
    assert {f"{e.method} {e.path}" for e in ENDPOINTS if e.who is ANYBODY} == ANY_TOKEN


async def test_each_route_needs_the_scope_that_openapi_names_and_no_other(rig: Rig) -> None:
    every = frozenset(Permit)
    alone = {scope: await rig.token(LOCAL.id, frozenset({scope})) for scope in Permit}
    without = {scope: await rig.token(LOCAL.id, every - {scope}) for scope in Permit}
    statuses, expected = {}, {}

    for method, path, operation in scoped(document()):
        [scope] = operation["security"][0]["token"]
        row = NAMED[f"{method.upper()} {path.removeprefix(PREFIX)}"]
        url = path.format(**await thing_of(rig, row, Whose.MISSING)) + row.query
        for tokens, may in ((alone, True), (without, False)):
            status, _ = await answered(rig, row, Who.ADMIN, {Who.ADMIN: tokens[scope]}, url)
            statuses[row.name, may] = status not in {401, 403}
            expected[row.name, may] = may

    assert statuses == expected
    assert len(statuses) > 200


def scoped(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield method, path and declaration of each operation that needs a scope."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if any(way.get("token") for way in operation.get("security", ())):
                yield method, path, operation


LISTS = [row for row in ROWS if row.method == "GET" and row.thing and "{" not in row.path]


@pytest.mark.parametrize("row", LISTS, ids=lambda row: row.name)
async def test_no_list_shows_what_is_somebody_elses(rig: Rig, row: RouteStatuses) -> None:
    secrets = await asking(rig)
    resource = await MAKERS[row.thing](rig, False)
    marks = {SECRET, *(value for value in resource.values() if len(value) > 2)}

    visible = {}
    for caller in Who:
        _, text = await answered(rig, row, caller, secrets, PATHS[row.name] + row.query)
        visible[caller] = {mark for mark in marks if mark in text}

    assert visible[Who.OWNER]
    assert bool(visible[Who.ADMIN]) is (row.thing not in PERSONAL)
    assert not any(visible[caller] for caller in Who if caller not in OWNERS)


# --- what users see of each other

SEEN = {
    "GET /jobs/{job_id}",
    "GET /jobs/{job_id}/attempts",
    "GET /jobs/{job_id}/check",
    "GET /jobs/{job_id}/check/findings",
    "GET /jobs/{job_id}/config",
    "GET /jobs/{job_id}/diff/{other}",
    "GET /jobs/{job_id}/diff/{other}/page",
    "GET /jobs/{job_id}/errors",
    "GET /jobs/{job_id}/errors/{kind}/pages",
    "GET /jobs/{job_id}/events",
    "GET /jobs/{job_id}/events/stream",
    "GET /jobs/{job_id}/export",
    "GET /jobs/{job_id}/frontier",
    "GET /jobs/{job_id}/hosts",
    "GET /jobs/{job_id}/links",
    "GET /jobs/{job_id}/log",
    "GET /jobs/{job_id}/log/stream",
    "GET /jobs/{job_id}/map",
    "GET /jobs/{job_id}/metrics",
    "GET /jobs/{job_id}/pages",
    "GET /jobs/{job_id}/pages/{page_id}",
    "GET /jobs/{job_id}/pages/{page_id}/neighbours",
    "GET /jobs/{job_id}/path",
    "GET /jobs/{job_id}/progress",
    "GET /jobs/{job_id}/shards",
    "GET /jobs/{job_id}/skipped",
    "GET /jobs/{job_id}/skipped/rules",
    "GET /jobs/{job_id}/wait",
    "GET /jobs/{job_id}/why",
    "GET /schedules/{ref}",
    "GET /schedules/{ref}/changes",
    "GET /schedules/{ref}/changes.atom",
    "GET /schedules/{ref}/export",
    "GET /schedules/{ref}/next",
    "GET /schedules/{ref}/runs",
}
"""What all users get of a job or schedule where they see each other's."""

CHANGED = {
    "PATCH /jobs/{job_id}",
    "POST /jobs/{job_id}/cancel",
    "POST /jobs/{job_id}/exclusions",
    "POST /jobs/{job_id}/pause",
    "POST /jobs/{job_id}/resume",
    "POST /jobs/{job_id}/retry",
    "POST /schedules/{ref}/backfill",
    "POST /schedules/{ref}/pause",
    "POST /schedules/{ref}/resume",
    "POST /schedules/{ref}/run",
}
"""How a job or schedule is changed, if it is shared so."""

OWNERS_CHANGES = {
    "DELETE /jobs/{job_id}",
    "GET /jobs/{job_id}/deletion",
    "GET /schedules/{ref}/deletion",
    "PATCH /schedules/{ref}",
    "DELETE /schedules/{ref}",
}
"""What only its owner and admins do, however it is shared."""

SHARED_ROWS = [row for row in ROWS if "{job_id}" in row.path or "/schedules/{ref}" in row.path]


async def shared_by_default(rig: Rig, sharing: str) -> None:
    """Let all users see each other's jobs, which are shared so unless they say otherwise."""
    for section, value in (
        ("sharing", {"visibility": "everyone"}),
        ("defaults", {"shared": sharing}),
    ):
        answer = await rig.ask("PUT", f"settings/{section}", json=value, headers={"If-Match": "*"})
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("sharing", ["private", "read", "write"])
@pytest.mark.parametrize("row", SHARED_ROWS, ids=lambda row: row.name)
async def test_where_everyone_sees_jobs_each_caller_gets_what_the_owner_shares(
    rig: Rig, row: RouteStatuses, sharing: str
) -> None:
    secrets = await asking(rig)
    await shared_by_default(rig, sharing)
    statuses, expected = {}, {}

    for caller in Who:
        thing = await thing_of(rig, row, Whose.PRIVATE)
        if "ref" in thing:
            await share_schedule(rig, thing["ref"], sharing)
        url = PATHS[row.name].format(**thing) + row.query
        statuses[caller], _ = await answered(rig, row, caller, secrets, url)
        as_owner, alone = row.rule(Who.OWNER, Whose.PRIVATE), row.rule(caller, Whose.PRIVATE)
        expected[caller] = alone
        if sharing != "private" and row.name in SEEN and alone == 404:
            expected[caller] = as_owner
        if sharing != "private" and row.name in CHANGED | OWNERS_CHANGES and alone == 404:
            changes = sharing == "write" and row.name in CHANGED
            expected[caller] = as_owner if changes else 403

    assert statuses == expected


async def share_schedule(rig: Rig, ref: str, sharing: str) -> None:
    change = {"overrides": {"shared": sharing}}
    answer = await rig.ask(
        "PATCH", f"schedules/{ref}", by="ada", json=change, headers={"If-Match": "*"}
    )
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("sharing", ["private", "read"])
@pytest.mark.parametrize(
    ("name", "thing"),
    [
        ("GET /jobs", "crawled job"),
        ("GET /pages", "crawled job"),
        ("GET /pages/export", "crawled job"),
        ("GET /events", "crawled job"),
        ("GET /events", "schedule"),
        ("GET /schedules", "schedule"),
        ("GET /schedules/calendar", "schedule"),
    ],
)
async def test_lists_show_what_is_of_others_unless_it_is_private(
    rig: Rig, name: str, thing: str, sharing: str
) -> None:
    secrets = await asking(rig)
    await shared_by_default(rig, sharing)
    row = NAMED[name]
    resource = await MAKERS[thing](rig, False)
    if "ref" in resource:
        await share_schedule(rig, resource["ref"], sharing)

    for caller in Who:
        _, text = await answered(rig, row, caller, secrets, PATHS[name] + row.query)
        is_listed = resource.get("job_id", resource.get("ref", SECRET)) in text
        shared = sharing == "read" and row.rule(caller, Whose.PRIVATE) == 200
        assert is_listed is (caller in OWNERS or shared), caller
