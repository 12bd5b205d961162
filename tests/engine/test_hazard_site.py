"""The hazards are what they say: looked at byte by byte, without the engine."""

import asyncio
import gzip
import sys
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from urllib.parse import urljoin

import brotli  # type: ignore[import-untyped]  # it has no types of its own
import pytest

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.demo.hits import Hit
from crawlyard.demo.server import SiteServer
from crawlyard.demo.site import Answer
from tests.hazards import (
    EXPECTED,
    FOUND,
    GROUPS,
    HAZARDS,
    TITLES,
    HazardSite,
    World,
    duplicates,
    links,
    sitemaps,
    ssrf,
    trespasses,
)
from tests.hazards.bombs import BOMB_MIB, MIB
from tests.site import Serve, ask, connected, links_of, site_server, talk, until, walk

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["site_server"]

HOST = "127.0.0.1:8000"
QUIET = {"hang", "loris", "endless", "slow"}  # words in the paths of what does not end by itself


@pytest.fixture
async def server() -> AsyncIterator[SiteServer]:
    async with SiteServer(HazardSite(World(drip_s=0.001))) as server:
        yield server


def answer(path: str, site: HazardSite | None = None) -> Answer:
    got = (site or HazardSite()).answer("GET", path, HOST)
    assert isinstance(got, Answer)
    return got


def header(of: Answer, name: str) -> str:
    return dict(of.headers)[name]


# --- the table


def test_every_url_is_one_hazard() -> None:
    urls = [hazard.url for hazard in HAZARDS]

    assert len(urls) == len(set(urls)) > 200
    assert sum(map(len, GROUPS.values())) == len(urls)


def test_what_is_expected_is_a_known_word() -> None:
    words = {"page", "truncated", "skipped", "endless"} | {f"failed:{kind}" for kind in ErrorKind}

    assert {word for expected in EXPECTED.values() for word in expected} <= words


def test_what_must_be_found_may_be_asked_for() -> None:
    never = [path for paths in FOUND.values() for path in paths if path.startswith("/never/")]

    assert never == []
    assert set(FOUND) | set(TITLES) <= {hazard.url for hazard in HAZARDS}


def test_what_must_be_found_is_there() -> None:
    paths = {path for paths in FOUND.values() for path in paths}

    missing = {path for path in paths if answer(path).status == 404}

    assert missing == {"/sm/absent.xml"}  # the index lists one that is not there


def test_the_home_page_leads_to_the_groups_and_they_to_their_hazards() -> None:
    home = set(links_of(answer("/").body, "/"))

    assert home == {f"/{group}/" for group in GROUPS}
    for group in GROUPS.keys() - {"dup"}:  # /dup/ is a hazard itself
        linked = links_of(answer(f"/{group}/").body, f"/{group}/")
        assert {*GROUPS[group], f"/ok/{group}"} == set(linked)


def test_trespasses_are_forbidden_paths_and_other_methods() -> None:
    paths = ("/found/x", "/never/x", "/private/x", "/canary/1", "/maybe/x")
    hits = [Hit(1, 1, 1, "GET", path, HOST, "", 1) for path in paths]
    hits.append(Hit(1, 1, 1, "POST", "/found/x", HOST, "", 1))

    assert [hit.path for hit in trespasses(hits)] == [*paths[1:4], "/found/x"]


# --- every hazard


@pytest.mark.slow
async def test_a_hazard_harms_nobody_but_its_client(
    server: SiteServer, caplog: pytest.LogCaptureFixture
) -> None:
    for hazard in HAZARDS:
        async with connected(server) as (reader, writer):
            writer.write(f"GET {hazard.url} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
            with suppress(TimeoutError, OSError):
                async with asyncio.timeout(0.05 if QUIET & set(_words(hazard.path)) else 10):
                    await reader.read(1024)
        after = await ask(server, "/ok/after")

        assert after.status == 200, hazard.url
        assert caplog.text == "", hazard.url  # the site made no error


def _words(path: str) -> list[str]:
    return path.strip("/*").replace("/", "-").replace(".", "-").split("-")


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


def test_a_trap_leads_ever_deeper() -> None:
    for start in GROUPS["trap"]:
        site, seen, todo = HazardSite(), set[str](), [start]

        while todo and len(seen) < 300:
            path = todo.pop(0)
            seen.add(path)
            found = [urljoin(path, link) for link in links_of(answer(path, site).body, path)]
            todo += [link for link in dict.fromkeys(found) if link not in seen and link not in todo]

        assert len(seen) == 300, start
        assert all(path.startswith("/trap/") for path in seen), start


# --- bodies


async def test_a_reset_is_one(server: SiteServer) -> None:
    for path in ("/head/reset", "/body/reset"):
        with pytest.raises(ConnectionResetError):
            await ask(server, path)


async def test_what_is_endless_ends_when_the_client_leaves(server: SiteServer) -> None:
    site = server.site
    assert isinstance(site, HazardSite)

    for path in ("/body/endless", "/body/endless-chunks", "/head/endless"):
        async with connected(server) as (reader, writer):
            writer.write(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            await reader.readexactly(1_000_000)
            writer.transport.abort()
        await until(lambda: server.hits[-1].gone_at is not None)

        assert 1_000_000 <= site.world.sent[path] < 50_000_000, path


async def test_what_is_slow_comes_byte_by_byte(server: SiteServer) -> None:
    async with connected(server) as (reader, writer):
        writer.write(b"GET /head/loris HTTP/1.1\r\nHost: h\r\n\r\n")

        assert await reader.readuntil(b"slowlyslowly")
    await until(lambda: server.hits[0].gone_at is not None)


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


def test_a_packed_page_can_be_unpacked() -> None:
    unpackers: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.decompress,
        "deflate": zlib.decompress,
        "raw-deflate": lambda data: zlib.decompress(data, -15),
        "br": brotli.decompress,
        "zstd": zstd.decompress,
    }
    for name, unpack in unpackers.items():
        assert f"<title>enc/{name}</title>".encode() in unpack(answer(f"/enc/{name}").body)


def test_a_broken_gzip_is_one() -> None:
    for name in ("false-gzip", "cut-gzip", "bad-sum"):
        with pytest.raises((OSError, EOFError)):
            gzip.decompress(answer(f"/enc/{name}").body)


# --- pages, duplicates, sitemaps


def test_pages_are_in_the_encodings_that_they_say() -> None:
    assert answer("/enc/latin1").body.decode("latin-1").count("Café Ærø") == 3
    assert "Café".encode() in answer("/enc/header-lies").body
    assert answer("/enc/utf16-bom").body.startswith(b"\xff\xfe<\0")


def test_what_asks_not_to_be_kept_is_named() -> None:
    for path in links.NOINDEX:
        got = answer(path)
        said = f"{dict(got.headers).get('X-Robots-Tag')} {got.body.decode()}".lower()
        assert "noindex" in said or "none" in said


def test_spellings_are_many_and_the_distinct_ones_few() -> None:
    spellings = duplicates.spellings(HOST)

    assert len(set(spellings)) == len(spellings) == 26
    assert len(set(duplicates.DISTINCT)) == len(duplicates.DISTINCT)
    assert duplicates.ONE not in duplicates.DISTINCT


def test_a_page_says_by_which_spelling_it_was_asked() -> None:
    assert b"<title>/dup/Case?x=%20</title>" in answer("/dup/Case?x=%20").body


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
