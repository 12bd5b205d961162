"""MCP at `/mcp` of a server: tokens, roles, scopes, origins, and a server that is killed."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import ElicitRequestParams, ElicitResult
from msgspec import structs

from crawlyard.config import BridgeName
from crawlyard.core.access.user import Permit, Role
from crawlyard.web.app import create_app
from tests.acceptance.shell import FAST, PAGES, Shell, demo_site, until
from tests.bridges.test_mcp import REVISIONS, structured, text_of
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


@pytest.mark.slow
@pytest.mark.parametrize("mode", REVISIONS)
async def test_a_killed_server_answers_the_next_call_alike(tmp_path: Path, mode: str) -> None:
    shell = Shell(tmp_path, {"CRAWLYARD_BRIDGES": "mcp"}, forks=False)
    token = shell.run("tokens", "create", "agent").stdout.strip()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    with demo_site("--pages", str(PAGES), "--plain") as site:
        shell.run("crawl", site, *FAST)
        job_id = shell.job()["id"]
        names, url = {"job_id": job_id}, f"http://127.0.0.1:{port}"
        with shell.started("serve", "--port", port) as process:
            until(process, "serving ")
            async with client_of(token, mode, url=url) as client:
                before = structured(await client.call_tool("pages", names))
                process.kill()
                process.wait()
                with shell.started("serve", "--port", port) as second_process:
                    until(second_process, "serving ")
                    after = structured(await client.call_tool("pages", names))

    assert before == after
    assert len(after["pages"]) == PAGES
