"""Messages to Firecrawl's webhooks about pages: each document arrives, and the end after all."""

import asyncio
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from crawlyard import LOCAL
from crawlyard.api.near import NearSurface
from crawlyard.bridges.firecrawl.documents import page_document
from crawlyard.bridges.firecrawl.webhooks import secret_of
from crawlyard.clock import SystemClock
from crawlyard.core.access.user import Actor, Permit
from crawlyard.core.webhooks.webhook import DeliveryState
from crawlyard.demo.server import SiteServer
from crawlyard.demo.site import HTML, Answer
from crawlyard.engine.http.webhook_post import Poster
from crawlyard.services.webhooks.delivery import Deliverer
from crawlyard.services.webhooks.formats import MAX_DOCUMENT_BODY
from tests.bridges.test_firecrawl_documents import opened
from tests.receiver import Receiver, answer, dropping
from tests.site import Serve
from tests.web.rig import Rig

COUNT = 30


def _answer(method: str, path: str, host: str) -> Answer:
    """Return a page of a site: the first links to all; /large is larger than a message."""
    if path == "/robots.txt":
        return Answer(404, (("Content-Type", HTML),))
    links = "".join(f"<a href=/{n}>{n}</a>" for n in range(1, COUNT))
    body = "word " * 1_100_000 if path == "/large" else links if path == "/" else path
    page = f"<!doctype html><title>{path}</title><p>{body}"
    return Answer(200, (("Content-Type", HTML),), page.encode())


class _Site:
    answer = staticmethod(_answer)


@pytest.fixture
async def site(site_server: Serve) -> SiteServer:
    return await site_server(_Site())


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """A server with the bridge, whose deliverers a test starts."""
    async with opened(tmp_path) as rig:
        yield rig


def _deliverer(rig: Rig) -> Deliverer:
    async def read(owner: str, job_id: str, page_id: int) -> Mapping[str, Any] | None:
        surface = NearSurface(rig.yard.services, Actor(id=owner))
        return await page_document(surface, job_id, page_id)

    poster = Poster("Crawlyard/test", timedelta(seconds=5))
    deliverer = Deliverer(rig.yard.store, poster, SystemClock(), chance=lambda: 0.5)
    deliverer.documents = read
    return deliverer


@asynccontextmanager
async def _delivering(rig: Rig, count: int = 1) -> AsyncIterator[None]:
    """Run deliverers for the block; their end is that of a killed process."""
    tasks = [asyncio.create_task(_deliverer(rig).run()) for _ in range(count)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks)


async def _start(rig: Rig, site: SiteServer, receiver: Receiver, **options: Any) -> str:
    body = {"url": f"http://{site.authority}/", "delay": 0, "sitemap": "skip"}
    webhook = {"url": receiver.url, **options.pop("webhook", {})}
    answer = await rig.post("/v2/crawl", {**body, **options, "webhook": webhook})
    assert answer.status_code == 200, answer.text
    job_id: str = answer.json()["id"]
    return job_id


async def _until_end(receiver: Receiver) -> list[Any]:
    """Return the messages of a receiver, the last of them that of the end."""
    async with asyncio.timeout(60):
        while True:
            bodies = [json.loads(message.body) for message in receiver.messages]
            if any(body["type"].endswith((".completed", ".failed")) for body in bodies):
                return bodies
            await asyncio.sleep(0.02)


def _urls(bodies: list[Any]) -> list[str]:
    pages = [body for body in bodies if body["type"] == "crawl.page"]
    assert all(len(body["data"]) == 1 for body in pages)
    return sorted(body["data"][0]["metadata"]["sourceURL"] for body in pages)


async def test_each_page_arrives_signed_and_the_end_after_the_last(
    rig: Rig, site: SiteServer
) -> None:
    async with Receiver() as receiver, _delivering(rig, 2):
        webhook = {"metadata": {"build": "42"}, "headers": {"Authorization": "Bearer x"}}
        job = await _start(rig, site, receiver, webhook=webhook)
        await rig.yard.run_job(job)
        bodies = await _until_end(receiver)
    assert len(set(_urls(bodies))) == len(_urls(bodies)) == COUNT
    assert [body["type"] for body in bodies].index("crawl.completed") == len(bodies) - 1
    page = next(body for body in bodies if body["type"] == "crawl.page")
    assert (page["success"], page["id"], page["metadata"]) == (True, job, {"build": "42"})
    assert {"markdown", "metadata"} <= set(page["data"][0])
    for message in receiver.messages:
        secret = secret_of(rig.secrets[LOCAL.id])
        signature = hmac.digest(secret.encode(), message.body, "sha256").hex()
        assert message.headers["x-firecrawl-signature"] == f"sha256={signature}"
        assert message.verified(secret)["webhookId"] == message.id
        assert message.headers["authorization"] == "Bearer x"
    listed = (await rig.get(f"webhooks/{job}:0/deliveries?limit=100")).json()["items"]
    sent = [each for each in listed if each["event"] == "page"]
    assert len({each["page"] for each in sent}) == COUNT
    assert {each["seq"] for each in sent} == {None}
    await _deliverer(rig).run(drain=True)  # it has had all
    assert len(receiver.messages) == len(bodies)


