"""Logging in to sites by commands: in one step, by a session, and again."""

import asyncio
import json
from functools import partial

import pytest

from crawlyard.demo.server import SiteServer
from tests.acceptance.shell import Run, Shell
from tests.login_site import PASSWORD, USER, LoginSite

QUICK = ("--allow-private", "--delay", "0", "--text", "none")


async def run(shell: Shell, *words: str, code: int = 0, secret: str = PASSWORD) -> Run:
    command = partial(shell.run, *words, env={"SITE_PASSWORD": secret})
    ran = await asyncio.to_thread(command)  # the site is served meanwhile
    assert ran.returncode == code, ran.stderr
    assert PASSWORD not in ran.stdout + ran.stderr
    return ran


@pytest.mark.slow
async def test_a_crawl_logs_in_waits_for_a_new_login_and_goes_on(shell: Shell) -> None:
    shop = LoginSite(8, lasts=5)
    async with SiteServer(shop) as site:
        await typed(shell, shop, site)


async def typed(shell: Shell, shop: LoginSite, site: SiteServer) -> None:
    how = ("--login", f"form:{site.url}/login", "--login-user", USER)
    secret = "env:SITE_PASSWORD"
    asked = await run(shell, "crawl", site.url, *QUICK, *how, code=2)
    assert "there is no terminal to ask on" in asked.stderr
    wrong = ("crawl", site.url, *QUICK, *how, "--login-secret", secret)
    refused = await run(shell, *wrong, code=2, secret="no")
    assert "--login-secret: the site shows its login form again" in refused.stderr

    crawl = await run(
        *(shell, "crawl", site.url, *QUICK, *how, "--session", "shop", "--login-secret", secret),
        code=1,
    )
    assert "logged in: shop@1 for 127.0.0.1" in crawl.stderr
    assert "session shop is logged out" in crawl.stderr
    told = "log in again (crawlyard sessions login shop), then resume the job"
    assert told in crawl.stderr

    again = ("sessions", "login", "shop", "--secret", secret, "--allow-private")
    assert "logged in: shop@2" in (await run(shell, *again)).stderr
    await run(shell, "jobs", "resume", "last", "--watch")
    pages = await run(shell, "jobs", "pages", "last", "--json")
    found = {page["final_url"]: page["session"] for page in json.loads(pages.stdout)}
    assert found.keys() == {f"{site.url}{path}" for path in shop.paths}
    assert set(found.values()) == {"shop@1", "shop@2"}

    shown = json.loads((await run(shell, "sessions", "show", "shop", "--json")).stdout)
    assert (shown["version"], shown["kind"], shown["user"]) == (2, "form", USER)
    assert "shop" in (await run(shell, "sessions", "list")).stdout
    await run(shell, "sessions", "delete", "shop", "--yes")
    assert "no session shop" in (await run(shell, *again[:3], code=2)).stderr
