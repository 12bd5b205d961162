"""Feed a search index with the chunks of a site, for retrieval-augmented generation.

Set CRAWLYARD_SERVER and CRAWLYARD_TOKEN. Run it as often as you like: the id of a chunk stays the
same while its page and headings do, so new text replaces old text, and removed text disappears.
"""

import json
import sqlite3
import sys
from collections.abc import Iterable, Iterator

from crawlyard import sync

URL = "https://docs.example.org/"  # change these
MAX_PAGES = 500
WORDS = 300  # of a chunk, at most
INDEX = "chunks.db"


def lines(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of a streamed export."""
    rest = b""
    for part in parts:
        *whole, rest = (rest + part).split(b"\n")
        yield from whole


def update(index: sqlite3.Connection) -> int:
    """Crawl the site, replace the chunks in the index, and return their number."""
    with sync.connect() as yard:
        job = yard.jobs.run(URL, max_pages=MAX_PAGES, tags=["rag"])
        if job.state != "completed":
            sys.exit(f"{job.state}: {job.detail or job.state_reason}")
        export = yard.results.export(job.id, format_="jsonl", chunks=WORDS)
        chunks = [json.loads(line) for line in lines(export)]
    with index:  # one transaction: readers see the old chunks or the new ones
        index.execute(
            "CREATE VIRTUAL TABLE IF NOT EXISTS chunks USING fts5(id, url, headings, text)"
        )
        index.execute("DELETE FROM chunks")
        index.executemany(
            "INSERT INTO chunks VALUES (?, ?, ?, ?)",  # with a vector store: upsert by id
            [(c["id"], c["url"], " > ".join(c["headings"]), c["text"]) for c in chunks],
        )
    return len(chunks)


def retrieve(index: sqlite3.Connection, question: str, limit: int = 3) -> list[tuple[str, str]]:
    """Return the URL and headings of the chunks that match a question best."""
    words = " OR ".join(f'"{word}"' for word in question.split() if word.isalnum())
    return index.execute(
        "SELECT url, headings FROM chunks WHERE chunks MATCH ? ORDER BY rank LIMIT ?",
        (words, limit),
    ).fetchall()


if __name__ == "__main__":
    connection = sqlite3.connect(INDEX)
    print(update(connection), "chunks")
    for url, headings in retrieve(connection, " ".join(sys.argv[1:]) or "topological sort"):
        print(url, headings, sep="\t")
