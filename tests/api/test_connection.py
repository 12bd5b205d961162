"""A connection sends again what may be sent again, and raises what a server refuses."""

import json
from collections.abc import AsyncIterator, Iterable

import httpx
import pytest

from crawlyard import connect
from crawlyard.api.connection import Connection
from crawlyard.api.far import FarSurface
from crawlyard.api.follow import parse_messages
from crawlyard.api.server import Server, server_of
from crawlyard.core.access.user import Permit
from crawlyard.core.jobs.lifecycle import State
from crawlyard.errors import Forbidden, IllegalMove, Invalid, Unauthenticated, Unavailable
from tests.api.conftest import far_side
from tests.web.crawled import in_state
from tests.web.rig import BASE, URL, Rig


def answering(answers: Iterable[httpx.Response]) -> tuple[Connection, list[httpx.Request]]:
    """Return a connection to a server that gives these answers, and what it is asked."""
    remaining, requests = iter(answers), []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return next(remaining)

    server = Server(url=BASE, token="cyt_x")
    return Connection(server, httpx.MockTransport(answer)), requests


async def test_any_request_can_be_made(rig: Rig) -> None:
    server = Server(url=BASE, token=rig.secrets["local"])
    async with Connection(server, httpx.ASGITransport(rig.app)) as there:
        health = await there.send("GET", "/healthz")
        listed = await there.send("GET", "jobs?limit=1", headers={"Accept": "application/json"})

    assert health.json() == {"status": "ok"}
    assert listed.json()["object"] == "list"
    assert listed.request.url.query == b"limit=1"


async def test_what_is_refused_is_raised_with_the_whole_problem(rig: Rig) -> None:
    done = await in_state(rig, State.COMPLETED)
    viewer = await rig.token("local", frozenset({Permit.WORKERS_READ}))
    transport = httpx.ASGITransport(rig.app)

    async with far_side(rig) as yard:
        with pytest.raises(IllegalMove) as illegal:
            await yard.jobs.pause(done)
        with pytest.raises(Invalid) as invalid:
            await yard.jobs.create({"urls": [URL], "limits": {"pages": 0}})
    async with connect(BASE, viewer, transport=transport) as other:
        with pytest.raises(Forbidden):
            await other.jobs.get(done)
    async with connect(BASE, "cyt_unknown", transport=transport) as nobody:
        with pytest.raises(Unauthenticated):
            await nobody.jobs.get(done)

    assert illegal.value.allowed == ("resume", "retry")
    assert illegal.value.problem["status"] == 409
    assert invalid.value.field == "limits.pages"


async def test_a_busy_server_is_retried_with_the_same_idempotency_key() -> None:
    busy = httpx.Response(503, headers={"Retry-After": "0"})
    there, requests = answering([busy, busy, httpx.Response(200, json={})])

    assert (await there.send("POST", "jobs", body={})).status_code == 200
    keys = {request.headers["idempotency-key"] for request in requests}
    assert (len(requests), len(keys)) == (3, 1)
    assert {request.headers["authorization"] for request in requests} == {"Bearer cyt_x"}


async def test_a_request_is_retried_three_times_at_most() -> None:
    busy = httpx.Response(503, headers={"Retry-After": "0"})
    there, requests = answering([busy] * 9)

    with pytest.raises(Unavailable):
        await there.send("GET", "jobs")

    assert len(requests) == 4


async def test_a_long_retry_after_is_not_waited_for() -> None:
    there, requests = answering([httpx.Response(429, headers={"Retry-After": "3600"})])

    with pytest.raises(Unavailable, match="429"):
        await there.send("GET", "jobs")

    assert len(requests) == 1


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_what_could_be_done_twice_is_not_sent_again(method: str) -> None:
    requests = []

    def broken(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        raise httpx.ReadError("gone", request=request)

    there = Connection(Server(url=BASE, token="cyt_x"), httpx.MockTransport(broken))
    with pytest.raises(Unavailable, match="cannot be reached"):
        await there.send(method, "jobs/x")

    assert len(requests) == 1


async def test_an_answer_of_something_else_is_no_yard() -> None:
    there, _ = answering([httpx.Response(200, text="<html>"), httpx.Response(200, json={})])
    yard = FarSurface(there)

    with pytest.raises(Unavailable, match="not answer with a valid ExpandedJobOut"):
        await yard.jobs.get("x")
    with pytest.raises(Unavailable, match="items"):
        await yard.jobs.list()


async def test_answers_of_another_version_of_the_server_are_read(rig: Rig) -> None:
    job = (await rig.get(f"jobs/{await in_state(rig, State.COMPLETED)}")).json()
    newer = job | {"rendered": 3, "usage": job["usage"] | {"words": 5}, "state": "archived"}
    older = {name: value for name, value in job.items() if name not in {"damaged", "waits_for"}}
    there, _ = answering([httpx.Response(200, json=body) for body in (newer, older)])
    yard = FarSurface(there)

    assert (await yard.jobs.get("x")).state == "archived"
    assert (await yard.jobs.get("x")).usage.pages == job["usage"]["pages"]


async def test_lines_end_at_line_feeds_alone() -> None:
    records = [{"a": "x\u2028y\x85z"}, {"a": "\x0b"}]
    body = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()
    there, _ = answering([httpx.Response(200, content=body)])

    pieces = await FarSurface(there).results.export("x")

    assert b"".join([piece async for piece in pieces]) == body


async def test_messages_are_read_as_the_standard_says() -> None:
    text = b": note\nretry: 2000\n\nid: 7\nevent: job.created\ndata: {\ndata:  }\r\n\r\n"

    async def lines() -> AsyncIterator[bytes]:
        for line in text.split(b"\n"):
            yield line

    messages = [message async for message in parse_messages(lines())]

    assert [(message.event, message.id, message.data) for message in messages] == [
        ("job.created", "7", "{\n }")
    ]


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