async def test_a_killed_process_loses_no_page_and_repeats_one_with_its_id(
    rig: Rig, site: SiteServer
) -> None:
    async with Receiver(*[answer(204)] * 5, dropping) as receiver:
        job = await _start(rig, site, receiver, webhook={"events": ["page", "completed"]})
        await rig.yard.run_job(job)
        async with _delivering(rig):
            while len(receiver.messages) < 9:  # noqa: ASYNC110 - no event to wait for
                await asyncio.sleep(0.01)
    log = await rig.yard.store.deliveries.find(f"{job}:0", None, None, 1000)
    assert {delivery.name for delivery in log} == {"page"}
    arrived = {each.id for each in log if each.state is DeliveryState.DELIVERED}
    assert len(arrived) == 5
    async with Receiver() as again:
        store = rig.yard.store.deliveries
        for delivery in log:  # of which the leases and waits would have to pass
            if delivery.id not in arrived:
                await store.again(delivery.id, SystemClock().now())
        url = f"http://127.0.0.1:{again.port}/hook"
        await _send_to(rig, job, url, again.authority)
        async with _delivering(rig):
            bodies = await _until_end(again)
    assert {body["webhookId"] for body in bodies[:-1]} == {each.id for each in log} - arrived
    assert bodies[-1]["type"] == "crawl.completed"


async def _send_to(rig: Rig, job: str, url: str, authority: str) -> None:
    webhooks = NearSurface(rig.yard.services, LOCAL).webhooks
    await webhooks.edit(f"{job}:0", url=url, allow_addresses=(authority,))


async def test_a_disabled_webhook_continues_where_it_was(rig: Rig, site: SiteServer) -> None:
    async with Receiver(answer(410), answer(204)) as receiver:
        job = await _start(rig, site, receiver, webhook={"events": ["page", "completed"]})
        await rig.yard.run_job(job)  # a receiver holds up no crawl
        webhooks = NearSurface(rig.yard.services, LOCAL).webhooks
        async with _delivering(rig):
            while (await webhooks.get(f"{job}:0")).active:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.02)
            await webhooks.enable(f"{job}:0")
            bodies = await _until_end(receiver)
    assert bodies[-1]["type"] == "crawl.completed"


async def test_a_large_document_arrives_without_its_largest_part(
    rig: Rig, site: SiteServer
) -> None:
    async with Receiver() as receiver, _delivering(rig):
        body = {"urls": [f"http://{site.authority}/large"], "formats": ["markdown", "links"]}
        webhook = {"url": receiver.url, "events": ["page", "completed"]}
        started = await rig.post("/v2/batch/scrape", body | {"webhook": webhook})
        await rig.yard.run_job(started.json()["id"])
        bodies = await _until_end(receiver)
    assert [each["type"] for each in bodies] == ["batch_scrape.page", "batch_scrape.completed"]
    assert len(receiver.messages[0].body) < MAX_DOCUMENT_BODY
    [document] = bodies[0]["data"]
    assert "markdown left out" in document["warning"]
    assert "markdown" not in document


async def test_a_crawl_without_such_a_webhook_has_no_deliveries_of_pages(
    rig: Rig, site: SiteServer
) -> None:
    async with Receiver() as receiver, _delivering(rig):
        job = await _start(rig, site, receiver, webhook={"events": ["completed"]}, limit=3)
        await rig.yard.run_job(job)
        bodies = await _until_end(receiver)
        assert [body["type"] for body in bodies] == ["crawl.completed"]
        assert not await rig.yard.store.page_deliveries.expected()


async def test_a_crawl_that_is_continued_after_its_end_sends_its_further_pages(
    rig: Rig, site: SiteServer
) -> None:
    async with Receiver() as receiver, _delivering(rig):
        job = await _start(rig, site, receiver, limit=3, webhook={"events": ["page"]})
        await rig.yard.run_job(job)
        await _received(receiver, 3)
        while await rig.yard.store.page_deliveries.expected():  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.02)
        jobs = NearSurface(rig.yard.services, LOCAL).jobs
        await jobs.edit(job, {"limits": {"pages": 7}})
        await jobs.resume(job)
        await rig.yard.run_job(job)
        await _received(receiver, 7)
    assert len(set(_urls([json.loads(message.body) for message in receiver.messages]))) == 7


async def _received(receiver: Receiver, count: int) -> None:
    async with asyncio.timeout(60):
        while len(receiver.messages) < count:  # noqa: ASYNC110 - no event to wait for
            await asyncio.sleep(0.02)


async def test_pages_need_a_token_that_may_read_them(rig: Rig) -> None:
    token = await rig.token(LOCAL.id, frozenset({Permit.JOBS_READ, Permit.JOBS_WRITE}))
    rig.secrets["writer"] = token
    body = {"url": "https://example.org/"}
    webhook = {"url": "https://93.184.215.14/", "events": ["page"]}
    refused = await rig.post("/v2/crawl", body | {"webhook": webhook}, by="writer")
    assert refused.status_code == 403, refused.text
    assert "results:read" in refused.json()["error"]
    webhook["events"] = ["completed"]
    accepted = await rig.post("/v2/crawl", body | {"webhook": webhook}, by="writer")
    assert accepted.status_code == 200, accepted.text
