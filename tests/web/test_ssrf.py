"""No door of the API leads to an address inside: neither when a URL is taken nor when it is asked.

Source: the issue, "The SSRF rules through every door".
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from crawlyard.clock import SystemClock
from crawlyard.config import Settings
from crawlyard.core.access.user import LOCAL
from crawlyard.core.events.event import Event, EventName
from crawlyard.demo.server import SiteServer
from crawlyard.demo.site import HTML, Answer
from crawlyard.store.db.in_memory import open_in_memory
from crawlyard.web.site import SiteOptions, open_site
from crawlyard.yard import IN_MEMORY, Yard
from tests.clock import FakeClock
from tests.receiver import Receiver, answer
from tests.site import FixedSite
from tests.web.matrix import HOOK
from tests.web.rig import URL, Rig, an_app, problem

PATIENCE_S = 120

INSIDE = (
    "http://127.0.0.1/",
    "http://127.0.0.1:8700/api/v1/jobs",
    "http://127.1/",
    "http://2130706433/",
    "http://0x7f.1/",
    "http://0177.0.0.1/",
    "http://127.0.0.1./",
    "http://\uff11\uff12\uff17.0.0.1/",
    "http://localhost/",
    "http://LOCALHOST./",
    "http://a.localhost:8700/",
    "http://0.0.0.0/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.1.1/admin",
    "http://100.64.0.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://168.63.129.16/machine",
    "http://[::]/",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:a00:1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[2002:7f00:1::]/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://[fe80::1]/",
    "http://224.0.0.1/",
)
"""What a request from inside must not reach, in the spellings that have got past others."""

Door = Callable[[Rig, str], Awaitable[httpx.Response]]


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """A server whose time goes on; ada is an operator."""
    yard = Yard(Settings(database_url=IN_MEMORY), open_in_memory(), SystemClock())
    site = await open_site(yard, SiteOptions(rate_limits=False))
    new_rig = Rig(site=site, app=an_app(site), clock=FakeClock())
    await new_rig.token(LOCAL.id)
    await new_rig.user("ada")
    yield new_rig
    await new_rig.close()


# --- when a URL is taken


def posts(path: str, form: Callable[[str], dict[str, Any]]) -> Door:
    return lambda rig, url: rig.post(path, form(url), by="ada")


def https(url: str) -> str:
    """Return *url* as a webhook may have it."""
    return "https" + url.removeprefix("http")


async def changes_a_webhook(rig: Rig, url: str) -> httpx.Response:
    webhook = (await rig.post("webhooks", {"url": HOOK}, by="ada")).json()
    return await rig.ask("PATCH", f"webhooks/{webhook['id']}", json={"url": https(url)}, by="ada")


async def changes_a_schedule(rig: Rig, url: str) -> httpx.Response:
    body = {"name": "s", "when": "@daily", "overrides": {"urls": [URL]}}
    schedule = (await rig.post("schedules", body, by="ada")).json()
    change = {"overrides": {"urls": [url]}}
    path, headers = f"schedules/{schedule['id']}", {"If-Match": "*"}
    return await rig.ask("PATCH", path, json=change, headers=headers, by="ada")


async def imports_a_template_and_uses_it(rig: Rig, url: str) -> httpx.Response:
    file = {"content": f"name: t\nspec:\n  urls: ['{url}']\n"}
    response = await rig.post("templates/import", file, by="ada")
    return await rig.post("jobs", {"template": "t"}, by="ada") if response.is_success else response


async def fills_a_place_of_a_template(rig: Rig, url: str) -> httpx.Response:
    draft = {
        "name": "t",
        "parameters": {"start": {"type": "url", "required": True}},
        "spec": {"urls": ["{{start}}"]},
    }
    await rig.post("templates", draft, by="ada")
    return await rig.post("jobs", {"template": "t", "params": {"start": url}}, by="ada")


DOORS: Mapping[str, Door] = {
    "a start URL": posts("jobs", lambda url: {"urls": [URL, url]}),
    "a sitemap": posts("jobs", lambda url: {"urls": [URL], "sitemaps": [url]}),
    "a job's webhook": posts("jobs", lambda url: {"urls": [URL], "webhooks": [{"url": url}]}),
    "a preview": posts("jobs/preview", lambda url: {"urls": [url]}),
    "a preview's sitemap": posts("jobs/preview", lambda url: {"urls": [URL], "sitemaps": [url]}),
    "a webhook": posts("webhooks", lambda url: {"url": https(url)}),
    "a changed webhook": changes_a_webhook,
    "a schedule": posts(
        "schedules", lambda url: {"name": "s", "when": "@daily", "overrides": {"urls": [url]}}
    ),
    "a changed schedule": changes_a_schedule,
    "an imported template": imports_a_template_and_uses_it,
    "a parameter": fills_a_place_of_a_template,
}


async def test_no_url_of_the_inside_is_taken(rig: Rig) -> None:
    let_in = []
    for name, door in DOORS.items():
        for url in INSIDE:
            response = await door(rig, url)
            if problem(response) != (422, "validation_failed"):
                let_in.append(url)
            for path in ("templates", "schedules"):  # the next one may have the same name
                for item in (await rig.get(path, by="ada")).json()["items"]:
                    await rig.ask("DELETE", f"{path}/{item['id']}", headers={"If-Match": "*"})

        assert let_in == [], name


async def test_a_user_without_grants_cannot_allow_private_addresses(rig: Rig) -> None:
    cases: list[dict[str, Any]] = [{"allow_addresses": ["0.0.0.0/0"]}, {"allow_private": True}]
    for opening in cases:
        form = {"urls": ["http://10.0.0.1/"], **opening}
        body = {"name": "s", "when": "@daily", "overrides": form}
        await rig.post("templates", {"name": "t", "spec": form}, by="ada")
        responses = [
            await rig.post("jobs", form, by="ada"),
            await rig.post("jobs", {"template": "t"}, by="ada"),
            await rig.post("jobs", form),  # an admin grants it in the settings, not in passing
            await rig.post("jobs/preview", form, by="ada"),
            await rig.post("schedules", body, by="ada"),
        ]

        assert [problem(response) for response in responses] == [(403, "forbidden")] * len(
            responses
        ), opening


# --- when a URL is asked


@pytest.fixture
async def inside() -> AsyncIterator[tuple[str, FixedSite]]:
    """A site on a blocked address, with its URL."""
    secret = FixedSite({"/secret": Answer(200, (("Content-Type", HTML),), b"<p>secret")})
    async with SiteServer(secret) as server:
        yield server.url, secret


async def crawled(rig: Rig, outside: FixedSite, **form: Any) -> dict[str, Any]:
    """Return the job that has crawled a site, whose address alone is opened."""
    body = {"addresses": True}
    await rig.ask("PUT", "settings/grants", json=body, headers={"If-Match": "*"})
    async with SiteServer(outside) as server:
        form = {"sitemaps": [], **form}
        form["sitemaps"] = [
            path if path == "robots" else server.url + path for path in form["sitemaps"]
        ]
        request = {
            "urls": [f"{server.url}/"],
            "scope": "any",
            "delay_s": 0,
            "url_retries": 0,
            "allow_addresses": [server.authority],
            **form,
        }
        response = await rig.post("jobs", request, by="ada")
        assert response.status_code == 201, response.text
        async with asyncio.timeout(PATIENCE_S):
            await rig.yard.worker(only=response.json()["id"]).run()
    job: dict[str, Any] = (await rig.get(f"jobs/{response.json()['id']}", by="ada")).json()
    assert job["state"] in {"completed", "failed"}
    return job


def moved(url: str) -> Answer:
    return Answer(302, (("Location", url),))


def page(*urls: str) -> Answer:
    links = "".join(f'<a href="{url}">x</a>' for url in urls)
    return Answer(200, (("Content-Type", HTML),), links.encode())


def urlset(*urls: str) -> Answer:
    entries = "".join(f"<url><loc>{url}</loc></url>" for url in urls)
    kind = (("Content-Type", "application/xml"),)
    return Answer(200, kind, f"<urlset>{entries}</urlset>".encode())


def index(*urls: str) -> Answer:
    entries = "".join(f"<sitemap><loc>{url}</loc></sitemap>" for url in urls)
    kind = (("Content-Type", "application/xml"),)
    return Answer(200, kind, f"<sitemapindex>{entries}</sitemapindex>".encode())


WAYS: Mapping[str, Callable[[str], dict[str, Answer]]] = {
    "a link": lambda url: {"/": page(f"{url}/secret")},
    "a redirect of the start URL": lambda url: {"/": moved(f"{url}/secret")},
    "a redirect of a link": lambda url: {"/": page("/a"), "/a": moved(f"{url}/secret")},
    "redirects in a row": lambda url: {
        "/": page("/a"),
        "/a": moved("/b"),
        "/b": moved(f"{url}/secret"),
    },
    "a redirect of robots.txt": lambda url: {
        "/": page(),
        "/robots.txt": moved(f"{url}/robots.txt"),
    },
    "a sitemap in robots.txt": lambda url: {
        "/": page(),
        "/robots.txt": Answer(200, (), f"Sitemap: {url}/secret".encode()),
    },
    "a redirect of a sitemap": lambda url: {"/": page(), "/map.xml": moved(f"{url}/secret")},
    "an entry of a sitemap": lambda url: {"/": page(), "/map.xml": urlset(f"{url}/secret")},
    "an index of sitemaps": lambda url: {"/": page(), "/map.xml": index(f"{url}/secret")},
    "a name that leads there": lambda url: {
        "/": page(url.replace("127.0.0.1", "localhost") + "/secret")
    },
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_no_site_leads_a_crawl_inside(
    rig: Rig, inside: tuple[str, FixedSite], way: Callable[[str], dict[str, Answer]]
) -> None:
    url, secret = inside
    outside = FixedSite(way(url))
    job = await crawled(rig, outside, sitemaps=["robots", "/map.xml"])

    pages = (await rig.get(f"jobs/{job['id']}/pages", by="ada")).json()["items"]

    assert secret.requests == []
    assert "/robots.txt" in outside.requests  # it has been crawled
    kinds = {page["error"]["kind"] for page in pages if page["url"].endswith("/secret")}
    assert kinds <= {"blocked_address", "robots"}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_the_same_ways_lead_to_what_is_opened(
    rig: Rig, inside: tuple[str, FixedSite], way: Callable[[str], dict[str, Answer]]
) -> None:
    url, secret = inside
    opened = ["127.0.0.0/8", "::1"]
    await crawled(rig, FixedSite(way(url)), sitemaps=["robots", "/map.xml"], allow_addresses=opened)
    assert secret.requests != []  # so that the test above says something


async def test_a_message_is_not_sent_inside_though_its_name_led_elsewhere_before(rig: Rig) -> None:
    async with Receiver() as receiver:
        created = (await rig.post("webhooks", {"url": HOOK}, by="ada")).json()
        webhooks = rig.yard.store.webhooks
        webhook = await webhooks.get(created["id"])
        url = f"https://localhost:{receiver.port}/"
        now_inside = replace(webhook, url=url, version=webhook.version + 1)
        event = Event(
            name=EventName.WEBHOOK_UPDATED,
            subject=webhook.id,
            owner=webhook.owner,
            at=webhook.updated_at,
            actor="ada",
        )
        await webhooks.save(now_inside, event)
        delivery = await delivered(rig, created["id"])

    assert receiver.connections == 0
    assert "loopback" in str(delivery["attempts"])


async def test_a_message_is_not_sent_after_a_redirect(rig: Rig) -> None:
    async with Receiver() as secret, Receiver() as receiver:
        receiver.next(answer(307, Location=secret.url))
        body = {"addresses": True}
        await rig.ask("PUT", "settings/grants", json=body, headers={"If-Match": "*"})
        opened = {"url": receiver.url, "allow_addresses": [receiver.authority]}
        response = await rig.post("webhooks", opened, by="ada")
        assert response.status_code == 201, response.text
        delivery = await delivered(rig, response.json()["id"])

    assert len(receiver.messages) == 1
    assert secret.connections == 0
    assert delivery["state"] != "delivered"


async def delivered(rig: Rig, webhook_id: str) -> dict[str, Any]:
    """Return the delivery of a test message, once it has been tried."""
    await rig.post(f"webhooks/{webhook_id}/test", by="ada")
    sending = asyncio.create_task(rig.yard.deliverer.run())
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                path = f"webhooks/{webhook_id}/deliveries"
                deliveries: list[dict[str, Any]] = (await rig.get(path, by="ada")).json()["items"]
                if deliveries and deliveries[0]["attempts"]:
                    return deliveries[0]
                await asyncio.sleep(0.05)  # it is sent by another task, at its own pace
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
