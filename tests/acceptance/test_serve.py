"""`crawlyard serve`: start, sign-in, limits, and a quick stop with open streams."""

import asyncio
import re
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import replace
from time import monotonic
from typing import Any

import httpx
import pytest

from tests.acceptance.shell import MINUTE, SLOW, Shell, until, wait_for_exit

WITHIN_S = 5.0  # the promised time to stop


@asynccontextmanager
async def signed_in(link: str) -> AsyncIterator[httpx.AsyncClient]:
    """Use a printed sign-in link and yield a client with its session."""
    base, _, code = link.partition("/signin#")
    async with httpx.AsyncClient(base_url=f"{base}/api/v1", timeout=MINUTE) as client:
        answer = await client.post("/auth/login", json={"code": code})
        assert answer.status_code == 200, answer.text
        yield client


async def messages(answer: httpx.Response) -> AsyncIterator[str]:
    """Yield the names of the messages of a stream."""
    async for line in answer.aiter_lines():
        if line.startswith("event: "):
            yield line.removeprefix("event: ")


async def until_message(names: AsyncIterator[str], name_awaited: str) -> None:
    """Read a stream up to the message of that name."""
    async with asyncio.timeout(MINUTE):
        async for name in names:
            if name == name_awaited:
                return
    pytest.fail(f"the stream ended without {name_awaited}")


async def test_it_stops_quickly_with_open_streams_and_releases_its_jobs(
    shell: Shell, slow_site: str
) -> None:
    with shell.started("serve", "--port", "0") as process:
        link = re.search(r"http\S+", until(process, "/signin#"))
        assert link is not None
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(signed_in(link[0]))
            streams = [
                await stack.enter_async_context(client.stream("GET", "/events/stream"))
                for _ in range(3)
            ]
            names = [messages(answer) for answer in streams]
            for each in names:
                await until_message(each, "hello")
            submitted = await asyncio.to_thread(shell.run, "crawl", slow_site, *SLOW, "--detach")
            assert submitted.returncode == 0, submitted.stderr
            for each in names:
                await until_message(each, "job.state")

            signalled_at = monotonic()
            process.send_signal(signal.SIGTERM)
            for each in names:
                async with asyncio.timeout(MINUTE):
                    assert "bye" not in [name async for name in each]
            code, _, _ = await asyncio.to_thread(wait_for_exit, process)
            took_s = monotonic() - signalled_at

    job = shell.job()
    assert code == 0
    assert took_s < WITHIN_S
    assert (job["state"], job["worker"]) == ("pending", None)


async def test_an_address_that_others_reach_is_not_served_before_there_is_a_token(
    shell: Shell,
) -> None:
    with shell.started("serve", "--host", "0.0.0.0", "--port", "0", "--no-worker") as process:
        notice = await asyncio.to_thread(until, process, "waiting for it")
        created = await asyncio.to_thread(shell.run, "tokens", "create", "admin")
        serving = await asyncio.to_thread(until, process, "serving ")
        process.send_signal(signal.SIGTERM)
        code, _, _ = await asyncio.to_thread(wait_for_exit, process)

    assert "0.0.0.0 can be reached by other machines" in notice
    assert "crawlyard tokens create NAME" in notice
    assert created.returncode == 0
    assert "http://0.0.0.0:" in serving
    assert code == 0


@pytest.mark.parametrize(
    ("options", "settings", "limited"),
    [
        ((), {}, False),
        (("--allow-host", "localhost"), {}, False),
        (("--allow-host", "yard.example.org"), {}, True),
        ((), {"CRAWLYARD_TRUSTED_PROXIES": "127.0.0.1"}, True),
        ((), {"CRAWLYARD_PUBLIC_URL": "https://yard.example.org"}, True),
        ((), {"CRAWLYARD_PUBLIC_URL": "http://localhost:8700"}, False),
    ],
)
async def test_logins_are_rate_limited_unless_all_names_of_the_server_are_loopback(
    shell: Shell, options: tuple[str, ...], settings: dict[str, str], limited: bool
) -> None:
    words = ("serve", "--port", "0", "--no-worker", *options)
    with replace(shell, env={**shell.env, **settings}).started(*words) as process:
        url = until(process, "serving ").split()[1]
        async with httpx.AsyncClient(base_url=url, timeout=MINUTE) as client:
            codes = [
                (await client.post("/auth/login", json={"code": "cyl_wrong"})).status_code
                for _ in range(12)
            ]
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(wait_for_exit, process)
    assert codes[:5] == [401] * 5
    assert (429 in codes) is limited


