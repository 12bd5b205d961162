"""Deliveries to receivers: their content, and retries after bad answers."""

import asyncio
import hmac
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from standardwebhooks import WebhookVerificationError

from crawlyard.core.access.policy import Section, SectionName
from crawlyard.core.access.user import LOCAL, Actor
from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.lifecycle import Move
from crawlyard.core.webhooks.delivery_limits import DeliveryRoom
from crawlyard.core.webhooks.webhook import (
    EXCERPT,
    LONGEST_HOLD,
    WAITS,
    DeliveryState,
    JobWebhook,
    MessageFormat,
)
from crawlyard.services.webhooks.delivery import DeliveryOptions
from tests.builders import NOW, a_job, a_spec, its_event
from tests.builders_webhooks import SECRET
from tests.conformance.steps import moved
from tests.receiver import (
    Receiver,
    answer,
    dropping,
    endless,
    halting,
    nonsense,
    silent,
)
from tests.services.delivery_rig import SOON, secret_of, words
from tests.services.hooks import WebhookRig, until

LATE = "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"


class TestWhatArrives:
    async def test_an_event_arrives_once_signed_and_is_in_the_log(self) -> None:
        rig = WebhookRig()
        async with Receiver(answer(200, b"thanks")) as receiver, rig.delivering():
            webhook = await rig.hooked(receiver)

            job = await rig.happened()
            [delivery] = await rig.ended(webhook, 1)

        [payload] = receiver.verified_messages(secret_of(webhook))
        assert (payload["type"], payload["timestamp"]) == (
            "job.created",
            "2026-01-02T03:04:05.678Z",
        )
        assert (payload["data"]["v"], payload["data"]["job_id"]) == (1, job.id)
        assert payload["data"]["seq"] == delivery.seq
        assert payload["data"]["details"]["state"] == "pending"
        [message] = receiver.messages
        assert (message.method, message.path, message.id) == ("POST", "/hook", delivery.id)
        assert message.headers["content-type"] == "application/json"
        assert message.headers["user-agent"] == "Crawlyard/test"
        assert delivery.state is DeliveryState.DELIVERED
        [attempt] = delivery.attempts
        assert (attempt.status, attempt.excerpt, attempt.error) == (200, "thanks", "")

    async def test_it_links_to_the_dashboard_where_that_has_a_public_url(self) -> None:
        rig = WebhookRig(options=DeliveryOptions(public_url="https://yard.example.org"))
        async with Receiver() as receiver, rig.delivering():
            webhook = await rig.hooked(receiver)
            job = await rig.happened()
            await rig.ended(webhook, 1)

        [message] = receiver.verified_messages(secret_of(webhook))
        assert message["data"]["url"] == f"https://yard.example.org/jobs/{job.id}"

    async def test_a_signature_with_another_secret_is_refused(self) -> None:
        rig = WebhookRig()
        async with Receiver() as receiver, rig.delivering():
            webhook = await rig.hooked(receiver)
            await rig.happened()
            await rig.ended(webhook, 1)

        with pytest.raises(WebhookVerificationError):
            receiver.verified_messages(SECRET)

    async def test_both_secrets_sign_for_a_day_after_a_rotation(self) -> None:
        rig = WebhookRig()
        async with Receiver() as receiver, rig.delivering():
            old = await rig.hooked(receiver)
            await rig.webhooks(LOCAL).rotate(old.id)
            new = await rig.store.webhooks.get(old.id)

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

    async def test_events_written_without_a_deliverer_arrive_later(self) -> None:
        rig = WebhookRig()
        async with Receiver() as receiver:
            webhook = await rig.hooked(receiver)
            jobs = [await rig.happened() for _ in range(20)]

            async with rig.delivering():
                await rig.ended(webhook, 20)

        messages = receiver.verified_messages(secret_of(webhook))
        assert {s["data"]["job_id"] for s in messages} == {job.id for job in jobs}
        assert len(receiver.messages) == 20

    async def test_a_burst_for_one_webhook_does_not_hold_up_another(self) -> None:
        rig = WebhookRig(options=DeliveryOptions(room=DeliveryRoom(to_receiver=1)))
        async with Receiver() as receiver:
            await rig.hooked(receiver)
            other = await rig.hooked(receiver, events=("job.failed",))
            for name in (*(EventName.CREATED,) * 20, *(EventName.FAILED,) * 3):
                job = a_job()
                await rig.store.jobs.add(job, its_event(job, name))

            async with rig.delivering():
                await until(lambda: len(receiver.messages) == 23)

        delivery_ids = {delivery.id for delivery in await rig.log(other)}
        places = [n for n, message in enumerate(receiver.messages) if message.id in delivery_ids]
        assert places == [1, 3, 5]

    async def test_a_webhook_of_a_job_gets_events_of_that_job_only(self) -> None:
        rig = WebhookRig()
        async with Receiver() as receiver, rig.delivering():
            metadata = {"ticket": 7, "by": ["ops"]}
            job_webhook = JobWebhook(
                url=receiver.url, events=("job.*",), secret=SECRET, metadata=metadata
            )
            spec = a_spec(webhooks=(job_webhook,), allow_addresses=(receiver.authority,))

            job = await rig.happened(spec=spec)
            await rig.happened()
            await until(lambda: len(receiver.messages) == 1)

        [message] = receiver.verified_messages(SECRET)
        assert (message["data"]["job_id"], message["data"]["metadata"]) == (job.id, metadata)

    async def test_a_job_of_firecrawls_api_has_messages_in_its_format(self) -> None:
        rig = WebhookRig()
        async with Receiver() as receiver, rig.delivering():
            for messages in (MessageFormat.FIRECRAWL_CRAWL, MessageFormat.FIRECRAWL_BATCH):
                hook = JobWebhook(
                    url=receiver.url,
                    events=("job.*",),
                    secret=SECRET,
                    metadata={"a": "b"},
                    format=messages,
                )
                spec = a_spec(webhooks=(hook,), allow_addresses=(receiver.authority,))
                job = await rig.happened(spec=spec)
                await moved(rig.store, job.id, Move.CANCEL)
            await rig.clock.jump(timedelta(seconds=1))
            await until(lambda: len(receiver.messages) == 4)

        receiver.verified_messages(SECRET)
        contents = []
        for message in receiver.messages:
            digest = hmac.digest(SECRET.encode(), message.body, "sha256").hex()
            assert message.headers["x-firecrawl-signature"] == f"sha256={digest}"
            contents.append(json.loads(message.body))
            assert contents[-1]["webhookId"] == message.id
        by_type = {content["type"]: content for content in contents}
        assert by_type.keys() == {
            f"{kind}.{word}" for kind in ("crawl", "batch_scrape") for word in ("created", "failed")
        }
        failed = by_type["batch_scrape.failed"]
        assert (failed["success"], failed["id"], failed["data"]) == (False, job.id, [])
        assert failed["error"].startswith("cancelled: ")
        assert by_type["crawl.created"]["success"]
        assert {tuple(content["metadata"]) for content in contents} == {("a",)}

    async def test_drained_it_returns_once_nothing_is_due(self) -> None:
        rig = WebhookRig()
        async with Receiver(answer(500), answer(204)) as receiver:
            webhook = await rig.hooked(receiver)
            await rig.happened()
            await rig.happened()

            async with asyncio.timeout(120):
                await rig.deliverer().run(drain=True)

        states = [d.state for d in await rig.log(webhook)]
        assert sorted(states) == [DeliveryState.DELIVERED, DeliveryState.PENDING]


