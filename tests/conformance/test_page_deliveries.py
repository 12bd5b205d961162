"""`PageDeliveryStore`: each page has one delivery, and the end of its job follows the last."""

from crawlyard.core.jobs.lifecycle import Move
from crawlyard.core.webhooks.delivery_limits import DeliveryRoom, Traffic
from crawlyard.core.webhooks.webhook import DeliveryAttempt, JobWebhook, MessageFormat
from crawlyard.store.store import Store
from tests.builders import NOW, a_batch, a_spec, a_target, done, failed
from tests.builders_webhooks import LEASE, SECOND, SECRET
from tests.conformance.steps import added, claimed, recorded

GOOD = DeliveryAttempt(at=NOW, latency=SECOND, status=204)


async def test_each_page_has_one_delivery_and_the_end_follows(store: Store) -> None:
    receiver = JobWebhook(
        url="https://hooks.example.org/",
        secret=SECRET,
        format=MessageFormat.FIRECRAWL_CRAWL,
        events=("job.completed",),
        pages=True,
    )
    job = await added(store, spec=a_spec(webhooks=(receiver,)))
    pages, ahead = store.page_deliveries, DeliveryRoom(in_all=9, of_owner=9, to_receiver=9)
    assert await pages.expected()
    claim = await claimed(store, job)
    good, other, slow = (a_target(path) for path in ("good", "other", "slow"))
    outcomes = [done(good), done(other), failed(slow)]
    last = await recorded(store, claim.lease, a_batch([good, other, slow], outcomes))

    assert await pages.fan_out(NOW, 0) == 0  # a page with a lower id may still be committed
    newest = await pages.newest()
    assert await pages.fan_out(NOW, newest) == 2  # one had no answer
    assert await pages.fan_out(NOW, newest) == 0
    ends = (await store.jobs.get(job.id)).job.apply_move(Move.COMPLETE, NOW, actor="worker:w1")
    await store.leases.settle(last.lease, *ends)
    while await store.deliveries.fan_out(NOW):
        pass
    assert await pages.fan_out(NOW, newest) == 0  # pages have no outcome yet
    for each in await store.deliveries.claim(NOW, LEASE, Traffic(ahead)):
        assert each.delivery.page_id is not None
        after = each.delivery.record_attempt(GOOD, chance=0.5)
        await store.deliveries.settle(each.delivery, after)
    assert await pages.fan_out(NOW, newest) == 1
    [end] = await store.deliveries.claim(NOW, LEASE, Traffic(ahead))
    assert end.delivery.name == "job.completed"
    assert not await pages.expected()
