"""Crawls that are logged in: what is sent where, and what becomes of a job that is logged out."""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from crawlyard import LOCAL, Move, State
from crawlyard.core.access.site_session import LoginKind
from crawlyard.core.jobs.lifecycle import StateReason
from crawlyard.demo.site import HTML, Answer
from crawlyard.engine.scope import LOGOUT_RULE
from crawlyard.errors import Invalid
from crawlyard.services.access.site_sessions import SiteSessions
from crawlyard.services.surface import Surface
from crawlyard.yard import Yard
from tests.engine.rig import a_spec, crawled, opened, outcome, run
from tests.jobs import submit
from tests.login_site import PASSWORD, TOKEN, USER, HeaderSite, LoginSite
from tests.proxies import ServeProxy
from tests.scripted_login_site import ScriptedLoginSite
from tests.site import GraphSite, Serve


def sessions(yard: Yard) -> SiteSessions:
    return Surface(yard.services, LOCAL).sessions


async def test_a_password_goes_to_its_origin_alone(site_server: Serve, tmp_path: Path) -> None:
    other = await site_server(GraphSite({"/": []}))
    site = await site_server(HeaderSite({"/": ["/a", f"{other.url}/"], "/a": ["/"]}))
    async with opened(tmp_path) as yard:
        session = await sessions(yard).login(
            "shop", LoginKind.BASIC, url=site.url, user=USER, secret=PASSWORD
        )
        run = await crawled(yard, a_spec(f"{site.url}/", session="shop", scope="any"))
    assert session.origins == (site.url,)
    assert run.ok == {f"{site.url}/", f"{site.url}/a", f"{other.url}/"}
    by_page = {page.final_url: page.session for page in run.pages}
    assert by_page == {f"{site.url}/": "shop@1", f"{site.url}/a": "shop@1", f"{other.url}/": ""}
    assert other.hits
    assert not any("authorization" in hit.headers for hit in other.hits)


async def test_a_job_without_its_session_waits_for_a_login(
    site_server: Serve, tmp_path: Path
) -> None:
    site = await site_server(HeaderSite({"/": ["/a"], "/a": []}, value=f"Bearer {TOKEN}"))
    async with opened(tmp_path) as yard:
        with pytest.raises(Invalid, match="there is no shop"):
            await submit(yard, a_spec(f"{site.url}/", session="shop"))
        own = sessions(yard)
        await own.login("shop", LoginKind.BEARER, url=site.url, secret="wrong")
        job = await submit(yard, a_spec(f"{site.url}/", session="shop"))
        await run(yard, job.id)
        paused = (await outcome(yard, job.id)).job
        assert (paused.state, paused.state_reason) == (State.PAUSED, StateReason.LOGGED_OUT)
        assert "answered 401; log in to session shop again" in paused.detail
        await own.delete("shop")
        await yard.services.writer.move(LOCAL, job.id, Move.RESUME)
        await run(yard, job.id)
        waiting = (await outcome(yard, job.id)).job
        assert waiting.state_reason is StateReason.LOGGED_OUT
        assert "there is no session shop" in waiting.detail
        await own.login("shop", LoginKind.BEARER, url=site.url, secret=TOKEN)
        await yard.services.writer.move(LOCAL, job.id, Move.RESUME)
        await run(yard, job.id)
        finished = await outcome(yard, job.id)
    assert finished.job.state is State.COMPLETED
    assert finished.ok == {f"{site.url}/", f"{site.url}/a"}
    assert not finished.errors


async def logged_in(yard: Yard, url: str) -> None:
    await sessions(yard).login(
        "shop", LoginKind.FORM, url=f"{url}/login", user=USER, secret=PASSWORD, allow_private=True
    )


