"""The client asks every kind of thing, says who asks, and raises what it is refused."""

import json
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta

import httpx
import pytest

from crawlyard.about import VERSION
from crawlyard.client import AsyncClient, Client, Server
from crawlyard.client.messages import Parser
from crawlyard.client.transport import server_of
from crawlyard.core.jobs.lifecycle import State
from crawlyard.errors import (
    Conflict,
    Forbidden,
    IllegalMove,
    Invalid,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from crawlyard.store.db.in_memory import open_in_memory
from tests import sync_client
from tests.builders import NOW
from tests.web.crawled import HOSTILE, crawled, in_state
from tests.web.rig import BASE, URL, Rig, a_rig


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    made = await a_rig(open_in_memory())
    yield made
    await made.close()


@pytest.fixture
async def yard(rig: Rig) -> AsyncIterator[AsyncClient]:
    async with client_of(rig) as client:
        yield client


def client_of(rig: Rig, secret: str | None = None) -> AsyncClient:
    transport = httpx.ASGITransport(rig.app, raise_app_exceptions=False)
    server = Server(url=BASE, token=secret or rig.secrets["local"])
    return AsyncClient(server=server, transport=transport)


def answering(answers: Iterable[httpx.Response]) -> tuple[Client, list[httpx.Request]]:
    """Return a client of a server that gives these answers, and what it is asked."""
    left, asked = iter(answers), []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return next(left)

    server = Server(url=BASE, token="cyt_x")
    return Client(server=server, transport=httpx.MockTransport(answer)), asked


def test_the_client_without_async_is_made_of_the_one_with() -> None:
    found = {file.name: file.read_text("utf-8") for file in sync_client.MADE.glob("*.py")}

    assert found == sync_client.made()


async def test_a_job_is_submitted_found_changed_moved_and_deleted(yard: AsyncClient) -> None:
    made = await yard.jobs.create({"urls": [URL], "name": "docs", "limits": {"pages": 5}})
    edited = await yard.jobs.edit(made.id, {"priority": "high"}, version=made.version)
    paused = await yard.jobs.pause(made.id, "lunch")
    listed = [job.id async for job in yard.jobs.list(state=["paused", "failed"], q="docs")]
    counts = await yard.jobs.counts(state="paused")
    await yard.jobs.delete(made.id)

    assert (made.spec.limits.pages, edited.spec.priority, paused.state) == (5, "high", "paused")
    assert (listed, counts.total) == ([made.id], 1)
    with pytest.raises(NotFound, match=made.id):
        await yard.jobs.get(made.id)


async def test_lists_follow_their_cursors_and_end_where_they_are_told(
    rig: Rig, yard: AsyncClient
) -> None:
    for _ in range(205):
        await yard.jobs.create({"urls": [URL]})

    every = [job.id async for job in yard.jobs.list()]
    some = [job.id async for job in yard.jobs.list(limit=203)]

    assert len(set(every)) == 205
    assert some == every[:203]


async def test_what_a_job_brought_is_read(rig: Rig, yard: AsyncClient) -> None:
    job_id, _ = await crawled(rig, keep_html=True)

    pages = [page async for page in yard.jobs.pages(job_id)]
    failed = [page.url async for page in yard.jobs.pages(job_id, failed=True)]
    kept = [page async for page in yard.jobs.records(job_id)]
    raw = b"".join([chunk async for chunk in yard.jobs.export(job_id, format="csv")])
    errors = await yard.jobs.errors(job_id)
    rules = [skipped.rule async for skipped in yard.jobs.skipped(job_id)]
    waiting = [url.url async for url in yard.jobs.frontier(job_id)]

    assert [page.status for page in pages] == [200, None, 404]
    assert len(failed) == 2
    assert [page.html for page in kept] == [HOSTILE, None, None]
    assert raw.decode().count("\r\n") >= 4
    assert (errors.total, len(rules), len(waiting)) == (2, 2, 1)
    assert await yard.jobs.part(job_id, pages[0].id, "text") == HOSTILE


async def test_pages_of_all_jobs_are_found_searched_and_exported(
    rig: Rig, yard: AsyncClient
) -> None:
    first, _ = await crawled(rig)
    second, _ = await crawled(rig)

    every = [page.job_id async for page in yard.pages.list()]
    good = [page async for page in yard.pages.list("alert good", status="2xx", limit=1)]
    part = await yard.pages.search(limit=2, job=[first], since=NOW)
    rest = await yard.pages.search(limit=2, job=[first], since=NOW, cursor=part.next_cursor)
    raw = b"".join([chunk async for chunk in yard.pages.export(format="csv", failed=True)])

    assert every == [second] * 3 + [first] * 3
    assert [(page.job_id, page.excerpt) for page in good] == [(second, HOSTILE)]
    assert (len(part.items), len(rest.items), rest.next_cursor) == (2, 1, None)
    assert (part.searched.cut_short, rest.searched.cut_short) == (False, False)
    assert raw.decode().count("\r\n") == 5


async def test_what_needs_a_person_is_told(yard: AsyncClient) -> None:
    spec = {"name": "nightly", "when": "@daily", "overrides": {"urls": [URL]}}
    await yard.schedules.create(spec)
    await yard.schedules.run("nightly")

    found = await yard.attention.get()

    assert [notice.kind for notice in found.items] == ["no_worker"]


async def test_templates_are_kept_filled_and_used(yard: AsyncClient) -> None:
    spec = {"urls": ["{{start}}"]}
    parameters = {"start": {"type": "url", "required": True}}
    made = await yard.templates.create({"name": "b c?", "parameters": parameters, "spec": spec})
    saved = await yard.templates.edit(made.id, {"description": "x"}, version=1)
    rendered = await yard.templates.render(f"local/{made.name}", params={"start": URL})
    job = await yard.jobs.create(template=made.id, params={"start": URL})
    text = await yard.templates.export(made.id)
    versions = [one.version async for one in yard.templates.versions(made.id)]

    assert (saved.version, versions, rendered.spec["urls"]) == (2, [2, 1], [URL])
    assert job.origin.template_version == 2
    assert "{{start}}" in text
    with pytest.raises(Conflict):
        await yard.templates.edit(made.id, {"description": "y"}, version=1)


async def test_schedules_and_webhooks_are_kept_and_run(yard: AsyncClient) -> None:
    schedule = await yard.schedules.create(
        {"name": "nightly", "when": "@daily", "overrides": {"urls": [URL]}}
    )
    job = await yard.schedules.run("nightly")
    ahead = await yard.schedules.next("nightly", 3)
    paused = await yard.schedules.pause(schedule.id, "holidays")
    hook = await yard.webhooks.create("https://93.184.215.14/hook", events=["job.*"])
    off = await yard.webhooks.disable(hook.id)

    assert job.origin.schedule_id == schedule.id
    assert (len(ahead.next), paused.enabled, paused.pause_reason) == (3, False, "holidays")
    assert str(hook.secret).startswith("whsec_")
    assert not off.active
    assert [one.id async for one in yard.webhooks.list()] == [hook.id]


async def test_accounts_workers_hosts_settings_and_operations_are_there(yard: AsyncClient) -> None:
    user = await yard.users.create("ada", role="viewer", quota={"running": 2})
    token = await yard.tokens.create("laptop", user="ada", scopes=["jobs:read"])
    section = await yard.settings.put("ceilings", {"pages": 10})

    assert (user.quota.running, token.user, section.value["pages"]) == (2, "ada", 10)
    assert (await yard.users.me()).user.id == "local"
    assert {one.id async for one in yard.users.list()} == {"ada", "local"}
    assert "grants" in {one.section async for one in yard.settings.list()}
    assert [one async for one in yard.workers.list()] == []
    assert [one async for one in yard.hosts.list()] == []
    assert [one async for one in yard.operations.list()] == []
    await yard.tokens.revoke(token.id)
    assert (await yard.tokens.get(token.id)).revoked_at is not None


async def test_views_are_kept_and_many_jobs_acted_on(yard: AsyncClient) -> None:
    made = [(await yard.jobs.create({"urls": [URL]})).id for _ in range(3)]

    view = await yard.views.create("waits", "state:pending")
    edited = await yard.views.edit(view.id, {"query": "state:paused"}, version=view.version)
    done = await yard.jobs.bulk({"action": "pause", "ids": made})
    kept = [one.name async for one in yard.views.list(page="jobs")]
    await yard.views.delete(view.id)

    assert (edited.query, kept) == ("state:paused", ["waits"])
    assert (done.count, done.succeeded) == (3, 3)
    with pytest.raises(NotFound):
        await yard.views.get(view.id)


async def test_figures_and_what_a_server_says_of_itself_are_read(
    rig: Rig, yard: AsyncClient
) -> None:
    await yard.jobs.create({"urls": [URL]})

    week = await yard.stats.get(since=rig.clock.now() - timedelta(days=7), step_s=86_400)
    own = await yard.stats.get(owner="me")
    meta = await yard.meta.get()
    enums = (await yard.meta.enums()).enums
    schemas = (await yard.meta.schemas()).schemas

    assert (week.cards.jobs["pending"], len(week.finished), len(own.finished)) == (1, 7, 24)
    assert (meta.version, meta.limits["page_items"]) == (VERSION, 200)
    assert set(enums["states"]) == set(State)
    assert "urls" in schemas["job"]["properties"]


async def test_every_kind_of_thing_that_the_api_has_is_there(rig: Rig, yard: AsyncClient) -> None:
    paths = (await yard.request("GET", "openapi.json")).json()["paths"]
    kinds = {path.split("/")[3] for path in paths if path.startswith("/api/v1/")}

    missing = {kind for kind in kinds if not hasattr(yard, kind)}

    assert missing == {"auth"}  # whose `me` is among the users


async def test_any_request_can_be_made(yard: AsyncClient) -> None:
    health = await yard.request("GET", "/healthz")
    listed = await yard.request("GET", "jobs?limit=1", headers={"Accept": "application/json"})

    assert health.json() == {"status": "ok"}
    assert listed.json()["object"] == "list"
    assert listed.request.url.query == b"limit=1"


async def test_what_is_refused_is_raised_with_the_whole_problem(
    rig: Rig, yard: AsyncClient
) -> None:
    done = await in_state(rig, State.COMPLETED)
    viewer = await rig.token("local", frozenset())

    with pytest.raises(IllegalMove) as illegal:
        await yard.jobs.pause(done)
    with pytest.raises(Invalid) as invalid:
        await yard.jobs.create({"urls": [URL], "limits": {"pages": 0}})
    async with client_of(rig, viewer) as other:
        with pytest.raises(Forbidden):
            await other.jobs.get(done)
    async with client_of(rig, "cyt_unknown") as nobody:
        with pytest.raises(Unauthenticated):
            await nobody.jobs.get(done)

    assert illegal.value.allowed == ("resume", "retry")
    assert illegal.value.problem["status"] == 409
    assert invalid.value.field == "limits.pages"


def test_a_busy_server_is_asked_again_with_the_same_key() -> None:
    busy = httpx.Response(503, headers={"Retry-After": "0"})
    client, asked = answering([busy, busy, httpx.Response(200, json={})])

    assert client.request("POST", "jobs", body={}).status_code == 200
    keys = {request.headers["idempotency-key"] for request in asked}
    assert (len(asked), len(keys)) == (3, 1)
    assert {request.headers["authorization"] for request in asked} == {"Bearer cyt_x"}


def test_nobody_is_asked_for_ever() -> None:
    busy = httpx.Response(503, headers={"Retry-After": "0"})
    client, asked = answering([busy] * 9)

    with pytest.raises(Unavailable):
        client.request("GET", "jobs")

    assert len(asked) == 4


def test_what_asks_for_a_long_rest_is_not_waited_for() -> None:
    client, asked = answering([httpx.Response(429, headers={"Retry-After": "3600"})])

    with pytest.raises(Unavailable, match="429"):
        client.request("GET", "jobs")

    assert len(asked) == 1


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_what_could_be_done_twice_is_not_sent_again(method: str) -> None:
    asked = []

    def broken(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        raise httpx.ReadError("gone", request=request)

    server = Server(url=BASE, token="cyt_x")
    with (
        Client(server=server, transport=httpx.MockTransport(broken)) as client,
        pytest.raises(Unavailable, match="cannot be reached"),
    ):
        client.request(method, "jobs/x")

    assert len(asked) == 1


def test_an_answer_of_something_else_is_no_yard() -> None:
    client, _ = answering([httpx.Response(200, text="<html>"), httpx.Response(200, json={})])

    with pytest.raises(Unavailable, match="no JobOut"):
        client.jobs.get("x")
    with pytest.raises(Unavailable, match=r"no _Page|items"):
        list(client.jobs.list())


def test_lines_end_at_line_feeds_alone() -> None:
    records = [{"a": "x\u2028y\x85z"}, {"a": "\x0b"}]
    body = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in records).encode()
    client, _ = answering([httpx.Response(200, content=body)])

    chunks = list(client.jobs.export("x"))

    assert b"".join(chunks) == body


def test_messages_are_read_as_the_standard_says() -> None:
    parser = Parser()
    text = b": note\nretry: 2000\n\nid: 7\nevent: job.created\ndata: {\ndata:  }\r\n\r\n"

    told = [message for line in text.split(b"\n") if (message := parser.line(line))]

    assert [(one.event, one.id, one.data) for one in told] == [("job.created", "7", "{\n }")]


@pytest.mark.parametrize(
    ("url", "token", "field"),
    [
        ("ftp://x", "t", "server"),
        ("http://", "t", "server"),
        (BASE, "a b", "token"),
        (BASE, "ä", "token"),
    ],
)
def test_a_server_that_cannot_be_is_refused(url: str, token: str, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        Server(url=url, token=token)

    assert refused.value.field == field


def test_the_environment_says_where_and_who(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CRAWLYARD_SERVER", "CRAWLYARD_TOKEN", "CRAWLYARD_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(Invalid, match="CRAWLYARD_SERVER"):
        server_of()
    monkeypatch.setenv("CRAWLYARD_SERVER", BASE)
    with pytest.raises(Invalid, match="CRAWLYARD_TOKEN"):
        server_of()
    monkeypatch.setenv("CRAWLYARD_TOKEN", "cyt_y")

    assert server_of() == Server(url=BASE, token="cyt_y")
    assert "cyt_y" not in repr(server_of())
