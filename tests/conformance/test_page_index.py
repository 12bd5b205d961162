"""The word index finds what reading all pages finds, under concurrent changes."""

import asyncio
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, delete, update

from crawlyard.core.access.user import LOCAL
from crawlyard.core.crawl.page import ErrorKind, Target
from crawlyard.core.jobs.checkpoint import Claim
from crawlyard.core.jobs.filter import FilterKey, condition
from crawlyard.core.search.search import Findings, IndexUse, words_of
from crawlyard.errors import StoreUnavailable
from crawlyard.services.search.indexer import POLL_EVERY, STANDBY_EVERY, TURN_LENGTH, Indexer
from crawlyard.services.search.search import Archive
from crawlyard.store.admin.copy import copy
from crawlyard.store.admin.marks import OverwriteTerms
from crawlyard.store.admin.place import DatabaseLocation
from crawlyard.store.crawl.frontier import reopen
from crawlyard.store.db.database import is_postgres
from crawlyard.store.open import open_sql_store
from crawlyard.store.queries import ArchiveQuery, JobQuery
from crawlyard.store.search import index as page_index
from crawlyard.store.search.index import PageIndexStore, Turn
from crawlyard.store.store import Store
from crawlyard.store.tables.jobs import jobs
from crawlyard.store.tables.page_search import marks
from tests.builders import a_batch, a_target, done, failed
from tests.clock import FakeClock
from tests.conformance.indexing import index, postings, stored, timed, vocabulary
from tests.conformance.purging import deleted, purged
from tests.conformance.steps import claimed, database_of, ended, recorded
from tests.conformance.test_retry_failed import retried
from tests.conformance.test_shared_bodies import count, later

TEXTS = {
    "guide/Install": "Getting\n  started: how to install it. Reinstalling is not needed.",
    "guide/next": "Getting it started again, step by step",
    "de": "Der Fußgängerüberweg an der ÄRZTEKAMMER",
    "fr": "L'état d'été, e\u0301te\u0301 décomposé",
    "tr": "İstanbul'da IŞIK",
    "el": "ΟΔΟΣ ΟΔΥΣΣΕΥΣ",
    "ja": "東京都庁のインストールガイド",
    "zh": "中华人民共和国",
    "ko": "서울특별시에서 설치하기",
    "th": "การติดตั้งโปรแกรม",
    "code": "def page_of(row) -> FooBarBaz: x[0] += 1",
    "blob": "data:" + "QmFzZTY0IGlz" * 12 + "-end",
    "empty": "",
}

QUERIES = (
    *("install", "INSTALL", "getting started", '"getting started"', "stall", "guide", "example"),
    *("fußgänger", "ärztekammer", "kammer", "arzt", "état", "etat", "été", "e\u0301te\u0301"),
    *("i̇stanbul", "istanbul", "\u0131ş\u0131k", "οδος", "ΟΔΟΣ", "οδοσ", "οδυσς"),
    *("東京", "京", "都庁", "東京都庁", "庁東", "インストール", "ガイド", "人民共和", "民人"),
    *("서울", "특별", "설치하", "ติดตั้ง", "โปรแกรม"),
    *("page_of", "_of(", "foobar", "x[0]", "+=", "%", "->", "QmFzZTY0IGlzQmFzZTY0IGlzQm", "zty0"),
    *("https://example.com/de", "nowhere", "install nowhere", '"by step"', "it step", "1"),
)


async def with_a_failure(store: Store) -> tuple[Claim, Target]:
    """Return the claim of a job with a page and a failed one, and the target of that."""
    claim, (good, failing) = await claimed(store), (a_target("good"), a_target("gone"))
    outcomes = [done(good, title=""), failed(failing, ErrorKind.HTTP_4XX, status=404)]
    answer = await recorded(store, claim.lease, a_batch([good, failing], outcomes))
    return replace(claim, lease=answer.lease), failing


async def paths(store: Store, query: str, *, indexed: bool, **filters: Any) -> list[str]:
    """Return the paths of all pages found, in order; and check that each is found once."""
    archive, archived = Archive(store, FakeClock(), indexed=indexed), ArchiveQuery(**filters)
    urls: list[str] = []
    while True:
        answer = await archive.search(LOCAL, archived, 5, words_of(query))
        urls += [page.page.url.removeprefix("https://example.com/") for page in answer.pages]
        if answer.further is None:
            return urls
        archived = replace(archived, before=answer.further)


