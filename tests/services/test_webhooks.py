"""`Webhooks`: validation, permissions, and events."""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from crawlyard.core.access.user import LOCAL, Actor, Role
from crawlyard.core.endpoints.endpoint import endpoints_of
from crawlyard.core.events.event import EventName
from crawlyard.core.webhooks.answers import WebhookOut
from crawlyard.core.webhooks.webhook import ROTATION, Delivery, DeliveryState, JobWebhook, Webhook
from crawlyard.errors import Forbidden, IllegalMove, Invalid, NotFound
from crawlyard.messaging.local_dispatcher import LocalDispatcher
from crawlyard.services.access.policy import Policy
from crawlyard.services.jobs.submission import Submitter
from crawlyard.services.webhooks.webhooks import Webhooks
from crawlyard.store.queries import EventQuery
from tests.builders import NOW, a_spec
from tests.builders_webhooks import SECRET
from tests.hazards import ssrf
from tests.jobs import submit_to
from tests.receiver import Receiver
from tests.services.hooks import Forgetful, WebhookRig

ADA, BOB = Actor(id="ada", trusted=True), Actor(id="bob")
VIEWER = Actor(id="ada", role=Role.VIEWER)
STRANGER = Actor(id="eve", role=Role.VIEWER)
URL = "https://hooks.example.org/crawls"
PUBLIC = "93.184.215.14"


async def names(host: str, port: int) -> Sequence[str]:
    """Resolve names from a table."""
    addresses = {"hooks.example.org": [PUBLIC], "inside.example.org": [PUBLIC, "10.0.0.1"]}
    if host not in addresses:
        raise OSError(f"{host} is unknown")
    return addresses[host]


def a_rig() -> WebhookRig:
    return WebhookRig(lookup=names)


async def a_hook(rig: WebhookRig, actor: Actor = ADA, url: str = URL, **fields: Any) -> Webhook:
    """Return a new webhook as it is stored, with its secret."""
    return await stored(rig, (await rig.webhooks(actor).create(url, **fields)).id)


async def stored(rig: WebhookRig, webhook_id: str) -> Webhook:
    return await rig.store.webhooks.get(webhook_id)


async def ids(rig: WebhookRig, actor: Actor, **filters: Any) -> list[str]:
    return [webhook.id for webhook in (await rig.webhooks(actor).list(**filters)).items]


async def event_names(rig: WebhookRig, webhook: Webhook) -> list[str]:
    events = await rig.store.events.events(EventQuery(subject=webhook.id))
    return [f"{e.name} by {e.actor}" for e in events]


class TestSaving:
    async def test_a_webhook_has_its_own_secret_and_gets_all_events(self) -> None:
        rig = a_rig()

        first, second = await a_hook(rig), await a_hook(rig)

        assert (first.owner, first.url, first.events, first.active) == ("ada", URL, ("*",), True)
        assert first.secrets != second.secrets
        key = first.secrets[0].value
        assert len(base64.b64decode(key.removeprefix("whsec_"))) == 32
        assert await rig.webhooks(ADA).get(first.id) == WebhookOut.of(first)
        assert await event_names(rig, first) == ["webhook.created by ada"]

    async def test_a_url_that_is_not_fit_is_refused(self, subtests: pytest.Subtests) -> None:
        for url, why in [
            ("ftp://hooks.example.org/", "http or https"),
            ("hooks.example.org", "absolute"),
            ("", "absolute"),
            ("http://hooks.example.org/", "expected https://"),
            ("https://ada:secret@hooks.example.org/", "no user name"),
            ("https://ada@hooks.example.org/", "no user name"),
            ("https://:secret@hooks.example.org/", "no user name"),
            ("https://nowhere.example.org/", "has no address"),
            ("https://inside.example.org/", "10.0.0.1, which is private"),
            ("https://127.0.0.1/", "loopback"),
            ("https://localhost/", "loopback"),
            ("https://[::1]/", "loopback"),
            (f"http://{PUBLIC}/", "expected https://"),
        ]:
            rig = a_rig()

            with subtests.test(url=url), pytest.raises(Invalid, match=why) as refused:
                await rig.webhooks(ADA).create(url)

            assert refused.value.field == "url", url
            assert "secret" not in str(refused.value), url
            assert await rig.store.events.events() == [], url

    @pytest.mark.parametrize("url", [*ssrf.spellings("127.0.0.1:9"), *ssrf.ELSEWHERE])
    @pytest.mark.parametrize("scheme", ["http:", "https:"])
    async def test_nothing_that_leads_inside_is_saved(self, url: str, scheme: str) -> None:
        rig = a_rig()
        with pytest.raises(Invalid):
            await rig.webhooks(ADA).create(url.replace("http:", scheme))

    async def test_what_is_opened_is_saved_over_http_as_well(self) -> None:
        for url, opened in [
            ("http://127.0.0.1:8080/", "127.0.0.1:8080"),
            ("http://localhost:8080/", "127.0.0.0/8"),
            ("http://localhost:8080/", "localhost"),
            ("http://hooks.example.org/", "hooks.example.org"),
            ("http://hooks.example.org/", PUBLIC),
            ("https://inside.example.org/", "10.0.0.0/8"),
        ]:
            rig = a_rig()
            webhook = await rig.webhooks(ADA).create(url, allow_addresses=(opened,))
            assert (webhook.url, webhook.allow_addresses) == (url, (opened,)), opened

    async def test_a_yard_that_grants_no_addresses_opens_none(self) -> None:
        rig = a_rig()
        with pytest.raises(Forbidden, match="allow_addresses"):
            await a_hook(rig, BOB, allow_addresses=("127.0.0.1",))

    async def test_an_unknown_event_or_a_long_description_is_refused(self) -> None:
        rig = a_rig()
        with pytest.raises(Invalid, match=r"'job\.done'; there are: job\.created, .*job\.failed"):
            await a_hook(rig, ADA, events=("job.*", "job.done"))
        with pytest.raises(Invalid, match="at most 500 letters, got 501"):
            await a_hook(rig, ADA, description="x" * 501)


