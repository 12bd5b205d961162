"""WARC, read back by warcio."""

import gzip
import io
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from warcio.archiveiterator import (  # type: ignore[import-untyped]  # it ships no types
    ArchiveIterator,
)
from warcio.checker import Checker  # type: ignore[import-untyped]  # it ships no types

from crawlyard.cli.jobs.exports import Export, decompress
from crawlyard.export.base import Format, format_of
from crawlyard.export.warc import REBUILT, Capture, Warc, chunks
from tests.builders import NOW

BODY = "<title>Zürich</title>".encode("latin-1")
CAPTURE = Capture(
    key="crawlyard:1/1",
    url="https://example.com/a?b=1",
    at=NOW,
    status=200,
    content_type="text/html",
    headers=(
        ("Content-Type", "text/html; charset=latin-1"),
        ("Content-Encoding", "gzip"),
        ("content-length", "7"),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
    ),
    body=BODY,
)


def a_file(*captures: Capture) -> bytes:
    writer = Warc("Docs of a site", "docs.warc.gz", robots=True)
    return writer.head() + b"".join(map(writer.record, captures))


def read(data: bytes) -> list[tuple[Any, bytes]]:
    """Return the records with their content."""
    records = ArchiveIterator(io.BytesIO(data), check_digests="raise")
    return [(record, record.content_stream().read()) for record in records]


def test_a_page_is_read_back_as_it_was_kept() -> None:
    _, (record, body) = read(a_file(CAPTURE))

    assert record.rec_type == "response"
    assert record.rec_headers.protocol == "WARC/1.1"
    assert record.rec_headers.get_header("WARC-Target-URI") == CAPTURE.url
    assert record.rec_headers.get_header("WARC-Date").startswith(NOW.strftime("%Y-%m-%dT%H:%M:%S"))
    assert record.http_headers.get_statuscode() == "200"
    assert record.http_headers.get_header("Content-Type") == "text/html; charset=latin-1"
    assert [v for n, v in record.http_headers.headers if n == "Set-Cookie"] == ["a=1", "b=2"]
    assert body == BODY


def test_headers_that_are_none_make_no_headers_of_their_own() -> None:
    odd = replace(CAPTURE, headers=(("X-\xe9\r\nY", "v\r\nInjected: 1"), ("Z\ud800", "\ud800")))
    bare = replace(CAPTURE, headers=None, content_type="text/html\r\nInjected: 1")

    _, (response, body), (resource, resource_body) = read(a_file(odd, bare))

    names = [name for name, _ in response.http_headers.headers]
    assert names == ["X-? Y", "Z?", "Content-Length"]
    assert resource.rec_headers.get_header("Injected") is None
    assert (body, resource_body) == (BODY, BODY)


def test_what_is_not_true_of_the_body_any_more_stands_under_another_name() -> None:
    _, (record, body) = read(a_file(CAPTURE))
    headers = record.http_headers
    assert headers.get_header("Content-Encoding") is None
    assert headers.get_header("X-Archive-Orig-Content-Encoding") == "gzip"
    assert headers.get_header("X-Archive-Orig-content-length") == "7"
    assert headers.get_header("Content-Length") == str(len(body))


def test_the_first_record_says_of_what_the_file_is_and_what_is_rebuilt() -> None:
    (record, body), *_ = read(a_file())
    info = dict(line.split(": ", 1) for line in body.decode().splitlines())
    assert record.rec_type == "warcinfo"
    assert record.rec_headers.get_header("WARC-Filename") == "docs.warc.gz"
    assert (info["isPartOf"], info["robots"]) == ("Docs of a site", "obey")
    assert info["description"] == REBUILT


def test_each_record_is_a_gzip_member_of_its_own() -> None:
    writer = Warc("", "x.warc.gz", robots=False)
    records = [writer.head(), writer.record(CAPTURE), writer.record(CAPTURE)]
    for record in records:
        assert gzip.decompress(record).startswith(b"WARC/1.1\r\n")


def test_every_record_belongs_to_the_file_and_keeps_its_id_in_every_export() -> None:
    first, again = read(a_file(CAPTURE)), read(a_file(CAPTURE))
    other = read(a_file(replace(CAPTURE, key="crawlyard:1/2")))
    info, response = (record.rec_headers for record, _ in first)
    assert response.get_header("WARC-Warcinfo-ID") == info.get_header("WARC-Record-ID")
    ids = [
        records[1][0].rec_headers.get_header("WARC-Record-ID") for records in (first, again, other)
    ]
    assert ids[0] == ids[1] != ids[2]


