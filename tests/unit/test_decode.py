"""Decoding of response bodies and headers."""

import contextlib
import gzip
import random
import sys
import tracemalloc
import zlib
from collections.abc import Callable

import brotli  # type: ignore[import-untyped]  # it ships no types
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from crawlyard.engine.http.decode import DecodeError, Decoder
from crawlyard.engine.http.fetch import Response
from crawlyard.engine.http.response_parser import ResponseParser

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CAP = 1 << 18
PAGE = b"<p>" + b"".join(b"%d little pages went to market, " % n for n in range(3_000))


def test_the_answer_to_head_has_no_body_whatever_it_announces() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\n"
    for sent in (head, head + b"hello"):
        parser = ResponseParser(CAP, decodes=False, head=True)
        assert parser.feed(sent)
        answer = parser.response(1)
        assert (answer.status, answer.body, answer.truncated) == (200, b"", "")
        assert not parser.reusable


def bare_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


def brotlied(data: bytes) -> bytes:
    return bytes(brotli.compress(data, quality=4))


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZIP ": gzip.compress,
    "deflate": zlib.compress,
    "deflate, identity": bare_deflate,
    "br": brotlied,
    "zstd": zstd.compress,
    "identity": bytes,
    "": bytes,
    "UTF-8": bytes,
    "gzip, br": lambda data: brotlied(gzip.compress(data)),
    "br,gzip, zstd": lambda data: zstd.compress(gzip.compress(brotlied(data))),
    "gzip, gzip": lambda data: gzip.compress(gzip.compress(data)),
}
SINGLE = ["gzip", "deflate", "br", "zstd"]
LONG = random.Random(1).randbytes(300_000).hex().encode()  # many blocks in every coding


def decoded(
    header: str | None, body: bytes, cap: int = CAP, step: int = 16_384
) -> tuple[bytes, str]:
    """Return *body* decoded, fed in pieces, and why it is truncated."""
    decoder = Decoder(header, cap)
    for at in range(0, len(body), step):
        decoder.feed(body[at : at + step])
    return decoder.finish(), decoder.truncated


def test_a_coding_is_undone_and_no_header_means_none() -> None:
    for header, pack in PACKERS.items():
        for step in (1, 7, 16_384):
            assert decoded(header, pack(PAGE), step=step) == (PAGE, ""), (header, step)
    assert decoded(None, PAGE) == (PAGE, "")


def test_an_empty_body_is_empty_in_every_coding() -> None:
    for header, pack in PACKERS.items():
        assert decoded(header, b"") == (b"", ""), header
        assert decoded(header, pack(b"")) == (b"", ""), header


def test_what_fills_the_cap_is_whole_and_one_byte_more_is_not() -> None:
    for header, pack in PACKERS.items():
        body = pack(PAGE)
        assert decoded(header, body, cap=len(PAGE)) == (PAGE, ""), header
        assert decoded(header, body, cap=len(PAGE) - 1) == (
            PAGE[:-1],
            f"more than {len(PAGE) - 1:,} bytes decoded",
        ), header


def test_a_bomb_is_not_unpacked_beyond_the_cap() -> None:
    for header, bomb in [
        ("gzip", gzip.compress(bytes(16 * CAP)) * 64),  # 256 MB in 64 members
        ("deflate", zlib.compress(bytes(16 * CAP))),
        ("br", brotlied(bytes(16 * CAP))),
        ("zstd", zstd.compress(bytes(16 * CAP)) * 64),
        ("gzip, gzip", gzip.compress(gzip.compress(bytes(16 * CAP)) * 64)),
        ("zstd, br", brotlied(zstd.compress(bytes(16 * CAP)) * 64)),
    ]:
        decoder = Decoder(header, CAP)

        decoder.feed(bomb)
        largest = max(decoder._output_sizes)
        decoder.feed(bomb)

        assert decoder.full, header
        assert decoder.finish() == bytes(CAP), header
        assert decoder.truncated == "more than 262,144 bytes decoded", header
        assert largest < CAP + 64 * 1024, header
        assert max(decoder._output_sizes) == largest, header  # nothing more was tried


def test_a_bomb_that_yields_nothing_ends_as_well() -> None:
    skippable = (0x184D2A50).to_bytes(4, "little") + (1 << 20).to_bytes(4, "little")
    frames = (skippable + bytes(1 << 20)) * 2  # zstd passes them over without output

    decoder = Decoder("zstd, gzip", CAP)
    decoder.feed(gzip.compress(frames))

    assert decoder.full
    assert max(decoder._output_sizes) < CAP + 128 * 1024
    with pytest.raises(DecodeError, match="more than"):
        decoder.finish()


def test_a_frame_may_not_ask_for_more_memory_than_http_allows() -> None:
    options = {int(zstd.CompressionParameter.window_log): 27}
    frame = zstd.ZstdCompressor(options=options)
    body = frame.compress(bytes(16 * CAP)) + frame.flush()
    with pytest.raises(DecodeError, match="too much memory"):
        decoded("zstd", body)


