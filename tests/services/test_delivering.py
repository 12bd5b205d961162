"""Deliveries to receivers that behave badly: what must arrive arrives, and nothing else."""

import asyncio
import logging
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from standardwebhooks import WebhookVerificationError

from crawlyard.core.event import EventName
from crawlyard.core.user import LOCAL
from crawlyard.core.webhook import (
    EXCERPT,
    WAITS,
    Delivery,
    DeliveryState,
    JobWebhook,
    Secret,
    Webhook,
)
from crawlyard.errors import StoreUnavailable
from crawlyard.services.delivering import DeliveryOptions
from crawlyard.store.base import Store
from tests.builders import NOW, a_spec
from tests.builders_webhooks import SECRET, a_webhook
from tests.hazards import ssrf
from tests.receiver import (
    Manner,
    Receiver,
    answer,
    dropping,
    endless,
    halting,
    nonsense,
    silent,
)
from tests.services.hooks import Rig, until

SOON = timedelta(milliseconds=250)


def secret_of(webhook: Webhook) -> str:
    return webhook.secrets[0].value


def words(delivery: Delivery) -> list[tuple[int | None, str]]:
    return [(a.status, a.error) for a in delivery.attempts]


class TestWhatArrives:
    async def test_an_event_arrives_once_signed_and_is_in_the_log(self) -> None:
        rig = Rig()
        async with Receiver(answer(200, b"thanks")) as receiver, rig.delivering():
            webhook = await rig.hooked(receiver)

            job = await rig.happened()
            [delivery] = await rig.ended(webhook, 1)

        [said] = receiver.said(secret_of(webhook))
        assert (said["type"], said["timestamp"]) == ("job.created", "2026-01-02T03:04:05.678Z")
        assert (said["data"]["v"], said["data"]["job_id"]) == (1, job.id)
        assert said["data"]["seq"] == delivery.seq
        assert said["data"]["details"]["state"] == "pending"
        [message] = receiver.messages
        assert (message.method, message.path, message.id) == ("POST", "/hook", delivery.id)
        assert message.headers["content-type"] == "application/json"
        assert message.headers["user-agent"] == "Crawlyard/test"
        assert delivery.state is DeliveryState.DELIVERED
        [attempt] = delivery.attempts
        assert (attempt.status, attempt.excerpt, attempt.error) == (200, "thanks", "")

    async def test_a_signature_with_another_secret_is_refused(self) -> None:
        rig = Rig()
        async with Receiver() as receiver, rig.delivering():
            webhook = await rig.hooked(receiver)
            await rig.happened()
            await rig.ended(webhook, 1)

        with pytest.raises(WebhookVerificationError):
            receiver.said(SECRET)

    async def test_both_secrets_sign_for_a_day_after_a_rotation(self) -> None:
        rig = Rig()
        async with Receiver() as receiver, rig.delivering():
            old = await rig.hooked(receiver)
            new = await rig.webhooks.rotate(LOCAL, old.id)

            await rig.happened()
            await rig.ended(old, 1)
            await rig.clock.jump(timedelta(hours=24))
            await rig.happened()
            await rig.ended(old, 2)

        first, second = receiver.messages
        assert first.verified(secret_of(old)) == first.verified(secret_of(new))
        second.verified(secret_of(new))
        with pytest.raises(WebhookVerificationError):
            second.verified(secret_of(old))

    async def test_what_is_written_while_nobody_delivers_arrives_later(self) -> None:
        rig = Rig()
        async with Receiver() as receiver:
            webhook = await rig.hooked(receiver)
            jobs = [await rig.happened() for _ in range(20)]

            async with rig.delivering():
                await rig.ended(webhook, 20)

        said = receiver.said(secret_of(webhook))
        assert {s["data"]["job_id"] for s in said} == {job.id for job in jobs}
        assert len(receiver.messages) == 20

    async def test_a_job_of_its_own_webhook_tells_of_itself_alone(self) -> None:
        rig = Rig()
        async with Receiver() as receiver, rig.delivering():
            asked = JobWebhook(url=receiver.url, events=("job.*",), secret=SECRET)
            spec = a_spec(webhooks=(asked,), allow_addresses=(receiver.authority,))

            job = await rig.happened(spec=spec)
            await rig.happened()
            await until(lambda: len(receiver.messages) == 1)

        [said] = receiver.said(SECRET)
        assert said["data"]["job_id"] == job.id

    async def test_drained_it_returns_once_nothing_is_due(self) -> None:
        rig = Rig()
        async with Receiver(answer(500), answer(204)) as receiver:
            webhook = await rig.hooked(receiver)
            await rig.happened()
            await rig.happened()

            async with asyncio.timeout(20):
                await rig.deliverer().run(drain=True)

        states = [d.state for d in await rig.log(webhook)]
        assert sorted(states) == [DeliveryState.DELIVERED, DeliveryState.PENDING]


