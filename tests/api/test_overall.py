"""`crawlyard pages | attention`: a yard here and one over HTTP find the same."""

import io
from datetime import timedelta
from typing import Any, cast

import pytest

from crawlyard import every
from crawlyard.cli import search
from crawlyard.cli.options import Common, Only
from crawlyard.cli.render.output import Screen
from crawlyard.cli.session import Session
from crawlyard.cli.when import When
from crawlyard.core.attention.attention import AttentionOut
from crawlyard.core.crawl.page import ErrorKind
from crawlyard.services.surface import Surface
from crawlyard.store.db.in_memory import open_in_memory
from tests.builders import NOW
from tests.clock import FakeClock
from tests.web.crawled import crawled
from tests.web.rig import URL, Rig, a_rig

HOUR = timedelta(hours=1)


@pytest.fixture
async def rig() -> Rig:
    rig = await a_rig(open_in_memory())
    await rig.post("templates", {"name": "t", "spec": {"urls": [URL]}})
    await crawled(rig, name="first")
    await crawled(rig, template="t")
    return rig


async def test_pages_are_found_by_filters(
    yard: Surface, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    clock: Any = FakeClock(NOW)
    screen, nobody = Screen(io.StringIO()), cast("Any", None)
    quiet = Common(quiet=True)
    places = {
        "clock": clock,
        "ready": nobody,
        "instance_options": "",
        "stdout": screen,
        "stderr": screen,
    }
    session = Session(common=quiet, surface=yard, **places)
    for filters, paths in (
        ({}, ["gone", "slow", "good"] * 2),
        ({"words": ["alert", "good"]}, ["good", "good"]),
        ({"words": ["Title of https", "gone"]}, ["gone", "gone"]),
        ({"words": ["Title https"]}, []),
        ({"status": [404]}, ["gone", "gone"]),
        ({"status": [2, 404]}, ["gone", "good"] * 2),
        ({"type": ["text/*"], "only": Only.OK}, ["good", "good"]),
        ({"kind": [ErrorKind.TIMEOUT, ErrorKind.DNS]}, ["slow", "slow"]),
        ({"template": ["t"], "only": Only.FAILED}, ["gone", "slow"]),
        ({"host": ["EXAMPLE.com"], "status": [404]}, ["gone", "gone"]),
        ({"host": ["other.example"]}, []),
        ({"since": When(ago=HOUR), "status": [404]}, ["gone", "gone"]),
        ({"since": When(at=NOW + HOUR)}, []),
        ({"until": When(ago=HOUR)}, []),
        ({"limit": 2}, ["gone", "slow"]),
    ):
        await cast("Any", search.pages).__wrapped__(session, **filters)

        output = capsysbinary.readouterr().out.decode().split()
        assert [url.rpartition("/")[2] for url in output] == paths, filters


async def test_pages_of_given_jobs_are_found_up_to_the_limit(rig: Rig, yard: Surface) -> None:
    [first] = (await rig.get("jobs?q=first")).json()["items"]

    pages = [page async for page in every(yard.pages.find, limit=2, job=(first["id"],))]

    assert [page.job_name for page in pages] == ["first", "first"]


async def test_attention_notices_are_listed(rig: Rig, yard: Surface) -> None:
    await rig.job()

    attention = await yard.attention.get()

    assert [notice.kind for notice in attention.items] == ["no_worker"]
    assert search.truncation_notes(attention) == []


def test_what_is_not_shown_is_counted() -> None:
    many = {"job_paused": 25, "webhook_off": 500}
    attention = AttentionOut(at=NOW, items=(), counts=many, at_least=("webhook_off",), dismissed=0)

    assert search.truncation_notes(attention) == [
        "paused job: 0 of 25 are shown",
        "webhook switched off: 0 of at least 500 are shown",
    ]
