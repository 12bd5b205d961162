"""A dry run of a job: what it would do, and that it reaches no address that is closed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

from crawlyard.demo.server import SiteServer
from crawlyard.demo.site import Answer
from crawlyard.engine.probe import MOST_SITEMAPS
from tests.site import FixedSite
from tests.web.rig import URL, Rig, pointers, problem

XML = (("Content-Type", "application/xml"),)


def text(body: str) -> Answer:
    return Answer(200, (("Content-Type", "text/plain"),), body.encode())


def urlset(*urls: str) -> Answer:
    entries = "".join(f"<url><loc>{url}</loc></url>" for url in urls)
    return Answer(200, XML, f"<urlset>{entries}</urlset>".encode())


def index(*urls: str) -> Answer:
    entries = "".join(f"<sitemap><loc>{url}</loc></sitemap>" for url in urls)
    return Answer(200, XML, f"<sitemapindex>{entries}</sitemapindex>".encode())


def moved(url: str) -> Answer:
    return Answer(302, (("Location", url),))


@asynccontextmanager
async def served(*sites: FixedSite) -> AsyncIterator[list[str]]:
    """Serve sites, and give the URL of each without a slash at its end."""
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(SiteServer(site)) for site in sites]
        yield [server.url.rstrip("/") for server in servers]


async def granted(rig: Rig) -> None:
    body = {"addresses": True}
    answer = await rig.ask("PUT", "settings/grants", json=body, headers={"If-Match": "*"})
    assert answer.status_code == 200


async def previewed(rig: Rig, **body: Any) -> dict[str, Any]:
    answer = await rig.post("jobs/preview", {"delay_s": 0, **body})
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


async def in_time(rig: Rig, **body: Any) -> dict[str, Any]:
    """Return what is answered while time goes on."""
    asking = asyncio.create_task(previewed(rig, **body))
    while not asking.done():
        await rig.clock.advance(timedelta(seconds=1))
    return asking.result()


def opened(url: str) -> list[str]:
    """Return what opens the address of *url*, and no other port."""
    return [url.removeprefix("http://")]


class TestASite:
    async def test_robots_sitemaps_and_urls_are_looked_at_and_no_page(self, rig: Rig) -> None:
        await granted(rig)
        site = FixedSite({})
        async with served(site) as (url,):
            site.answers |= {
                "/robots.txt": text(
                    "User-agent: *\nDisallow: /private/\nCrawl-delay: 7\n"
                    f"Sitemap: {url}/index.xml\n"
                ),
                "/index.xml": index(f"{url}/a.xml", f"{url}/b.xml", f"{url}/private/c.xml"),
                "/a.xml": urlset(f"{url}/1", f"{url}/2"),
                "/b.xml": Answer(500),
            }
            begun = rig.clock.now()
            preview = await in_time(
                rig,
                urls=[f"{url}/x/..#top"],
                sitemaps=["robots"],
                exclude=["*.pdf"],
                allow_addresses=opened(url),
                test_urls=[
                    f"{url}/docs",
                    f"{url}/private/a",
                    f"{url}/a.pdf",
                    "https://other.example/",
                    "mailto:x@y",
                ],
            )

        assert [(start["url"], start["inside"]) for start in preview["start_urls"]] == [
            (f"{url}/", True)
        ]
        (origin,) = preview["origins"]
        assert (origin["robots"], origin["crawl_delay_s"], origin["start_allowed"]) == (
            "had",
            7,
            True,
        )
        assert origin["sitemaps"] == [f"{url}/index.xml"]
        maps = {sitemap["url"].removeprefix(url): sitemap for sitemap in preview["sitemaps"]}
        assert {path: (sitemap["urls"], sitemap["sitemaps"]) for path, sitemap in maps.items()} == {
            "/index.xml": (0, 3),
            "/a.xml": (2, 0),
            "/b.xml": (None, 0),
            "/private/c.xml": (None, 0),
        }
        assert maps["/b.xml"]["problem"] == "answered 500"
        assert maps["/private/c.xml"]["problem"] == "robots: Disallow: /private/"
        tested = preview["tested"]
        assert [result["inside"] for result in tested] == [True, False, False, False, False]
        assert [result["rule"] for result in tested[:4]] == [
            "",
            "robots: Disallow: /private/",
            "exclude: *.pdf",
            "scope: other host",
        ]
        assert "expected an http or https URL" in tested[4]["rule"]
        assert rig.clock.now() - begun >= timedelta(seconds=2 * 7)  # the crawl-delay is kept
        assert sorted(site.requests) == ["/a.xml", "/b.xml", "/index.xml", "/robots.txt"]
        assert (await rig.get("jobs")).json()["items"] == []

    async def test_settings_say_where_they_come_from(self, rig: Rig) -> None:
        await rig.ask("PUT", "settings/ceilings", json={"pages": 10}, headers={"If-Match": "*"})
        await rig.ask("PUT", "settings/defaults", json={"per_host": 1}, headers={"If-Match": "*"})
        site = FixedSite({})
        await granted(rig)
        async with served(site) as (url,):
            await rig.post("templates", {"name": "t", "spec": {"urls": [url], "concurrency": 3}})
            preview = await previewed(
                rig,
                template="t",
                limits={"pages": 50},
                headers={"Authorization": "Bearer s3cret"},
                allow_addresses=opened(url),
            )

        config, sources = preview["config"], preview["sources"]
        assert (config["limits"]["pages"], sources["limits.pages"]) == (10, "ceiling")
        assert (config["per_host"], sources["per_host"]) == (1, "settings")
        assert (config["concurrency"], sources["concurrency"]) == (3, "template v1")
        assert (config["delay_s"], sources["delay_s"]) == (0, "this job")
        assert sources["timeout_s"] == "default"
        assert "s3cret" not in str(preview)

    async def test_what_could_not_be_had_is_said(self, rig: Rig) -> None:
        await granted(rig)
        site = FixedSite({"/robots.txt": Answer(503)})
        async with served(site) as (url,):
            preview = await previewed(
                rig, urls=[url], sitemaps=[f"{url}/a.xml"], allow_addresses=opened(url)
            )

        (origin,) = preview["origins"]
        assert (origin["robots"], origin["start_allowed"]) == ("missing", None)
        assert "robots.txt: status 503" in origin["problem"]
        assert len(preview["missing"]) == 2

    async def test_what_does_not_end_is_bounded(self, rig: Rig) -> None:
        await granted(rig)
        site = FixedSite({})
        async with served(site) as (url,):
            many = [f"{url}/{n}.xml" for n in range(100)]
            site.answers = {"/index.xml": index(f"{url}/index.xml", *many)}
            preview = await previewed(
                rig, urls=[url], sitemaps=[f"{url}/index.xml"], allow_addresses=opened(url)
            )

        assert len(preview["sitemaps"]) == MOST_SITEMAPS
        assert f"at most {MOST_SITEMAPS} sitemaps were read" in preview["missing"]

    async def test_what_is_slow_is_given_up(self, rig: Rig) -> None:
        await granted(rig)
        site = FixedSite({"/robots.txt": Answer(200, (), b"", delay_s=60)})
        async with served(site) as (url,):
            preview = await previewed(rig, urls=[url], timeout_s=0.2, allow_addresses=opened(url))
        assert "0.2 s" in preview["origins"][0]["problem"]


class TestEstimates:
    async def test_pages_time_and_the_limit_that_stops_it_follow_from_sitemaps_and_robots(
        self, rig: Rig
    ) -> None:
        await granted(rig)
        site = FixedSite({})
        async with served(site) as (url,):
            named = [f"{url}/{kind}/{n}" for kind in ("docs", "print") for n in range(200)]
            site.answers = {
                "/robots.txt": text(
                    f"User-agent: *\nCrawl-delay: 2\nSitemap: {url}/a.xml\nSitemap: {url}/b.xml\n"
                ),
                "/a.xml": urlset(*named),
                "/b.xml": urlset(*named[:50], "https://other.example/"),
            }
            preview = await in_time(
                rig,
                urls=[url],
                exclude=["*/print/*"],
                limits={"pages": 1000, "duration_s": 60, "bytes": 10**6},
                allow_addresses=opened(url),
            )
            estimate = preview["estimate"]
            assert [sitemap["inside"] for sitemap in preview["sitemaps"]] == [200, 0]
            assert (estimate["basis"], estimate["bound"], estimate["pages"]) == (
                "sitemaps",
                "about",
                200,
            )
            assert (estimate["least_s"], estimate["most_s"]) == (400, 400)  # the delay rules
            assert (estimate["delay_s"], estimate["delay_by"]) == (2, "robots")
            assert {limit["limit"]: limit["verdict"] for limit in estimate["limits"]} == {
                "pages": "no",
                "duration": "yes",
                "bytes": "unknown",  # no earlier crawl tells
            }

    async def test_an_estimate_is_unknown_without_a_basis_and_exact_for_start_urls(
        self, rig: Rig
    ) -> None:
        await granted(rig)
        site = FixedSite({})
        async with served(site) as (url,):
            preview = await previewed(rig, urls=[url], allow_addresses=opened(url))
            estimate = preview["estimate"]
            assert (
                estimate["basis"],
                estimate["pages"],
                estimate["least_s"],
                estimate["bytes"],
            ) == (
                "unknown",
                None,
                None,
                None,
            )
            assert estimate["earlier"] is None
            starts = [f"{url}/{n}" for n in range(3)]
            alone = await previewed(
                rig, urls=starts, max_depth=0, limits={"pages": 3}, allow_addresses=opened(url)
            )
            estimate = alone["estimate"]
            assert (estimate["basis"], estimate["bound"], estimate["pages"]) == (
                "start_urls",
                "exact",
                3,
            )
            assert estimate["limits"][0]["verdict"] == "no"


class TestClosedAddresses:
    """Source: the issue, "The SSRF rules through every door"."""

    async def test_start_urls_and_sitemaps_cannot_reach_private_addresses(self, rig: Rig) -> None:
        for form in [
            {"urls": ["http://127.0.0.1/"]},
            {"urls": ["http://localhost:8700/"]},
            {"urls": ["http://169.254.169.254/latest/meta-data/"]},
            {"urls": ["http://[::ffff:10.0.0.1]/"]},
            {"urls": ["http://2130706433/"]},
            {"urls": [URL], "sitemaps": ["http://10.0.0.1/sitemap.xml"]},
        ]:
            answer = await rig.post("jobs/preview", form)
            assert problem(answer) == (422, "validation_failed"), form

    async def test_one_may_not_open_an_address_that_is_not_granted(self, rig: Rig) -> None:
        inside = FixedSite({})
        async with served(inside) as (url,):
            by_name = {"urls": [url], "allow_addresses": ["127.0.0.1"]}
            refused = await rig.post("jobs/preview", by_name)
            private = await rig.post("jobs/preview", {"urls": [url], "allow_private": True})

        assert problem(refused) == problem(private) == (403, "forbidden")
        assert inside.requests == []

    async def test_redirects_and_sitemap_indexes_cannot_reach_private_addresses(
        self, rig: Rig
    ) -> None:
        await granted(rig)
        inside, outside = FixedSite({"/s.xml": urlset("http://a.example/")}), FixedSite({})
        async with served(inside, outside) as (secret, url):
            outside.answers = {
                "/robots.txt": moved(f"{secret}/robots.txt"),
                "/moved.xml": moved(f"{secret}/s.xml"),
                "/index.xml": index(f"{secret}/s.xml"),
            }
            preview = await previewed(
                rig,
                urls=[url],
                sitemaps=[f"{url}/moved.xml", f"{url}/index.xml"],
                ignore_robots=False,
                allow_addresses=opened(url),
            )
            outside.answers["/robots.txt"] = Answer(404)
            more = await previewed(
                rig,
                urls=[url],
                sitemaps=[f"{url}/moved.xml", f"{url}/index.xml"],
                allow_addresses=opened(url),
            )

        assert inside.requests == []
        assert "loopback" in preview["origins"][0]["problem"]
        maps = {sitemap["url"]: sitemap["problem"] for sitemap in more["sitemaps"]}
        assert "blocked_address" in maps[f"{url}/moved.xml"]
        assert "loopback" in maps[f"{secret}/s.xml"]


class TestRequests:
    async def test_what_is_wrong_is_named(self, rig: Rig) -> None:
        for body, pointer in [
            ({"urls": [URL], "test_urls": "x"}, "/test_urls"),
            ({"urls": [URL], "test_urls": [1]}, "/test_urls/0"),
            ({"urls": [URL], "test_urls": ["x"] * 201}, "/test_urls"),
            ({"urls": [URL], "include": ["re:("]}, "/include"),
            ({"urls": []}, "/urls"),
            ({"urls": [URL], "nothing": 1}, "/nothing"),
        ]:
            answer = await rig.post("jobs/preview", body)
            assert pointers(answer) == [pointer], body

    async def test_many_at_once_are_all_answered(self, rig: Rig) -> None:
        await granted(rig)
        site = FixedSite({"/robots.txt": text("")})
        async with served(site) as (url,):
            every = await asyncio.gather(
                *(previewed(rig, urls=[url], allow_addresses=opened(url)) for _ in range(12))
            )
        assert {preview["origins"][0]["robots"] for preview in every} == {"had"}