class TestChanging:
    async def test_only_what_is_given_changes(self) -> None:
        rig = a_rig()
        before = await a_hook(rig, ADA, description="old", events=("job.*",))

        after = await rig.webhooks(ADA).edit(before.id, events=("job.failed",))

        assert (after.events, after.description, after.url) == (("job.failed",), "old", URL)
        assert after == await rig.webhooks(ADA).get(before.id)
        assert (after.version, (await stored(rig, before.id)).secrets) == (2, before.secrets)
        assert (await event_names(rig, before))[1:] == ["webhook.updated by ada"]

    async def test_a_new_url_is_checked_as_the_first_was(self, subtests: pytest.Subtests) -> None:
        for url in ["https://127.0.0.1/", "https://localhost/", "http://a/"]:
            rig = a_rig()
            webhook = await a_hook(rig)

            with subtests.test(url=url), pytest.raises(Invalid):
                await rig.webhooks(ADA).edit(webhook.id, url=url)
            with subtests.test(url=url), pytest.raises(Invalid):
                await rig.webhooks(ADA).edit(webhook.id, events=())

            assert await stored(rig, webhook.id) == webhook, url

    async def test_an_allowed_address_that_the_url_needs_cannot_be_removed(self) -> None:
        rig = a_rig()
        webhook = await rig.webhooks(ADA).create(
            "http://127.0.0.1:9/", allow_addresses=("127.0.0.1",)
        )
        with pytest.raises(Invalid, match="loopback"):
            await rig.webhooks(ADA).edit(webhook.id, allow_addresses=())

    async def test_what_happens_at_the_same_time_is_all_kept(self) -> None:
        rig = a_rig()
        webhook = await a_hook(rig)
        await asyncio.gather(
            rig.webhooks(ADA).edit(webhook.id, description="new"),
            rig.webhooks(ADA).rotate(webhook.id),
            rig.webhooks(ADA).disable(webhook.id),
        )
        after = await stored(rig, webhook.id)
        assert (after.description, len(after.secrets), after.active) == ("new", 2, False)
        assert after.version == 4

    async def test_it_is_switched_off_and_on(self) -> None:
        rig = a_rig()
        webhook = await a_hook(rig)

        off = await rig.webhooks(ADA).disable(webhook.id)
        again = await rig.webhooks(ADA).disable(webhook.id)
        on = await rig.webhooks(ADA).enable(webhook.id)

        assert (off.active, off.disabled_reason) == (False, "switched off by ada")
        assert again == off
        assert (on.active, on.disabled_reason) == (True, "")
        assert (await event_names(rig, webhook))[1:] == ["webhook.updated by ada"] * 2

    async def test_a_new_secret_comes_first_and_the_one_before_has_a_day(self) -> None:
        rig = a_rig()
        webhook = await a_hook(rig)
        first = webhook.secrets[0].value

        await rig.webhooks(ADA).rotate(webhook.id)
        second = await stored(rig, webhook.id)
        await rig.webhooks(ADA).rotate(webhook.id)
        third = await stored(rig, webhook.id)

        now = rig.clock.now()
        assert second.signing(now)[1:] == (first,)
        assert third.signing(now) == (third.secrets[0].value, second.secrets[0].value)
        assert second.signing(now + ROTATION) == (second.secrets[0].value,)

    async def test_it_is_deleted(self) -> None:
        rig = a_rig()
        webhook = await a_hook(rig)
        await rig.webhooks(ADA).delete(webhook.id)
        with pytest.raises(NotFound):
            await rig.webhooks(ADA).get(webhook.id)
        assert (await event_names(rig, webhook))[1:] == ["webhook.deleted by ada"]


