import csv
import errno
import fcntl
import io
import json
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawlyard.core.answer import as_dict
from crawlyard.core.crawl.page import ErrorKind, PageError
from crawlyard.core.crawl.page_answers import PageOut
from crawlyard.errors import Conflict
from crawlyard.export.base import CHUNK, Format, Record, Writer, write
from crawlyard.export.csv import COLUMNS, Csv, format_cell
from crawlyard.export.files import check_writable, whole_file
from crawlyard.export.jsonl import JsonLines, dumps
from tests.builders import a_page

FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")
NUMBER = re.compile(r"[+-][0-9.,]*[0-9](e[+-]?[0-9]+)?", re.IGNORECASE)
UNWRITABLE = re.compile("[\0\ud800-\udfff]")
ANY_TEXT = st.text(st.characters(exclude_categories=()))  # half characters too

TIMEOUT = PageError(kind=ErrorKind.TIMEOUT, detail="no answer in 30 s")


def a_record(text: str | None = None, **fields: Any) -> Record:
    return as_dict(PageOut.of(a_page(**fields), text=text))


def rows(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline="")))


@given(title=ANY_TEXT, url=ANY_TEXT, found_on=ANY_TEXT, text=ANY_TEXT)
def test_json_lines_keep_all_but_half_characters(
    title: str, url: str, found_on: str, text: str
) -> None:
    record = a_record(text, title=title, url=url, extracted={"x": (found_on,)})

    line = JsonLines().record(record)

    assert line.endswith(b"\n")
    assert len(line.decode().splitlines()) == 1
    back = json.loads(line)
    assert back == record
    assert back["title"] == title.encode("utf-16", "surrogatepass").decode("utf-16", "replace") or (
        any(0xD800 <= ord(c) < 0xE000 for c in title)
    )


@given(
    st.recursive(
        ANY_TEXT | st.integers() | st.none(), lambda x: st.lists(x) | st.dictionaries(ANY_TEXT, x)
    )
)
def test_json_is_ascii_safe_where_a_terminal_listens(value: object) -> None:
    text = dumps(value, indent=2)
    text.encode()
    assert not any(0x7F <= ord(c) < 0xA0 or (ord(c) < 0x20 and c != "\n") for c in text)


@given(title=ANY_TEXT, found_on=st.lists(ANY_TEXT), text=ANY_TEXT)
def test_csv_is_read_back_as_it_was_written(title: str, found_on: list[str], text: str) -> None:
    writer = Csv(["x"], text=True)
    record = a_record(text, title=title, extracted={"x": tuple(found_on)})

    header, row = rows(writer.head() + writer.record(record))

    assert header == [*COLUMNS, "extracted.x", "text"]
    read = dict(zip(header, row, strict=True))
    assert read["title"] == format_cell(title)
    assert read["text"] == format_cell(text)
    assert read["extracted.x"] == format_cell("\n".join(found_on))
    assert read["status"] == "200"


@given(ANY_TEXT | st.from_regex(r"[=+@\t\r\n-].*"))
def test_no_cell_is_a_formula(text: str) -> None:
    written = format_cell(text)
    if written.startswith(FORMULAS):
        assert NUMBER.fullmatch(written)
    assert written.removeprefix("'") == UNWRITABLE.sub("\ufffd", text).removeprefix("'")


def test_a_formula_gets_a_quote() -> None:
    for formula in ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1"]:
        assert format_cell(formula) == f"'{formula}", formula


def test_a_number_gets_none() -> None:
    for number in ["-5", "+3.20", "-1,234.50", "-1e-9"]:
        assert format_cell(number) == number, number


def test_a_failed_page_says_why_in_both_formats() -> None:
    record = a_record(status=None, error=TIMEOUT)
    writer = Csv()

    header, row = rows(writer.head() + writer.record(record))

    read = dict(zip(header, row, strict=True))
    assert (read["status"], read["error_kind"]) == ("", "timeout")
    assert read["error_detail"] == "no answer in 30 s"
    error = json.loads(JsonLines().record(record))["error"]
    assert error == {"kind": "timeout", "detail": "no answer in 30 s"}


