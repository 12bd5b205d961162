"""MCP at `/mcp` of a server: tokens, roles, scopes, origins, and a server that is killed."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp.types import ElicitRequestParams, ElicitResult
from msgspec import structs

from crawlyard.config import BridgeName
from crawlyard.core.access.user import Permit, Role
from crawlyard.web.app import create_app
from tests.acceptance.shell import FAST, PAGES, Process, Shell, demo_site, until
from tests.bridges.mcp_clients import REVISIONS, NewTask, Tasks, send, structured, text_of
from tests.web.rig import URL, Rig

READING = frozenset({Permit.JOBS_READ, Permit.RESULTS_READ})


@asynccontextmanager
async def served(rig: Rig) -> AsyncIterator[httpx2.ASGITransport]:
    """Run the server of *rig* with the bridge, in this process."""
    site = structs.replace(
        rig.site, options=structs.replace(rig.site.options, bridges=(BridgeName.MCP,))
    )
    app = create_app(site)
    async with app.router.lifespan_context(app):
        yield httpx2.ASGITransport(app)


@asynccontextmanager
async def client_of(
    secret: str,
    mode: str = "auto",
    transport: httpx2.ASGITransport | None = None,
    url: str = "http://127.0.0.1:8700",
    **options: Any,
) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {secret}"}
    async with httpx2.AsyncClient(transport=transport, headers=headers) as http:
        connection = streamable_http_client(f"{url}/mcp", http_client=http)
        async with Client(connection, mode=mode, **options) as client:
            yield client


async def test_two_users_crawl_with_their_own_rights(rig: Rig) -> None:
    secrets = [await rig.user("ada"), await rig.user("bob")]
    async with served(rig) as server:
        for mode, revision in REVISIONS.items():
            async with (
                client_of(secrets[0], mode, server) as ada,
                client_of(secrets[1], mode, server) as bob,
            ):
                assert ada.protocol_version == revision
                crawl = {"url": URL, "confirm": True}
                job = structured(await ada.call_tool("start_crawl", crawl))
                own = await ada.call_tool("job", {"job_id": job["job_id"], "wait_s": 0})
                other = await bob.call_tool("job", {"job_id": job["job_id"], "wait_s": 0})
                assert structured(own)["state"] == "pending"
                assert "Check the id" in text_of(other)


async def test_roles_and_scopes_are_refused_in_words(rig: Rig) -> None:
    viewer = await rig.user("eve", Role.VIEWER)
    await rig.user("ada")
    reader = await rig.token("ada", READING)
    async with served(rig) as server:
        for secret in (viewer, reader):
            async with client_of(secret, transport=server) as client:
                structured(await client.call_tool("search_pages", {"words": "docs"}))
                refused = await client.call_tool("start_crawl", {"url": URL, "confirm": True})
                assert "jobs:write" in text_of(refused)
                assert "This token may not do that" in text_of(refused)
        http = httpx2.AsyncClient(transport=server)
        anyone = await http.post("http://127.0.0.1:8700/mcp", json={})
        assert anyone.status_code == 401


async def test_a_page_of_another_site_is_refused(rig: Rig) -> None:
    secret = await rig.user("ada")
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    headers = {
        "Authorization": f"Bearer {secret}",
        "Accept": "application/json, text/event-stream",
    }
    async with served(rig) as server, httpx2.AsyncClient(transport=server) as http:
        for origin, status in (
            ("http://evil.example", 403),
            ("null", 403),
            ("http://127.0.0.1:8700", 200),
        ):
            answer = await http.post(
                "http://127.0.0.1:8700/mcp", json=call, headers={**headers, "Origin": origin}
            )
            assert answer.status_code == status, answer.text
        rebound = await http.post("http://evil.example/mcp", json=call, headers=headers)
        assert rebound.status_code == 421


async def test_a_question_is_asked_over_http(rig: Rig) -> None:
    questions: list[str] = []

    async def answer(_: object, params: ElicitRequestParams) -> ElicitResult:
        questions.append(params.message)
        return ElicitResult(action="decline")

    secret = await rig.user("ada")
    async with (
        served(rig) as server,
        client_of(secret, transport=server, elicitation_callback=answer) as client,
    ):
        refused = await client.call_tool("start_crawl", {"url": URL, "confirm": True})
        async with client_of(secret, "legacy", server, elicitation_callback=answer) as earlier:
            unable = await earlier.call_tool("start_crawl", {"url": URL})

    assert "confirm=true" in text_of(unable)
    assert questions == ["Crawl example.com, a new host?"]
    assert "did not agree" in text_of(refused)


async def test_a_task_is_of_its_user_and_their_scopes(rig: Rig) -> None:
    ada, bob = await rig.user("ada"), await rig.user("bob")
    reads = await rig.token("ada", READING)
    async with served(rig) as server:
        async with client_of(ada, transport=server, extensions=[Tasks()]) as client:
            crawl = {"url": URL, "confirm": True}
            task = await client.session.call_tool("start_crawl", crawl, allow_claimed=True)
            assert isinstance(task, NewTask)
        for secret, method, reason in (
            (bob, "tasks/get", "Check the id"),
            (bob, "tasks/cancel", "Check the id"),
            (reads, "tasks/cancel", "jobs:write"),
        ):
            async with client_of(secret, transport=server, extensions=[Tasks()]) as client:
                with pytest.raises(MCPError, match=reason):
                    await send(client.session, method, task.task_id)
        async with client_of(reads, transport=server, extensions=[Tasks()]) as client:
            assert (await send(client.session, "tasks/get", task.task_id)).status == "working"


async def test_two_clients_at_once_get_their_own_answers(rig: Rig) -> None:
    secrets = {name: await rig.user(name) for name in ("ada", "bob")}
    async with served(rig) as server, AsyncExitStack() as stack:
        clients = {
            (name, mode): await stack.enter_async_context(client_of(secret, mode, server))
            for name, secret in secrets.items()
            for mode in REVISIONS
        }

        async def crawl(name: str, mode: str, number: int) -> tuple[str, str]:
            """Start a crawl of an own URL; return its job and that of another call about it."""
            client, url = clients[name, mode], f"{URL}{name}/{mode}/{number}"
            started = await client.call_tool("start_crawl", {"url": url, "confirm": True})
            job = structured(started)
            assert job["url"] == url
            again = structured(
                await client.call_tool("job", {"job_id": job["job_id"], "wait_s": 0})
            )
            assert again["url"] == url
            return name, job["job_id"]

        calls = [crawl(*key, number) for number in range(5) for key in clients]
        started = await asyncio.gather(*calls)

        for name, secret in secrets.items():
            listed = (await rig.get("jobs?limit=50", secret=secret)).json()["items"]
            assert {job["id"] for job in listed} == {job for owner, job in started if owner == name}


@contextmanager
def restartable(shell: Shell) -> Iterator[tuple[str, Callable[[], None]]]:
    """Serve; yield the URL, and a function that kills the server and starts another one there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    with ExitStack() as processes:

        def start() -> Process:
            process = processes.enter_context(shell.started("serve", "--port", port, "--no-worker"))
            until(process, "serving ")
            return process

        running = start()

        def restart() -> None:
            nonlocal running
            running.kill()
            running.wait()
            running = start()

        yield f"http://127.0.0.1:{port}", restart


