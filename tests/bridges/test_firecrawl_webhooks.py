"""Webhooks of Firecrawl's API: receivers of a job, with messages in its format."""

from typing import Any

from crawlyard.bridges.firecrawl.webhooks import secret_of
from crawlyard.core.access.user import LOCAL
from crawlyard.core.webhooks.webhook import MessageFormat
from tests.web.rig import URL, Rig

RECEIVER = "https://93.184.215.14/crawls"  # a name would be looked up


async def _receiver_of(bridged: Rig, path: str, webhook: object) -> Any:
    body = {"urls": [URL]} if path == "batch/scrape" else {"url": URL}
    answer = await bridged.post(f"/v2/{path}", body | {"webhook": webhook})
    assert answer.status_code == 200, answer.text
    [receiver] = (await bridged.yard.store.jobs.get(answer.json()["id"])).job.spec.webhooks
    return receiver


async def _refused(bridged: Rig, **options: Any) -> str:
    answer = await bridged.post("/v2/crawl", {"url": URL, **options})
    assert answer.status_code == 400, answer.text
    error: str = answer.json()["error"]
    return error


async def test_a_webhook_is_a_receiver_of_the_job(bridged: Rig) -> None:
    whole = {
        "url": RECEIVER,
        "headers": {"X-Team": "search"},
        "metadata": {"a": "b"},
        "events": ["failed"],
    }
    for path, messages in {
        "crawl": MessageFormat.FIRECRAWL_CRAWL,
        "batch/scrape": MessageFormat.FIRECRAWL_BATCH,
    }.items():
        receiver = await _receiver_of(bridged, path, RECEIVER)
        assert (receiver.url, receiver.format) == (RECEIVER, messages)
        assert receiver.pages
        assert receiver.events == (
            "job.started",
            "job.completed",
            "job.failed",
            "job.cancelled",
        )
        assert receiver.secret == secret_of(bridged.secrets[LOCAL.id])
        receiver = await _receiver_of(bridged, path, whole)
        assert (receiver.metadata, receiver.events) == ({"a": "b"}, ("job.failed", "job.cancelled"))
        assert (dict(receiver.headers), receiver.pages) == ({"X-Team": "search"}, False)
    receiver = await _receiver_of(bridged, "crawl", {"url": RECEIVER, "events": ["page"]})
    assert (receiver.events, receiver.pages) == ((), True)


async def test_what_a_receiver_would_not_get_is_refused_by_name(bridged: Rig) -> None:
    for name, webhook in {
        "webhook.events: expected": {"url": RECEIVER, "events": ["ended"]},
        "webhook.headers: 'a b' is not": {"url": RECEIVER, "headers": {"a b": "1"}},
        "webhook.headers: expected printable": {"url": RECEIVER, "headers": {"X-A": "1\r\nX-B: 2"}},
        "webhook.headers: Host is set": {"url": RECEIVER, "headers": {"Host": "example.org"}},
        "webhook.headers: Webhook-Id is set": {"url": RECEIVER, "headers": {"Webhook-Id": "1"}},
        "webhook.headers: expected": {"url": RECEIVER, "headers": {"X-A": 1}},
        "webhook.retries: not supported": {"url": RECEIVER, "retries": 2},
        "webhook.metadata": {"url": RECEIVER, "metadata": {"a": "b" * 3000}},
        "webhook: expected a URL": {"events": ["completed"]},
        "webhook.url": "ftp://example.org",
    }.items():
        assert name in await _refused(bridged, webhook=webhook), name


async def test_an_address_needs_its_grant_in_words_of_the_request(bridged: Rig) -> None:
    await bridged.user("bob")
    inside = "http://127.0.0.1:9/hook"
    requests = {
        "url": ("crawl", {"url": inside}),
        "webhook.url": ("crawl", {"url": URL, "webhook": inside}),
    }
    for field, (path, body) in requests.items():
        answer = await bridged.post(f"/v2/{path}", body, by="bob")
        assert answer.status_code == 400, answer.text
        error = answer.json()["error"]
        assert error.startswith(f"{field}: "), error
        assert error.endswith("allow it on the server: crawlyard settings grants --addresses")
    target = {"type": "scrape", "urls": [inside]}
    schedule = {"cron": "0 4 * * *"}
    monitor = {"name": "a", "schedule": schedule, "targets": [target]}
    answer = await bridged.post("/v2/monitor", monitor, by="bob")
    assert "crawlyard settings grants --addresses" in answer.json()["error"], answer.text
    grants = {"addresses": True, "private": False, "ignore_robots": False}
    await bridged.ask("PUT", "settings/grants", json=grants, headers={"If-Match": "*"})
    receiver = await _receiver_of(bridged, "crawl", inside)
    assert receiver.url == inside


async def test_no_answer_shows_the_headers_of_a_webhook(bridged: Rig) -> None:
    webhook = {"url": RECEIVER, "headers": {"Authorization": "Bearer hidden"}}
    started = await bridged.post("/v2/crawl", {"url": URL, "webhook": webhook})
    job = started.json()["id"]
    spec = {"urls": [URL], "webhooks": [webhook]}
    answers = [
        await bridged.get(f"jobs/{job}"),
        await bridged.get(f"jobs/{job}/config"),
        await bridged.get(f"jobs/{job}/events"),
        await bridged.get(f"webhooks/{job}:0"),
        await bridged.post("jobs/plan", spec),
    ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert "hidden" not in answer.text, answer.text
