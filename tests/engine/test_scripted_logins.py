"""Logins whose forms scripts make: filled in by a browser, and told to their origin alone."""

import logging
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import pytest

from crawlyard.core.access.answers import SessionOut
from crawlyard.core.access.site_session import LoginKind
from crawlyard.core.crawl.rendering import Browser
from crawlyard.errors import Invalid
from crawlyard.yard import Yard
from tests.engine.rig import a_spec, crawled, opened
from tests.engine.test_sessions import own_names, sessions
from tests.login_site import PASSWORD, USER
from tests.scripted_login_site import ScriptedLoginSite
from tests.site import GraphSite, Serve

pytestmark = pytest.mark.parametrize(
    "browser", [Browser.LIGHTPANDA, pytest.param(Browser.CHROMIUM, marks=pytest.mark.slow)]
)

FIELDS = {"tenant": "two", "stay": "on"}


@pytest.fixture
async def yard(
    tmp_path: Path, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Yard]:
    if browser is Browser.LIGHTPANDA:  # Chromium goes first if there is one
        monkeypatch.setattr("crawlyard.engine.render.launch._chromium_binary", lambda: None)
    async with opened(tmp_path) as opened_yard:
        yield opened_yard
        pools = opened_yard._factory._renderers._pools.values()
        assert not any(pool._idle for pool in pools)  # a browser ends with its login


def logging_in(yard: Yard, url: str, **more: Any) -> Awaitable[SessionOut]:
    options: dict[str, Any] = {"user": USER, "secret": PASSWORD, "fields": FIELDS}
    return sessions(yard).login(
        "shop", LoginKind.FORM, url=url, allow_private=True, **options | more
    )


async def refused(login: Awaitable[SessionOut]) -> str:
    with pytest.raises(Invalid) as error:
        await login
    assert PASSWORD not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("path", ["/login", pytest.param("/bare", marks=pytest.mark.slow)])
async def test_a_form_that_is_sent_by_fetch_opens_the_site(
    yard: Yard, site_server: Serve, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    caplog.set_level(logging.DEBUG)
    shop = ScriptedLoginSite(4)
    site = await site_server(shop)

    session = await logging_in(yard, f"{site.url}{path}")
    run = await crawled(yard, a_spec(f"{site.url}/", session="shop"))

    assert (shop.logins, session.cookies) == (1, 4)  # visit, csrf, sid, and theme of a script
    assert {page.final_url for page in run.pages} == {f"{site.url}{path}" for path in shop.paths}
    [posted] = [hit for hit in site.hits if hit.method == "POST"]
    assert posted.headers["origin"] == site.url
    assert "HeadlessChrome" not in posted.headers["user-agent"]
    assert not any(PASSWORD in record.getMessage() for record in caplog.records)


@pytest.mark.slow
async def test_a_form_that_comes_late_is_posted_as_it_would_be(
    yard: Yard, site_server: Serve
) -> None:
    shop = ScriptedLoginSite(2)
    site = await site_server(shop)

    await logging_in(yard, f"{site.url}/posted", fields={})

    assert shop.logins == 1
    assert [hit.path for hit in site.hits][-2:] == ["/session", "/public"]


async def test_a_site_that_shows_its_form_again_has_refused_the_login(
    yard: Yard, site_server: Serve
) -> None:
    site = await site_server(ScriptedLoginSite(2))

    message = await refused(logging_in(yard, f"{site.url}/posted", fields={}, secret="wrong one"))

    assert "shows its login form again" in message
    assert "pw=***" in message  # a site may put it into its URL
    assert await own_names(yard) == []


@pytest.mark.slow
async def test_a_login_that_fails_says_why_and_leaves_no_session(
    yard: Yard, site_server: Serve, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crawlyard.engine.render.page._FORM_TIMEOUT_S", 0.5)
    outside = await site_server(GraphSite({"/": []}), host="127.0.0.2")
    site = await site_server(ScriptedLoginSite(2, outside=outside.url))

    async def error_of(path: str, **more: Any) -> str:
        return await refused(logging_in(yard, f"{site.url}{path}", **more))

    assert "answered 401" in await error_of("/login", secret="wrong one")
    assert f"is sent to {outside.url}, which is another origin" in await error_of(
        "/outward", fields={}
    )
    if browser is Browser.LIGHTPANDA:  # the same steps in Chromium, which takes long to start
        assert "shows its login form again" in await error_of("/soft", secret="wrong one")
        assert "without a login form, even after its scripts have run" in await error_of("/empty")
        assert "'#b' selects no form" in await error_of("/login", submit="#b")
        more = FIELDS | {"colour": "red"}
        assert "fields.colour: the form has no field 'colour'" in await error_of(
            "/login", fields=more
        )
        assert "stays disabled" in await error_of("/login", secret="", fields={})
        monkeypatch.setattr("crawlyard.engine.render.page._SUBMIT_TIMEOUT_S", 0.1)
        assert "filled in, but not sent" in await error_of("/login", submit="#mail")
    assert outside.hits == []
    assert await own_names(yard) == []


async def test_credentials_are_not_sent_to_another_origin(yard: Yard, site_server: Serve) -> None:
    canary = await site_server(GraphSite({"/": []}), host="127.0.0.2")
    shop = ScriptedLoginSite(2, outside=canary.url)
    site = await site_server(shop)

    await logging_in(yard, f"{site.url}/leaky")

    assert shop.logins == 1
    assert {hit.path.partition("?")[0] for hit in site.hits} >= {"/hop"}  # it was tried
    assert canary.hits == []