def agents_shell(folder: Path) -> tuple[Shell, str]:
    """Return a shell whose servers have the bridge, and a token."""
    shell = Shell(folder, {"CRAWLYARD_BRIDGES": "mcp"}, forks=False)
    return shell, shell.run("tokens", "create", "agent").stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize("mode", REVISIONS)
async def test_a_server_killed_between_two_calls_answers_alike(tmp_path: Path, mode: str) -> None:
    shell, token = agents_shell(tmp_path)
    with demo_site("--pages", str(PAGES), "--plain") as site:
        shell.run("crawl", site, *FAST)
        names = {"job_id": shell.job()["id"]}
        with restartable(shell) as (url, restart):
            async with client_of(token, mode, url=url) as client:
                before = structured(await client.call_tool("pages", names))
                await asyncio.to_thread(restart)
                after = structured(await client.call_tool("pages", names))

    assert before == after
    assert len(after["pages"]) == PAGES


@pytest.mark.slow
@pytest.mark.parametrize("mode", REVISIONS)
async def test_a_server_killed_during_a_call_answers_when_asked_again(
    tmp_path: Path, mode: str
) -> None:
    shell, token = agents_shell(tmp_path)
    crawl = {"url": "http://docs.example/", "unique_key": "docs", "confirm": True}
    waits = asyncio.Event()

    async def note(progress: float, total: float | None, message: str | None) -> None:
        waits.set()

    with restartable(shell) as (url, restart):
        async with client_of(token, mode, url=url, read_timeout_seconds=30) as client:
            job_id = structured(await client.call_tool("start_crawl", crawl))["job_id"]
            names = {"job_id": job_id, "wait_s": 45}
            call = asyncio.create_task(client.call_tool("job", names, progress_callback=note))
            await asyncio.wait_for(waits.wait(), 20)
            await asyncio.to_thread(restart)
            with pytest.raises(MCPError, match="ended without a response"):
                await call
            job = structured(await client.call_tool("job", names | {"wait_s": 0}))
            same = structured(await client.call_tool("start_crawl", crawl))

        assert (job["job_id"], job["state"]) == (job_id, "pending")
        assert same["job_id"] == job_id


@pytest.mark.slow
@pytest.mark.parametrize("mode", REVISIONS)
async def test_a_client_that_goes_away_in_a_call_asks_again(tmp_path: Path, mode: str) -> None:
    shell, token = agents_shell(tmp_path)
    with restartable(shell) as (url, _):
        async with client_of(token, mode, url=url) as client:
            crawl = {"url": "http://docs.example/", "confirm": True}
            names = {"job_id": structured(await client.call_tool("start_crawl", crawl))["job_id"]}
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.call_tool("job", names | {"wait_s": 45}), 3)
        async with client_of(token, mode, url=url) as client:
            job = structured(await client.call_tool("job", names | {"wait_s": 0}))

    assert (job["job_id"], job["state"]) == (names["job_id"], "pending")