async def records(count: int, text: str = "") -> AsyncIterator[Mapping[str, Any]]:
    for number in range(count):
        yield a_record(text, url=f"https://example.com/{number}")


async def test_an_export_is_written_in_chunks_and_counted() -> None:
    cases: list[Writer] = [JsonLines(), Csv(text=True)]
    for writer in cases:
        chunks: list[bytes] = []

        written = await write(records(40, "x" * 20_000), writer, chunks.append)

        assert written.records == 40, writer
        assert written.bytes == sum(map(len, chunks)), writer
        assert max(map(len, chunks)) < CHUNK + 30_000, writer
        assert len(chunks) > 2, writer


async def test_an_empty_export_has_a_header_where_the_format_has_one() -> None:
    exports: dict[Format, bytes] = {}
    for name, writer in ((Format.JSONL, JsonLines()), (Format.CSV, Csv())):
        chunks: list[bytes] = []
        await write(records(0), writer, chunks.append)
        exports[name] = b"".join(chunks)

    assert exports[Format.JSONL] == b""
    assert exports[Format.CSV].startswith(b"url,final_url,status,")


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "pages.jsonl"
    path.write_text("before")

    with whole_file(path) as sink:
        sink(b"after")
        assert path.read_text() == "before"

    assert path.read_text() == "after"
    assert [p.name for p in tmp_path.iterdir()] == ["pages.jsonl"]


def test_a_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, sync = tmp_path / "pages.jsonl", os.fsync
    synced: dict[int, bool] = {}

    def noted(descriptor: int) -> None:
        sync(descriptor)
        synced[os.fstat(descriptor).st_ino] = path.exists()

    monkeypatch.setattr(os, "fsync", noted)
    with whole_file(path) as sink:
        sink(b"after")

    assert synced == {path.stat().st_ino: False}


def test_a_failed_export_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "pages.jsonl"
    path.write_text("before")

    with suppress(KeyboardInterrupt), whole_file(path) as sink:
        sink(b"half")
        raise KeyboardInterrupt

    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["pages.jsonl"]


def test_a_leftover_of_a_killed_export_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / ".pages.jsonl.partial").write_text("much longer than what follows")
    with whole_file(tmp_path / "pages.jsonl") as sink:
        sink(b"short")
    assert (tmp_path / "pages.jsonl").read_text() == "short"


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link = tmp_path / "pages.jsonl"
    link.symlink_to(tmp_path / "there" / "real.jsonl")

    with whole_file(link) as sink:
        sink(b"x")

    assert link.is_symlink()
    assert (tmp_path / "there" / "real.jsonl").read_text() == "x"


def test_two_exports_do_not_write_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "pages.jsonl"
    with whole_file(path) as sink:
        sink(b"first")
        with pytest.raises(Conflict, match="another process is writing"), whole_file(path):
            pass
    assert path.read_text() == "first"


def test_a_lock_that_outlived_its_file_is_noticed(tmp_path: Path) -> None:
    partial = tmp_path / ".pages.jsonl.partial"
    with partial.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Conflict), whole_file(tmp_path / "pages.jsonl"):
            pass


def test_a_full_disk_is_an_error_with_the_file_name() -> None:
    with (
        pytest.raises(OSError, match="No space left") as caught,
        whole_file(Path("/dev/full")) as sink,
    ):
        sink(b"x")
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == "/dev/full"


def test_a_pipe_is_written_directly(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.jsonl"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)

    with whole_file(pipe) as sink:
        sink(b"x")

    assert os.read(reader, 10) == b"x"
    os.close(reader)
    assert [p.name for p in tmp_path.iterdir()] == ["pipe.jsonl"]


@pytest.mark.parametrize(
    ("name", "words"),
    [("none/pages.jsonl", "does not exist"), (".", "is a folder")],
)
def test_what_cannot_be_written_is_known_before(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(OSError, match=words) as caught:
        check_writable(tmp_path / name)
    assert caught.value.filename == str(tmp_path / name)
