"""Keep a search index of the chunks of a site, for retrieval-augmented generation.

Set CRAWLYARD_SERVER and CRAWLYARD_TOKEN. Run it as often as you like: the id of a chunk stays the
same while its page and headings do. Only chunks with new text are written, and those that are gone
are deleted, so that a vector store would embed each text once.
"""

import json
import sqlite3
import sys
from collections.abc import Iterable, Iterator

from crawlyard import sync
from crawlyard.errors import NotFound

SCHEDULE = "rag"  # change these
URL = "https://docs.example.org/"
MAX_PAGES = 500
WORDS = 300  # of a chunk, at most
INDEX = "chunks.db"


def lines(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of a streamed export."""
    rest = b""
    for part in parts:
        *whole, rest = (rest + part).split(b"\n")
        yield from whole


def crawl() -> dict[str, tuple[str, str, str]]:
    """Run the schedule, and return URL, headings and text of the current chunks by id."""
    with sync.connect() as yard:
        try:
            yard.schedules.get(SCHEDULE)
        except NotFound:
            yard.schedules.create(SCHEDULE, "@daily", URL, max_pages=MAX_PAGES)
        job = yard.jobs.wait(yard.schedules.run(SCHEDULE).id, timeout_s=None)
        if job.state != "completed":
            sys.exit(f"{job.state}: {job.detail or job.state_reason}")
        # pages that the run could not reach are in it, and those that are gone are not
        export = yard.schedules.export(SCHEDULE, format_="jsonl", chunks=WORDS)
        chunks = map(json.loads, lines(export))
        return {c["id"]: (c["url"], " > ".join(c["headings"]), c["text"]) for c in chunks}


def update(index: sqlite3.Connection, chunks: dict[str, tuple[str, str, str]]) -> tuple[int, int]:
    """Make the index equal to *chunks*; return how many were written and deleted."""
    with index:  # one transaction: readers see the old chunks or the new ones
        columns = "id UNINDEXED, url, headings, text"
        index.execute(f"CREATE VIRTUAL TABLE IF NOT EXISTS chunks USING fts5({columns})")
        rows = index.execute("SELECT rowid, * FROM chunks").fetchall()
        same = {key for _, key, *rest in rows if chunks.get(key) == tuple(rest)}
        old = [(row, key) for row, key, *_ in rows if key not in same]
        index.executemany("DELETE FROM chunks WHERE rowid = ?", [(row,) for row, _ in old])
        changed = [key for key in chunks if key not in same]
        index.executemany(
            "INSERT INTO chunks VALUES (?, ?, ?, ?)", [(key, *chunks[key]) for key in changed]
        )
    return len(changed), sum(key not in chunks for _, key in old)


def retrieve(index: sqlite3.Connection, question: str, limit: int = 3) -> list[tuple[str, str]]:
    """Return the URL and headings of the chunks that match a question best."""
    words = " OR ".join(f'"{word}"' for word in question.split() if word.isalnum())
    return index.execute(
        "SELECT url, headings FROM chunks WHERE chunks MATCH ? ORDER BY rank LIMIT ?",
        (words, limit),
    ).fetchall()


if __name__ == "__main__":
    connection = sqlite3.connect(INDEX)
    current = crawl()
    written, deleted = update(connection, current)
    print(f"{len(current)} chunks: {written} written, {deleted} deleted")
    for url, headings in retrieve(connection, " ".join(sys.argv[1:]) or "topological sort"):
        print(f"{url}  {headings}")