def test_without_its_headers_a_page_is_a_resource() -> None:
    _, (record, body) = read(a_file(replace(CAPTURE, headers=None)))
    assert (record.rec_type, record.content_type, body) == ("resource", "text/html", BODY)


def test_a_body_that_is_not_whole_is_said_to_be_truncated() -> None:
    _, (whole, _), (cut, _) = read(a_file(CAPTURE, replace(CAPTURE, truncated=True)))
    assert whole.rec_headers.get_header("WARC-Truncated") is None
    assert cut.rec_headers.get_header("WARC-Truncated") == "unspecified"


def test_a_page_that_had_not_changed_is_its_body_and_a_revisit_of_it() -> None:
    seen_at = NOW + timedelta(days=1)

    _, (sent, body), (revisit, nothing) = read(
        a_file(replace(CAPTURE, seen_at=seen_at, etag='"1"'))
    )

    assert (sent.rec_type, body) == ("response", BODY)
    assert (revisit.rec_type, nothing) == ("revisit", b"")
    assert revisit.http_headers.get_statuscode() == "304"
    assert revisit.http_headers.get_header("ETag") == '"1"'
    header = revisit.rec_headers.get_header
    assert header("WARC-Profile").endswith("/warc/1.1/revisit/server-not-modified")
    assert header("WARC-Target-URI") == header("WARC-Refers-To-Target-URI") == CAPTURE.url
    assert header("WARC-Date").startswith(seen_at.strftime("%Y-%m-%dT%H:%M:%S"))
    assert header("WARC-Refers-To-Date") == sent.rec_headers.get_header("WARC-Date")
    assert header("WARC-Refers-To") == sent.rec_headers.get_header("WARC-Record-ID")
    assert header("WARC-Record-ID") != header("WARC-Refers-To")


def test_no_header_of_a_page_breaks_a_record() -> None:
    for value in ["a\r\nX-Evil: 1", "Zürich", "\udcff\udcfe", "\0", "日本", "a" * 100_000]:
        capture = replace(CAPTURE, headers=(("X-Word", value),), url="https://example.com/ü")
        data = a_file(capture, CAPTURE)
        _, (record, body), (_, following) = read(data)
        assert record.http_headers.get_header("X-Evil") is None, value
        assert (body, following) == (BODY, BODY), value


def test_a_status_without_a_phrase_is_kept() -> None:
    for status in [200, 204, 404, 599, 799]:
        _, (record, _) = read(a_file(replace(CAPTURE, status=status)))
        assert record.http_headers.get_statuscode() == str(status), status


def test_warcio_finds_nothing_to_complain_of(tmp_path: Any, capsys: Any) -> None:
    file = tmp_path / "x.warc.gz"
    file.write_bytes(a_file(CAPTURE, replace(CAPTURE, headers=None, key="2", body=b"")))

    class Asked:
        inputs = (str(file),)
        verbose = True

    checker = Checker(Asked())
    checker.process_all()

    assert checker.exit_value == 0
    assert "fail" not in capsys.readouterr().out.lower()


async def test_records_are_given_one_by_one() -> None:
    served: list[int] = []

    async def captures() -> AsyncGenerator[Capture]:
        for number in range(100):
            served.append(number)
            yield replace(CAPTURE, key=str(number))

    stream = chunks(captures(), Warc("", "x.warc.gz", robots=True))
    head, first = await anext(stream), await anext(stream)

    assert served == [0]
    rest = [portion async for portion in stream]
    assert len(read(head + first + b"".join(rest))) == 101


@pytest.mark.parametrize("size", [1, 7, 1_000_000])
async def test_a_file_that_is_not_compressed_has_the_same_records(size: int) -> None:
    packed = a_file(CAPTURE, replace(CAPTURE, key="crawlyard:1/2", body=b"x" * 200_000))

    async def portions() -> AsyncGenerator[bytes]:
        for start in range(0, len(packed), size):
            yield packed[start : start + size]

    plain = b"".join([portion async for portion in decompress(portions())])

    assert plain == gzip.decompress(packed)
    assert len(read(plain)) == 3


def test_the_name_of_a_warc_says_whether_it_is_compressed(tmp_path: Path) -> None:
    names = {"a.warc": False, "A.WARC": False, "a.warc.gz": True, "a.gz": True, "-": True}
    for name, compressed in names.items():
        where = name if name == "-" else str(tmp_path / name)
        export = Export.of(where, Format.WARC)
        assert export.is_plain_warc is not compressed
    assert format_of("a.warc") is Format.WARC