class TestBadAnswers:
    async def test_after_failures_it_arrives_under_the_same_id(self) -> None:
        rig = Rig()
        manners = (answer(500, b"oops"), answer(503), dropping, answer(204))
        async with Receiver(*manners) as receiver, rig.delivering():
            webhook = await rig.hooked(receiver)
            await rig.happened()

            for count, wait in enumerate(WAITS[:3], 1):
                await rig.attempts(webhook, count)
                await rig.clock.jump(wait)
            [delivery] = await rig.ended(webhook, 1)

        assert {m.id for m in receiver.messages} == {delivery.id}
        assert len({m.body for m in receiver.messages}) == 1
        assert len(receiver.said(secret_of(webhook))) == 4
        assert words(delivery) == [
            (500, "answered 500"),
            (503, "answered 503"),
            (None, "the server closed the connection without an answer"),
            (204, ""),
        ]
        assert delivery.attempts[0].excerpt == "oops"

    @pytest.mark.parametrize(
        ("manner", "told"),
        [
            (silent, "no whole answer within 0.25 s"),
            (dropping, "the server closed the connection without an answer"),
            (nonsense, "not an HTTP answer"),
        ],
    )
    async def test_without_an_answer_it_is_tried_again(self, manner: Manner, told: str) -> None:
        rig = Rig(timeout=SOON)
        async with Receiver(manner) as receiver, rig.delivering():
            webhook = await rig.hooked(receiver)
            await rig.happened()

            delivery = await rig.attempts(webhook, 1)

        [(status, error)] = words(delivery)
        assert status is None
        assert told in error
        assert delivery.due_at == delivery.attempts[0].at + WAITS[0]
        assert len(receiver.messages) == 1

    @pytest.mark.parametrize(
        # what is endless must be cut off long before the time is over
        ("manner", "within"),
        [(endless, timedelta(minutes=5)), (halting, SOON)],
    )
    async def test_the_status_counts_even_if_the_body_never_ends(
        self, manner: Manner, within: timedelta
    ) -> None:
        rig = Rig(timeout=within)
        async with Receiver(manner) as receiver, rig.delivering():
            webhook = await rig.hooked(receiver)
            await rig.happened()

            [delivery] = await rig.ended(webhook, 1)

        assert delivery.state is DeliveryState.DELIVERED
        assert delivery.attempts[0].excerpt.startswith("thanks")
        assert len(delivery.attempts[0].excerpt) <= EXCERPT

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_a_redirect_is_a_failure_and_is_not_followed(self, status: int) -> None:
        rig = Rig()
        async with Receiver() as canary:
            manner = answer(status, Location=canary.url)
            async with Receiver(manner) as receiver, rig.delivering():
                webhook = await rig.hooked(receiver)
                await rig.happened()

                delivery = await rig.attempts(webhook, 1)

        assert words(delivery) == [(status, f"answered {status}; redirects are not followed")]
        assert canary.connections == 0

    async def test_gone_switches_it_off_at_once_with_an_event(self) -> None:
        rig = Rig()
        async with Receiver(answer(410, b"bye")) as receiver, rig.delivering():
            webhook = await rig.hooked(receiver)
            await rig.happened()
            [delivery] = await rig.ended(webhook, 1)
            await rig.switched_off(webhook)

            await rig.happened()
            await rig.clock.jump(timedelta(days=3))

        off = await rig.store.webhooks.get(webhook.id)
        assert (off.active, off.disabled_reason) == (False, "the receiver answered 410 (gone)")
        [told] = await rig.told(EventName.WEBHOOK_DISABLED)
        assert (told.subject, told.owner, told.actor) == (webhook.id, "local", "webhooks")
        assert delivery.state is DeliveryState.FAILED
        assert len(receiver.messages) == 1

    async def test_two_days_of_failures_switch_it_off_with_an_event(self) -> None:
        rig = Rig()
        async with Receiver(answer(500)) as receiver, rig.delivering():
            webhook = await rig.hooked(receiver)
            await rig.happened()
            begun = rig.clock.now()

            for count, wait in enumerate(WAITS, 1):
                await rig.attempts(webhook, count)
                assert (await rig.store.webhooks.get(webhook.id)).active
                await rig.clock.jump(wait)
            [delivery] = await rig.ended(webhook, 1)
            await rig.switched_off(webhook)

        assert delivery.state is DeliveryState.FAILED
        assert len(receiver.messages) == len(WAITS) + 1
        assert timedelta(hours=47) < rig.clock.now() - begun < timedelta(hours=49)
        [told] = await rig.told(EventName.WEBHOOK_DISABLED)
        assert "9 attempts failed" in str(told.data["reason"])

    async def test_one_that_answers_in_between_is_not_switched_off(self) -> None:
        rig = Rig()
        async with Receiver(answer(500)) as receiver, rig.delivering():
            webhook = await rig.hooked(receiver)
            await rig.happened()
            for count, wait in enumerate(WAITS, 1):
                await rig.attempts(webhook, count)
                if count == 4:
                    receiver.next(answer(204))
                    await rig.happened()
                    await rig.ended(webhook, 1)
                await rig.clock.jump(wait)
            await rig.ended(webhook, 2)

        assert (await rig.store.webhooks.get(webhook.id)).active
        assert await rig.told(EventName.WEBHOOK_DISABLED) == []


