"""Watchers of Firecrawl's API: documents over a WebSocket, as both SDKs read them."""

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec.structs import replace
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.typing import Origin, Subprotocol

from crawlyard.config import BridgeName
from crawlyard.core.access.user import Permit
from crawlyard.core.crawl.page import Body
from crawlyard.core.jobs.lifecycle import Move, State
from crawlyard.errors import Unavailable
from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.web.app import create_app
from crawlyard.web.site import SiteOptions
from tests.builders import a_batch, a_target, done
from tests.clock import EarlierClock
from tests.conformance.steps import claimed, recorded
from tests.web.crawled import crawled, in_state
from tests.web.live_rig import LiveRig, a_live_rig
from tests.web.rig import Rig

TAGS = ["firecrawl:crawl", "firecrawl:batch", "firecrawl:markdown"]
OPTIONS = SiteOptions(rate_limits=False, bridges=(BridgeName.FIRECRAWL,))


@pytest.fixture
async def live() -> AsyncIterator[LiveRig]:
    async with a_live_rig(open_in_memory(), options=OPTIONS, clock=EarlierClock()) as live:
        yield live


def watching(live: LiveRig, path: str, secret: str = "", **options: Any) -> connect:
    url = str(live.client.base_url.join(f"/v2/{path}")).replace("http", "ws", 1)
    options.setdefault(
        "additional_headers", {"Authorization": f"Bearer {secret or live.rig.secrets['local']}"}
    )
    return connect(url, open_timeout=60, **options)


async def received(client: ClientConnection) -> list[Any]:
    """Return all messages until the connection is closed."""
    return [json.loads(message) async for message in client]


async def refused(live: LiveRig, path: str, secret: str = "", **options: Any) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as error:
        async with watching(live, path, secret, **options):
            pass
    response = error.value.response
    return response.status_code, json.loads(response.body or b"{}").get("error", "")


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    async with asyncio.timeout(seconds):
        yield


async def test_documents_come_while_the_crawl_runs_and_then_its_end(live: LiveRig) -> None:
    job, last = await crawled(live.rig, tags=TAGS)
    async with within(60), watching(live, f"crawl/{job}") as client:
        catchup, *documents = [json.loads(await client.recv()) for _ in range(3)]
        assert (catchup["type"], catchup["data"]["status"]) == ("catchup", "scraping")
        assert catchup["data"]["data"] == []
        assert {each["type"] for each in documents} == {"document"}
        statuses = [each["data"]["metadata"]["statusCode"] for each in documents]
        assert statuses == [200, 404]
        store = live.rig.yard.store
        ends = (await store.jobs.get(job)).job.apply_move(
            Move.COMPLETE, live.rig.clock.now(), actor="worker:w1"
        )
        await store.leases.settle(last.lease, *ends)
        rest = await received(client)
    assert [each["type"] for each in rest] == ["done"]
    assert (rest[0]["data"]["status"], rest[0]["data"]["completed"]) == ("completed", 2)
    assert client.close_code == 1000


async def test_a_final_state_comes_after_all_documents(live: LiveRig) -> None:
    ends = {State.COMPLETED: "done", State.FAILED: "error", State.CANCELLED: "catchup"}
    for state, kind in ends.items():
        job = await in_state(live.rig, state, tags=TAGS)
        async with within(60), watching(live, f"batch/scrape/{job}") as client:
            messages = await received(client)
        kinds = [each["type"] for each in messages]
        assert kinds == ["catchup", "document", "document", kind]
        assert messages[0]["data"]["status"] == "scraping"  # a final one would end the client
        end = messages[-1]
        assert end["error"] if kind == "error" else end["data"]["status"] == state.value


async def test_a_key_may_be_the_subprotocol(live: LiveRig) -> None:
    job = await in_state(live.rig, State.COMPLETED, tags=TAGS)
    key = Subprotocol(live.rig.secrets["local"])
    options: dict[str, Any] = {"additional_headers": {}, "subprotocols": [key]}
    async with within(60), watching(live, f"crawl/{job}", **options) as client:
        assert client.subprotocol == key
        assert (await received(client))[-1]["type"] == "done"
    options["subprotocols"] = ["cyt_wrong"]
    assert (await refused(live, f"crawl/{job}", **options))[0] == 401


async def test_a_watcher_needs_what_a_request_needs(live: LiveRig) -> None:
    job = await in_state(live.rig, State.COMPLETED, tags=["firecrawl:crawl", "firecrawl:markdown"])
    path = f"crawl/{job}"
    bob = await live.rig.user("bob")
    unread = await live.rig.token("local", frozenset({Permit.WEBHOOKS_READ}))
    own = str(live.client.base_url)
    refusals: dict[tuple[int, str], dict[str, Any]] = {
        (401, "Bearer"): {"additional_headers": {}},
        (404, job): {"secret": bob},
        (403, "jobs:read"): {"secret": unread},
        (403, "evil.example"): {"origin": Origin("https://evil.example")},
    }
    for (status, word), options in refusals.items():
        code, error = await refused(live, path, **options)
        assert (code, word in error) == (status, True), error
    assert (await refused(live, f"batch/scrape/{job}"))[0] == 404
    assert (await refused(live, "crawl/active/errors"))[0] == 403
    elsewhere = {"Authorization": f"Bearer {bob}", "Host": "evil.example"}
    answer = await live.client.get("/v2/crawl/active", headers=elsewhere)
    assert answer.status_code == 421
    async with within(60), watching(live, path, origin=Origin(own)) as client:
        assert (await received(client))[-1]["type"] == "done"