async def test_the_public_url_is_an_allowed_host_and_used_in_the_sign_in_link(
    shell: Shell,
) -> None:
    public = replace(shell, env={**shell.env, "CRAWLYARD_PUBLIC_URL": "https://Yard.example.org/"})
    with public.started("serve", "--port", "0", "--no-worker") as process:
        url = until(process, "serving ").split()[1]
        link = until(process, "/signin#")
        async with httpx.AsyncClient(base_url=url, timeout=MINUTE) as client:
            statuses = {
                host: (await client.get("/openapi.json", headers={"Host": host})).status_code
                for host in ("yard.example.org", "127.0.0.1", "evil.example")
            }
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(wait_for_exit, process)
    assert url.startswith("http://127.0.0.1:")
    assert ": https://yard.example.org/signin#cyl_" in link
    assert statuses == {"yard.example.org": 200, "127.0.0.1": 200, "evil.example": 421}


async def test_connections_stop_at_the_configured_limit(shell: Shell) -> None:
    few = replace(shell, env={**shell.env, "CRAWLYARD_MAX_CONNECTIONS": "2"})
    with few.started("serve", "--port", "0", "--no-worker") as process:
        url = until(process, "serving ").split()[1]
        async with AsyncExitStack() as stack:
            answers = []
            for _ in range(3):
                client = await stack.enter_async_context(httpx.AsyncClient(timeout=MINUTE))
                answers.append(await client.get(f"{url}/openapi.json"))
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(wait_for_exit, process)
    assert [answer.status_code for answer in answers] == [200, 200, 503]
    assert answers[2].json()["code"] == "unavailable"
    assert int(answers[2].headers["retry-after"]) > 0


async def test_only_a_yard_without_jobs_offers_a_sample_crawl(
    shell: Shell,
) -> None:
    offered: list[str | None] = []
    for _ in range(2):
        with shell.started("serve", "--port", "0") as process:
            link = re.search(r"http\S+", until(process, "/signin#"))
            assert link is not None
            async with signed_in(link[0]) as client:
                page = await client.get(f"{link[0].partition('/signin#')[0]}/")
                sample = re.search(r'id="sample"[^>]* value="(127\.0\.0\.1:\d+)"', page.text)
                offered.append(sample and sample[1])
                if sample:
                    spec: dict[str, Any] = {
                        "urls": [f"http://{sample[1]}/"],
                        "allow_addresses": [sample[1]],
                    }
                    spec |= {"grant": True, "delay_s": 0, "per_host": 8, "limits": {"pages": 9}}
                    own = {"Sec-Fetch-Site": "same-origin"}  # as a page of this server sends it
                    job = (await client.post("/jobs", json=spec, headers=own)).json()
                    ended = (await client.get(f"/jobs/{job['id']}/wait?states=completed")).json()
                    assert (ended["state"], ended["usage"]["pages"]) == ("completed", 9)
            process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(wait_for_exit, process)
    assert offered[0]
    assert offered[1] is None


def test_without_a_worker_it_keeps_answering_when_the_schema_is_newer(shell: Shell) -> None:
    with shell.started("serve", "--port", "0", "--no-worker") as process:
        until(process, "/signin#")

        file = shell.folder / "crawlyard-data" / "crawlyard.db"
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        notice = until(process, "only answers")
        process.terminate()
        code, _, _ = wait_for_exit(process)

    assert "has schema 9999" in notice
    assert code == 0


async def test_events_of_another_process_on_the_same_files_are_streamed(shell: Shell) -> None:
    with shell.started("serve", "--port", "0", "--no-worker") as process:
        link = re.search(r"http\S+", until(process, "/signin#"))
        assert link is not None
        async with (
            signed_in(link[0]) as client,
            client.stream("GET", "/events/stream") as answer,
        ):
            names = messages(answer)
            await until_message(names, "hello")
            ran = await asyncio.to_thread(
                shell.run, "crawl", "http://127.0.0.1:9/", *SLOW, "--detach"
            )
            assert ran.returncode == 0, ran.stderr
            await until_message(names, "job.created")
        process.send_signal(signal.SIGTERM)
        code, _, _ = await asyncio.to_thread(wait_for_exit, process)

    assert code == 0


def test_its_log_has_lines_about_jobs_and_none_of_libraries(shell: Shell, site: str) -> None:
    with shell.started("serve", "--port", "0") as process:
        line = until(process, "")  # the first line of output
        shell.run("crawl", site, *SLOW, "--max-pages", "1", "-d")
        waited = shell.run("jobs", "wait", "last", "--timeout", "30s")
        process.send_signal(signal.SIGTERM)
        code, _, log = wait_for_exit(process)

    logged = [line for line in log.splitlines() if "level=" in line]
    assert (code, waited.returncode) == (0, 0), log
    assert line.startswith("serving ")
    assert logged
    ours = ('event="job ', 'event="swept: ')
    assert [line for line in logged if not any(event in line for event in ours)] == []