class TestBadAnswers:
    async def test_after_failures_it_arrives_under_the_same_id(self) -> None:
        rig = WebhookRig()
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
        assert len(receiver.verified_messages(secret_of(webhook))) == 4
        assert words(delivery) == [
            (500, "answered 500"),
            (503, "answered 503"),
            (None, "the server closed the connection without a response"),
            (204, ""),
        ]
        assert delivery.attempts[0].excerpt == "oops"

    async def test_without_an_answer_it_is_tried_again(self) -> None:
        for manner, error_text in [
            (silent, "no complete response within 0.25 s"),
            (dropping, "the server closed the connection without a response"),
            (nonsense, "not an HTTP response"),
        ]:
            rig = WebhookRig(timeout=SOON)
            async with Receiver(manner) as receiver, rig.delivering():
                webhook = await rig.hooked(receiver)
                await rig.happened()

                delivery = await rig.attempts(webhook, 1)

            [(status, error)] = words(delivery)
            assert status is None, manner
            assert error_text in error, manner
            assert delivery.due_at == delivery.attempts[0].at + WAITS[0], manner
            assert len(receiver.messages) == 1, manner

    async def test_the_status_counts_even_if_the_body_never_ends(self) -> None:
        for manner, within in [(endless, timedelta(minutes=5)), (halting, SOON)]:
            rig = WebhookRig(timeout=within)
            async with Receiver(manner) as receiver, rig.delivering():
                webhook = await rig.hooked(receiver)
                await rig.happened()

                [delivery] = await rig.ended(webhook, 1)

            assert delivery.state is DeliveryState.DELIVERED, manner
            assert delivery.attempts[0].excerpt.startswith("thanks"), manner
            assert len(delivery.attempts[0].excerpt) <= EXCERPT, manner

    async def test_a_redirect_is_a_failure_and_is_not_followed(self) -> None:
        for status in [301, 302, 303, 307, 308]:
            rig = WebhookRig()
            async with Receiver() as canary:
                manner = answer(status, Location=canary.url)
                async with Receiver(manner) as receiver, rig.delivering():
                    webhook = await rig.hooked(receiver)
                    await rig.happened()

                    delivery = await rig.attempts(webhook, 1)

            assert words(delivery) == [
                (status, f"answered {status}; redirects are not followed")
            ], status
            assert canary.connections == 0, status

    async def test_gone_switches_it_off_at_once_with_an_event(self) -> None:
        rig = WebhookRig()
        async with Receiver(answer(410, b"bye")) as receiver, rig.delivering():
            webhook = await rig.hooked(receiver)
            await rig.happened()
            [delivery] = await rig.ended(webhook, 1)
            await rig.switched_off(webhook)

            await rig.happened()
            await rig.clock.jump(timedelta(days=3))

        off = await rig.store.webhooks.get(webhook.id)
        assert (off.active, off.disabled_reason) == (False, "the receiver answered 410 (gone)")
        [disabled] = await rig.events_named(EventName.WEBHOOK_DISABLED)
        assert (disabled.subject, disabled.owner, disabled.actor) == (
            webhook.id,
            "local",
            "webhooks",
        )
        assert delivery.state is DeliveryState.FAILED
        assert len(receiver.messages) == 1

    async def test_two_days_of_failures_switch_it_off_with_an_event(self) -> None:
        rig = WebhookRig()
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
        [disabled] = await rig.events_named(EventName.WEBHOOK_DISABLED)
        assert "9 attempts failed" in str(disabled.data["reason"])

    async def test_one_that_answers_in_between_is_not_switched_off(self) -> None:
        rig = WebhookRig()
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
        assert await rig.events_named(EventName.WEBHOOK_DISABLED) == []


