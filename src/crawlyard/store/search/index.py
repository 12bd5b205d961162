"""Index of words in pages: filled in portions, searched, and emptied with its jobs.

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
from crawlyard.store.codec.jobs import decompress_text
from crawlyard.store.db.bulk_rows import insert_new, put_rows
from crawlyard.store.db.connection import driver_of
from crawlyard.store.db.database import StorePart, is_postgres, reads
from crawlyard.store.tables.jobs import BODIES_OF, PRESENT, bodies, jobs, pages
from crawlyard.store.tables.page_search import marks, purged, terms

_PAGES = 500  # of a portion
_BYTES = 8 << 20  # of its pages as transferred

_GONE_AT_ONCE = 100  # pages of a purged job: on SQLite, 15 ms

_TERMS_SWEPT = 500
"""Terms that one transaction compares with the index."""

MOST_TERMS = 300
"""Terms with a part of a word: above that the word is so common that reading pages is fast."""

_PIECES = 3  # word parts looked up in the terms: each lookup may read all terms

_MOST_PHRASES = 100  # alternatives of a phrase in one index query

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class IndexState(Struct, frozen=True, kw_only=True):
    """State of the index: its marks, and the process that fills it."""

    newest: int = 0  # the last page that is stored
    begun: bool = False  # the marks are stored
    low: int = 0  # pages above this id, up to `high`, are indexed
    high: int = 0
    holder: str = ""
    until: datetime = _NEVER  # the holder's turn lasts until then
    loose: bool = False  # pages were deleted: some terms may be unused
    swept: str | None = None  # the last term checked for that; None: no check is due

    @property
    def unindexed(self) -> int:
        """Approximate number of pages missing in the index, an upper bound."""
        return max(0, self.newest - self.high) + self.low if self.begun else self.newest

    def is_taken(self, turn: "Turn") -> bool:
        """Return whether another process has the turn."""
        return self.holder != turn.holder and turn.now < self.until <= turn.at_most


class Turn(Struct, frozen=True, kw_only=True):
    """Exclusive right of a process to index a portion, until an instant."""

    holder: str
    now: datetime
    until: datetime

    @property
    def at_most(self) -> datetime:
        """Latest possible end of another process's turn.

        A turn that ends later began before the clock was set back.
        """
        return self.until + (self.until - self.now)


class _Document(Struct, frozen=True):
    page_id: int
    job_no: int
    words: str  # all its terms, as the index takes them


class PageIndexStore(StorePart):
    """Operations on the index: progress, search, filling and cleaning."""

    async def state(self) -> IndexState:
        """Return the current marks of the index."""
        return await self._database.read_cached(_state)

    @reads
    def writers(self, conn: Connection) -> frozenset[str]:
        """Return the transactions under way that may have stored pages.

        When those have ended that were under way after `state` was read, all pages up to
        its `newest` can be seen. On SQLite there are none: pages appear in the order of ids.
        """
        return frozenset(conn.scalars(_WRITERS)) if is_postgres(conn) else frozenset()

    @reads
    def match(self, conn: Connection, words: Sequence[str]) -> Match | None:
        """Return the index entries that pages with all *words* must have.

        ``None`` if the index cannot narrow them down, as the words are parts of too many terms.
        """
        state = _state(conn)
        each = [pieces_of(word) for word in words]
        groups = _terms_by_piece(conn, list(dict.fromkeys(chain(*each))))
        if not groups:
            return None
        phrases = (_phrase(phrase, groups) for pieces in each for phrase in phrases_of(pieces))
        return Match(
            groups=tuple(groups.values()),
            phrases=tuple(filter(None, phrases)),
            low=state.low,
            high=state.high,
            unindexed=state.unindexed,
        )

    async def advance(
        self, state: IndexState, upto: int, turn: Turn, known_terms: set[bytes]
    ) -> IndexState | None:
        """Index the next portion of the pages up to *upto*, if new, and return the new state.

        Otherwise index pages below the lower mark. ``None``: another process was faster or has
        the turn, and nothing was done. *known_terms* are terms already stored; the set grows.
        """
        if not state.begun:
            begun = replace(state, begun=True, low=upto, high=upto, holder=turn.holder)
            done = await self._database.write(partial(_begin, upto=upto, turn=turn))
            return begun if done else None
        rising = upto > state.high
        ids, whole = await self._database.read(partial(_next_portion, state=state, upto=upto))
        if rising:
            after = replace(state, high=upto if whole else ids[-1])
            between = (state.high, after.high)
        else:
            after = replace(state, low=0 if whole else ids[-1] - 1)
            between = (after.low, state.low)
        texts = await self._database.read(partial(_texts, between=between))
        documents, fresh = await self._database.compute(partial(_documents, texts, known_terms))
        work = partial(
            _write, state=state, after=after, turn=turn, documents=documents, fresh=fresh
        )
        if not await self._database.write(work):
            return None
        known_terms |= fresh
        return replace(after, holder=turn.holder, until=turn.until)

    async def sweep(self, state: IndexState, turn: Turn) -> IndexState | None:
        """Delete a portion of the terms that no page has any more; returns as `advance` does."""
        return await self._database.write(partial(_sweep, state=state, turn=turn))


def matching(
    conn: Connection, match: Match, job_numbers: Sequence[int], before: int, rows: int
) -> list[int]:
    """Return the newest ids below *before* that may match, only of *job_numbers* if any."""
    expression = _expression(match, tuple(map(job_term, job_numbers)), postgres=is_postgres(conn))
    parameters = {"asked": expression, "low": match.low, "before": before, "rows": rows}
    return list(conn.scalars(_MATCHING[is_postgres(conn)], parameters))


def unindex(conn: Connection, no: int, most: int) -> int:
    """Delete the first pages of a job, at most *most*, from the index; return how many."""
    last = conn.scalar(select(purged.c.page_id).where(purged.c.job_no == no)) or 0
    rows = min(most, _GONE_AT_ONCE)
    if is_postgres(conn):
        state = _state(conn)
        between = (pages.c.id > max(state.low, last)) & (pages.c.id <= state.high)
        first = select(pages.c.id).where(pages.c.job_no == no, between).order_by(pages.c.id)
        ids = list(conn.scalars(first.limit(rows)))
        conn.execute(_REMOVE, {"ids": ids})
    else:
        # A page that the index does not have must not be taken out of it: one that was skipped, as
        # its job was being purged when its turn came, for example. So the index itself is queried.
        parameters = {"asked": f'"{job_term(no)}"', "after": last, "rows": rows}
        ids = list(conn.scalars(_OF_JOB, parameters))
        _remove_on_sqlite(conn, pages.c.id.in_(ids))
    if ids:
        put_rows(conn, purged, [{"job_no": no, "page_id": ids[-1]}])
        _mark_loose(conn)
    return len(ids)


def unindex_some(conn: Connection, which: ColumnElement[bool]) -> None:
    """Delete pages that are about to be deleted, of a job that stays, from the index."""
    if is_postgres(conn):
        # locked in the order of `_write`, so that no page is added meanwhile
        ids = select(pages.c.id).where(which).order_by(pages.c.id).with_for_update()
        conn.execute(_REMOVE, {"ids": conn.scalars(ids).all()})
    else:
        state = _state(conn)
        _remove_on_sqlite(conn, which & (pages.c.id > state.low) & (pages.c.id <= state.high))
    _mark_loose(conn)


def _remove_on_sqlite(conn: Connection, which: ColumnElement[bool]) -> None:
    """Delete pages that are indexed from the index of SQLite."""
    # the index does not store its words per page: they must be passed again to be deleted
    documents, _ = _documents(conn.execute(_TEXTS.where(which)).all())
    driver_of(conn).executemany(
        "INSERT INTO page_search (page_search, rowid, words) VALUES ('delete', ?, ?)",
        [(document.page_id, document.words) for document in documents],
    )


def _mark_loose(conn: Connection) -> None:
    """Mark that pages were deleted, so that the next sweep checks the terms."""
    conn.execute(update(marks).where(~marks.c.loose).values(loose=True))


def forget_purge(conn: Connection, no: int) -> None:
    """Delete the purge position of a job in the index: the job is gone."""
    conn.execute(delete(purged).where(purged.c.job_no == no))


def clear(conn: Connection) -> None:
    """Empty the index, so that it is rebuilt."""
    for table in (marks, terms, purged):
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
"""By dialect (True: Postgres, where words are literals: the generic plan reads all pages)."""

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


def _next_portion(conn: Connection, state: IndexState, upto: int) -> tuple[Sequence[int], bool]:
    """Return the ids of the next pages to index, and whether they are all that remain."""
    query = select(pages.c.id, pages.c.bytes).limit(_PAGES)
    if upto > state.high:
        between = (pages.c.id > state.high) & (pages.c.id <= upto)
        query = query.where(between).order_by(pages.c.id)
    else:
        query = query.where(pages.c.id <= state.low).order_by(pages.c.id.desc())
    sizes = conn.execute(query).all()
    sums = accumulate(size for _, size in sizes)
    count = max(1, sum(1 for _ in takewhile(lambda upto: upto <= _BYTES, sums)))
    return [id_ for id_, _ in sizes[:count]], count >= len(sizes) < _PAGES


def _texts(conn: Connection, between: tuple[int, int]) -> _Texts:
    after, upto = between
    there = _TEXTS.join(jobs, jobs.c.no == pages.c.job_no).where(PRESENT)
    return list(conn.execute(there.where(pages.c.id > after, pages.c.id <= upto)))


def _documents(
    texts: _Texts, known_terms: Collection[bytes] = frozenset()
) -> tuple[Sequence[_Document], set[bytes]]:
    """Return the documents to index for these pages, and their terms that are not *known_terms*."""
    documents, all_terms = [], set[bytes]()
    for page_id, job_no, url, final_url, title, data in texts:
        terms = terms_of(head_of(url, final_url, title), decompress_text(data))
        all_terms.update(terms.each)
        documents.append(_Document(page_id, job_no, f"{terms.words} {job_term(job_no)}"))
    return documents, all_terms.difference(known_terms, [HUGE.encode()])


def _take_turn(conn: Connection, state: IndexState, turn: Turn, **changed: object) -> bool:
    """Change the marks; return ``False`` if another process changed them or has the turn."""
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
    values = {"holder": turn.holder, "until": turn.until} | changed
    return bool(conn.execute(update(marks).where(*same).values(values)).rowcount)


def _write(
    conn: Connection,
    state: IndexState,
    after: IndexState,
    turn: Turn,
    documents: Sequence[_Document],
    fresh: Collection[bytes],
) -> bool:
    # The jobs before the marks, as a purge locks them: a job that is being purged is deleted, and
    # one that is not stays until this is committed; so do the pages, which a retry deletes.
    own = jobs.c.no.in_({document.job_no for document in documents})
    there = select(jobs.c.no).where(own, PRESENT).order_by(jobs.c.no)
    of_these = pages.c.job_no.in_(_lock_keys(conn, there))
    found_ids = pages.c.id.in_([document.page_id for document in documents])
    stay = set(_lock_keys(conn, select(pages.c.id).where(found_ids, of_these).order_by(pages.c.id)))
    if not _take_turn(conn, state, turn, low=after.low, high=after.high):
        return False
    entries = [
        (document.page_id, document.words) for document in documents if document.page_id in stay
    ]
    sought = sorted(term.decode() for term in fresh)
    if is_postgres(conn):
        ids, words = [id_ for id_, _ in entries], [words for _, words in entries]
        conn.execute(_ADD, {"ids": ids, "words": words})
        insert_new(conn, terms, [{"term": term} for term in sought])
    else:
        driver = driver_of(conn)
        driver.executemany("INSERT INTO page_search (rowid, words) VALUES (?, ?)", entries)
        added = "INSERT OR IGNORE INTO page_search_terms (term) VALUES (?)"
        driver.executemany(added, zip(sought, strict=True))
    return True


def _lock_keys(conn: Connection, rows: Select[Any]) -> Sequence[int]:
    """Lock rows against deletion until the transaction ends; return their keys."""
    return conn.scalars(rows.with_for_update(read=True, key_share=True)).all()


def _sweep(conn: Connection, state: IndexState, turn: Turn) -> IndexState | None:
    after = state.swept or ""
    following = select(terms.c.term).where(terms.c.term > after).order_by(terms.c.term)
    some = conn.scalars(following.limit(_TERMS_SWEPT)).all()
    upto = some[-1] if some else None
    changed: dict[str, object] = {"swept": upto}
    if state.swept is None:
        changed["loose"] = False  # the next sweep handles pages deleted from now on
    if not _take_turn(conn, state, turn, **changed):
        return None
    if some:
        parameters = {"after": after, "upto": upto}
        unused = conn.scalars(_UNUSED[is_postgres(conn)], parameters).all()
        conn.execute(delete(terms).where(terms.c.term.in_(unused)))
    return _state(conn)


def _terms_by_piece(conn: Connection, pieces: Sequence[Piece]) -> Mapping[Piece, tuple[str, ...]]:
    """Return the terms that contain each of *pieces*: a page must have one term of each.

    Pieces in too many terms are left out. A piece without terms means that no page matches.
    """
    groups = {piece: (piece.text,) for piece in pieces if piece.is_term}
    parts = sorted((p for p in pieces if not p.is_term), key=lambda p: len(p.text), reverse=True)
    for part in parts[:_PIECES]:
        matches = conn.scalars(select(terms.c.term).where(_has(part)).limit(MOST_TERMS + 1)).all()
        if len(matches) <= MOST_TERMS:
            groups[part] = tuple(matches)
        if not matches:
            break
    return groups


def _phrase(phrase: Sequence[Piece], groups: Mapping[Piece, Sequence[str]]) -> tuple[str, ...]:
    """Return the term sequences for *phrase*: a page with it has one; empty if unknown."""
    alternatives = [
        groups[piece] for piece in phrase if piece in groups
    ]  # missing pieces are at the ends
    while prod(map(len, alternatives)) > _MOST_PHRASES:
        alternatives.pop(0 if len(alternatives[0]) > len(alternatives[-1]) else -1)
    return tuple(map(" ".join, product(*alternatives))) if len(alternatives) > 1 else ()


def _has(piece: Piece) -> ColumnElement[bool]:
    escaped = re.sub("[/%_]", r"/\g<0>", piece.text)
    pattern = f"{'' if piece.begins else '%'}{escaped}{'' if piece.ends else '%'}"
    # no parameter: a generic plan of Postgres builds the pattern anew for each term
    return terms.c.term.like(bindparam(None, pattern, literal_execute=True), escape="/")


def _expression(match: Match, job_terms: Sequence[str], *, postgres: bool) -> str:
    """Return the full-text query; terms have letters, digits, "_" and "#" only."""
    quote, conjunction, either = ("'", "&", "|") if postgres else ('"', " AND ", " OR ")

    def any_of(some: Iterable[str]) -> str:
        return f"({either.join(f'{quote}{term}{quote}' for term in some)})"

    needed = list(match.groups)
    if not postgres:  # its index does not store the order: it would read each page for phrases
        needed += [(LONG, *phrase) for phrase in match.phrases]
    expression = any_of([HUGE])
    if all(needed):
        expression = f"({conjunction.join(map(any_of, needed))}{either}{expression})"
    return f"{expression}{conjunction}{any_of(job_terms)}" if job_terms else expression