async def search(store: Store, query: str, *, indexed: bool = True) -> Findings:
    return await Archive(store, FakeClock(), indexed=indexed).search(
        LOCAL, ArchiveQuery(), 50, words_of(query)
    )


async def test_it_finds_what_reading_all_pages_finds(store: Store) -> None:
    await stored(store, TEXTS)
    await index(store)

    for query in QUERIES:
        by_index = await paths(store, query, indexed=True)
        assert by_index == await paths(store, query, indexed=False), query

    assert (await search(store, "nowhere")).looked_at == 0
    assert (await search(store, "ガイド")).looked_at == 1
    assert (await search(store, "ガイド")).index is IndexUse.COMPLETE
    assert (await search(store, "+=")).index is IndexUse.UNDECIDED


async def test_a_search_finds_only_pages_of_the_requested_jobs(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stored(store, {"a": "needle", "b": "hay"}, owner="ada")
    await stored(store, {"c": "needle"}, owner="bob")
    await index(store)
    hers = JobQuery(where=(condition(FilterKey.OWNER, ["ada"]),))
    nobodys = JobQuery(where=(condition(FilterKey.OWNER, ["eve"]),))

    for most in (300, 0):  # by the index, and by a look at the pages that it finds
        monkeypatch.setattr("crawlyard.store.search.search._SOUGHT_IN", most)
        assert await paths(store, "needle", indexed=True) == ["c", "a"]
        assert await paths(store, "needle", indexed=True, jobs=hers) == ["a"]
        assert await paths(store, "needle", indexed=True, jobs=nobodys) == []


async def test_what_is_not_indexed_yet_is_read_and_the_answer_says_so(store: Store) -> None:
    await stored(store, {"a": "needle"})
    await index(store)
    await stored(store, {"b": "needle", "c": "hay"})

    answer = await search(store, "needle")

    assert [page.page.url[-1] for page in answer.pages] == ["b", "a"]
    assert (answer.index, answer.unindexed) == (IndexUse.BEHIND, 2)
    await index(store)
    answer = await search(store, "needle")
    assert [page.page.url[-1] for page in answer.pages] == ["b", "a"]
    assert (answer.index, answer.unindexed, answer.looked_at) == (IndexUse.COMPLETE, 0, 2)


async def test_pages_from_before_the_index_are_indexed_from_the_newest_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_index, "_PAGES", 2)
    await stored(store, {f"old/{n}": f"needle n{n}" for n in range(5)})
    await database_of(store).write(lambda conn: conn.execute(delete(marks)))  # as upgraded
    clock = FakeClock()
    indexer = Indexer(store, clock)
    behind = []
    while (state := await store.page_index.state()).unindexed:
        behind.append(state.unindexed)
        assert len(await paths(store, "needle", indexed=True)) == 5
        assert await paths(store, "n0", indexed=True) == ["old/0"]
        await timed(clock, indexer.round())
        await clock.advance(POLL_EVERY)

    assert behind == [5, 5, 3, 1]
    assert (await search(store, "n0")).looked_at == 1


async def test_new_pages_come_before_those_that_wait_for_long(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_index, "_PAGES", 2)
    await stored(store, {f"old/{n}": "hay" for n in range(9)})
    await database_of(store).write(lambda conn: conn.execute(delete(marks)))
    clock = FakeClock()
    indexer = Indexer(store, clock)
    await timed(clock, indexer.round())
    await stored(store, {f"new/{n}": "needle" for n in range(5)})

    await timed(clock, indexer.round())

    assert await postings(store, "needle") == 5
    assert (await store.page_index.state()).low == 9


class Dying(PageIndexStore):
    """An index whose process is killed after its first portion."""

    portions = 0

    async def advance(self, *args: Any) -> Any:
        if self.portions == 1:
            raise StoreUnavailable("killed")
        self.portions += 1
        return await super().advance(*args)


