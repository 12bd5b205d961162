"""`--confirm-changes` on a site whose pages never read the same: no false alarm, none missed."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from crawlyard.demo.server import SiteServer
from tests.acceptance.shell import FAST, Shell
from tests.noisy_site import NoisySite, a_noisy_site
from tests.receiver import Receiver

PAGES = 15


class Watched:
    """A schedule of a site that this process serves."""

    def __init__(self, shell: Shell, server: SiteServer, site: NoisySite) -> None:
        self.shell = shell
        self.site = site
        self.url = f"{server.url}/"

    async def ran(self, *words: str) -> str:
        """Run ``crawlyard …`` while the site answers; return what it writes."""
        ran = await asyncio.to_thread(self.shell.run, *words)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    async def changes(self) -> dict[str, int]:
        """Run the schedule once more; return how many pages it found of each kind."""
        await self.ran("schedules", "run", "nightly")
        await self.ran("work", "--drain")
        newest = json.loads(await self.ran("schedules", "changes", "nightly", "-o", "json"))[0]
        return {kind: count for kind, count in (newest["counts"] or {}).items() if count}

    async def told(self, name: str) -> list[dict[str, Any]]:
        lines = (await self.ran("events", "--type", name, "-o", "jsonl")).splitlines()
        return [json.loads(line)["data"] for line in lines]


@pytest.fixture
async def watched(shell: Shell) -> AsyncIterator[Watched]:
    site = a_noisy_site(PAGES)
    async with SiteServer(site) as server:
        yield Watched(shell, server, site)


async def scheduled(watched: Watched, *options: str) -> None:
    words = ("--when", "@yearly", watched.url, *FAST, *options)
    await watched.ran("schedules", "create", "nightly", *words)


async def test_a_clock_a_counter_advertisements_and_tokens_are_no_false_alarm(
    watched: Watched,
) -> None:
    await scheduled(watched, "--confirm-changes")
    async with Receiver() as receiver:
        await watched.ran(
            *("webhooks", "create", receiver.url, "--allow-address", receiver.authority),
            *("--event", "page.changed"),
        )
        assert await watched.changes() == {}  # the first run
        assert await watched.changes() == {"noise": PAGES}
        assert await watched.changes() == {"noise": PAGES}
        assert await watched.told("run.changed") == await watched.told("page.changed") == []

        watched.site.pages["/p4"] = "Its text is another one."
        watched.site.pages["/p9"] = "So is this."
        del watched.site.pages["/p11"]
        found = await watched.changes()  # each page has a link less

    assert (found["gone"], found["changed"], found.get("noise")) == (1, PAGES - 1, None)
    [told] = await watched.told("page.changed")
    urls = {page["url"]: page["kind"] for page in told["pages"]}
    assert (len(urls), told["more"]) == (PAGES, 0)
    assert urls[f"{watched.url}p11"] == "gone"
    [message] = receiver.messages
    assert json.loads(message.body)["data"]["details"]["pages"] == told["pages"]


async def test_each_edit_among_the_noise_is_found_and_nothing_else(watched: Watched) -> None:
    await scheduled(watched, "--confirm-changes", "--full-every", "1")
    await watched.changes()
    watched.site.pages["/p4"] = "Its text is another one."
    watched.site.pages["/p9"] = "So is this."

    assert await watched.changes() == {"changed": 2, "noise": PAGES - 2}

    words = ("schedules", "changes", "nightly", "--urls", "-o", "jsonl")
    found = [json.loads(line) for line in (await watched.ran(*words)).splitlines()]
    assert {c["url"]: (c["added"], c["removed"]) for c in found} == {
        f"{watched.url}p4": (1, 1),
        f"{watched.url}p9": (1, 1),
    }
    page = ("diff", "nightly@previous", "nightly@last", "--page", f"{watched.url}p4")
    lines = [line for line in (await watched.ran(*page)).splitlines() if line[0] in "+-"]
    assert lines == ["-The text of /p4 is its own.", "+Its text is another one."]


async def test_without_it_each_page_is_an_alarm_and_patterns_help(watched: Watched) -> None:
    await scheduled(watched)
    await watched.changes()
    assert await watched.changes() == {"changed": PAGES}

    quiet = ("--ignore-css", ".box, code", "--ignore-text", "re:^(It is 2|You are visitor |Token:)")
    await watched.ran("schedules", "edit", "nightly", *quiet)

    assert await watched.changes() == {"unknown": PAGES}  # other elements are read than before
    assert await watched.changes() == {"noise": PAGES}
