"""`crawlyard pages | attention`: a yard here and one over HTTP find the same."""

from datetime import timedelta

import pytest

from crawlyard import every
from crawlyard.cli.overview.search_reports import Asked, left_out
from crawlyard.cli.when import When
from crawlyard.core.answers.fleet.attention import AttentionOut
from crawlyard.core.crawl.page import ErrorKind
from crawlyard.services.surface import Surface
from crawlyard.store.db.in_memory import open_in_memory
from tests.builders import NOW
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


async def test_pages_are_found_by_what_was_asked(yard: Surface) -> None:
    for asked, found in (
        (Asked(), ["gone", "slow", "good"] * 2),
        (Asked(words=("alert", "good")), ["good", "good"]),
        (Asked(words=("Title of https", "gone")), ["gone", "gone"]),
        (Asked(words=("Title https",)), []),
        (Asked(statuses=(404,)), ["gone", "gone"]),
        (Asked(statuses=(2, 404)), ["gone", "good"] * 2),
        (Asked(types=("text/*",), failed=False), ["good", "good"]),
        (Asked(kinds=(ErrorKind.TIMEOUT, ErrorKind.DNS)), ["slow", "slow"]),
        (Asked(templates=("t",), failed=True), ["gone", "slow"]),
        (Asked(hosts=("EXAMPLE.com",), statuses=(404,)), ["gone", "gone"]),
        (Asked(hosts=("other.example",)), []),
        (Asked(since=When(ago=HOUR), statuses=(404,)), ["gone", "gone"]),
        (Asked(since=When(at=NOW + HOUR)), []),
        (Asked(until=When(ago=HOUR)), []),
    ):
        terms = asked.terms(NOW, ())

        pages = [page async for page in every(yard.pages.find, asked.text, **terms)]

        assert [page.url.rpartition("/")[2] for page in pages] == found, asked


async def test_pages_of_named_jobs_are_found_and_no_more_than_asked(
    rig: Rig, yard: Surface
) -> None:
    [first] = (await rig.get("jobs?q=first")).json()["items"]
    terms = Asked().terms(NOW, [first["id"]])

    pages = [page async for page in every(yard.pages.find, limit=2, **terms)]

    assert [page.job_name for page in pages] == ["first", "first"]


async def test_what_needs_a_person_is_told(rig: Rig, yard: Surface) -> None:
    await rig.job()

    found = await yard.attention.get()

    assert [notice.kind for notice in found.items] == ["no_worker"]
    assert left_out(found) == []


def test_what_is_not_shown_is_counted() -> None:
    many = {"job_paused": 25, "webhook_off": 500}
    found = AttentionOut(at=NOW, items=(), counts=many, at_least=("webhook_off",))

    assert left_out(found) == [
        "job_paused: 0 of 25 are shown",
        "webhook_off: 0 of at least 500 are shown",
    ]
