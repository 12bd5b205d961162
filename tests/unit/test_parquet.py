"""Parquet files, read back with pandas, pyarrow and DuckDB."""

import io
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd  # type: ignore[import-untyped]  # it ships no types
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # it ships no types
from hypothesis import given, settings
from hypothesis import strategies as st

from crawlyard.core.answer import as_dict
from crawlyard.core.crawl.page import ErrorKind, PageError
from crawlyard.core.crawl.page_answers import PageOut
from crawlyard.export.base import Record
from crawlyard.export.parquet import COLUMNS, MOST_CHARACTERS, MOST_ROWS, Parquet, chunks
from tests.builders import NOW, a_page

ANY_TEXT = st.text(st.characters(exclude_categories=()))  # half characters too

TIMEOUT = PageError(kind=ErrorKind.TIMEOUT, detail="no answer in 30 s")


def a_record(
    text: str | None = None,
    html: str | None = None,
    headers: Sequence[tuple[str, str]] | None = None,
    **fields: Any,
) -> Record:
    page = PageOut.of(a_page(**fields), text=text, html=html, headers=headers)
    return as_dict(page)


def written(writer: Parquet, *records: Record) -> bytes:
    for record in records:
        writer.add(record)
    return writer.finish()


def rows(data: bytes) -> list[Mapping[str, Any]]:
    records: list[Mapping[str, Any]] = pq.read_table(io.BytesIO(data)).to_pylist()
    return records


def test_pandas_reads_columns_with_their_types() -> None:
    failure = a_record(status=None, error=TIMEOUT)
    data = written(Parquet(text=True), a_record("Hello", fetched_at=NOW, depth=2), failure)

    frame = pd.read_parquet(io.BytesIO(data))

    assert list(frame.columns) == [*COLUMNS, "text"]
    assert frame["fetched_at"].dtype == "datetime64[ms, UTC]"
    assert frame["fetched_at"][0] == pd.Timestamp(NOW).floor("ms")
    assert frame["depth"].dtype == "int32"
    assert frame["noindex"].dtype == "bool"
    assert frame["text"].tolist()[0] == "Hello"
    assert frame["error_kind"].isna().tolist() == [True, False]
    assert (frame["error_kind"][1], frame["error_detail"][1]) == ("timeout", "no answer in 30 s")


def test_duckdb_asks_the_file_itself(tmp_path: Path) -> None:
    headers = [("Content-Type", "text/html"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
    record = a_record(html="<p>", headers=headers, extracted={"price": ("9", "12")}, depth=1)
    (tmp_path / "p.parquet").write_bytes(
        written(Parquet(["price", "none"], html=True), record, a_record(depth=0))
    )
    query_rows = (
        duckdb.connect()
        .execute(f"""
        SELECT list_sum("extracted.price"::INT[]) AS total,
            len("extracted.none") AS none, len(headers) AS headers, headers[2].value AS cookie
        FROM '{tmp_path / "p.parquet"}' WHERE depth > 0 AND fetched_at < TIMESTAMPTZ '2100-01-01'
    """)
        .fetchall()
    )
    assert query_rows == [(21, 0, 3, "a=1")]


@settings(deadline=None)  # a file each, and the first loads more
@given(title=ANY_TEXT, url=ANY_TEXT, found_on=st.lists(ANY_TEXT), text=ANY_TEXT)
def test_all_but_half_characters_is_kept(
    title: str, url: str, found_on: list[str], text: str
) -> None:
    record = a_record(text, title=title, url=url, extracted={"x": tuple(found_on)})
    (row,) = rows(written(Parquet(["x"], text=True), record))
    assert row["title"] == record["title"]
    assert row["url"] == record["url"]
    assert row["extracted.x"] == record["extracted"]["x"]
    assert row["text"] == record["text"]


def test_an_export_of_nothing_is_a_file_with_columns_and_no_rows() -> None:
    data = written(Parquet())
    assert pd.read_parquet(io.BytesIO(data)).empty
    assert pq.read_schema(io.BytesIO(data)).names == list(COLUMNS)


def test_it_is_compressed_by_zstd() -> None:
    data = written(Parquet(text=True), *[a_record("the same again " * 200) for _ in range(200)])
    column = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(0)
    assert column.compression == "ZSTD"
    assert len(data) < 200 * 200 * 15 / 20


class Source:
    """An endless source of records that counts reads."""

    def __init__(self, record: Record) -> None:
        self.reads = 0
        self.closed = False
        self._record = record

    async def records(self, most: int) -> AsyncGenerator[Record]:
        try:
            while self.reads < most:
                self.reads += 1
                yield self._record
        finally:
            self.closed = True


async def test_a_row_group_is_given_as_soon_as_it_is_full() -> None:
    source = Source(a_record())
    stream = chunks(source.records(3 * MOST_ROWS), Parquet())

    first = await anext(stream)

    assert len(first) > 0
    assert source.reads == MOST_ROWS
    rest = [portion async for portion in stream]
    file = pq.ParquetFile(io.BytesIO(first + b"".join(rest)))
    assert file.metadata.num_rows == 3 * MOST_ROWS
    assert [file.metadata.row_group(n).num_rows for n in range(3)] == [MOST_ROWS] * 3
    assert source.closed


LONG = "x" * (1 << 20)


async def test_long_texts_make_a_row_group_full_sooner() -> None:
    for name, record in {
        "text": a_record(LONG),
        "extracted": a_record(extracted={"x": (LONG,)}),
        "headers": a_record(headers=[("Cookie", LONG)]),
    }.items():
        source = Source(record)
        stream = chunks(source.records(1000), Parquet(["x"], text=True, html=True))

        await anext(stream)

        assert source.reads == MOST_CHARACTERS >> 20, name
        await stream.aclose()  # type: ignore[attr-defined]  # it is a generator
        assert source.closed, name


def test_a_page_of_any_day_has_its_millisecond() -> None:
    at = datetime(2026, 2, 28, 23, 59, 59, 987_000, tzinfo=UTC)
    (row,) = rows(written(Parquet(), a_record(fetched_at=at, unchanged_since=at)))
    assert (row["fetched_at"], row["unchanged_since"]) == (at, at)
