"""Several receivers: name lookups, addresses, and failures of one."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest

from crawlyard.core.access.user import Actor
from crawlyard.core.events.event import EventName
from crawlyard.core.webhooks.delivery_limits import DeliveryRoom
from crawlyard.core.webhooks.webhook import (
    DeliveryState,
    JobWebhook,
    Secret,
    Webhook,
)
from crawlyard.engine.http.dns import Infos, look_up
from crawlyard.errors import StoreUnavailable
from crawlyard.services.webhooks.delivery import DeliveryOptions
from crawlyard.store.store import Store
from tests.builders import NOW, a_job, a_spec, its_event
from tests.builders_webhooks import SECRET, a_webhook
from tests.hazards import ssrf
from tests.receiver import (
    Receiver,
    answer,
    silent,
)
from tests.services.delivery_rig import SOON, secret_of, words
from tests.services.hooks import PATIENCE_S, Forgetful, WebhookRig, until


class TestOthers:
    async def test_jobs_with_one_slow_receiver_do_not_hold_up_another(self) -> None:
        rig = WebhookRig(timeout=timedelta(seconds=60))
        async with Receiver(silent) as slow, Receiver() as quick, rig.delivering():
            job_webhook = JobWebhook(url=slow.url, events=("job.created",), secret=SECRET)
            spec = a_spec(webhooks=(job_webhook,), allow_addresses=(slow.authority,))
            for _ in range(DeliveryRoom().in_all + 10):
                job = a_job(owner="ada", spec=spec)
                await rig.store.jobs.add(job, its_event(job))
            await rig.clock.jump(timedelta(seconds=1))
            await until(lambda: slow.connections == DeliveryRoom().to_receiver)

            webhook = await rig.hooked(quick, Actor(id="bob", trusted=True))
            await rig.happened("bob")
            await rig.ended(webhook, 1)

        assert slow.connections == DeliveryRoom().to_receiver

    async def test_an_owner_of_many_slow_receivers_does_not_hold_up_another(self) -> None:
        room = DeliveryRoom(in_all=20, of_owner=8, to_receiver=2)
        rig = WebhookRig(timeout=timedelta(seconds=60), options=DeliveryOptions(room=room))
        async with AsyncExitStack() as stack:
            slow = [await stack.enter_async_context(Receiver(silent)) for _ in range(10)]
            quick = await stack.enter_async_context(Receiver())
            for receiver in slow:
                await rig.hooked(receiver, Actor(id="ada", trusted=True))
            await stack.enter_async_context(rig.delivering())
            for _ in range(3):
                await rig.happened("ada")
            await until(lambda: sum(r.connections for r in slow) == room.of_owner)

            webhook = await rig.hooked(quick, Actor(id="bob", trusted=True))
            await rig.happened("bob")
            await rig.ended(webhook, 1)

        assert sum(r.connections for r in slow) == room.of_owner

    async def test_receivers_that_never_answer_do_not_hold_up_another(self) -> None:
        rig = WebhookRig(timeout=timedelta(seconds=60))
        async with AsyncExitStack() as stack:
            slow = [await stack.enter_async_context(Receiver(silent)) for _ in range(5)]
            quick = await stack.enter_async_context(Receiver())
            for receiver in slow:
                await rig.hooked(receiver)
            webhook = await rig.hooked(quick)
            await stack.enter_async_context(rig.delivering())

            for _ in range(30):
                await rig.happened()
            await rig.ended(webhook, 30)

        assert len(quick.verified_messages(secret_of(webhook))) == 30
        assert all(r.connections <= DeliveryRoom().to_receiver for r in slow)

    async def test_no_more_are_under_way_than_are_allowed_in_all(self) -> None:
        rig = WebhookRig(
            timeout=timedelta(seconds=60), options=DeliveryOptions(room=DeliveryRoom(in_all=3))
        )
        async with AsyncExitStack() as stack:
            slow = [await stack.enter_async_context(Receiver(silent)) for _ in range(3)]
            for receiver in slow:
                await rig.hooked(receiver)
            await stack.enter_async_context(rig.delivering())

            for _ in range(5):
                await rig.happened()
            await until(lambda: sum(r.connections for r in slow) == 3)
            await rig.clock.jump(timedelta(seconds=5))

        assert sum(r.connections for r in slow) == 3

    async def test_no_more_are_under_way_to_one_than_are_allowed(self) -> None:
        rig = WebhookRig(
            timeout=timedelta(seconds=60), options=DeliveryOptions(room=DeliveryRoom(to_receiver=2))
        )
        async with Receiver(silent) as receiver, rig.delivering():
            await rig.hooked(receiver)

            for _ in range(5):
                await rig.happened()
            await until(lambda: receiver.connections == 2)
            await rig.clock.jump(timedelta(seconds=5))

        assert receiver.connections == 2

    async def test_a_failing_receiver_gets_one_message_at_a_time(self) -> None:
        rig = WebhookRig(timeout=timedelta(seconds=60))
        async with Receiver(answer(500), silent) as receiver, rig.delivering():
            webhook = await rig.hooked(receiver)
            await rig.happened()
            await rig.attempts(webhook, 1)

            for _ in range(5):
                await rig.happened()
            await until(lambda: receiver.connections == 2)
            await rig.clock.jump(timedelta(seconds=5))

        assert receiver.connections == 2

    async def test_an_error_of_ours_is_an_attempt_like_others(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        rig = WebhookRig()
        async with Receiver() as receiver, rig.delivering():
            broken = a_webhook(secrets=(Secret(value="whsec_"),), events=("job.created",))
            event = broken.event(EventName.WEBHOOK_CREATED, NOW, "local")
            await rig.store.webhooks.add(broken, event)
            webhook = await rig.hooked(receiver)
            await rig.happened()

            failed = await rig.attempts(broken, 1)
            await rig.ended(webhook, 1)

        assert words(failed) == [(None, "internal error; see the server's log")]
        assert "could not be sent" in caplog.text


class TestReceiverLookups:
    """Lookups that never end: each blocks a thread until the test is over."""

    async def test_names_that_are_slow_hold_up_no_other_and_no_crawl(
        self, slow: "SlowNames"
    ) -> None:
        rig = WebhookRig(timeout=timedelta(seconds=60), look=slow.look)
        async with Receiver() as receiver, rig.delivering():
            for number in range(50):
                await stored(rig, f"https://{number}.slow.test/", owner="ada")
            await rig.happened("ada")
            await until(lambda: slow.lookups == 50)

            url = f"http://quick.test:{receiver.port}/"
            webhook = await stored(rig, url, owner="bob", allow_addresses=("quick.test",))
            await rig.happened("bob")
            await rig.ended(webhook, 1)
            async with asyncio.timeout(60):  # in the threads that all share
                await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 80)

        assert len(receiver.messages) == 1

    async def test_a_receiver_that_was_not_contacted_has_no_failed_attempt(
        self, slow: "SlowNames", caplog: pytest.LogCaptureFixture
    ) -> None:
        rig = WebhookRig(timeout=timedelta(seconds=60), look=slow.look, most_names=2)
        async with Receiver() as receiver, rig.delivering():
            for number in range(2):
                await stored(rig, f"https://{number}.slow.test/", owner="ada")
            await rig.happened("ada")
            await until(lambda: slow.lookups == 2)
            url = f"http://quick.test:{receiver.port}/"
            webhook = await stored(rig, url, owner="bob", allow_addresses=("quick.test",))
            await rig.happened("bob")

            [waits] = await rig.logged(webhook, lambda log: log[0].due_at > log[0].created_at)
            failing = (await rig.store.webhooks.get(webhook.id)).failing_since
            slow.over.set()
            await until(lambda: slow.ended == 2)
            await rig.clock.jump(timedelta(seconds=5))
            await rig.ended(webhook, 1)

        assert (waits.attempts, failing) == ((), None)
        assert "2 other names are being looked up" in caplog.text
        assert len(receiver.messages) == 1


class SlowNames:
    """Never answers for names below slow.test; all others are on loopback."""

    def __init__(self) -> None:
        self.lookups = 0
        self.ended = 0
        self.over = threading.Event()

    def look(self, host: str, port: int) -> Infos:
        if host.endswith(".slow.test"):
            self.lookups += 1
            self.over.wait(PATIENCE_S)
            self.ended += 1
            raise OSError(f"{host} is unknown")
        return look_up("127.0.0.1", port)


@pytest.fixture
def slow() -> Iterator[SlowNames]:
    names = SlowNames()
    yield names
    names.over.set()


async def stored(rig: WebhookRig, url: str, **fields: Any) -> Webhook:
    """Return a webhook for new jobs, without a check of its URL."""
    webhook = a_webhook(url=url, events=("job.created",), **fields)
    event = webhook.event(EventName.WEBHOOK_CREATED, NOW, "local")
    await rig.store.webhooks.add(webhook, event)
    return webhook


class TestAddresses:
    async def test_a_name_that_leads_inside_is_refused_when_it_is_connected_to(self) -> None:
        rig = WebhookRig()
        async with Receiver() as canary, rig.delivering():
            webhook = a_webhook(url=f"http://localhost:{canary.port}/", events=("job.created",))
            event = webhook.event(EventName.WEBHOOK_CREATED, NOW, "local")
            await rig.store.webhooks.add(webhook, event)
            await rig.happened()

            delivery = await rig.attempts(webhook, 1)

        assert "loopback" in delivery.attempts[0].error
        assert canary.connections == 0

    async def test_no_spelling_of_loopback_gets_a_connection(self) -> None:
        rig = WebhookRig(options=DeliveryOptions(room=DeliveryRoom(to_receiver=200)))
        async with Receiver() as canary, rig.delivering():
            webhooks = [
                a_webhook(url=url, events=("job.created",), id=f"w{n}")
                for n, url in enumerate(ssrf.spellings(canary.authority))
            ]
            for webhook in webhooks:
                event = webhook.event(EventName.WEBHOOK_CREATED, NOW, "local")
                await rig.store.webhooks.add(webhook, event)
            await rig.happened()

            errors = [(await rig.attempts(w, 1)).attempts[0].error for w in webhooks]

        assert all(errors)
        assert canary.connections == 0


class TestTrouble:
    async def test_what_is_under_way_when_it_is_stopped_is_sent_again(self) -> None:
        rig = WebhookRig(timeout=timedelta(seconds=60))
        async with Receiver(silent, answer(204)) as receiver:
            webhook = await rig.hooked(receiver)
            async with rig.delivering():
                await rig.happened()
                await until(lambda: receiver.connections == 1)

            await rig.clock.jump(rig.options.lease)
            async with rig.delivering():
                [delivery] = await rig.ended(webhook, 1)

        assert {m.id for m in receiver.messages} == {delivery.id}
        assert len(receiver.messages) == 2

    async def test_two_that_deliver_on_one_store_send_each_message_once(self) -> None:
        rig = WebhookRig()
        async with Receiver() as receiver:
            webhook = await rig.hooked(receiver)
            async with rig.delivering(), rig.delivering():
                for _ in range(40):
                    await rig.happened()
                await rig.ended(webhook, 40)

        assert len(receiver.messages) == len({m.id for m in receiver.messages}) == 40

    async def test_a_store_that_is_away_is_waited_for(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        rig = WebhookRig()
        away = UnreachableDeliveries(rig.store)
        rig.store = rig.store.with_parts(deliveries=away)
        async with Receiver() as receiver, rig.delivering():
            webhook = await rig.hooked(receiver)
            await rig.happened()
            assert "the store is unavailable" in caplog.text

            away.there = True
            await rig.clock.jump(timedelta(seconds=1))
            await rig.ended(webhook, 1)

        assert len(receiver.messages) == 1

    async def test_a_delivery_of_a_deleted_event_fails_without_an_attempt(self) -> None:
        rig = WebhookRig()
        forgetful = Forgetful(rig.store)
        rig.store = rig.store.with_parts(deliveries=forgetful)
        async with Receiver() as receiver, rig.delivering():
            webhook = await rig.hooked(receiver)
            await rig.happened()
            [delivery] = await rig.ended(webhook, 1)

        assert (delivery.state, delivery.attempts) == (DeliveryState.FAILED, ())
        assert (await rig.store.webhooks.get(webhook.id)) == webhook
        assert receiver.messages == []

    async def test_one_that_cannot_be_written_of_does_not_end_the_others(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        rig = WebhookRig()
        broken = Broken(rig.store)
        rig.store = rig.store.with_parts(deliveries=broken)
        async with Receiver() as receiver, rig.delivering():
            webhook = await rig.hooked(receiver)
            await rig.happened()
            await until(lambda: "sent again later" in caplog.text)

            broken.mended = True
            await rig.happened()
            await rig.ended(webhook, 1)
            await rig.clock.jump(rig.options.lease)
            await rig.ended(webhook, 2)

        assert len({m.id for m in receiver.messages}) == 2

    async def test_secrets_are_not_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        rig = WebhookRig(timeout=SOON)
        async with Receiver(answer(410)) as receiver, rig.delivering():
            webhook = await rig.hooked(receiver)
            await rig.happened()
            await rig.ended(webhook, 1)
            await rig.switched_off(webhook)

        events = await rig.store.events.events()
        assert secret_of(webhook) not in caplog.text
        assert secret_of(webhook) not in repr(events)
        assert "/hook" not in repr(events)  # the URL alone allows posting there


class UnreachableDeliveries:
    """Deliveries of a store that is unreachable until `there` is set."""

    def __init__(self, store: Store) -> None:
        self._deliveries = store.deliveries
        self.there = False

    def __getattr__(self, name: str) -> object:
        if name == "fan_out" and not self.there:
            raise StoreUnavailable("the database does not answer")
        return getattr(self._deliveries, name)


class Broken:
    """Deliveries of a store that raises a programming error until `mended` is set."""

    def __init__(self, store: Store) -> None:
        self._deliveries = store.deliveries
        self.mended = False

    def __getattr__(self, name: str) -> object:
        if name == "settle" and not self.mended:
            raise ZeroDivisionError("one of ours")
        return getattr(self._deliveries, name)
