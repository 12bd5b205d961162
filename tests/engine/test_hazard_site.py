"""The hazards are what they say, where a crawl of `test_hazards.py` could not tell."""

import gzip
import sys
import zlib
from collections.abc import AsyncIterator

import brotli  # type: ignore[import-untyped]  # it has no types of its own
import pytest

from crawlyard.demo.hits import Hit
from crawlyard.demo.server import SiteServer
from crawlyard.demo.site import Answer
from tests.hazards import (
    GROUPS,
    HAZARDS,
    HazardSite,
    World,
    links,
    sitemaps,
    ssrf,
    trespasses,
)
from tests.hazards.bombs import BOMB_MIB, MIB
from tests.site import Serve, ask, site_server, talk, walk

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["site_server"]

HOST = "127.0.0.1:8000"


@pytest.fixture
async def server() -> AsyncIterator[SiteServer]:
    async with SiteServer(HazardSite(World(drip_s=0.001))) as server:
        yield server


def answer(path: str, site: HazardSite | None = None) -> Answer:
    response = (site or HazardSite()).answer("GET", path, HOST)
    assert isinstance(response, Answer)
    return response


def header(of: Answer, name: str) -> str:
    return dict(of.headers)[name]


# --- the table


def test_every_url_is_one_hazard() -> None:
    urls = [hazard.url for hazard in HAZARDS]

    assert len(urls) == len(set(urls)) > 200
    assert sum(map(len, GROUPS.values())) == len(urls)


def test_trespasses_are_forbidden_paths_and_other_methods() -> None:
    paths = ("/found/x", "/never/x", "/private/x", "/canary/1", "/maybe/x")
    hits = [Hit(1, 1, 1, "GET", path, HOST, "", 1) for path in paths]
    hits.append(Hit(1, 1, 1, "POST", "/found/x", HOST, "", 1))

    assert [hit.path for hit in trespasses(hits)] == [*paths[1:4], "/found/x"]


# --- redirects and traps


async def test_chains_have_the_length_that_they_say(server: SiteServer) -> None:
    hops = {"/redir/chain/5": 5, "/redir/long/60": 60, "/redir/self": 69, "/redir/new/x": 69}

    assert {path: len(await walk(server, path, most=70)) - 1 for path in hops} == hops


async def test_a_loop_comes_back(server: SiteServer) -> None:
    assert (await walk(server, "/redir/loop/a", most=3))[::2] == ["/redir/loop/a"] * 2


async def test_locations_go_out_raw(server: SiteServer) -> None:
    request = "GET /redir/{} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"

    utf8, tab = [await talk(server, request.format(n).encode()) for n in ("utf8", "tab")]

    assert "Location: /found/redir/café\r\n".encode() in utf8
    assert b"Location: /found/redir/t\tab\r\n" in tab


async def test_redirects_lead_to_the_other_host_and_back(site_server: Serve) -> None:
    other = await site_server(HazardSite())
    server = await site_server(HazardSite(World(other=other.authority)))

    there = (await ask(server, "/redir/over-other-host")).headers["location"]
    back = (await ask(other, there.removeprefix(other.url))).headers["location"]

    assert there.startswith(f"{other.url}/hop?")
    assert back == f"{server.url}/ok/via"


# --- bodies


async def test_sizes_are_what_they_say(server: SiteServer) -> None:
    long, many = await ask(server, "/head/long"), await ask(server, "/head/many")

    assert len(long.headers["x-long"]) == 2_000_000
    assert sum(name.startswith("x-") for name in many.headers) == 50_000
    assert answer("/body/nested").body.count(b"<div>") == 30_000
    assert answer("/body/links").body.count(b"<a ") == 20_000
    assert len(answer("/body/text").body) > 3_000_000
    assert 900_000 < len(answer("/body/title").body) < 1_100_000


def decoded_size(body: bytes, coding: str) -> int:
    """Return the size of a bomb, decoded part by part."""
    size, part = 0, MIB // 4
    if coding == "br":
        unpack = brotli.Decompressor()
        size += len(unpack.process(body, output_buffer_limit=part))
        while not unpack.is_finished():
            size += len(unpack.process(b"", output_buffer_limit=part))
        return size
    if coding == "zstd":
        unpacker = zstd.ZstdDecompressor()
        size += len(unpacker.decompress(body, part))
        while not unpacker.eof:
            size += len(unpacker.decompress(b"", part))
        return size
    while body:  # a gzip may have many members
        inflate = zlib.decompressobj(47)
        size += len(inflate.decompress(body, part))
        while not inflate.eof:
            size += len(inflate.decompress(inflate.unconsumed_tail, part))
        body = inflate.unused_data
    return size


