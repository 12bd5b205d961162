"""Requests of the dashboard match the OpenAPI document."""

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from crawlyard.core.answer import API as PREFIX
from crawlyard.store.open import open_sql_store
from crawlyard.web.assets import ASSETS, SOURCES
from crawlyard.web.openapi import document
from tests.web.rig import Rig, a_rig

_PLACE = re.compile(r"\$?\{[^{}]*\}")
_SAID = re.compile(r'(?:data-(?:do|send)=|\bdo\()"([A-Z]+) (/[^"]*)"')
_READ = re.compile(r'data-(?:list|of)="(/[^"?]*)')
_CALLED = re.compile(r'\b(get|post|patch|put|remove)\(\s*["`]((?:\$\{path\})?/[^"`?]*)')
_OWN = {
    "job.js": "/jobs/{}",
    "job-live.js": "/jobs/{}",
    "job-map.js": "/jobs/{}",
    "job-tabs.js": "/jobs/{}",
    "page.js": "/jobs/{}",
    "running.js": "/jobs/{}",
    "schedule.js": "/schedules/{}",
    "template.js": "/templates/{}",
}
"""What ``${path}`` is in the script of one thing."""

_QUERY = re.compile(r"\$\{(?:query\(|location\.search)")
_SECTION = "/settings/{section}"  # the one place that scripts name by a word
_METHODS = {"remove": "DELETE"}


def _requests_of_scripts() -> Iterator[tuple[str, str, str]]:
    """Yield file, method and path of all that markup and scripts name; places are ``{}``."""
    web = files("crawlyard.web")
    for entry in web.joinpath("templates").iterdir():
        html = entry.read_text("utf-8")
        for method, path in _SAID.findall(html):
            yield entry.name, method, _PLACE.sub("{}", path)
        for path in _READ.findall(html):
            yield entry.name, "GET", _PLACE.sub("{}", path)
    for folder in ("core", "pages", "parts"):
        for entry in web.joinpath("static", "js", folder).iterdir():
            for verb, path in _CALLED.findall(entry.read_text("utf-8")):
                whole = path.replace("${path}", _OWN.get(entry.name, "?"))
                plain = _PLACE.sub("{}", _QUERY.split(whole)[0])
                yield entry.name, _METHODS.get(verb, verb.upper()), plain


def _fits(path: str, pattern: str) -> bool:
    pattern = pattern.removeprefix(PREFIX)
    ours, pattern_parts = path.split("/"), pattern.split("/")
    same = (a in ("{}", b) for a, b in zip(ours, pattern_parts, strict=False))
    return len(ours) == len(pattern_parts) and (all(same) or pattern == _SECTION == _named(path))


def _named(path: str) -> str:
    return _SECTION if path.startswith("/settings/") else path


async def test_while_the_store_is_away_a_page_says_so_and_tries_again(tmp_path: Path) -> None:
    store = await open_sql_store(tmp_path / "yard.db")
    rig = await a_rig(store)
    await store.close()

    page = await rig.ask("GET", "/jobs", headers={"Cookie": "crawlyard=cys_any"})

    assert page.status_code == 503
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["refresh"] == "5"
    assert "yard.db has been closed.</p>" in page.text


async def test_an_address_without_a_page_says_so_to_people_and_to_programs(rig: Rig) -> None:
    html = {"accept": "text/html,application/xhtml+xml"}

    page = await rig.ask("GET", "/nothing", headers=html)
    api = await rig.ask("GET", f"{PREFIX}/nothing", headers=html)
    program = await rig.ask("GET", "/nothing")

    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "<h1" in page.text
    assert "Not found" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for answer in (api, program):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_every_button_list_and_form_is_an_endpoint_of_the_document(rig: Rig) -> None:
    documented = [
        (method.upper(), path) for path, item in document()["paths"].items() for method in item
    ]
    requests = set(_requests_of_scripts())
    assert len(requests) > 40
    assert not [
        request
        for request in requests
        if not any(_fits(request[2], p) for m, p in documented if m == request[1])
    ]


def test_scripts_are_sent_with_the_spaces_of_their_texts() -> None:
    # the minifier would take a template literal within another for code
    sent = "".join(asset.content.decode() for asset in ASSETS.values())
    for path, script in SOURCES.items():
        for nested in re.findall(r"\$\{[^`{}]*`([^`]*)`", script):
            for text in re.split(r"\$\{[^}]*\}", nested):
                assert text in sent, path
