"""`crawlyard serve`: how it begins, and that it ends soon whoever still listens."""

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

from tests.acceptance.shell import MINUTE, SLOW, Shell, rest, until

WITHIN_S = 5.0  # what is promised of an end


@asynccontextmanager
async def signed_in(link: str) -> AsyncIterator[httpx.AsyncClient]:
    """Use a printed sign-in link, and yield a client with the session had by it."""
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


async def heard(names: AsyncIterator[str], wanted: str) -> None:
    """Return once a message of that name has come."""
    async with asyncio.timeout(MINUTE):
        async for name in names:
            if name == wanted:
                return
    pytest.fail(f"the stream ended without {wanted}")


async def test_it_ends_soon_with_streams_open_and_gives_its_jobs_back(
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
                await heard(each, "hello")
            submitted = await asyncio.to_thread(shell.run, "crawl", slow_site, *SLOW, "--detach")
            assert submitted.returncode == 0, submitted.stderr
            for each in names:
                await heard(each, "job.state")

            told_at = monotonic()
            process.send_signal(signal.SIGTERM)
            for each in names:
                async with asyncio.timeout(MINUTE):
                    assert "bye" not in [name async for name in each]
            code, _, _ = await asyncio.to_thread(rest, process)
            took_s = monotonic() - told_at

    job = shell.job()
    assert code == 0
    assert took_s < WITHIN_S
    assert (job["state"], job["worker"]) == ("pending", None)


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
async def test_requests_are_counted_unless_all_names_of_the_server_are_loopback(
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
        await asyncio.to_thread(rest, process)
    assert codes[:5] == [401] * 5
    assert (429 in codes) is limited


async def test_its_public_url_is_a_name_of_the_server_and_that_of_the_sign_in_link(
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
        await asyncio.to_thread(rest, process)
    assert url.startswith("http://127.0.0.1:")
    assert ": https://yard.example.org/signin#cyl_" in link
    assert statuses == {"yard.example.org": 200, "127.0.0.1": 200, "evil.example": 421}


async def test_as_many_connections_are_open_as_the_setting_says(shell: Shell) -> None:
    few = replace(shell, env={**shell.env, "CRAWLYARD_MAX_CONNECTIONS": "2"})
    with few.started("serve", "--port", "0", "--no-worker") as process:
        url = until(process, "serving ").split()[1]
        async with AsyncExitStack() as stack:
            answers = []
            for _ in range(3):
                client = await stack.enter_async_context(httpx.AsyncClient(timeout=MINUTE))
                answers.append(await client.get(f"{url}/openapi.json"))
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(rest, process)
    assert [answer.status_code for answer in answers] == [200, 200, 503]
    assert answers[2].json()["code"] == "unavailable"
    assert int(answers[2].headers["retry-after"]) > 0


async def test_a_new_yard_offers_a_sample_that_is_crawled_and_one_with_jobs_does_not(
    shell: Shell,
) -> None:
    offered: list[str | None] = []
    for _ in range(2):
        with shell.started("serve", "--port", "0") as process:
            link = re.search(r"http\S+", until(process, "/signin#"))
            assert link is not None
            async with signed_in(link[0]) as client:
                page = await client.get(f"{link[0].partition('/signin#')[0]}/")
                found = re.search(r'id="sample"[^>]* value="(127\.0\.0\.1:\d+)"', page.text)
                offered.append(found and found[1])
                if found:
                    asked: dict[str, Any] = {
                        "urls": [f"http://{found[1]}/"],
                        "allow_addresses": [found[1]],
                    }
                    asked |= {"grant": True, "delay_s": 0, "per_host": 8, "limits": {"pages": 9}}
                    own = {"Sec-Fetch-Site": "same-origin"}  # as a page of this server asks
                    made = (await client.post("/jobs", json=asked, headers=own)).json()
                    ended = (await client.get(f"/jobs/{made['id']}/wait?states=completed")).json()
                    assert (ended["state"], ended["usage"]["pages"]) == ("completed", 9)
            process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(rest, process)
    assert offered[0]
    assert offered[1] is None


def test_without_a_worker_it_only_answers_once_the_tables_are_newer(shell: Shell) -> None:
    with shell.started("serve", "--port", "0", "--no-worker") as process:
        until(process, "/signin#")

        file = shell.folder / "crawlyard-data" / "crawlyard.db"
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        told = until(process, "only answers")
        process.terminate()
        code, _, _ = rest(process)

    assert "has schema 9999" in told
    assert code == 0


async def test_another_process_on_the_same_files_is_heard_of(shell: Shell) -> None:
    with shell.started("serve", "--port", "0", "--no-worker") as process:
        link = re.search(r"http\S+", until(process, "/signin#"))
        assert link is not None
        async with (
            signed_in(link[0]) as client,
            client.stream("GET", "/events/stream") as answer,
        ):
            names = messages(answer)
            await heard(names, "hello")
            ran = await asyncio.to_thread(
                shell.run, "crawl", "http://127.0.0.1:9/", *SLOW, "--detach"
            )
            assert ran.returncode == 0, ran.stderr
            await heard(names, "job.created")
        process.send_signal(signal.SIGTERM)
        code, _, _ = await asyncio.to_thread(rest, process)

    assert code == 0


def test_its_log_tells_of_jobs_and_not_of_the_libraries_that_it_is_made_with(
    shell: Shell, site: str
) -> None:
    with shell.started("serve", "--port", "0") as process:
        line = until(process, "")  # the first that it writes
        shell.run("crawl", site, *SLOW, "--max-pages", "1", "-d")
        waited = shell.run("jobs", "wait", "last", "--timeout", "30s")
        process.send_signal(signal.SIGTERM)
        code, _, said = rest(process)

    logged = [line for line in said.splitlines() if "level=" in line]
    assert (code, waited.returncode) == (0, 0), said
    assert line.startswith("serving ")
    assert logged
    ours = ('event="job ', 'event="swept: ')
    assert [line for line in logged if not any(event in line for event in ours)] == []