async def test_a_name_of_another_server_is_refused(live: LiveRig) -> None:
    port = live.client.base_url.port
    path = "ws://evil.example/v2/crawl/x"
    headers = {"Authorization": f"Bearer {live.rig.secrets['local']}"}
    with pytest.raises(InvalidStatus) as error:
        async with connect(path, host="127.0.0.1", port=port, additional_headers=headers):
            pass
    assert error.value.response.status_code == 421


async def test_documents_need_the_scope_of_results(live: LiveRig) -> None:
    job = await in_state(live.rig, State.COMPLETED, tags=TAGS)
    reads = await live.rig.token("local", frozenset({Permit.JOBS_READ}))
    async with within(60), watching(live, f"crawl/{job}", reads) as client:
        *_, last = await received(client)
    assert (last["type"], "results:read" in last["error"]) == ("error", True)


async def test_a_watcher_ends_with_its_token(live: LiveRig) -> None:
    job, _ = await crawled(live.rig, tags=TAGS)
    secret = await live.rig.token("local")
    async with within(60), watching(live, f"crawl/{job}", secret) as client:
        await client.recv()
        (stream,) = live.rig.site.live.streams
        path = f"/api/v1/tokens/{stream.caller.credential.id}"
        await live.client.delete(path, headers={"Authorization": f"Bearer {secret}"})
        with pytest.raises(ConnectionClosedError):
            await received(client)
    assert (client.close_code, "token" in (client.close_reason or "")) == (1008, True)


async def test_a_server_that_ends_says_so(live: LiveRig) -> None:
    job, _ = await crawled(live.rig, tags=TAGS)
    async with within(60), watching(live, f"crawl/{job}") as client:
        await client.recv()
        live.rig.site.live.close()
        with pytest.raises(ConnectionClosedError):
            await received(client)
    assert client.close_code == 1012
    assert (await refused(live, f"crawl/{job}"))[0] == 503


async def test_a_client_that_goes_away_ends_its_watcher(live: LiveRig) -> None:
    job, _ = await crawled(live.rig, tags=TAGS)
    async with within(60):
        for abruptly in (False, True):
            async with watching(live, f"crawl/{job}") as client:
                await client.recv()
                assert len(live.rig.site.live.streams) == 1
                if abruptly:
                    client.transport.abort()
            while live.rig.site.live.streams:  # noqa: ASYNC110 - it has no event for that
                await asyncio.sleep(0.01)
            assert not [task for task in asyncio.all_tasks() if "_send_job" in repr(task)]


async def test_a_client_that_reads_nothing_is_disconnected() -> None:
    options: dict[str, Any] = {"options": OPTIONS, "clock": EarlierClock(), "request_s": 0.5}
    async with a_live_rig(open_in_memory(), send_buffer=4096, **options) as live:
        text = {Body.TEXT: b"x" * 5_000_000}
        job = await live.rig.job(tags=TAGS)
        store = live.rig.yard.store
        claim = await claimed(store, (await store.jobs.get(job["id"])).job)
        target = a_target("long")
        await recorded(store, claim.lease, a_batch([target], [done(target, text)]))
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", live.client.base_url.port))
            head = (
                f"GET /v2/crawl/{job['id']} HTTP/1.1",
                "Host: 127.0.0.1",
                "Connection: Upgrade",
                "Upgrade: websocket",
                "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                f"Authorization: Bearer {live.rig.secrets['local']}",
            )
            reader = watching(live, f"crawl/{job['id']}", max_size=None)
            async with within(60), reader as reading:
                await reading.recv()
                client.sendall("\r\n".join((*head, "", "")).encode())
                for count in (2, 1):
                    while len(live.rig.site.live.streams) != count:  # noqa: ASYNC110
                        await asyncio.sleep(0.01)
                await (await reading.ping())
                assert json.loads(await reading.recv())["type"] == "document"
                assert reading.close_code is None


async def test_the_bridge_needs_its_package(monkeypatch: pytest.MonkeyPatch, rig: Rig) -> None:
    monkeypatch.setitem(sys.modules, "websockets", None)
    site = replace(rig.site, options=OPTIONS)
    with pytest.raises(Unavailable, match="firecrawl needs websockets: pip install"):
        create_app(site)


async def test_without_the_bridge_no_websocket_is_opened() -> None:
    options = replace(OPTIONS, bridges=())
    async with a_live_rig(open_in_memory(), options=options) as live:
        assert (await refused(live, "crawl/active"))[0] == 404
