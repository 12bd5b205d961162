"""Small on the wire, huge when decoded; and content codings that are not what they say."""

import gzip
import sys
import zlib
from collections.abc import Callable, Iterator
from functools import cache

import brotli  # type: ignore[import-untyped]  # it has no types of its own

from crawlyard.demo.site import HTML, Answer
from tests.hazards.common import Hazard, Make

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MIB = 1024 * 1024
BOMB_MIB = 128  # decoded: far beyond any cap, and half a second to pack

BLOWN = ("truncated", "failed:too_large")
DECODE = ("failed:decode",)


def _page(name: str) -> bytes:
    return f'<!doctype html><title>{name}</title><a href="/found/{name}">on</a>'.encode()


def _plain(name: str) -> Iterator[bytes]:
    """Yield the bytes of a page that is `BOMB_MIB` long: a link, then blanks."""
    yield _page(name)
    blanks = b" " * MIB
    for _ in range(BOMB_MIB):
        yield blanks


def deflated(name: str, bits: int) -> bytes:
    """Return the bomb in a format of zlib: 31 is gzip, 15 zlib, -15 raw."""
    packer = zlib.compressobj(9, zlib.DEFLATED, bits)
    return b"".join(packer.compress(part) for part in _plain(name)) + packer.flush()


def _gzip() -> bytes:
    return deflated("bomb/gzip", 31)


def _deflate() -> bytes:
    return deflated("bomb/deflate", 15)


def _brotli() -> bytes:
    packer = brotli.Compressor(quality=5)
    packed: bytes = b"".join(packer.process(part) for part in _plain("bomb/br"))
    end: bytes = packer.finish()
    return packed + end


def _zstd() -> bytes:
    packer = zstd.ZstdCompressor()
    return b"".join(packer.compress(part) for part in _plain("bomb/zstd")) + packer.flush()


def _members() -> bytes:
    """Return a gzip of many members, each harmless."""
    return gzip.compress(b" " * MIB) * BOMB_MIB


def _twice() -> bytes:
    return gzip.compress(_gzip())


def bomb(coding: str, build: Callable[[], bytes]) -> Make:
    """Return what gives the bomb, built when it is first asked for."""

    @cache
    def answer() -> Answer:
        return coded(coding, build())

    return lambda _: answer()


def coded(coding: str, body: bytes) -> Answer:
    return Answer(200, (("Content-Type", HTML), ("Content-Encoding", coding)), body)


def _coded(name: str, coding: str, pack: Callable[[bytes], bytes], *expected: str) -> Hazard:
    """Return a page that is packed by *pack* and says *coding*."""
    title = f"enc/{name}"
    whole = expected == ("page",)
    answer = coded(coding, pack(_page(title)))
    links = (f"/found/{title}",) if whole else ()
    return Hazard(f"/enc/{name}", lambda _: answer, expected, links, title if whole else None)


def _raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def _cut(data: bytes) -> bytes:
    return gzip.compress(data + b"<p>more</p>" * 200)[:-40]


def _bad_sum(data: bytes) -> bytes:
    return gzip.compress(data)[:-8] + b"\0" * 8


def _as_is(data: bytes) -> bytes:
    return data


HAZARDS = (
    Hazard("/bomb/gzip", bomb("gzip", _gzip), BLOWN),
    Hazard("/bomb/deflate", bomb("deflate", _deflate), BLOWN),
    Hazard("/bomb/br", bomb("br", _brotli), BLOWN),
    Hazard("/bomb/zstd", bomb("zstd", _zstd), BLOWN),
    Hazard("/bomb/members", bomb("gzip", _members), BLOWN),
    Hazard("/bomb/twice", bomb("gzip, gzip", _twice), (*BLOWN, *DECODE)),
    # packed twice, said once: the inner one is a file, and not ours to open
    Hazard("/bomb/inner", bomb("gzip", _twice), ("page", *DECODE)),
    _coded("gzip", "gzip", gzip.compress, "page"),
    _coded("x-gzip", "x-gzip", gzip.compress, "page"),
    _coded("gzip-upper", "GZIP", gzip.compress, "page"),
    _coded("deflate", "deflate", zlib.compress, "page"),
    _coded("raw-deflate", "deflate", _raw_deflate, "page"),
    _coded("br", "br", brotli.compress, "page"),
    _coded("zstd", "zstd", zstd.compress, "page"),
    _coded("identity", "identity", _as_is, "page"),
    _coded("gzip-twice", "gzip, gzip", lambda d: gzip.compress(gzip.compress(d)), "page", *DECODE),
    _coded("gzip-br", "gzip, br", lambda d: brotli.compress(gzip.compress(d)), "page", *DECODE),
    _coded("many-codings", ", ".join(["gzip"] * 1000), gzip.compress, *DECODE),
    _coded("false-gzip", "gzip", _as_is, *DECODE, "page"),
    _coded("false-br", "br", _as_is, *DECODE, "page"),
    _coded("false-zstd", "zstd", _as_is, *DECODE, "page"),
    _coded("false-deflate", "deflate", _as_is, *DECODE, "page"),
    _coded("cut-gzip", "gzip", _cut, "truncated", *DECODE),
    _coded("bad-sum", "gzip", _bad_sum, "truncated", *DECODE, "page"),
    _coded("gzip-tail", "gzip", lambda d: gzip.compress(d) + b"tail", "page", "truncated", *DECODE),
    _coded("empty-gzip", "gzip", lambda _: b"", "page", "truncated", *DECODE),
    _coded("unknown-coding", "klingon", _as_is, *DECODE, "page"),
)