def test_a_bomb_is_small_until_it_is_decoded() -> None:
    for name in ("gzip", "deflate", "br", "zstd", "members"):
        bomb = answer(f"/bomb/{name}")

        assert len(bomb.body) < MIB, name
        assert decoded_size(bomb.body, header(bomb, "Content-Encoding")) >= BOMB_MIB * MIB, name


def test_a_bomb_may_be_packed_twice() -> None:
    for name in ("twice", "inner"):
        bomb = answer(f"/bomb/{name}").body

        assert len(bomb) < 10_000, name
        assert decoded_size(gzip.decompress(bomb), "gzip") >= BOMB_MIB * MIB, name


def test_the_bomb_among_the_sitemaps_is_a_file() -> None:
    bomb = answer("/sm/gzbomb.xml.gz")

    assert header(bomb, "Content-Type") == "application/gzip"
    assert len(bomb.body) < MIB


# --- pages, duplicates, sitemaps


def test_pages_are_in_the_encodings_that_they_say() -> None:
    assert answer("/enc/latin1").body.decode("latin-1").count("Café Ærø") == 3
    assert "Café".encode() in answer("/enc/header-lies").body
    assert answer("/enc/utf16-bom").body.startswith(b"\xff\xfe<\0")


def test_every_noindex_path_sends_a_noindex_directive() -> None:
    for path in links.NOINDEX:
        response = answer(path)
        directives = (
            f"{dict(response.headers).get('X-Robots-Tag')} {response.body.decode()}".lower()
        )
        assert "noindex" in directives or "none" in directives


def test_a_sitemap_has_one_url_too_many() -> None:
    assert answer("/sm/many.xml").body.count(b"<loc>") == sitemaps.MOST_URLS + 1


def test_sitemaps_name_host_other_and_canary() -> None:
    site = HazardSite(World(canary="127.0.0.1:7", other="127.0.0.2:8"))

    assert b"http://127.0.0.1:7/" in answer("/sm/xxe.xml", site).body
    assert b"http://127.0.0.2:8/" in answer("/sm/mixed.xml", site).body
    assert all(b"CANARY" not in answer(path, site).body for path in GROUPS["sm"])


def test_every_spelling_of_loopback_has_its_redirect_and_its_hop() -> None:
    site = HazardSite(World(canary="127.0.0.1:7"))

    for number, url in enumerate(ssrf.spellings("127.0.0.1:7")):
        assert f":7/canary/{number}" in url
        raw = header(answer(f"/ssrf/to/{number}", site), "Location").encode("latin-1")
        assert raw.decode() == url
        assert header(answer(f"/ssrf/hop/{number}", site), "Location") == f"/ssrf/to/{number}"


# --- errors and cookies


async def test_what_fails_for_a_while_is_a_page_in_the_end(server: SiteServer) -> None:
    async def statuses(name: str, times: int) -> list[int]:
        return [(await ask(server, f"/err/{name}")).status for _ in range(times)]

    assert await statuses("first-503", 2) == [503, 200]
    assert await statuses("two-500s", 3) == [500, 500, 200]
    assert await statuses("429-seconds", 2) == [429, 200]
    assert await statuses("503-date", 2) == [503, 200]
    with pytest.raises(ConnectionResetError):
        await ask(server, "/err/first-drop")
    assert await statuses("first-drop", 1) == [200]


def test_a_busy_server_says_how_long_to_wait() -> None:
    site = HazardSite(World(retry_after_s=7))

    assert header(answer("/err/429-seconds", site), "Retry-After") == "7"
    assert header(answer("/err/503-date", site), "Retry-After").endswith(" GMT")


async def test_a_cookie_opens_the_wall(server: SiteServer) -> None:
    without = await ask(server, "/cookie/wall")
    with_it = await ask(server, "/cookie/wall", "Cookie: seen=yes")

    assert (without.status, with_it.status) == (302, 200)
    assert without.headers["set-cookie"].startswith("seen=yes")