def test_a_stream_that_is_cut_keeps_what_came() -> None:
    for header in SINGLE:
        packed = PACKERS[header](LONG)
        body, truncated = decoded(header, packed[: len(packed) // 2], cap=len(LONG))
        assert truncated == f"the {header} stream ends early", header
        assert 0 < len(body) < len(LONG), header
        assert LONG.startswith(body), header


def test_a_stream_that_breaks_keeps_what_came() -> None:
    for header in SINGLE:
        packed = PACKERS[header](LONG)
        half = len(packed) // 2
        noise = random.Random(2).randbytes(half)

        body, truncated = decoded(header, packed[:half] + noise, cap=len(LONG))

        assert truncated.startswith(f"broken {header} stream: "), header
        assert len(body) > len(LONG) // 4, header
        assert LONG.startswith(body[: len(LONG) // 4]), header


def test_a_wrong_or_missing_checksum_does_not_spoil_a_page() -> None:
    for trailer in [b"", b"\0" * 8, b"\0" * 3]:
        assert decoded("gzip", gzip.compress(PAGE)[:-8] + trailer) == (PAGE, ""), trailer
        assert decoded("deflate", zlib.compress(PAGE)[:-4] + trailer[:4]) == (PAGE, ""), trailer


def test_what_follows_the_end_is_passed_over() -> None:
    for header in SINGLE:
        packed = PACKERS[header](PAGE)

        if header != "zstd":  # there, what follows must be a frame
            assert decoded(header, packed + b"\0\0padding", step=1) == (PAGE, ""), header
        if header in {"gzip", "zstd"}:
            for step in (1, 9, 100_000):
                assert decoded(header, packed + packed, step=step) == (PAGE + PAGE, ""), header


@pytest.mark.parametrize("header", ["gzip", "deflate", "br", "zstd", "gzip, br"])
@pytest.mark.parametrize(
    "body", [b"<!doctype html><p>not packed", b"\x1f", b"\x1f\x8b\x08\0", b"\xff"]
)
def test_a_body_of_which_nothing_can_be_had_is_an_error(header: str, body: bytes) -> None:
    with pytest.raises(DecodeError, match=r"stream: |ends early"):
        decoded(header, body)


def test_a_gzip_header_may_be_long_but_not_endless() -> None:
    start = b"\x1f\x8b\x08\x1e" + bytes(6)  # extra field, name, comment and checksum
    fields = b"\x03\0abc" + b"name\0" + b"comment\0" + b"\0\0"
    whole = start + fields + bare_deflate(PAGE) + bytes(8)
    assert decoded("gzip", whole, step=1) == (PAGE, "")
    with pytest.raises(DecodeError, match="header does not end"):
        decoded("gzip", start + b"\0\0" + b"x" * 100_000)


def test_a_dictionary_that_we_do_not_have_is_an_error() -> None:
    stream = zlib.compressobj(zdict=PAGE[:100])
    with pytest.raises(DecodeError, match="needs a dictionary"):
        decoded("deflate", stream.compress(PAGE) + stream.flush())


def test_an_unknown_coding_is_refused_by_its_name(subtests: pytest.Subtests) -> None:
    for header in ["compress", "gzip, foo", "exi", "x" * 1_000, "gzip;q=1"]:
        with (
            subtests.test(header=header),
            pytest.raises(DecodeError, match="unknown content coding") as raised,
        ):
            Decoder(header, CAP)
        assert len(str(raised.value)) < 100, header


def test_more_than_three_codings_are_refused() -> None:
    with pytest.raises(DecodeError, match="4 content codings"):
        Decoder("br, br, br, br", CAP)


@given(
    header=st.sampled_from(sorted(PACKERS)),
    page=st.binary(max_size=400) | st.binary(max_size=20).map(lambda b: b * 3_000),
    cut=st.integers(0, 60_000),
    step=st.integers(1, 100),
    cap=st.integers(1, 30_000),
)
def test_it_does_not_matter_in_which_pieces_a_body_comes(
    header: str, page: bytes, cut: int, step: int, cap: int
) -> None:
    packed = PACKERS[header](page)[:cut]

    def outcome(step: int) -> tuple[bytes, str] | str:
        try:
            return decoded(header, packed, cap, step)
        except DecodeError as error:
            return str(error)

    assert outcome(step) == outcome(len(packed) + 1)


PACKED = {header: PACKERS[header](PAGE) for header in SINGLE}


@given(header=st.sampled_from(SINGLE), body=st.binary(max_size=200), at=st.integers(0, 100))
def test_no_stream_is_more_than_an_error(header: str, body: bytes, at: int) -> None:
    whole = PACKED[header]
    spoilt = whole[:at] + body + whole[at + len(body) :]
    with contextlib.suppress(DecodeError):
        decoded(header, spoilt, cap=10_000, step=64)


def test_a_body_in_very_many_pieces_takes_no_more_memory_than_in_one() -> None:
    decoder = Decoder("", CAP)
    tracemalloc.start()
    try:
        for _ in range(100_000):
            decoder.feed(bytes((97, 98)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert decoder.finish() == b"ab" * 100_000
    assert peak < 1_000_000


def test_headers_are_found_by_name_also_when_something_else_was_replaced() -> None:
    headers = (("Location", "a"), ("X-Other", "b"), ("location", "c"))
    response = Response(200, headers, b"", wire_bytes=0, truncated="", elapsed_ms=1)
    cut = replace(replace(response, truncated="here"), body=b"x")
    assert response.all_headers("location") == cut.all_headers("location") == ["a", "c"]
    assert (cut.header("x-other"), cut.header("x-none")) == ("b", "")
    assert replace(cut, truncated="", body=b"") == response