async def test_who_takes_over_goes_on_where_the_other_was_killed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_index, "_PAGES", 2)
    await stored(store, {f"{n}": f"needle n{n}" for n in range(5)})
    clock = FakeClock()
    killed = Indexer(store.with_parts(page_index=Dying(database_of(store))), clock)
    with pytest.raises(StoreUnavailable):
        await timed(clock, killed.catch_up())
    other = Indexer(store, clock)

    assert await timed(clock, other.round()) == STANDBY_EVERY  # it may be alive
    assert await postings(store, "needle") == 2
    assert len(await paths(store, "needle", indexed=True)) == 5
    await clock.advance(TURN_LENGTH)
    assert await timed(clock, other.round()) < POLL_EVERY

    assert await postings(store, "needle") == 5
    assert (await search(store, "needle")).index is IndexUse.COMPLETE


async def test_the_turn_of_who_was_stopped_ends_though_the_clock_is_set_back(
    store: Store,
) -> None:
    await stored(store, {"a": "needle"})
    clock = FakeClock()
    await timed(clock, Indexer(store, clock).round())
    await stored(store, {"b": "needle"})
    later = FakeClock(clock.now() - timedelta(hours=1))

    await timed(later, Indexer(store, later).round())

    assert await postings(store, "needle") == 2


async def test_of_several_one_indexes_each_page(store: Store) -> None:
    await stored(store, {f"{n}": "needle" for n in range(50)})
    clock = FakeClock()
    indexing = asyncio.gather(*(Indexer(store, clock).catch_up() for _ in range(3)))

    async def all_of_them() -> None:
        await indexing

    await timed(clock, all_of_them())

    assert await postings(store, "needle") == 50


async def test_a_process_that_reads_pages_while_another_indexes_them_adds_nothing(
    store: Store,
) -> None:
    await stored(store, {f"{n}": "needle" for n in range(5)})
    now, pages = FakeClock().now(), store.page_index
    fast, slow = (Turn(holder=name, now=now, until=now + TURN_LENGTH) for name in ("a", "b"))
    state = await pages.state()

    assert await pages.advance(state, state.newest, fast, set()) is not None
    assert await pages.advance(state, state.newest, slow, set()) is None

    assert await postings(store, "needle") == 5


async def test_what_is_deleted_leaves_nothing_behind(store: Store) -> None:
    claim = await stored(store, {"a": "secret hay", "b": "secret"})
    await stored(store, {"c": "hay"})
    clock = FakeClock()
    indexer = Indexer(store, clock)
    await timed(clock, indexer.catch_up())
    assert await postings(store, "secret") == 2

    await deleted(store, await ended(store, claim.lease))
    assert await paths(store, "secret", indexed=True) == []
    await purged(store, 1)  # one row at a time

    assert (await postings(store, "secret"), await postings(store, "hay")) == (0, 1)
    for _ in range(2):
        await timed(clock, indexer.round())
    assert "hay" in await vocabulary(store)
    assert "secret" not in await vocabulary(store)
    assert await paths(store, "hay", indexed=True) == ["c"]


async def test_a_job_that_is_deleted_while_its_pages_are_read_is_not_indexed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = await stored(store, {"a": "secret"})
    job = await ended(store, claim.lease)
    write = page_index._write

    def late(conn: Connection, **arguments: Any) -> bool:
        conn.execute(update(jobs).values(deleted_at=job.updated_at))
        return write(conn, **arguments)

    monkeypatch.setattr(page_index, "_write", late)
    await index(store)

    assert await postings(store, "secret") == 0


async def test_what_was_passed_over_as_its_job_was_deleted_is_not_taken_out_again(
    store: Store,
) -> None:
    await stored(store, {"c": "hay"})
    claim = await stored(store, {"a": "secret hay", "b": "secret"})
    await deleted(store, await ended(store, claim.lease))
    await index(store)

    await purged(store)

    assert (await postings(store, "secret"), await postings(store, "hay")) == (0, 1)
    assert await paths(store, "hay", indexed=True) == ["c"]


async def test_what_is_retried_is_found_once_it_has_been_fetched_again(store: Store) -> None:
    claim, target = await with_a_failure(store)
    await index(store)
    assert await paths(store, "gone", indexed=True) == ["gone"]
    await ended(store, claim.lease)

    await retried(store, claim.job.id)

    assert (await postings(store, "gone"), await postings(store, "good")) == (0, 1)
    again = await claimed(store, claim.job)
    await recorded(store, again.lease, a_batch(outcomes=[done(target, title="")]))
    await index(store)
    assert await postings(store, "gone") == 1
    await deleted(store, await ended(store, again.lease))
    await purged(store)
    assert await postings(store, "example") == 0


