"""Fields of grants and trust come back from every store as written."""

from msgspec.structs import replace

from crawlyard.core.access.user import Grant
from crawlyard.core.events.event import EventName
from crawlyard.core.webhooks.webhook import JobWebhook
from crawlyard.store.queries import ScheduleQuery, TemplateQuery, WebhookQuery
from crawlyard.store.store import Store
from tests.builders import NOW, a_job, a_spec, its_event
from tests.builders_schedules import a_firing, a_schedule, edited, schedule_event
from tests.builders_templates import a_template, template_event
from tests.builders_webhooks import stored_webhook
from tests.conformance.steps import claimed

EVERY = (Grant.ADDRESSES, Grant.PRIVATE, Grant.IGNORE_ROBOTS)


async def test_a_job_knows_what_it_was_granted(store: Store) -> None:
    job = a_job(by_grant=EVERY)
    await store.jobs.add(job, its_event(job))

    claim = await claimed(store, job)

    assert claim.job.by_grant == (await store.jobs.get(job.id)).job.by_grant == EVERY


async def test_webhooks_of_a_job_live_by_what_opens_addresses_to_it(store: Store) -> None:
    spec = a_spec(webhooks=(JobWebhook(url="https://example.com/"),))
    job = a_job(spec=spec, by_grant=EVERY)
    await store.jobs.add(job, its_event(job))

    [webhook] = await store.webhooks.find(WebhookQuery(job_id=job.id), 10)

    assert webhook.by_grant == (Grant.ADDRESSES, Grant.PRIVATE)


async def test_a_webhook_comes_back_with_its_grant_and_may_lose_it(store: Store) -> None:
    webhook = await stored_webhook(store, by_grant=(Grant.ADDRESSES,))
    assert (await store.webhooks.get(webhook.id)).by_grant == (Grant.ADDRESSES,)

    after = replace(webhook, by_grant=(), version=2)
    await store.webhooks.save(after, after.event(EventName.WEBHOOK_UPDATED, NOW, "local"))

    assert (await store.webhooks.get(webhook.id)).by_grant == ()


async def test_each_version_of_a_template_is_trusted_or_not(store: Store) -> None:
    first = a_template(trusted=True)
    await store.templates.add(first, template_event(first))
    second = replace(first, version=2, trusted=False)
    await store.templates.save(second, template_event(second))

    versions = await store.templates.versions(first.id)

    assert [version.trusted for version in versions] == [False, True]
    assert (await store.templates.get(first.id, 1)).trusted
    assert [t.trusted for t in await store.templates.find(TemplateQuery(), 10)] == [False]


async def test_a_schedule_stays_trusted_when_it_fires_and_can_lose_it(store: Store) -> None:
    schedule = a_schedule(trusted=True)
    await store.schedules.add(schedule, schedule_event(schedule))
    await store.ticks.fire([a_firing(schedule)])

    [due] = await store.ticks.find_due(NOW, 10)
    fired = await store.schedules.get(schedule.id)
    await store.schedules.save(edited(fired, trusted=False), schedule_event(fired))

    assert due.trusted
    assert fired.trusted
    assert [s.trusted for s in await store.schedules.find(ScheduleQuery(), 10)] == [False]
