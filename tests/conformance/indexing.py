"""Helpers for tests of the word index."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from sqlalchemy import text

from crawlyard.core.crawl.page import Body
from crawlyard.core.jobs.checkpoint import Claim
from crawlyard.services.search.indexer import Indexer
from crawlyard.services.upkeep.janitor import BREATH
from crawlyard.store.db.database import is_postgres
from crawlyard.store.store import Store
from tests.builders import NOW, a_batch, a_job, a_target, done
from tests.clock import FakeClock
from tests.conformance.steps import added, claimed, database_of, recorded

T = TypeVar("T")


async def timed(clock: FakeClock, work: Coroutine[Any, Any, T]) -> T:
    """Return what *work* returned; its sleeps pass as fast as the store answers."""
    task = asyncio.ensure_future(work)
    while not task.done():
        await clock.advance(BREATH)
    return await task


async def index(store: Store) -> None:
    """Index all pages, once the turn of the last indexer is over."""
    clock = FakeClock(max(NOW, (await store.page_index.state()).until))
    await timed(clock, Indexer(store, clock).catch_up())


async def stored(store: Store, texts: dict[str, str], **job: Any) -> Claim:
    """Return the claim of a job with a page of each text, by the path of its URL."""
    claim = await claimed(store, await added(store, a_job(**job)))
    targets = {path: a_target(path) for path in texts}
    outcomes = [
        done(targets[path], {Body.TEXT: text.encode()}, title="") for path, text in texts.items()
    ]
    await recorded(store, claim.lease, a_batch(list(targets.values()), outcomes))
    return claim


async def postings(store: Store, term: str) -> int:
    """Return how many pages have *term* in the index."""

    def count(conn: Any) -> int:
        where = "page_search MATCH :q"
        term_literal = f'"{term}"'
        if is_postgres(conn):
            where, term_literal = "words @@ CAST(:q AS tsquery)", f"'{term}'"
        query = f"SELECT count(*) FROM page_search WHERE {where}"
        return int(conn.execute(text(query), {"q": term_literal}).scalar_one())

    hits: int = await database_of(store).read(count)
    return hits


async def vocabulary(store: Store) -> set[str]:
    """Return all terms that words are looked for in."""
    query = text("SELECT term FROM page_search_terms")
    terms: set[str] = await database_of(store).read(lambda conn: set(conn.scalars(query)))
    return terms
