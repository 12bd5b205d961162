"""Logging in to sites by commands: during a crawl, by a session, and again."""

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
async def test_a_crawl_logs_in_pauses_for_a_new_login_and_resumes(shell: Shell) -> None:
    shop = LoginSite(8, lasts=5)
    async with SiteServer(shop) as site:
        await log_in_and_crawl(shell, shop, site)


async def log_in_and_crawl(shell: Shell, shop: LoginSite, site: SiteServer) -> None:
    login = ("--login", f"form:{site.url}/login", "--login-user", USER)
    secret = "env:SITE_PASSWORD"
    without_secret = await run(shell, "crawl", site.url, *QUICK, *login, code=2)
    assert "there is no terminal to prompt on" in without_secret.stderr
    wrong = ("crawl", site.url, *QUICK, *login, "--login-secret", secret)
    refused = await run(shell, *wrong, code=2, secret="no")
    assert "--login-secret: the site shows its login form again" in refused.stderr

    crawl = await run(
        *(shell, "crawl", site.url, *QUICK, *login, "--session", "shop", "--login-secret", secret),
        code=1,
    )
    assert "logged in: shop@1 for 127.0.0.1" in crawl.stderr
    assert "session shop is logged out" in crawl.stderr
    advice = "log in to session shop again (crawlyard sessions login shop), then resume the job"
    assert advice in crawl.stderr

    again = ("sessions", "login", "shop", "--secret", secret, "--allow-private")
    assert "logged in: shop@2" in (await run(shell, *again)).stderr
    await run(shell, "jobs", "resume", "last", "--watch")
    pages = await run(shell, "jobs", "pages", "last", "--json")
    sessions = {page["final_url"]: page["session"] for page in json.loads(pages.stdout)}
    assert sessions.keys() == {f"{site.url}{path}" for path in shop.paths}
    assert set(sessions.values()) == {"shop@1", "shop@2"}

    session = json.loads((await run(shell, "sessions", "show", "shop", "--json")).stdout)
    assert (session["version"], session["kind"], session["user"]) == (2, "form", USER)
    assert "shop" in (await run(shell, "sessions", "list")).stdout
    await run(shell, "sessions", "delete", "shop", "--yes")
    assert "no session shop" in (await run(shell, *again[:3], code=2)).stderr