class TestFinding:
    async def test_webhooks_of_jobs_are_listed_on_request(self) -> None:
        rig = a_rig()
        own = await a_hook(rig, LOCAL)
        job = await rig.happened(spec=a_spec(webhooks=(JobWebhook(url=URL, secret=SECRET),)))
        assert await ids(rig, LOCAL) == [own.id]
        assert await ids(rig, LOCAL, job=job.id) == [f"{job.id}:0"]

    @pytest.mark.slow
    async def test_one_is_found_however_many_came_after_it(self) -> None:
        rig = a_rig()
        first = await a_hook(rig)
        for number in range(10_001):
            later = replace(first, id=f"z{number}")
            await rig.store.webhooks.add(later, later.event(EventName.WEBHOOK_CREATED, NOW, "ada"))

        for part in (first.id, first.id[-12:]):
            assert await ids(rig, ADA, id=part, limit=2) == [first.id]


class TestOfJobs:
    async def test_where_the_webhooks_of_a_job_lead_is_looked_up_when_it_is_submitted(
        self, subtests: pytest.Subtests
    ) -> None:
        for url, why in [
            ("https://inside.example.org/", "10.0.0.1, which is private"),
            ("https://nowhere.example.org/", "has no address"),
        ]:
            rig = a_rig()
            submitter = Submitter(rig.store, LocalDispatcher(), rig.clock, Policy(rig.store), names)
            spec = a_spec(webhooks=(JobWebhook(url=URL), JobWebhook(url=url)))

            with subtests.test(url=url), pytest.raises(Invalid, match=why) as refused:
                await submit_to(submitter, ADA, spec)

            assert refused.value.field == "webhooks.1.url", url
            assert await rig.store.events.events() == [], url

    async def test_what_the_job_opens_its_webhooks_may_use(self) -> None:
        rig = a_rig()
        submitter = Submitter(rig.store, LocalDispatcher(), rig.clock, Policy(rig.store), names)
        job_webhooks = (JobWebhook(url="https://inside.example.org/"),)
        for opened in ({"allow_addresses": ("10.0.0.0/8",)}, {"allow_private": True}):
            job = await submit_to(
                submitter, replace(ADA, trusted=True), a_spec(webhooks=job_webhooks, **opened)
            )
            assert job.spec.webhooks[0].url == "https://inside.example.org/"


class TestDeliveries:
    async def test_a_test_message_arrives_whichever_events_are_selected(self) -> None:
        rig = WebhookRig()
        async with Receiver() as receiver, Receiver() as other, rig.delivering():
            webhook = await rig.hooked(receiver, events=("job.failed",))
            await rig.hooked(other, events=("*",))

            await rig.webhooks(LOCAL).test(webhook.id)
            await rig.clock.jump(timedelta(seconds=1))
            await rig.ended(webhook, 1)

        [message] = receiver.verified_messages(webhook.secrets[0].value)
        assert (message["type"], message["data"]["subject"]) == ("webhook.test", webhook.id)
        assert all(b"webhook.test" not in m.body for m in other.messages)

    async def test_one_that_is_off_cannot_be_tested(self) -> None:
        rig = a_rig()
        webhook = await a_hook(rig)
        await rig.webhooks(ADA).disable(webhook.id)
        with pytest.raises(IllegalMove, match="enable it first"):
            await rig.webhooks(ADA).test(webhook.id)

    async def test_a_delivery_can_be_made_again_under_its_id(self) -> None:
        rig = WebhookRig()
        async with Receiver() as receiver, rig.delivering():
            webhook = await rig.hooked(receiver)
            await rig.happened()
            [delivery] = await rig.ended(webhook, 1)

            again = await rig.webhooks(LOCAL).replay("-", delivery.id)
            await rig.clock.jump(timedelta(seconds=1))
            await rig.ended(webhook, 1)

        assert (again.state, again.attempts) == (DeliveryState.PENDING, ())
        first, second = receiver.messages
        assert (first.id, first.body) == (second.id, second.body)
        assert len(receiver.verified_messages(webhook.secrets[0].value)) == 2

    async def test_what_cannot_arrive_is_not_made_again(self) -> None:
        rig = WebhookRig()
        async with Receiver() as receiver, rig.delivering():
            webhook = await rig.hooked(receiver)
            await rig.happened()
            [delivery] = await rig.ended(webhook, 1)
        await rig.webhooks(LOCAL).disable(webhook.id)

        with pytest.raises(IllegalMove, match="enable it first"):
            await rig.webhooks(LOCAL).replay("-", delivery.id)
        with pytest.raises(NotFound, match="msg_0"):
            await rig.webhooks(LOCAL).replay("-", "msg_0")

    async def test_one_whose_event_was_forgotten_is_not_made_again(self) -> None:
        rig = a_rig()
        webhook = await a_hook(rig, LOCAL, events=("job.created",))
        await rig.happened()
        await rig.store.deliveries.fan_out(NOW)
        [delivery] = await rig.log(webhook)
        await rig.store.deliveries.settle(delivery, delivery.give_up(NOW))
        forgetful = Forgetful(rig.store)
        rig.store = rig.store.with_parts(deliveries=forgetful)

        with pytest.raises(IllegalMove, match="was deleted after its retention"):
            await rig.webhooks(LOCAL).replay("-", delivery.id)

        assert (await rig.log(webhook))[0].state is DeliveryState.FAILED


