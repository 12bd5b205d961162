"""Bridges: off by default, and behind the tokens, scopes and limits of the server."""

import sys
from subprocess import run

import pytest

from crawlyard.config import BridgeName, Settings
from crawlyard.errors import Invalid
from tests.web.rig import Rig


def test_an_unknown_bridge_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRAWLYARD_BRIDGES", "firecrawl")
    assert Settings().bridges == (BridgeName.FIRECRAWL,)
    monkeypatch.setenv("CRAWLYARD_BRIDGES", "firecrawl, scrapy")
    with pytest.raises(Invalid, match=r"bridges.*firecrawl.*scrapy.*CRAWLYARD_BRIDGES"):
        Settings()


def test_a_server_without_bridges_imports_none() -> None:
    code = "import sys, crawlyard.web.app; print([n for n in sys.modules if '.bridges.' in n])"
    done = run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_no_path_of_a_bridge_is_served_while_it_is_off(rig: Rig) -> None:
    assert (await rig.post("/v2/scrape", {"url": "https://example.org"})).status_code == 404


async def test_a_bridge_needs_a_token(bridged: Rig) -> None:
    for refused, reason in (({"by": None}, "Bearer"), ({"secret": "cyt_wrong"}, "token")):
        answer = await bridged.post("/v2/scrape", {"url": "https://example.org"}, **refused)
        assert (answer.status_code, answer.json()["success"]) == (401, False)
        assert reason in answer.json()["error"]


async def test_routes_that_are_not_supported_are_named(bridged: Rig) -> None:
    for path in ("/v2/search", "/v2/extract", "/v2/crawl/params-preview", "/v2"):
        answer = await bridged.post(path, {"query": "x"})
        assert answer.status_code == 400, path
        assert path in answer.json()["error"]


async def test_a_body_that_no_route_accepts_is_refused(bridged: Rig) -> None:
    answer = await bridged.ask("POST", "/v2/crawl", content=b"{}")
    assert answer.json()["code"] == "UNSUPPORTED_MEDIA_TYPE"
