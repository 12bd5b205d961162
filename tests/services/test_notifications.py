"""Messages to people: the documented shape of each channel, digests, repeats, quiet hours."""

import json
from datetime import timedelta
from email.header import decode_header, make_header
from typing import Any

import pytest

from crawlyard.core.access.user import LOCAL
from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.job import Job, Origin
from crawlyard.core.jobs.lifecycle import Move, StateReason
from crawlyard.core.webhooks.summary import NotifiedEvent
from crawlyard.core.webhooks.webhook import DeliveryState, Webhook
from crawlyard.errors import Conflict, Invalid
from crawlyard.services.webhooks import formats
from crawlyard.services.webhooks.delivery import DeliveryOptions
from crawlyard.services.webhooks.notifications import Notifications
from crawlyard.store.queries import WebhookQuery
from tests.builders import NOW, a_job, a_spec, its_event
from tests.builders_webhooks import a_delivery, a_webhook, an_event
from tests.receiver import Receiver, answer
from tests.services.hooks import WebhookRig, yard_of

YARD = "https://yard.example.org"
MINUTE = timedelta(minutes=1)


class ChannelRig(WebhookRig):
    """A store with channels whose messages a recorder on loopback receives."""

    def __init__(self, **options: Any) -> None:
        super().__init__(options=DeliveryOptions(public_url=YARD, **options))

    def notifications(self) -> Notifications:
        return Notifications(yard_of(self.store, self.clock).services, LOCAL)

    async def channel(self, receiver: Receiver, kind: str = "slack", **fields: Any) -> Webhook:
        """Create a channel called ops."""
        await self.notifications().create(
            "ops",
            kind,  # type: ignore[arg-type]
            receiver.url,
            allow_addresses=(receiver.authority,),
            **fields,
        )
        [channel] = await self.store.webhooks.find(WebhookQuery(name="ops"), 2)
        return channel

    async def ending(self, move: Move = Move.FAIL, **fields: Any) -> Job:
        """Return a job that has just ended."""
        reason = fields.pop("reason", None)
        detail = fields.pop("detail", "" if move is Move.COMPLETE else "connection refused")
        origin = fields.pop("origin", None)
        job = a_job(spec=a_spec(**fields), **({} if origin is None else {"origin": origin}))
        await self.store.jobs.add(job, its_event(job))
        for each in (Move.CLAIM, move):
            last = each is move
            moved = job.apply_move(
                each,
                self.clock.now(),
                actor="worker:w",
                reason=reason if last else None,
                detail=detail if last else "",
            )
            await self.store.jobs.save(*moved)
            job = moved[0]
        return job

    async def sent(self, receiver: Receiver, count: int, wait: timedelta = MINUTE) -> list[Any]:
        """Return the bodies of *count* messages, after *wait*."""
        await self.clock.jump(timedelta(seconds=1))
        await self.clock.jump(wait)
        for _ in range(2_000):
            if len(receiver.messages) >= count:
                break
            await self.clock.jump(timedelta(seconds=1))
        assert len(receiver.messages) == count
        return [_body(message.body) for message in receiver.messages]