async def test_what_is_retried_while_its_page_is_read_is_not_indexed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, _ = await with_a_failure(store)
    await ended(store, claim.lease)
    write = page_index._write

    def late(conn: Connection, **arguments: Any) -> bool:
        reopen(conn, claim.lease.job_no, claim.shard, ())
        return write(conn, **arguments)

    monkeypatch.setattr(page_index, "_write", late)
    await index(store)

    assert (await postings(store, "gone"), await postings(store, "good")) == (0, 1)


async def test_runs_that_share_a_text_and_are_deleted_together_leave_nothing_behind(
    store: Store,
) -> None:
    first_job = await stored(store, {"a": "secret"})
    two = await later(store, first_job, [a_target("a")])
    await index(store)
    assert await postings(store, "secret") == 2
    for claim in (first_job, two):
        await deleted(store, await ended(store, claim.lease))

    await purged(store, 1)

    assert (await postings(store, "secret"), await count(store)) == (0, 0)


async def test_switched_off_pages_are_read_and_the_answer_says_so(store: Store) -> None:
    await stored(store, {"a": "needle"})
    await index(store)

    answer = await search(store, "needle", indexed=False)

    assert len(answer.pages) == 1
    assert answer.index is IndexUse.OFF


async def test_what_is_too_common_for_the_index_is_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_index, "MOST_TERMS", 3)
    await stored(store, {f"{n}": f"common{n} rare" for n in range(9)})
    await index(store)

    assert (await search(store, "common")).index is IndexUse.UNDECIDED
    assert len((await search(store, "common")).pages) == 9
    answer = await search(store, "common5 rare")
    assert (len(answer.pages), answer.looked_at) == (1, 1)


async def test_a_phrase_of_common_words_is_read_only_where_it_may_be(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crawlyard.core.search.terms.MOST_ORDERED", 20)
    texts = {"there": "a car of, the year", "not": "the car of a year", "long": "the a of " * 9}
    await stored(store, texts)
    await index(store)

    phrase = '"ar of the y"'  # "ar" ends a word, and "y" begins one
    assert await paths(store, phrase, indexed=True) == []
    answer = await search(store, phrase)
    # on Postgres, all pages with these words are read
    assert answer.looked_at == (2 if await database_of(store).read(is_postgres) else 1)
    assert await paths(store, '"of, the year"', indexed=True) == ["there"]
    assert await paths(store, '"the a of the"', indexed=True) == ["long"]


async def test_a_page_with_too_many_words_is_read_by_each_search(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crawlyard.core.search.terms.MOST_LETTERS", 50)
    await stored(store, {"big": " ".join(f"word{n}" for n in range(50)), "small": "hay"})
    await index(store)

    assert await paths(store, "word49", indexed=True) == ["big"]
    assert (await search(store, "nowhere")).looked_at == 1


async def test_a_copy_is_reindexed_starting_with_its_newest_page(
    sqlite_template: Path, tmp_path: Path
) -> None:
    files = [Path(shutil.copy(sqlite_template, tmp_path / name)) for name in ("from.db", "to.db")]
    source, target = [await open_sql_store(file) for file in files]
    await stored(source, TEXTS)
    await index(source)
    await stored(target, {"replaced": "old words"})
    await index(target)
    for store in (source, target):
        await store.close()

    origin, place = map(DatabaseLocation.of, files)
    terms = OverwriteTerms(field="--to", replace=True)
    await asyncio.to_thread(copy, origin, place, terms, lambda _: None)

    store = await open_sql_store(files[1])
    assert (await store.page_index.state()).unindexed == len(TEXTS)
    assert await vocabulary(store) == set()
    assert await paths(store, "ガイド", indexed=True) == ["ja"]
    await index(store)
    assert await paths(store, "ガイド", indexed=True) == ["ja"]
    assert (await search(store, "ガイド")).looked_at == 1
    assert await postings(store, "old") == 0
    await store.close()


@pytest.mark.postgres
async def test_a_page_whose_transaction_commits_late_is_not_passed_over(
    postgres_url: str,
) -> None:
    store = await open_sql_store(postgres_url)
    try:
        with psycopg.connect(postgres_url) as late:
            late.execute("DELETE FROM pages WHERE id < 0")  # takes the lock that an INSERT takes
            assert len(await store.page_index.writers()) == 1
            late.commit()
            assert await store.page_index.writers() == frozenset()
    finally:
        await store.close()
