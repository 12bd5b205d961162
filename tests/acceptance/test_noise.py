"""`--confirm-changes` on a site whose pages always differ: no false alarm, no change missed."""

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


class WatchedSite:
    """A schedule of a site that this process serves."""

    def __init__(self, shell: Shell, server: SiteServer, site: NoisySite) -> None:
        self.shell = shell
        self.site = site
        self.url = f"{server.url}/"

    async def run(self, *words: str) -> str:
        """Run ``crawlyard …`` while the site is served; return stdout."""
        ran = await asyncio.to_thread(self.shell.run, *words)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    async def changes(self) -> dict[str, int]:
        """Run the schedule once more; return the number of changes by kind."""
        await self.run("schedules", "run", "nightly")
        await self.run("work", "--drain")
        newest = json.loads(await self.run("schedules", "changes", "nightly", "-o", "json"))[0]
        return {kind: count for kind, count in (newest["counts"] or {}).items() if count}

    async def event_data(self, name: str) -> list[dict[str, Any]]:
        lines = (await self.run("events", "--type", name, "-o", "jsonl")).splitlines()
        return [json.loads(line)["data"] for line in lines]


@pytest.fixture
async def watched(shell: Shell) -> AsyncIterator[WatchedSite]:
    site = a_noisy_site(PAGES)
    async with SiteServer(site) as server:
        yield WatchedSite(shell, server, site)


async def scheduled(watched: WatchedSite, *options: str) -> None:
    words = ("--when", "@yearly", watched.url, *FAST, *options)
    await watched.run("schedules", "create", "nightly", *words)


async def test_a_clock_a_counter_advertisements_and_tokens_cause_no_false_alarm(
    watched: WatchedSite,
) -> None:
    await scheduled(watched, "--confirm-changes")
    async with Receiver() as receiver:
        await watched.run(
            *("webhooks", "create", receiver.url, "--allow-address", receiver.authority),
            *("--event", "page.changed"),
        )
        assert await watched.changes() == {}  # the first run
        assert await watched.changes() == {"noise": PAGES}
        assert await watched.changes() == {"noise": PAGES}
        assert (
            await watched.event_data("run.changed")
            == await watched.event_data("page.changed")
            == []
        )

        watched.site.pages["/p4"] = "Its text is another one."
        watched.site.pages["/p9"] = "So is this."
        del watched.site.pages["/p11"]
        counts = await watched.changes()  # every other page lost a link to it

    assert (counts["gone"], counts["changed"], counts.get("noise")) == (1, PAGES - 1, None)
    [event] = await watched.event_data("page.changed")
    urls = {page["url"]: page["kind"] for page in event["pages"]}
    assert (len(urls), event["more"]) == (PAGES, 0)
    assert urls[f"{watched.url}p11"] == "gone"
    [message] = receiver.messages
    assert json.loads(message.body)["data"]["details"]["pages"] == event["pages"]


async def test_each_edit_among_the_noise_is_found_and_nothing_else(watched: WatchedSite) -> None:
    await scheduled(watched, "--confirm-changes", "--full-every", "1")
    await watched.changes()
    watched.site.pages["/p4"] = "Its text is another one."
    watched.site.pages["/p9"] = "So is this."

    assert await watched.changes() == {"changed": 2, "noise": PAGES - 2}

    words = ("schedules", "changes", "nightly", "--urls", "-o", "jsonl")
    changes = [json.loads(line) for line in (await watched.run(*words)).splitlines()]
    assert {c["url"]: (c["added"], c["removed"]) for c in changes} == {
        f"{watched.url}p4": (1, 1),
        f"{watched.url}p9": (1, 1),
    }
    page = ("diff", "nightly@previous", "nightly@last", "--page", f"{watched.url}p4")
    lines = [line for line in (await watched.run(*page)).splitlines() if line[0] in "+-"]
    assert lines == ["-The text of /p4 is its own.", "+Its text is another one."]


async def test_without_confirmation_every_page_counts_as_changed_and_patterns_help(
    watched: WatchedSite,
) -> None:
    await scheduled(watched)
    await watched.changes()
    assert await watched.changes() == {"changed": PAGES}

    quiet = ("--ignore-css", ".box, code", "--ignore-text", "re:^(It is 2|You are visitor |Token:)")
    await watched.run("schedules", "edit", "nightly", *quiet)

    assert await watched.changes() == {"unknown": PAGES}  # the new settings extract other elements
    assert await watched.changes() == {"noise": PAGES}
