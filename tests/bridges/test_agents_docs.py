"""The configurations of the page on agents, and the commands of the skill, run as written."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from tests.acceptance.shell import FAST, GRANTS, PAGES, Shell, demo_site, serving
from tests.bridges.mcp_clients import structured, text_of

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "agents.md").read_text("utf-8")
SCOPES = ("--scope", "jobs:read", "--scope", "results:read")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def configured(config: str, shell: Shell, **env: str) -> Client:
    """Return a client of the server that a block of the page configures."""
    server: dict[str, Any] = json.loads(config)["mcpServers"]["crawlyard"]
    assert server.get("env", {}).keys() == env.keys()
    command = StdioServerParameters(
        command=server["command"],
        args=server["args"],
        env={**shell.environment, **env},
        cwd=shell.folder,
    )
    return Client(command)


@pytest.fixture
def crawled(tmp_path: Path) -> Iterator[tuple[Shell, str]]:
    """A folder with one crawl of the demo site, and the URL of the site."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    shell = Shell(tmp_path, {"PATH": programs})
    with demo_site("--pages", str(PAGES), "--plain") as url:
        ran = shell.run("crawl", url, *FAST)
        assert ran.returncode == 0, ran.stderr
        yield shell, url


@pytest.mark.slow
async def test_the_local_configuration_of_the_page_works(crawled: tuple[Shell, str]) -> None:
    shell, _ = crawled
    async with configured(blocks(PAGE, "json")[0], shell) as client:
        job = structured(await client.call_tool("job", {"job_id": shell.job()["id"]}))
        tools = {tool.name for tool in (await client.list_tools()).tools}

    assert (job["state"], job["pages"]) == ("completed", PAGES)
    listed = "".join(re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE))
    assert set(re.findall(r"`(\w+)`", listed)) == tools


@pytest.mark.slow
async def test_the_server_of_the_page_serves_its_configuration(
    crawled: tuple[Shell, str],
) -> None:
    shell, _ = crawled
    token = shell.run("tokens", "create", "agent", *SCOPES).stdout.strip()
    setting = blocks(PAGE, "sh")[1].split()[0]
    assert setting == "CRAWLYARD_BRIDGES=mcp"
    bridged = Shell(shell.folder, {**shell.env, "CRAWLYARD_BRIDGES": "mcp"})
    with serving(bridged, token) as served:
        text = blocks(PAGE, "json")[2].replace("cyt_…", token)
        text = text.replace("http://127.0.0.1:8700", served.env["CRAWLYARD_SERVER"])
        server = json.loads(text)["mcpServers"]["crawlyard"]
        async with httpx2.AsyncClient(headers=server["headers"]) as http:
            connection = streamable_http_client(server["url"], http_client=http)
            async with Client(connection) as client:
                job = await client.call_tool("job", {"job_id": shell.job()["id"]})

    assert structured(job)["pages"] == PAGES


@pytest.mark.slow
async def test_a_token_that_may_only_read_is_refused_in_words(crawled: tuple[Shell, str]) -> None:
    shell, url = crawled
    created = shell.run("tokens", "create", "agent", *SCOPES)
    assert blocks(PAGE, "sh")[0].split()[1:] == ["tokens", "create", "agent", *SCOPES]
    with serving(shell, created.stdout.strip()) as served:
        access = {name: served.env[name] for name in ("CRAWLYARD_SERVER", "CRAWLYARD_TOKEN")}
        async with configured(blocks(PAGE, "json")[1], shell, **access) as client:
            job_id = shell.job()["id"]
            pages = structured(await client.call_tool("pages", {"job_id": job_id}))["pages"]
            page = {"job_id": job_id, "page_id": pages[0]["page_id"]}
            text = structured(await client.call_tool("read_page", page))
            refused = await client.call_tool("start_crawl", {"url": url, "confirm": True})

    assert len(pages) == PAGES
    assert text["untrusted_text"]
    assert refused.is_error
    assert "jobs:write" in text_of(refused)
    assert "This token may not do that" in text_of(refused)


@pytest.mark.slow
def test_the_commands_of_the_skill_work(crawled: tuple[Shell, str]) -> None:
    shell, url = crawled
    skill = shell.run("skill").stdout
    assert len(skill.splitlines()) < 150
    typed = "\n".join(blocks(skill, "sh")).replace('"$SITE"', shlex.join((url, *FAST)))
    token = shell.run("tokens", "create", "admin").stdout.strip()
    with serving(shell, token) as served:
        grants = ("api", "PUT", "settings/grants", "--input", "-")
        assert served.run(*grants, stdin=GRANTS).returncode == 0
        ran = subprocess.run(
            ["bash", "-c", f"set -euo pipefail\n{typed}"],
            cwd=shell.folder,
            env=served.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert ran.returncode == 0, ran.stderr
    assert len((shell.folder / "pages.jsonl").read_text("utf-8").splitlines()) == 20