def _body(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode()


class TestShapes:
    async def test_slack_gets_text_and_blocks_with_a_link(self) -> None:
        rig = ChannelRig()
        async with Receiver(answer(200, b"ok")) as receiver, rig.delivering():
            channel = await rig.channel(receiver)
            job = await rig.ending(name="news <!channel> *x*", urls=("https://docs.example.org/",))
            [message] = await rig.sent(receiver, 1)
            [delivery] = await rig.logged(channel, lambda log: log[0].ended_at is not None)

        assert set(message) == {"text", "blocks", "unfurl_links"}
        [block] = message["blocks"]
        assert (block["type"], block["text"]["type"]) == ("section", "mrkdwn")
        for text in (message["text"], block["text"]["text"]):
            assert "&lt;!channel&gt;" in text
            assert "<!channel>" not in text
            assert "docs.example.org · " in text
            assert "connection refused" in text
            assert f"crawlyard jobs errors {job.id}" in text
            assert f"<{YARD}/jobs/{job.id}|Open in Crawlyard>" in text
        assert receiver.messages[0].headers["content-type"] == "application/json"
        assert "webhook-signature" not in receiver.messages[0].headers
        assert delivery.attempts[0].excerpt == "ok"

    async def test_discord_gets_content_without_mentions(self) -> None:
        rig = ChannelRig()
        async with Receiver() as receiver, rig.delivering():
            await rig.channel(receiver, "discord")
            job = await rig.ending(name="@everyone **now**")
            [message] = await rig.sent(receiver, 1)

        assert message["allowed_mentions"] == {"parse": []}
        assert r"@everyone \*\*now\*\* failed" in message["content"]
        assert f"<{YARD}/jobs/{job.id}>" in message["content"]

    async def test_ntfy_gets_text_and_headers(self) -> None:
        rig = ChannelRig()
        async with Receiver(answer(200)) as receiver, rig.delivering():
            await rig.channel(receiver, "ntfy")
            job = await rig.ending(name="Büro\r\nX-Evil: 1")
            [text] = await rig.sent(receiver, 1)

        [message] = receiver.messages
        title = str(make_header(decode_header(message.headers["title"])))
        assert title == "Büro X-Evil: 1 failed"
        assert "x-evil" not in message.headers
        assert message.headers["priority"] == "high"
        assert message.headers["tags"] == "warning"
        assert message.headers["click"] == f"{YARD}/jobs/{job.id}"
        assert message.headers["content-type"].startswith("text/plain")
        assert "connection refused" in text

    async def test_teams_gets_an_adaptive_card_1_4(self) -> None:
        rig = ChannelRig()
        async with Receiver(answer(202)) as receiver, rig.delivering():
            await rig.channel(receiver, "teams")
            job = await rig.ending(name="nightly [x](https://evil.example)")
            [message] = await rig.sent(receiver, 1)

        assert message["type"] == "message"
        [attachment] = message["attachments"]
        assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
        card = attachment["content"]
        assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
        assert all(block["type"] == "TextBlock" and block["wrap"] for block in card["body"])
        assert card["body"][0]["text"].startswith(r"nightly \[x\](")
        [action] = card["actions"]
        assert (action["type"], action["url"]) == ("Action.OpenUrl", f"{YARD}/jobs/{job.id}")

    def test_a_digest_stays_within_the_limits_of_its_channel(self) -> None:
        entries = [
            NotifiedEvent(
                event=an_event(
                    EventName.FAILED, data={"name": f"{n} {'ö*<' * 60}", "detail": "x" * 400}
                )
            )
            for n in range(400)
        ]
        outgoing = formats.OutgoingMessage(
            webhook=a_webhook(),
            delivery=a_delivery(),
            event=entries[0].event,
            now=NOW,
            wall=NOW,
            public_url=YARD,
            entries=entries,
        )
        slack, discord, ntfy, teams = (
            each(outgoing).body
            for each in (formats.slack, formats.discord, formats.ntfy, formats.teams)
        )

        message = json.loads(slack)
        assert 30_000 < len(message["text"]) <= formats.SLACK_TEXT == 35_000
        assert 10 < len(message["blocks"]) <= 50
        assert all(len(block["text"]["text"]) <= 3_000 for block in message["blocks"])
        assert 1_000 < len(json.loads(discord)["content"]) <= formats.DISCORD_TEXT == 2_000
        assert 3_000 < len(ntfy) <= formats.NTFY_BYTES == 4_096
        assert 20_000 < len(teams) <= formats.TEAMS_BYTES <= 28_000
        for body in (slack, discord, ntfy, teams):
            assert f"more: {YARD}" in body.decode()


NIGHTLY = [Origin(schedule_id=f"01900000-0000-7000-8000-{number:012}") for number in range(20)]


class TestDigests:
    async def test_a_night_with_200_failures_of_20_schedules_is_two_messages(self) -> None:
        rig = ChannelRig()
        async with Receiver() as receiver, rig.delivering():
            channel = await rig.channel(receiver, on=("failed",))
            for _ in range(10):
                for number, origin in enumerate(NIGHTLY):
                    await rig.ending(name=f"site {number}", origin=origin)
                await rig.clock.jump(timedelta(seconds=1))
                await rig.clock.jump(timedelta(hours=1))
                await rig.logged(channel, lambda log: all(d.ended_at is not None for d in log))
            first, second = await rig.sent(receiver, 2, timedelta(hours=1))

        assert first["text"].startswith("20 crawls failed\n")
        assert "*site 7 failed*\n" in first["text"]
        assert "*site 7 failed again*\n" in second["text"]
        assert len(first["blocks"]) == len(second["blocks"]) == 20

    async def test_quiet_hours_end_with_one_message(self) -> None:
        rig = ChannelRig()  # it is 03:04 UTC
        async with Receiver() as receiver, rig.delivering():
            channel = await rig.channel(receiver, quiet_hours="22:00-07:00", zone="Europe/Berlin")
            for _ in range(3):
                for origin in NIGHTLY[:3]:
                    await rig.ending(origin=origin)
                await rig.clock.jump(timedelta(seconds=1))
                await rig.clock.jump(timedelta(minutes=45))
            await rig.clock.jump(timedelta(minutes=30))  # 05:49 UTC, 06:49 in Berlin
            await rig.logged(channel, lambda log: all(d.due_at.hour == 6 for d in log))
            assert receiver.messages == []
            [message] = await rig.sent(receiver, 1, timedelta(minutes=15))

        assert message["text"].startswith("3 crawls failed\n")
        assert message["text"].count("failed 2 times") == 3

    async def test_a_success_after_a_failure_is_told_once(self) -> None:
        rig = ChannelRig()
        async with Receiver() as receiver, rig.delivering():
            await rig.channel(receiver, "ntfy", on=("failed",))
            await rig.ending(name="docs", move=Move.COMPLETE)
            await rig.ending(name="docs")
            await rig.sent(receiver, 1)
            await rig.ending(name="docs", move=Move.COMPLETE)
            await rig.sent(receiver, 2, timedelta(minutes=10))
            await rig.ending(name="docs", move=Move.COMPLETE)
            await rig.ending(name="docs")
            await rig.sent(receiver, 3, timedelta(minutes=10))

        titles = [message.headers["title"] for message in receiver.messages]
        assert titles == ["docs failed", "docs works again", "docs failed"]
        assert [m.headers["priority"] for m in receiver.messages] == ["high", "default", "high"]

    async def test_messages_keep_their_distance_and_a_429_is_obeyed(self) -> None:
        rig = ChannelRig()
        manners = answer(429, Retry_After="600"), answer(204)
        async with Receiver(*manners) as receiver, rig.delivering():
            channel = await rig.channel(receiver)
            await rig.ending(name="a")
            await rig.sent(receiver, 1)
            await rig.attempts(channel, 1)
            await rig.ending(name="b")
            await rig.clock.jump(timedelta(minutes=8))
            assert len(receiver.messages) == 1
            _, digest = await rig.sent(receiver, 2, timedelta(minutes=3))
            await rig.logged(channel, lambda log: all(d.ended_at is not None for d in log))
            held_until = (await rig.store.webhooks.get(channel.id)).held_until
            assert held_until is not None
            assert held_until > rig.clock.now() + 4 * MINUTE
            await rig.ending(name="c")
            await rig.clock.jump(timedelta(minutes=4))
            assert len(receiver.messages) == 2
            await rig.sent(receiver, 3, timedelta(minutes=2))
            log = await rig.log(channel)

        assert digest["text"].startswith("2 crawls failed\n")
        assert [len(delivery.attempts) for delivery in log] == [2, 1, 1]
        assert all(delivery.state is DeliveryState.DELIVERED for delivery in log)

    async def test_only_the_events_of_its_occasions_and_the_jobs_that_name_it_arrive(self) -> None:
        rig = ChannelRig()
        async with Receiver() as receiver, rig.delivering():
            await rig.channel(receiver, "ntfy", on=("stopped", "logged_out"))
            await rig.ending(name="failed")
            await rig.ending(name="page limit", move=Move.COMPLETE, reason=StateReason.LIMIT_PAGES)
            await rig.ending(name="elsewhere", notify=("other",), move=Move.COMPLETE, reason=ERRORS)
            await rig.ending(name="stopped", notify=("ops",), move=Move.COMPLETE, reason=ERRORS)
            await rig.sent(receiver, 1)
            await rig.notifications().edit("ops", named_only=True)
            await rig.ending(name="any", move=Move.PAUSE, reason=StateReason.LOGGED_OUT)
            await rig.ending(
                name="mine", notify=("ops",), move=Move.PAUSE, reason=StateReason.LOGGED_OUT
            )
            await rig.sent(receiver, 2, timedelta(minutes=10))

        titles = [message.headers["title"] for message in receiver.messages]
        assert titles == ["stopped was stopped by its limit of errors", "mine is logged out"]


ERRORS = StateReason.LIMIT_ERRORS


class TestChannels:
    async def test_its_url_is_stored_encrypted_and_shown_by_its_last_characters(self) -> None:
        rig = ChannelRig()
        async with Receiver(answer(500)) as receiver, rig.delivering():
            channel = await rig.channel(receiver)
            await rig.notifications().test("ops")
            await rig.sent(receiver, 1, timedelta(0))
            [delivery] = await rig.logged(channel, lambda log: bool(log and log[0].attempts))
            answered = await rig.notifications().get("ops")
            events = await rig.store.events.events()

        assert receiver.messages[0].path == "/hook"
        assert answered.to == f"http://{channel.receiver}/…hook"
        everything = f"{channel!r} {delivery!r} {events!r}"
        assert "/hook" not in everything
        assert channel.sealed is not None
        assert b"/hook" not in channel.sealed

    async def test_a_test_message_comes_at_once_even_in_quiet_hours(self) -> None:
        rig = ChannelRig()
        async with Receiver(answer(200, b"ok")) as receiver, rig.delivering():
            channel = await rig.channel(receiver, quiet_hours="00:00-23:59")
            await rig.notifications().test("ops")
            [message] = await rig.sent(receiver, 1, timedelta(0))
            [delivery] = await rig.ended(channel, 1)

        assert "Test message from Crawlyard" in message["text"]
        assert (delivery.name, delivery.attempts[0].excerpt) == ("webhook.test", "ok")

    async def test_invalid_channels_are_refused(self) -> None:
        rig = ChannelRig()
        create = rig.notifications().create
        url = "https://93.184.216.34/x"
        await create("ops", "slack", url)

        for problem, arguments in {
            "such as 22:00-07:00": {"quiet_hours": "22-7"},
            "two different times": {"quiet_hours": "22:00-22:00"},
            "did you mean Europe/Berlin": {"zone": "Europe/Berlim"},
            "already exists": {"name": "ops"},
            "mail is not set up": {"kind": "mail", "to": "a@example.org"},
            "to: expected https://": {"to": "http://93.184.216.34/x"},
        }.items():
            fields: dict[str, Any] = {"name": "new", "kind": "slack", "to": url, **arguments}
            with pytest.raises((Invalid, Conflict), match=problem):
                await create(**fields)
