"""Lists: how many items a command writes, for people and for programs."""

import asyncio
import sys
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from crawlyard import Settings, Yard
from crawlyard import open as open_surface
from crawlyard.core.crawl.link import encode_links
from crawlyard.core.crawl.page import Body, Skipped
from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.engine.urls import packed_fingerprints
from tests.builders import a_batch, a_spec, a_target, done
from tests.jobs import submit
from tests.unit.test_cli_commands import Crawlyard, crawlyard
from tests.unit.test_cli_output import COMMANDS

__all__ = ["crawlyard"]  # the fixture

COUNT = 51
LISTS = (
    "jobs list",
    "jobs queue",
    "jobs frontier last",
    "jobs pages last",
    "jobs pages last --skipped",
    "jobs links last",
    "pages",
    "events",
    "templates list",
    "schedules list",
    "tokens list",
    "audit list",
)


async def fill() -> None:
    """Make 51 things of each kind in the data directory of this folder."""
    spec = {"urls": ["https://example.com/"]}
    async with open_surface(Settings()) as surface:

        async def add(number: int) -> None:
            await surface.jobs.create(spec)
            template = await surface.templates.create({"name": f"t{number}", "spec": spec})
            await surface.schedules.create(f"s{number}", "@daily", template=template.id)
            await surface.tokens.create(f"token {number}")

        await asyncio.gather(*map(add, range(COUNT)))
    async with Yard.open(Settings()) as yard:
        job = await submit(yard, a_spec())
        now, lease = datetime.now(UTC), timedelta(minutes=5)
        claim = await yard.store.leases.claim(Asker("w1", only=job.id), now, lease)
        assert claim is not None
        pages, waiting, kept_out = (
            [a_target(f"{kind}/{number}", depth=1) for number in range(COUNT)] for kind in "pws"
        )
        link = [(waiting[0].url, "", "a", "", "next")]
        outcomes = [
            replace(
                done(page, {Body.LINKS: encode_links(link)}),
                targets=packed_fingerprints([link[0][0]]),
            )
            for page in pages
        ]
        skipped = [Skipped(target, "scope: other host") for target in kept_out]
        batch = a_batch([*pages, *waiting], outcomes, skipped)
        await yard.store.frontier.record([(claim.lease, batch)], now, lease)


def test_programs_read_whole_lists_and_a_terminal_shows_the_first_items(
    crawlyard: Crawlyard, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(fill())

    for place, command in enumerate(LISTS):
        style = (("-o", "jsonl"), ("-o", "csv"), ("-q",), ())[place % 4]
        run = crawlyard(*command.split(), *style)
        assert len(run.out.splitlines()) - ("csv" in style) >= COUNT, (command, style, run.err)
        assert "are shown" not in run.err, (command, style)
    assert len(crawlyard("pages", "--limit", "7").out.splitlines()) == 7

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for command in LISTS:
        run = crawlyard(*command.split())
        assert "50 are shown" in run.err, (command, run.err)
    for style in (("-o", "jsonl"), ("-o", "csv"), ("-q",), ("-o", "plain")):
        assert len(crawlyard("pages", *style).out.splitlines()) >= COUNT, style


def test_no_list_has_a_limit_of_its_own() -> None:
    limits = {
        " ".join(words): option.default
        for words, command in COMMANDS.items()
        for option in command.params
        if "--limit" in option.opts
    }
    assert len(limits) == 23
    assert set(limits.values()) == {None}