@pytest.mark.parametrize("spread", [0, pytest.param(2, marks=pytest.mark.slow)])
async def test_a_crawl_goes_on_after_each_login_and_has_every_page_once(
    site_server: Serve, tmp_path: Path, spread: int
) -> None:
    other = await site_server(GraphSite({"/": []}), host="127.0.0.2")
    shop = LoginSite(30, lasts=12, outside=f"{other.url}/")
    site = await site_server(shop)
    spec = a_spec(f"{site.url}/", session="shop", scope="any", spread=spread)
    async with opened(tmp_path) as yard:
        await logged_in(yard, site.url)
        job = await submit(yard, spec)
        for login in (2, 3):
            await run(yard, job.id)
            paused = (await outcome(yard, job.id)).job
            assert (paused.state, paused.state_reason) == (State.PAUSED, StateReason.LOGGED_OUT)
            assert "/login?next=" in paused.detail
            await logged_in(yard, site.url)
            assert shop.logins == login
            await yard.services.writer.move(LOCAL, job.id, Move.RESUME)
        await run(yard, job.id)
        finished = await outcome(yard, job.id)
    assert finished.job.state is State.COMPLETED
    assert finished.ok == {f"{site.url}{path}" for path in shop.paths} | {f"{other.url}/"}
    assert not finished.errors
    assert set(finished.stored.values()) == {1}
    assert Counter(shop.whole) == Counter(shop.paths)
    assert {page.session for page in finished.pages} == {"shop@1", "shop@2", "shop@3", ""}
    assert [page.final_url for page in finished.pages if not page.session] == [f"{other.url}/"]
    assert finished.rules[f"{site.url}/logout"] == LOGOUT_RULE
    assert not any(hit.path == "/logout" for hit in site.hits)
    assert not any("cookie" in hit.headers for hit in other.hits)


SAME_FIELDS = '<form method="post"><input name="user"><input type="password" name="pw"></form>'
SAME_ACTION = '<form action="/session?next=/"><input name="u7"><input type="password"></form>'
NEW_PASSWORD = (
    '<form action="/session"><input name="user"><input type="password" name="pw">'
    '<input type="password" name="again"></form>'
)
SEARCH = '<form action="/session"><input name="user"></form>'


@pytest.mark.parametrize("form", [SAME_FIELDS, SAME_ACTION])
async def test_a_login_form_answered_with_200_pauses_the_job(
    site_server: Serve, tmp_path: Path, form: str
) -> None:
    shop = LoginSite(30, lasts=12, form_in_place=form)
    site = await site_server(shop)
    # a link to the login page: it shows its form to users who are logged in, too
    spec = a_spec(f"{site.url}/", f"{site.url}/login", session="shop")
    async with opened(tmp_path) as yard:
        await logged_in(yard, site.url)
        job = await submit(yard, spec)
        for _ in range(2):
            await run(yard, job.id)
            paused = (await outcome(yard, job.id)).job
            assert paused.state_reason is StateReason.LOGGED_OUT
            assert "has the login form" in paused.detail
            await logged_in(yard, site.url)
            await yard.services.writer.move(LOCAL, job.id, Move.RESUME)
        await run(yard, job.id)
        finished = await outcome(yard, job.id)
    assert finished.job.state is State.COMPLETED
    assert finished.ok == {f"{site.url}{path}" for path in {*shop.paths, "/login"}}
    assert Counter(shop.whole) == Counter(shop.paths)
    titles = {page.final_url: page.title for page in finished.pages}
    assert [url for url, title in titles.items() if title == "Log in"] == [f"{site.url}/login"]


@pytest.mark.parametrize("form", [NEW_PASSWORD, SEARCH])
async def test_other_forms_do_not_look_logged_out(
    site_server: Serve, tmp_path: Path, form: str
) -> None:
    shop = LoginSite(3, form_in_place=form)
    site = await site_server(shop)
    async with opened(tmp_path) as yard:
        await logged_in(yard, site.url)
        shop.sessions.clear()
        run = await crawled(yard, a_spec(f"{site.url}/", session="shop"))
    assert run.job.state is State.COMPLETED
    assert run.ok == {f"{site.url}/"}


