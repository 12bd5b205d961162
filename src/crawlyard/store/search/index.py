"""The index of words in pages: filled in portions, searched, and emptied with its jobs.

It has all pages with ids above one mark up to another, of jobs that are not being purged. New pages
move the upper mark up; those that were there before the index, the newest first, move the lower
one down. A portion and its marks are one transaction.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import accumulate, chain, product, takewhile
from math import prod
from typing import Any, TypeAlias

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    Select,
    String,
    bindparam,
    delete,
    func,
    or_,
    select,
    text,
    update,
)

from crawlyard.core.crawl.page import Body
from crawlyard.core.search.search import Match
from crawlyard.core.search.terms import (
    HUGE,
    LONG,
    Piece,
    head_of,
    job_term,
    phrases_of,
    pieces_of,
    terms_of,
)
from crawlyard.store.codec.jobs import text_in
from crawlyard.store.db.bulk_rows import insert_new, put_rows
from crawlyard.store.db.database import is_postgres
from crawlyard.store.db.dialects import driver_of
from crawlyard.store.db.transactions import StorePart, reads
from crawlyard.store.tables.jobs import BODIES_OF, PRESENT, bodies, jobs, pages
from crawlyard.store.tables.page_search import gone, marks, terms

_PAGES = 500  # of a portion
_BYTES = 8 << 20  # of its pages as transferred

_GONE_AT_ONCE = 100  # pages of a purged job: on SQLite, 15 ms

_TERMS_SWEPT = 500
"""Terms that one transaction compares with the index."""

MOST_TERMS = 300
"""Terms with a part of a word: above that the word is so common that reading pages is fast."""

_PIECES = 3  # that are looked up in the terms: each may take a look at all of them

_MOST_PHRASES = 100  # that the index is asked for in place of one

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class IndexState(Struct, frozen=True, kw_only=True):
    """How far the index has come, and who makes it."""

    newest: int = 0  # the last page that is stored
    begun: bool = False
    low: int = 0
    high: int = 0
    holder: str = ""
    until: datetime = _NEVER  # the holder's turn lasts until then
    loose: bool = False
    swept: str | None = None

    @property
    def unindexed(self) -> int:
        """Return about how many pages the index does not have, at most."""
        return max(0, self.newest - self.high) + self.low if self.begun else self.newest

    def is_others(self, turn: "Turn") -> bool:
        """Return whether it is not the turn of who asks."""
        return self.holder != turn.holder and turn.now < self.until <= turn.at_most


class Turn(Struct, frozen=True, kw_only=True):
    """Who indexes a portion, and until when nobody else does."""

    holder: str
    now: datetime
    until: datetime

    @property
    def at_most(self) -> datetime:
        """Return when the turn of another ends at the latest.

        One that ends later began before the clock was set back.
        """
        return self.until + (self.until - self.now)


class _Document(Struct, frozen=True):
    page_id: int
    job_no: int
    words: str  # all its terms, as the index takes them


class PageIndexStore(StorePart):
    """The index of words in pages."""

    async def state(self) -> IndexState:
        """Return how far the index is."""
        return await self._database.known(_state)

    @reads
    def writers(self, conn: Connection) -> frozenset[str]:
        """Return the transactions under way that may have stored pages.

        When those have ended that were under way after `state` was read, all pages up to
        its `newest` can be seen. On SQLite there are none: pages appear in the order of ids.
        """
        return frozenset(conn.scalars(_WRITERS)) if is_postgres(conn) else frozenset()

    @reads
    def match(self, conn: Connection, words: Sequence[str]) -> Match | None:
        """Return what pages with all *words* have in the index.

        ``None`` if the index cannot narrow them down, as the words are parts of too many terms.
        """
        state = _state(conn)
        each = [pieces_of(word) for word in words]
        found = _found(conn, list(dict.fromkeys(chain(*each))))
        if not found:
            return None
        phrases = (_phrase(phrase, found) for pieces in each for phrase in phrases_of(pieces))
        return Match(
            groups=tuple(found.values()),
            phrases=tuple(filter(None, phrases)),
            low=state.low,
            high=state.high,
            unindexed=state.unindexed,
        )

    async def advance(
        self, state: IndexState, upto: int, turn: Turn, known: set[bytes]
    ) -> IndexState | None:
        """Index the next portion, and return the new state: of the pages up to *upto*, if new.

        Else those below the lower mark. ``None``: another process has been faster or has its turn,
        and nothing was done. *known* are terms that have been stored; it grows.
        """
        if not state.begun:
            begun = replace(state, begun=True, low=upto, high=upto, holder=turn.holder)
            done = await self._database.write(partial(_begin, upto=upto, turn=turn))
            return begun if done else None
        rising = upto > state.high
        ids, whole = await self._database.read(partial(_portion, state=state, upto=upto))
        if rising:
            after = replace(state, high=upto if whole else ids[-1])
            between = (state.high, after.high)
        else:
            after = replace(state, low=0 if whole else ids[-1] - 1)
            between = (after.low, state.low)
        found = await self._database.read(partial(_texts, between=between))
        documents, fresh = await self._database.compute(partial(_documents, found, known))
        work = partial(_write, state=state, after=after, turn=turn, found=documents, fresh=fresh)
        if not await self._database.write(work):
            return None
        known |= fresh
        return replace(after, holder=turn.holder, until=turn.until)

    async def sweep(self, state: IndexState, turn: Turn) -> IndexState | None:
        """Delete terms that no page has any more, some at a time; the result is as of `advance`."""
        return await self._database.write(partial(_sweep, state=state, turn=turn))


def matching(
    conn: Connection, match: Match, job_numbers: Sequence[int], before: int, rows: int
) -> list[int]:
    """Return the ids below *before* of the newest pages that may match, of these jobs if any."""
    asked = _asked(match, tuple(map(job_term, job_numbers)), postgres=is_postgres(conn))
    given = {"asked": asked, "low": match.low, "before": before, "rows": rows}
    return list(conn.scalars(_MATCHING[is_postgres(conn)], given))


def unindex(conn: Connection, no: int, most: int) -> int:
    """Delete the first pages of a job, at most *most*, from the index; return how many."""
    last = conn.scalar(select(gone.c.page_id).where(gone.c.job_no == no)) or 0
    rows = min(most, _GONE_AT_ONCE)
    if is_postgres(conn):
        state = _state(conn)
        between = (pages.c.id > max(state.low, last)) & (pages.c.id <= state.high)
        first = select(pages.c.id).where(pages.c.job_no == no, between).order_by(pages.c.id)
        ids = list(conn.scalars(first.limit(rows)))
        conn.execute(_REMOVE, {"ids": ids})
    else:
        # A page that the index does not have must not be taken out of it: one that was skipped, as
        # its job was being purged when its turn came, for example. So the index itself is asked.
        asked = {"asked": f'"{job_term(no)}"', "after": last, "rows": rows}
        ids = list(conn.scalars(_OF_JOB, asked))
        _take_out(conn, pages.c.id.in_(ids))
    if ids:
        put_rows(conn, gone, [{"job_no": no, "page_id": ids[-1]}])
        _loosen(conn)
    return len(ids)


def unindex_some(conn: Connection, which: ColumnElement[bool]) -> None:
    """Delete pages that are about to be deleted, of a job that stays, from the index."""
    if is_postgres(conn):
        # locked in the order of `_write`, so that none of them is added meanwhile
        these = select(pages.c.id).where(which).order_by(pages.c.id).with_for_update()
        conn.execute(_REMOVE, {"ids": conn.scalars(these).all()})
    else:
        state = _state(conn)
        _take_out(conn, which & (pages.c.id > state.low) & (pages.c.id <= state.high))
    _loosen(conn)


def _take_out(conn: Connection, which: ColumnElement[bool]) -> None:
    """Delete pages, which it has, from the index of SQLite."""
    # the index has not kept what it has of a page: that is told again
    found, _ = _documents(conn.execute(_TEXTS.where(which)).all())
    driver_of(conn).executemany(
        "INSERT INTO page_search (page_search, rowid, words) VALUES ('delete', ?, ?)",
        [(document.page_id, document.words) for document in found],
    )


def _loosen(conn: Connection) -> None:
    """Note that pages have gone."""
    conn.execute(update(marks).where(~marks.c.loose).values(loose=True))


def unindexed(conn: Connection, no: int) -> None:
    """Forget how far a job had been deleted from the index: the job is gone."""
    conn.execute(delete(gone).where(gone.c.job_no == no))


def clear(conn: Connection) -> None:
    """Empty the index, so that it is made anew."""
    for table in (marks, terms, gone):
        conn.execute(delete(table))
    if is_postgres(conn):
        conn.execute(text("DELETE FROM page_search"))
    else:
        conn.exec_driver_sql("INSERT INTO page_search (page_search) VALUES ('delete-all')")


_WRITERS = text(
    "SELECT virtualtransaction FROM pg_locks WHERE locktype = 'relation' AND granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND relation = CAST('pages' AS regclass) AND mode = 'RowExclusiveLock'"
)

_MATCHING: Mapping[bool, Executable] = {
    False: text(
        "SELECT rowid FROM page_search WHERE page_search MATCH :asked"
        " AND rowid > :low AND rowid < :before ORDER BY rowid DESC LIMIT :rows"
    ),
    True: text(
        "SELECT page_id FROM page_search WHERE words @@ CAST(:asked AS tsquery)"
        " AND page_id > :low AND page_id < :before ORDER BY page_id DESC LIMIT :rows"
    ).bindparams(bindparam("asked", type_=String, literal_execute=True)),
}
"""By whether it is for Postgres: there words are no parameter; its generic plan reads all pages."""

_OF_JOB = text(
    "SELECT rowid FROM page_search WHERE page_search MATCH :asked AND rowid > :after"
    " ORDER BY rowid LIMIT :rows"
)

_REMOVE = text("DELETE FROM page_search WHERE page_id = ANY(CAST(:ids AS bigint[]))")

_ADD = text(
    "INSERT INTO page_search (page_id, words)"
    " SELECT page_id, array_to_tsvector(string_to_array(words, ' '))"
    " FROM unnest(CAST(:ids AS bigint[]), CAST(:words AS text[])) AS found (page_id, words)"
)

_HAS_TERM: Mapping[bool, str] = {
    False: """page_search MATCH '"' || term || '"'""",
    True: "words @@ CAST(quote_literal(term) AS tsquery)",
}

_UNUSED: Mapping[bool, Executable] = {
    postgres: text(
        "SELECT term FROM page_search_terms WHERE term > :after AND term <= :upto"  # noqa: S608 - ours
        f" AND NOT EXISTS (SELECT 1 FROM page_search WHERE {has})"
    )
    for postgres, has in _HAS_TERM.items()
}

_IS_TEXT = (bodies.c.page_id == BODIES_OF) & (bodies.c.kind == Body.TEXT.value)

_Texts: TypeAlias = Sequence[Any]  # rows of `_TEXTS`

_TEXTS: Select[Any] = (
    select(
        pages.c.id,
        pages.c.job_no,
        pages.c.url,
        pages.c.final_url,
        pages.c.title,
        bodies.c.data,
    )
    .select_from(pages.outerjoin(bodies, _IS_TEXT))
    .order_by(pages.c.id)
)


def _state(conn: Connection) -> IndexState:
    newest = conn.scalar(select(func.max(pages.c.id))) or 0
    row = conn.execute(select(marks)).mappings().first()
    if row is None:
        return IndexState(newest=newest)
    return IndexState(newest=newest, begun=True, **{k: v for k, v in row.items() if k != "id"})


def _begin(conn: Connection, upto: int, turn: Turn) -> bool:
    row = {"id": 1, "low": upto, "high": upto, "holder": turn.holder, "until": turn.until}
    return bool(insert_new(conn, marks, [row | {"loose": False, "swept": None}]))


def _portion(conn: Connection, state: IndexState, upto: int) -> tuple[Sequence[int], bool]:
    """Return the ids of the next pages to index, and whether there are no others in the way."""
    asked = select(pages.c.id, pages.c.bytes).limit(_PAGES)
    if upto > state.high:
        between = (pages.c.id > state.high) & (pages.c.id <= upto)
        asked = asked.where(between).order_by(pages.c.id)
    else:
        asked = asked.where(pages.c.id <= state.low).order_by(pages.c.id.desc())
    found = conn.execute(asked).all()
    sums = accumulate(size for _, size in found)
    taken = max(1, sum(1 for _ in takewhile(lambda upto: upto <= _BYTES, sums)))
    return [id_ for id_, _ in found[:taken]], taken >= len(found) < _PAGES


def _texts(conn: Connection, between: tuple[int, int]) -> _Texts:
    after, upto = between
    there = _TEXTS.join(jobs, jobs.c.no == pages.c.job_no).where(PRESENT)
    return list(conn.execute(there.where(pages.c.id > after, pages.c.id <= upto)))


def _documents(
    found: _Texts, known: Collection[bytes] = frozenset()
) -> tuple[Sequence[_Document], set[bytes]]:
    """Return what the index takes of these pages, and their terms that are not *known*."""
    documents, seen = [], set[bytes]()
    for page_id, job_no, url, final_url, title, data in found:
        terms = terms_of(head_of(url, final_url, title), text_in(data))
        seen.update(terms.each)
        documents.append(_Document(page_id, job_no, f"{terms.words} {job_term(job_no)}"))
    return documents, seen.difference(known, [HUGE.encode()])


def _takes_turn(conn: Connection, state: IndexState, turn: Turn, **changed: object) -> bool:
    """Change the marks; return whether nobody else has changed them or has the turn."""
    same = (
        marks.c.low == state.low,
        marks.c.high == state.high,
        marks.c.swept.is_not_distinct_from(state.swept),
        marks.c.holder == state.holder,
        or_(
            marks.c.holder == turn.holder,
            marks.c.until <= turn.now,
            marks.c.until > turn.at_most,
        ),
    )
    given = {"holder": turn.holder, "until": turn.until} | changed
    return bool(conn.execute(update(marks).where(*same).values(given)).rowcount)


def _write(
    conn: Connection,
    state: IndexState,
    after: IndexState,
    turn: Turn,
    found: Sequence[_Document],
    fresh: Collection[bytes],
) -> bool:
    # The jobs before the marks, as a purge locks them: a job that is being purged is deleted, and
    # one that is not stays until this is committed; so do the pages, which a retry deletes.
    own = jobs.c.no.in_({document.job_no for document in found})
    there = select(jobs.c.no).where(own, PRESENT).order_by(jobs.c.no)
    of_these = pages.c.job_no.in_(_kept(conn, there))
    found_ids = pages.c.id.in_([document.page_id for document in found])
    stay = set(_kept(conn, select(pages.c.id).where(found_ids, of_these).order_by(pages.c.id)))
    if not _takes_turn(conn, state, turn, low=after.low, high=after.high):
        return False
    kept = [(document.page_id, document.words) for document in found if document.page_id in stay]
    sought = sorted(term.decode() for term in fresh)
    if is_postgres(conn):
        ids, words = [id_ for id_, _ in kept], [words for _, words in kept]
        conn.execute(_ADD, {"ids": ids, "words": words})
        insert_new(conn, terms, [{"term": term} for term in sought])
    else:
        driver = driver_of(conn)
        driver.executemany("INSERT INTO page_search (rowid, words) VALUES (?, ?)", kept)
        added = "INSERT OR IGNORE INTO page_search_terms (term) VALUES (?)"
        driver.executemany(added, zip(sought, strict=True))
    return True


def _kept(conn: Connection, rows: Select[Any]) -> Sequence[int]:
    """Return the keys of rows that nobody deletes until the transaction ends."""
    return conn.scalars(rows.with_for_update(read=True, key_share=True)).all()


def _sweep(conn: Connection, state: IndexState, turn: Turn) -> IndexState | None:
    after = state.swept or ""
    following = select(terms.c.term).where(terms.c.term > after).order_by(terms.c.term)
    some = conn.scalars(following.limit(_TERMS_SWEPT)).all()
    upto = some[-1] if some else None
    changed: dict[str, object] = {"swept": upto}
    if state.swept is None:
        changed["loose"] = False  # of what goes from now on, the next sweep knows
    if not _takes_turn(conn, state, turn, **changed):
        return None
    if some:
        given = {"after": after, "upto": upto}
        unused = conn.scalars(_UNUSED[is_postgres(conn)], given).all()
        conn.execute(delete(terms).where(terms.c.term.in_(unused)))
    return _state(conn)


def _found(conn: Connection, pieces: Sequence[Piece]) -> Mapping[Piece, tuple[str, ...]]:
    """Return the terms with each of *pieces*: a page must have one of each.

    Those that too many terms have are left out. If there is none, no page has what is needed.
    """
    groups = {piece: (piece.text,) for piece in pieces if piece.is_term}
    parts = sorted((p for p in pieces if not p.is_term), key=lambda p: len(p.text), reverse=True)
    for part in parts[:_PIECES]:
        found = conn.scalars(select(terms.c.term).where(_has(part)).limit(MOST_TERMS + 1)).all()
        if len(found) <= MOST_TERMS:
            groups[part] = tuple(found)
        if not found:
            break
    return groups


def _phrase(phrase: Sequence[Piece], found: Mapping[Piece, Sequence[str]]) -> tuple[str, ...]:
    """Return the sequences of terms one of which a page has that has *phrase*; empty if unknown."""
    known = [found[piece] for piece in phrase if piece in found]  # the others are at the ends
    while prod(map(len, known)) > _MOST_PHRASES:
        known.pop(0 if len(known[0]) > len(known[-1]) else -1)
    return tuple(map(" ".join, product(*known))) if len(known) > 1 else ()


def _has(piece: Piece) -> ColumnElement[bool]:
    escaped = re.sub("[/%_]", r"/\g<0>", piece.text)
    pattern = f"{'' if piece.begins else '%'}{escaped}{'' if piece.ends else '%'}"
    # no parameter: a generic plan of Postgres builds the pattern anew for each term
    return terms.c.term.like(bindparam(None, pattern, literal_execute=True), escape="/")


def _asked(match: Match, job_terms: Sequence[str], *, postgres: bool) -> str:
    """Return the query of the index; terms have letters, digits, "_" and "#" only."""
    quote, both, either = ("'", "&", "|") if postgres else ('"', " AND ", " OR ")

    def any_of(some: Iterable[str]) -> str:
        return f"({either.join(f'{quote}{term}{quote}' for term in some)})"

    needed = list(match.groups)
    if not postgres:  # whose index does not have the order: it would read each page for that
        needed += [(LONG, *phrase) for phrase in match.phrases]
    asked = any_of([HUGE])
    if all(needed):
        asked = f"({both.join(map(any_of, needed))}{either}{asked})"
    return f"{asked}{both}{any_of(job_terms)}" if job_terms else asked