class TestRetryAfter:
    async def test_it_is_waited_for(self) -> None:
        for status in [429, 502, 503, 504]:
            rig = WebhookRig()
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

            assert delivery.due_at - delivery.attempts[0].at == timedelta(hours=1), status
            assert early == 1, status

    async def test_a_date_will_do_and_a_day_is_the_most(self) -> None:
        rig = WebhookRig()
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

    async def test_an_invalid_retry_after_is_ignored(self) -> None:
        for value in ["0", "soon", "-1", "", "1e9", "Mon, 01 Jan 9" + "9" * 19, LATE]:
            rig = WebhookRig()
            async with Receiver(answer(503, Retry_After=value)) as receiver, rig.delivering():
                webhook = await rig.hooked(receiver)
                await rig.happened()

                delivery = await rig.attempts(webhook, 1)

            assert words(delivery) == [(503, "answered 503")], value
            assert delivery.due_at - delivery.attempts[0].at == WAITS[0], value

    async def test_all_messages_of_a_webhook_wait_for_a_day_at_most(self) -> None:
        rig = WebhookRig()
        never = answer(503, Retry_After="999999999")
        async with Receiver(never, answer(204)) as receiver, rig.delivering():
            webhook = await rig.hooked(receiver)
            await rig.happened()
            await rig.attempts(webhook, 1)
            await rig.happened()

            await rig.clock.jump(LONGEST_HOLD - timedelta(minutes=1))
            early = len(receiver.messages)
            await rig.clock.jump(timedelta(minutes=1))
            await rig.ended(webhook, 2)

        assert early == 1

    async def test_who_repairs_the_webhook_does_not_wait_for_it(self) -> None:
        rig = WebhookRig()
        busy = answer(503, Retry_After="86400")
        async with Receiver(busy) as bad, Receiver() as good, rig.delivering():
            webhook = await rig.hooked(bad, allow_addresses=("127.0.0.1",))
            await rig.happened()
            delivery = await rig.attempts(webhook, 1)

            await rig.webhooks(LOCAL).edit(webhook.id, url=good.url)
            await rig.webhooks(LOCAL).test(webhook.id)
            await rig.webhooks(LOCAL).replay("-", delivery.id)
            await rig.clock.jump(timedelta(seconds=1))
            await rig.ended(webhook, 2)

        assert len(good.messages) == 2

    async def test_it_holds_for_all_that_deliver_on_one_store(self) -> None:
        rig = WebhookRig()
        async with Receiver(answer(503, Retry_After="3600")) as receiver:
            webhook = await rig.hooked(receiver)
            async with rig.delivering():
                await rig.happened()
                await rig.attempts(webhook, 1)

            async with rig.delivering():
                await rig.happened()
                await rig.clock.jump(timedelta(minutes=59))

        assert len(receiver.messages) == 1


class TestWebhookGrants:
    async def test_what_a_withdrawn_grant_opened_is_closed_until_it_is_granted_again(self) -> None:
        rig = WebhookRig()
        await granted(rig, 1, addresses=True)
        async with Receiver() as receiver, rig.delivering():
            hers, ours = [await rig.hooked(receiver, actor) for actor in (Actor(id="ada"), LOCAL)]
            await granted(rig, 2, addresses=False)

            await rig.happened("ada")
            blocked = await rig.attempts(hers, 1)
            assert (blocked.state, receiver.connections) == (DeliveryState.PENDING, 0)
            await rig.happened("local")
            await rig.ended(ours, 1)  # no grant had opened it

            await granted(rig, 3, addresses=True)
            await rig.clock.jump(2 * WAITS[0])
            [delivery] = await rig.ended(hers, 1)

        assert delivery.state is DeliveryState.DELIVERED
        assert [status for status, _ in words(delivery)] == [None, 204]
        assert "127.0.0.1" in words(delivery)[0][1]


async def granted(rig: WebhookRig, version: int, **grants: bool) -> None:
    """Let the settings grant this and nothing else."""
    section = Section(name=SectionName.GRANTS.value, value=grants, version=version, updated_at=NOW)
    await rig.store.settings.save(section)