async def test_a_page_that_looks_logged_out_is_not_stored(
    site_server: Serve, tmp_path: Path
) -> None:
    shop = LoginSite(3)
    site = await site_server(shop)
    spec = a_spec(f"{site.url}/", f"{site.url}/public", session="shop")
    async with opened(tmp_path) as yard:
        await logged_in(yard, site.url)
        shop.sessions.clear()  # all sessions are logged out from now on
        rules = ("selector:p", "redirect:*/nowhere")
        job = await submit(yard, replace(spec, logged_out=rules))
        await run(yard, job.id)
        paused = await outcome(yard, job.id)
        assert paused.job.state_reason is StateReason.LOGGED_OUT
        assert f"{site.url}/public matches 'p'" in paused.job.detail
        assert f"{site.url}/public" not in paused.stored
        fields = {"logged_out": ("never",)}
        await yard.services.writer.edit(LOCAL, job.id, fields)
        await yard.services.writer.move(LOCAL, job.id, Move.RESUME)
        await run(yard, job.id)
        finished = await outcome(yard, job.id)
    assert finished.job.state is State.COMPLETED
    assert f"{site.url}/public" in finished.ok


async def test_a_form_is_filled_in_for_its_own_origin_alone(
    site_server: Serve, tmp_path: Path
) -> None:
    async with opened(tmp_path) as yard:
        own, site = sessions(yard), await site_server(LoginSite(3))
        outside = await site_server(LeadingAway(site.url))

        async def login(path: str, **more: str) -> str:
            options: dict[str, Any] = {"user": USER, "secret": PASSWORD, "allow_private": True}
            try:
                await own.login("shop", LoginKind.FORM, url=path, **options | more)
            except Invalid as refused:
                return str(refused)
            return ""

        assert "another origin" in await login(f"{outside.url}/form")
        assert "if the form is there, use that URL" in await login(f"{outside.url}/redirect")
        assert "shows its login form again" in await login(f"{site.url}/login", secret="no")
        assert "without a login form" in await login(f"{site.url}/public")
        assert "selects no form" in await login(f"{site.url}/login", submit="#other")
        assert not await own_names(yard)
        assert [hit.path for hit in outside.hits] == ["/form", "/redirect"]
        assert not await login(f"{site.url}/login")
        assert await own_names(yard) == ["shop"]
    posted = [hit for hit in site.hits if hit.method == "POST"]
    assert len(posted) == 2


async def test_a_form_that_scripts_make_or_send_is_not_filled_in_where_nothing_runs_them(
    site_server: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crawlyard.engine.render.launch.find_package", lambda _: None)
    monkeypatch.setattr("crawlyard.engine.render.launch._chromium_binary", lambda: None)
    site = await site_server(ScriptedLoginSite(3))
    async with opened(tmp_path) as yard:
        for path, why in (("/login", "without a login form"), ("/bare", "is sent by scripts")):
            with pytest.raises(Invalid, match=f"{why}.*: Chromium is not installed: apt install"):
                await sessions(yard).login(
                    *("shop", LoginKind.FORM),
                    url=f"{site.url}{path}",
                    user=USER,
                    secret=PASSWORD,
                    allow_private=True,
                )
    assert [hit.path for hit in site.hits] == ["/login", "/bare"]  # and not the password


async def test_a_login_uses_its_own_proxy_or_sends_nothing(
    site_server: Serve, a_proxy: ServeProxy, tmp_path: Path
) -> None:
    site, via = await site_server(LoginSite(3)), await a_proxy("http")
    async with opened(tmp_path, allow_proxies=(via.address,)) as yard:
        own = sessions(yard)
        login = partial(own.login, "shop", LoginKind.FORM, url=f"{site.url}/login", user=USER)
        session = await login(secret=PASSWORD, allow_private=True, proxies=(via.url,))
        request_count = len(site.hits)
        assert session.cookies
        assert via.connections
        await via.close()
        with pytest.raises(Invalid):
            await login(secret=PASSWORD, allow_private=True, proxies=(via.url,))
    assert len(site.hits) == request_count


async def own_names(yard: Yard) -> list[str]:
    return [session.name for session in (await sessions(yard).list()).items]


class LeadingAway:
    """A page whose form is sent to another site, and one that leads to its login page."""

    def __init__(self, to: str) -> None:
        self.to = to

    def answer(self, method: str, path: str, host: str) -> Answer:
        if path == "/redirect":
            return Answer(302, (("Location", f"{self.to}/login"),))
        form = f'<form action="{self.to}/session" method=post><input type=password name=pw></form>'
        return Answer(200, (("Content-Type", HTML),), form.encode())