class TestRetryAfter:
    @pytest.mark.parametrize("status", [429, 502, 503, 504])
    async def test_it_is_waited_for(self, status: int) -> None:
        rig = Rig()
        busy = answer(status, Retry_After="3600")
        async with Receiver(busy, answer(204)) as receiver, rig.delivering():
            webhook = await rig.hooked(receiver)
            await rig.happened()
            delivery = await rig.attempts(webhook, 1)
            await rig.happened()  # another message has to wait as well

            await rig.clock.jump(timedelta(seconds=3590))
            early = len(receiver.messages)
            await rig.clock.jump(timedelta(seconds=11))
            await rig.ended(webhook, 2)

        assert delivery.due_at - delivery.attempts[0].at == timedelta(hours=1)
        assert early == 1

    async def test_a_date_will_do_and_a_day_is_the_most(self) -> None:
        rig = Rig()
        soon = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
        never = answer(503, Retry_After="999999999")
        async with Receiver(answer(503, Retry_After=soon), never) as receiver, rig.delivering():
            webhook = await rig.hooked(receiver)
            await rig.happened()

            first = await rig.attempts(webhook, 1)
            await rig.clock.jump(timedelta(hours=1))
            second = await rig.attempts(webhook, 2)

        waited = first.due_at - first.attempts[0].at
        assert timedelta(minutes=59) < waited <= timedelta(hours=1)
        assert second.due_at - second.attempts[1].at == timedelta(hours=24)

    @pytest.mark.parametrize("value", ["soon", "-1", "", "1e9"])
    async def test_nonsense_is_not_heard(self, value: str) -> None:
        rig = Rig()
        async with Receiver(answer(503, Retry_After=value)) as receiver, rig.delivering():
            webhook = await rig.hooked(receiver)
            await rig.happened()

            delivery = await rig.attempts(webhook, 1)

        assert delivery.due_at - delivery.attempts[0].at == WAITS[0]