# --- owner rules: each public method, by each kind of caller

Call = Callable[[Webhooks, Webhook, Delivery], Awaitable[object]]

READS: dict[str, Call] = {
    "get": lambda w, hook, _: w.get(hook.id),
    "deliveries": lambda w, hook, _: w.deliveries(hook.id),
}
CHANGES: dict[str, Call] = {
    "edit": lambda w, hook, _: w.edit(hook.id, description="new"),
    "enable": lambda w, hook, _: w.enable(hook.id),
    "disable": lambda w, hook, _: w.disable(hook.id),
    "rotate": lambda w, hook, _: w.rotate(hook.id),
    "test": lambda w, hook, _: w.test(hook.id),
    "replay": lambda w, _, delivery: w.replay("-", delivery.id),
    "delete": lambda w, hook, _: w.delete(hook.id),
    "deletable": lambda w, hook, _: w.deletable(hook.id),
}
OTHERS = {"create", "list"}  # about an unknown webhook


class TestOwners:
    async def the_hook(self, rig: WebhookRig) -> tuple[Webhook, Delivery]:
        webhook = await a_hook(rig, ADA, events=("job.created",))
        await rig.happened(owner="ada")
        await rig.store.deliveries.fan_out(NOW)
        [delivery] = await rig.log(webhook)
        return webhook, delivery

    def test_no_method_is_forgotten_here(self) -> None:
        assert endpoints_of(Webhooks).keys() == READS.keys() | CHANGES.keys() | OTHERS

    async def test_it_does_not_exist_for_others(self, subtests: pytest.Subtests) -> None:
        for call in [*READS, *CHANGES]:
            rig = a_rig()
            webhook, delivery = await self.the_hook(rig)

            with subtests.test(call=call), pytest.raises(NotFound) as hidden:
                await (READS | CHANGES)[call](rig.webhooks(BOB), webhook, delivery)
            with subtests.test(call=call), pytest.raises(NotFound):
                await (READS | CHANGES)[call](rig.webhooks(STRANGER), webhook, delivery)

            assert webhook.url not in str(hidden.value), call
            assert await stored(rig, webhook.id) == webhook, call
            assert await rig.log(webhook) == [delivery], call

    async def test_who_may_look_may_not_change(self, subtests: pytest.Subtests) -> None:
        for call, change in CHANGES.items():
            rig = a_rig()
            webhook, delivery = await self.the_hook(rig)

            with subtests.test(call=call), pytest.raises(Forbidden):
                await change(rig.webhooks(VIEWER), webhook, delivery)

            assert await stored(rig, webhook.id) == webhook, call
            assert await rig.log(webhook) == [delivery], call

    @pytest.mark.parametrize("call", [*READS, *CHANGES])
    @pytest.mark.parametrize("actor", [ADA, LOCAL])
    async def test_its_owner_and_an_admin_may(self, call: str, actor: Actor) -> None:
        rig = a_rig()
        webhook, delivery = await self.the_hook(rig)
        await (READS | CHANGES)[call](rig.webhooks(actor), webhook, delivery)

    async def test_a_viewer_adds_none(self) -> None:
        rig = a_rig()
        with pytest.raises(Forbidden):
            await a_hook(rig, VIEWER)

    async def test_a_user_finds_own_webhooks_and_an_admin_all(self) -> None:
        rig = a_rig()
        webhook, _ = await self.the_hook(rig)
        other = await a_hook(rig, BOB)

        assert await ids(rig, ADA) == await ids(rig, VIEWER) == [webhook.id]
        assert await ids(rig, BOB) == [other.id]
        assert await ids(rig, BOB, owner="ada") == []
        assert await ids(rig, LOCAL) == [other.id, webhook.id]

    async def test_a_webhook_of_an_admin_gets_no_events_of_other_users(self) -> None:
        rig = a_rig()
        webhook = await a_hook(rig, LOCAL)
        await rig.happened(owner="ada")
        await rig.store.deliveries.fan_out(NOW)
        assert await rig.log(webhook) == []
