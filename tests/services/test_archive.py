"""`Archive`: bounds of one search, and continuation by the next."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from crawlyard.core.access.user import LOCAL, Actor
from crawlyard.core.crawl.page import Body
from crawlyard.core.search.search import (
    Findings,
    FoundPage,
    Match,
    SearchBounds,
    SearchStep,
)
from crawlyard.services.search.search import Archive
from crawlyard.store.queries import ArchiveQuery, PageQuery
from crawlyard.store.search.search import ArchiveStore
from crawlyard.store.store import Store
from tests.builders import NOW, a_batch, a_job, a_target, done
from tests.clock import FakeClock
from tests.conformance.steps import added, claimed, recorded

ADA = Actor(id="ada")
EVERY = ArchiveQuery()


@pytest.fixture
def archive(store: Store) -> Archive:
    return Archive(store, FakeClock())


def bounded(store: Store, clock: FakeClock | None = None, **bounds: Any) -> Archive:
    return Archive(store, clock or FakeClock(), SearchBounds(**bounds))


async def filled(store: Store, count: int, owner: str = "local", text: str = "") -> str:
    """Store pages 0 to *count* - 1 of a new job; the text of page n is "page-n;" and *text*."""
    claim = await claimed(store, await added(store, a_job(owner=owner)))
    targets = [a_target(f"{owner}/{n}") for n in range(count)]
    outcomes = [
        done(t, {Body.TEXT: f"It is Page-{n}; {text}".encode()}, title="")
        for n, t in enumerate(targets)
    ]
    await recorded(store, claim.lease, a_batch(targets, outcomes))
    return claim.job.id


def numbers(pages: tuple[FoundPage, ...]) -> list[int]:
    return [int(match.page.url.rpartition("/")[2]) for match in pages]


async def everything(
    archive: Archive, query: ArchiveQuery, limit: int, words: tuple[str, ...] = ()
) -> tuple[list[int], list[Findings]]:
    """Search until the end; return the page numbers and each of the answers."""
    answers: list[Findings] = []
    while True:
        answers.append(await archive.search(LOCAL, query, limit, words))
        if answers[-1].further is None:
            return [n for answer in answers for n in numbers(answer.pages)], answers
        query = replace(query, before=answers[-1].further)


class TestWords:
    async def test_they_are_found_in_url_title_and_text(
        self, store: Store, archive: Archive
    ) -> None:
        await filled(store, 12)

        by_text = await archive.search(LOCAL, EVERY, 10, ("page-7;",))
        by_url = await archive.search(LOCAL, EVERY, 10, ("local/1",))
        by_both = await archive.search(LOCAL, EVERY, 10, ("local/1", "page-11;"))
        by_none = await archive.search(LOCAL, EVERY, 10, ("local/1", "page-7;"))

        assert [numbers(f.pages) for f in (by_text, by_url, by_both)] == [[7], [11, 10, 1], [11]]
        assert [p.excerpt for p in (*by_text.pages, *by_both.pages)] == [
            "It is Page-7;",
            "It is Page-11;",
        ]
        assert (by_none.pages, by_none.further, by_none.cut_short) == ((), None, False)
        assert by_none.looked_at == 12


class TestBounds:
    async def test_a_page_is_filled_and_the_next_one_goes_on(
        self, store: Store, archive: Archive
    ) -> None:
        await filled(store, 10)
        page_numbers, answers = await everything(archive, EVERY, 4)
        assert page_numbers == list(reversed(range(10)))
        assert [len(answer.pages) for answer in answers] == [4, 4, 2]
        assert not any(answer.cut_short for answer in answers)

    @pytest.mark.parametrize("words", [(), ("page-1",)])
    @pytest.mark.parametrize("limit", [1, 3, 50])
    async def test_what_is_cut_short_goes_on_without_gap_or_double(
        self, store: Store, words: tuple[str, ...], limit: int
    ) -> None:
        await filled(store, 120)
        archive = bounded(store, pages=25)
        odd = PageQuery(hosts=frozenset({"example.com"}))

        page_numbers, answers = await everything(archive, ArchiveQuery(pages=odd), limit, words)

        fitting = [n for n in range(120) if not words or str(n).startswith("1")]
        assert page_numbers == list(reversed(fitting))
        assert all(answer.looked_at <= 25 for answer in answers)
        assert all(answer.cut_short == (len(answer.pages) < limit) for answer in answers[:-1])

    @pytest.mark.parametrize("words", [(), ("page",), ("page-1",)])
    async def test_each_page_is_counted_once_over_all_answers(
        self, store: Store, archive: Archive, words: tuple[str, ...]
    ) -> None:
        await filled(store, 120)
        _, answers = await everything(archive, EVERY, 7, words)
        assert sum(answer.looked_at for answer in answers) == 120

    async def test_an_empty_answer_says_how_far_it_has_looked(self, store: Store) -> None:
        await filled(store, 60)
        answer = await bounded(store, pages=50).search(LOCAL, EVERY, 10, ("nowhere",))
        assert (answer.pages, answer.looked_at, answer.back_to) == ((), 50, NOW)
        assert answer.cut_short
        assert answer.further is not None

    async def test_time_ends_it_as_well(self, store: Store) -> None:
        clock = FakeClock()
        slow = store.with_parts(archive=SlowStore(store.archive, clock))
        await filled(store, 1000)
        nowhere = ArchiveQuery(pages=PageQuery(hosts=frozenset({"nowhere.example"})))

        hasty, patient = (bounded(slow, clock, time=n * SlowStore.EACH) for n in (1, 2))
        first = await hasty.search(LOCAL, nowhere, 10, ("nowhere",))
        second = await patient.search(LOCAL, nowhere, 10, ("nowhere",))

        assert first.cut_short
        assert 0 < first.looked_at < 1000
        assert first.looked_at < second.looked_at < 1000

    async def test_texts_that_were_not_read_in_time_are_read_by_the_next(
        self, store: Store
    ) -> None:
        clock = FakeClock()
        slow = store.with_parts(archive=SlowStore(store.archive, clock))
        await filled(store, 120)

        hasty = bounded(slow, clock, time=SlowStore.EACH)
        page_numbers, answers = await everything(hasty, EVERY, 500, ("it is",))

        assert page_numbers == list(reversed(range(120)))
        assert [len(answer.pages) for answer in answers] == [50, 50, 20]

    async def test_an_export_goes_on_to_the_end(self, store: Store, archive: Archive) -> None:
        await filled(store, 1100, text="x" * 50)

        records = [r async for r in archive.records(LOCAL, EVERY, ("page",), [Body.TEXT])]
        bare = [r async for r in archive.records(LOCAL, EVERY)]

        assert numbers(tuple(record for record, _ in records)) == list(reversed(range(1100)))
        assert records[0][1][Body.TEXT].startswith(b"It is Page-1099; xx")
        assert len(bare) == 1100
        assert not any(page_text for _, page_text in bare)


@dataclass
class SlowStore:
    """A store that needs time for each read."""

    of: ArchiveStore
    clock: FakeClock
    EACH = timedelta(milliseconds=100)

    async def look(self, query: ArchiveQuery, rows: int, match: Match | None = None) -> SearchStep:
        await self.clock.advance(self.EACH)
        return await self.of.look(query, rows, match)

    async def size(self, query: ArchiveQuery) -> int | None:
        return await self.of.size(query)