class TestOthers:
    async def test_receivers_that_never_answer_do_not_hold_up_another(self) -> None:
        rig = Rig(timeout=timedelta(seconds=60))
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

        assert len(quick.said(secret_of(webhook))) == 30
        assert all(r.connections <= DeliveryOptions().to_one for r in slow)

    async def test_no_more_are_under_way_than_are_allowed_in_all(self) -> None:
        rig = Rig(timeout=timedelta(seconds=60), options=DeliveryOptions(in_all=3))
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
        rig = Rig(timeout=timedelta(seconds=60), options=DeliveryOptions(to_one=2))
        async with Receiver(silent) as receiver, rig.delivering():
            await rig.hooked(receiver)

            for _ in range(5):
                await rig.happened()
            await until(lambda: receiver.connections == 2)
            await rig.clock.jump(timedelta(seconds=5))

        assert receiver.connections == 2

    async def test_one_that_fails_is_asked_one_message_at_a_time(self) -> None:
        rig = Rig(timeout=timedelta(seconds=60))
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
        rig = Rig()
        async with Receiver() as receiver, rig.delivering():
            broken = a_webhook(secrets=(Secret(value="whsec_"),), events=("job.created",))
            event = broken.event(EventName.WEBHOOK_CREATED, NOW, "local")
            await rig.store.webhooks.add(broken, event)
            webhook = await rig.hooked(receiver)
            await rig.happened()

            failed = await rig.attempts(broken, 1)
            await rig.ended(webhook, 1)

        assert words(failed) == [(None, "an error of the sender, which its log tells of")]
        assert "could not be sent" in caplog.text


class TestAddresses:
    async def test_a_name_that_leads_inside_is_refused_when_it_is_connected_to(self) -> None:
        rig = Rig()
        async with Receiver() as canary, rig.delivering():
            webhook = a_webhook(url=f"http://localhost:{canary.port}/", events=("job.created",))
            event = webhook.event(EventName.WEBHOOK_CREATED, NOW, "local")
            await rig.store.webhooks.add(webhook, event)
            await rig.happened()

            delivery = await rig.attempts(webhook, 1)

        assert "loopback" in delivery.attempts[0].error
        assert canary.connections == 0

    async def test_no_spelling_of_loopback_gets_a_connection(self) -> None:
        rig = Rig(options=DeliveryOptions(in_all=200))
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
        rig = Rig(timeout=timedelta(seconds=60))
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
        rig = Rig()
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
        rig = Rig()
        away = Away(rig.store)
        rig.store = replace(rig.store, deliveries=away)  # type: ignore[arg-type]  # one method less
        async with Receiver() as receiver, rig.delivering():
            webhook = await rig.hooked(receiver)
            await rig.happened()
            assert "the store is away" in caplog.text

            away.there = True
            await rig.clock.jump(timedelta(seconds=1))
            await rig.ended(webhook, 1)

        assert len(receiver.messages) == 1

    async def test_secrets_are_not_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        rig = Rig(timeout=SOON)
        async with Receiver(answer(410)) as receiver, rig.delivering():
            webhook = await rig.hooked(receiver)
            await rig.happened()
            await rig.ended(webhook, 1)
            await rig.switched_off(webhook)

        events = await rig.store.events.events()
        assert secret_of(webhook) not in caplog.text
        assert secret_of(webhook) not in repr(events)
        assert "/hook" not in repr(events)  # who knows the URL can post there


class Away:
    """Deliveries of a store that cannot be reached until it is `there`."""

    def __init__(self, store: Store) -> None:
        self._deliveries = store.deliveries
        self.there = False

    def __getattr__(self, name: str) -> object:
        if name == "fan_out" and not self.there:
            raise StoreUnavailable("the database does not answer")
        return getattr(self._deliveries, name)
