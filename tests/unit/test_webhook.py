"""Webhooks: URLs, patterns, messages, and the number of deliveries in flight."""

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.job import Origin
from crawlyard.core.webhooks.delivery_limits import DEFAULT_ROOM, DeliveryRoom, Traffic
from crawlyard.core.webhooks.webhook import (
    EXCERPT,
    JITTER,
    MAX_BODY,
    MAX_METADATA,
    OF_A_JOB,
    WAITS,
    Delivery,
    DeliveryAttempt,
    DeliveryState,
    JobWebhook,
    Subscribers,
    check_metadata,
    check_patterns,
    encode_message,
    message,
    message_id,
    wait_after,
    why_off,
)
from crawlyard.engine.http.webhook_post import TIMEOUT
from crawlyard.errors import Invalid
from crawlyard.services.webhooks.delivery import DeliveryOptions
from tests.builders import NOW, a_job, a_spec
from tests.builders_webhooks import SECRET, a_delivery, a_webhook, an_event

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3000),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=40), inner),
    max_leaves=40,
)


def tried(delivery: Delivery, *statuses: int | None, **options: Any) -> Delivery:
    """Return a delivery after attempts, each made when it was due."""
    for status in statuses:
        attempt = DeliveryAttempt(at=delivery.due_at, latency=SECOND, status=status)
        delivery = delivery.record_attempt(attempt, **({"chance": 0.5} | options))
    return delivery


class TestWants:
    def test_one_pattern_has_to_fit(self) -> None:
        for patterns, is_wanted in [
            (("*",), True),
            (("job.*",), True),
            (("job.completed",), True),
            (("schedule.*", "*.completed"), True),
            (("job.failed",), False),
            (("JOB.*",), False),
            (("job",), False),
        ]:
            assert a_webhook(events=patterns).wants(an_event(EventName.COMPLETED)) is is_wanted, (
                patterns
            )

    def test_what_is_anothers_is_not_heard(self) -> None:
        assert not a_webhook(owner="ada").wants(an_event(owner="bob"))

    def test_one_of_a_job_hears_of_that_job_alone(self) -> None:
        webhook = a_webhook(job_id="7")
        assert webhook.wants(an_event(subject="7"))
        assert not webhook.wants(an_event(subject="8"))

    def test_one_of_a_schedule_hears_of_it_and_its_runs_alone(self) -> None:
        webhook = a_webhook(schedule_id="s")
        run, other = (a_job(origin=Origin(schedule_id=of)) for of in ("s", "t"))
        events = [job.event(EventName.RUN_CHANGED, NOW, "changes") for job in (run, other, a_job())]
        wanted_events = [webhook.wants(replace(event, owner=webhook.owner)) for event in events]
        assert wanted_events == [True, False, False]
        paused = an_event(EventName.SCHEDULE_PAUSED, subject="s", owner=webhook.owner)
        assert webhook.wants(paused)

    def test_a_test_is_for_one_alone_whatever_it_wants(self) -> None:
        for patterns in [("*",), ("job.failed",)]:
            webhook = a_webhook(id="w1", events=patterns)
            assert webhook.wants(an_event(EventName.WEBHOOK_TEST, subject="w1")), patterns
            assert not webhook.wants(an_event(EventName.WEBHOOK_TEST, subject="w2")), patterns


class TestPatterns:
    @pytest.mark.parametrize("pattern", ["*", "job.*", "job.completed", "*.deleted", "job.e*"])
    def test_what_fits_an_event_will_do(self, pattern: str) -> None:
        check_patterns([pattern])

    def test_what_fits_none_is_refused_with_the_list(self, subtests: pytest.Subtests) -> None:
        for pattern in ["", "job", "job.done", "JOB.*", "*" * 65, "a\nb"]:
            with (
                subtests.test(pattern=pattern),
                pytest.raises(Invalid, match=r"there are: job\.created, job\.started"),
            ):
                check_patterns(["*", pattern])

    def test_a_name_that_is_near_to_one_is_refused_with_that(self) -> None:
        with pytest.raises(
            Invalid, match=r"matches 'job\.complete'; did you mean job\.completed\?$"
        ):
            check_patterns(["job.complete"], kinds={"job"})

    def test_there_is_one_and_not_too_many(self, subtests: pytest.Subtests) -> None:
        for patterns in [[], ["*"] * 101]:
            with (
                subtests.test(patterns=patterns),
                pytest.raises(Invalid, match="expected 1 to 100 names or patterns"),
            ):
                check_patterns(patterns)

    def test_some_kinds_may_be_asked_for(self) -> None:
        check_patterns(["job.*", "group.completed", "*"], kinds=OF_A_JOB)
        with pytest.raises(Invalid, match=r"'schedule\.ended'"):
            check_patterns(["schedule.ended"], kinds=OF_A_JOB)


class TestTries:
    def test_nine_attempts_take_about_two_days(self) -> None:
        assert sum(WAITS, timedelta()) == timedelta(hours=47, minutes=35, seconds=5)
        assert list(WAITS) == sorted(WAITS)
        assert wait_after(len(WAITS) + 1, 0.5) is None

    def test_waits_are_up_to_a_tenth_shorter_and_longer(self) -> None:
        shortest, longest = wait_after(1, 0), wait_after(1, 1)
        assert (shortest, longest) == (timedelta(seconds=4.5), timedelta(seconds=5.5))

    def test_a_lease_outlives_a_message_and_its_answer_and_these_take_15_seconds(self) -> None:
        assert timedelta(seconds=15) == TIMEOUT
        assert DeliveryOptions().lease >= 2 * TIMEOUT

    @given(attempts=st.integers(1, len(WAITS)), chance=st.floats(0, 1))
    def test_a_wait_is_the_tables_within_the_jitter(self, attempts: int, chance: float) -> None:
        wait = wait_after(attempts, chance)
        full = WAITS[attempts - 1]
        assert wait is not None
        assert full * (1 - JITTER) <= wait <= full * (1 + JITTER)

    def test_2xx_is_delivered(self) -> None:
        for status in [200, 201, 202, 204, 299]:
            after = tried(a_delivery(), status)
            assert (after.state, after.ended_at) == (DeliveryState.DELIVERED, NOW + SECOND), status

    def test_all_else_is_tried_again(self) -> None:
        for status in [None, 101, 199, 300, 302, 400, 401, 404, 429, 500, 503]:
            after = tried(a_delivery(), status)
            assert (after.state, after.ended_at) == (DeliveryState.PENDING, None), status
            assert after.due_at == NOW + SECOND + WAITS[0], status

    def test_gone_is_final_and_switches_off(self) -> None:
        assert tried(a_delivery(), 410).state is DeliveryState.FAILED
        assert "410" in why_off(a_webhook(), tried(a_delivery(), 410))
        assert why_off(a_webhook(failing_since=NOW), a_delivery().give_up(NOW)) == ""

    @given(statuses=st.lists(st.sampled_from([None, 204, 302, 410, 429, 500]), max_size=20))
    def test_any_history_ends_after_at_most_nine_attempts(self, statuses: list[int | None]) -> None:
        delivery = a_delivery()
        for status in statuses:
            if delivery.state is not DeliveryState.PENDING:
                break
            before, delivery = delivery, tried(delivery, status)
            assert delivery.id == before.id
            assert delivery.due_at > before.due_at or delivery.ended_at is not None

        assert len(delivery.attempts) <= len(WAITS) + 1
        assert (delivery.state is DeliveryState.PENDING) is (delivery.ended_at is None)


class TestOff:
    def test_a_delivery_that_was_given_up_does_if_nothing_else_arrived(self) -> None:
        given_up = tried(a_delivery(), *[500] * 9)
        assert "9 attempts failed" in why_off(a_webhook(failing_since=NOW, failures=9), given_up)
        assert why_off(a_webhook(failing_since=NOW + HOUR, failures=8), given_up) == ""
        assert why_off(a_webhook(), given_up) == ""

    def test_one_attempt_does_if_nothing_arrived_for_two_days_in_nine_at_least(self) -> None:
        for days, failures, off in [(2, 9, True), (2, 8, False), (1.9, 500, False), (30, 2, False)]:
            webhook = a_webhook(failing_since=NOW - timedelta(days=days), failures=failures)
            assert bool(why_off(webhook, tried(a_delivery(), 500))) is off, failures

    def test_all_else_does_not(self) -> None:
        for statuses in [(), (500,), (500, 204), (204,)]:
            webhook = a_webhook(failing_since=NOW - timedelta(days=1), failures=100)
            assert why_off(webhook, tried(a_delivery(), *statuses)) == "", statuses

    def test_switched_on_its_failures_are_forgotten(self) -> None:
        failing = a_webhook(failing_since=NOW)
        off = failing.switch(NOW, on=False, reason="why")
        on = off.switch(NOW, on=True)
        assert (off.active, off.disabled_reason, off.failing_since) == (False, "why", NOW)
        assert (on.active, on.disabled_reason, on.failing_since) == (True, "", None)
        assert on.version == 3


class TestMessage:
    def test_it_says_what_happened_to_what(self) -> None:
        job = a_job(id="j1")
        event = replace(job.event(EventName.COMPLETED, NOW, "worker:w1"), seq=42)
        assert json.loads(encode_message(message(event))) == {
            "type": "job.completed",
            "timestamp": "2026-01-02T03:04:05.678Z",
            "data": {
                "v": 1,
                "seq": 42,
                "subject": "j1",
                "job_id": "j1",
                "owner": "local",
                "actor": "worker:w1",
                "details": dict(event.data),
            },
        }

    def test_it_links_to_the_page_of_its_subject_where_there_is_one(self) -> None:
        for name, page in [
            (EventName.COMPLETED, "/jobs/x1"),
            (EventName.RUN_CHANGED, "/jobs/x1"),
            (EventName.SCHEDULE_PAUSED, "/schedules/x1"),
            (EventName.TEMPLATE_UPDATED, "/templates/x1"),
            (EventName.SCHEDULE_DELETED, None),
            (EventName.TOKEN_CREATED, None),
        ]:
            event = replace(an_event(name), subject="x1")
            data = json.loads(encode_message(message(event, "https://yard.example.org")))["data"]
            assert data.get("url") == (page and f"https://yard.example.org{page}"), name

    def test_what_is_about_no_job_names_none(self) -> None:
        assert message(an_event(EventName.SCHEDULE_PAUSED)).data.job_id is None

    def test_what_is_too_long_is_cut_with_a_mark(self) -> None:
        long = an_event(data={"detail": "x" * 30_000, "urls": ["u" * 50] * 5000, "state": "failed"})

        shortened = message(long)

        assert shortened.data.cut
        details = shortened.data.details
        assert details["state"] == "failed"
        assert details["detail"] == "x" * 2000 + "…"
        assert len(details["urls"]) == 100
        assert len(encode_message(shortened)) < MAX_BODY

    def test_metadata_is_returned_whole_however_long_the_event_is(self) -> None:
        metadata = {"ticket": "x" * (MAX_METADATA - 13)}
        check_metadata(metadata)

        shortened = message(an_event(data={"detail": "x" * 30_000}), metadata=metadata)

        assert shortened.data.metadata == metadata
        assert len(encode_message(shortened)) < MAX_BODY

    def test_metadata_that_is_too_long_or_no_json_is_refused(self) -> None:
        refused: list[tuple[dict[str, object], str]] = [
            ({"ticket": "x" * (MAX_METADATA - 12)}, "at most 2,000 bytes of JSON, got 2,001"),
            ({"ratio": float("nan")}, "expected a JSON object"),
            ({"at": NOW}, "expected a JSON object"),
        ]
        for metadata, reason in refused:
            with pytest.raises(Invalid, match=reason):
                check_metadata(metadata)

    @settings(max_examples=30)
    @given(data=st.dictionaries(st.text(), JSON), actor=st.text(max_size=5000))
    def test_it_is_never_too_long_and_always_the_same(
        self, data: dict[str, Any], actor: str
    ) -> None:
        event = an_event(data=data, actor=actor)
        body = encode_message(message(event))
        assert len(body) < MAX_BODY
        assert body == encode_message(message(event))
        payload = json.loads(body)
        assert ("cut" in payload["data"]) is (payload["data"]["details"] != data)

    def test_its_id_is_that_of_the_event_for_the_webhook(self) -> None:
        assert message_id("w1", 1) == message_id("w1", 1)
        assert len({message_id("w1", 1), message_id("w1", 2), message_id("w2", 1)}) == 3
        assert len(message_id("w" * 48, 2**63)) <= 64

    def test_an_event_about_a_webhook_names_its_host_alone(self) -> None:
        webhook = a_webhook(url="https://hooks.example.org:8443/T0/secret?token=1", job_id="j1")
        event = webhook.event(EventName.WEBHOOK_DISABLED, NOW, "webhooks", more=1)
        assert event.data["host"] == "hooks.example.org:8443"
        assert (event.data["job_id"], event.data["more"]) == ("j1", 1)
        assert "secret" not in repr(event)
        assert SECRET not in repr(event)


def test_the_webhooks_of_a_job_have_its_id_owner_and_addresses() -> None:
    job_webhooks = (
        JobWebhook(url="https://a.example/", secret=SECRET),
        JobWebhook(url="https://b/"),
    )
    job = a_job(owner="ada", spec=a_spec(webhooks=job_webhooks, allow_addresses=("10.0.0.1",)))

    first, two = job.webhooks()

    assert (first.id, two.id) == (f"{job.id}:0", f"{job.id}:1")
    assert (first.owner, first.job_id, first.url) == ("ada", job.id, "https://a.example/")
    assert first.events == ("job.completed", "job.failed", "job.cancelled")
    assert (first.allow_addresses, first.secrets[0].value) == (("10.0.0.1",), SECRET)
    assert job.webhooks() == [first, two]
    assert EXCERPT == 1024


def test_no_owner_and_no_receiver_can_take_all_the_room() -> None:
    assert 4 * DEFAULT_ROOM.of_owner <= DEFAULT_ROOM.in_all
    assert 4 * DEFAULT_ROOM.to_receiver <= DEFAULT_ROOM.of_owner


def test_a_message_needs_room_in_all_of_its_owner_and_to_its_receiver() -> None:
    for room, more, fits in [
        (DeliveryRoom(), a_webhook(), True),
        (DeliveryRoom(in_all=1), a_webhook(owner="bob", url="https://b.example/"), False),
        (DeliveryRoom(of_owner=1), a_webhook(url="https://b.example/"), False),
        (DeliveryRoom(of_owner=1), a_webhook(owner="bob"), True),
        (DeliveryRoom(to_receiver=1), a_webhook(owner="bob", url="https://a.example?b"), False),
        (DeliveryRoom(to_receiver=1), a_webhook(url="https://a.example:8443/"), True),
        (DeliveryRoom(), a_webhook(id="w", failing_since=NOW), False),
        (DeliveryRoom(), a_webhook(id="x", failing_since=NOW), True),
    ]:
        traffic = Traffic(room, [a_webhook(id="w", url="https://a.example/hook")])
        assert traffic.take(more) is fits, more


def test_each_event_finds_the_webhooks_of_its_owner_its_job_and_itself() -> None:
    own, other = a_webhook(id="own"), a_webhook(id="other", owner="bob")
    of_job, of_another = a_webhook(id="j:0", job_id="j"), a_webhook(id="k:0", job_id="k")
    audience = Subscribers([(own, 0), (other, 0), (of_job, 7), (of_another, 0)])

    def receivers_of(seq: int, subject: str, name: str = "job.completed") -> list[str]:
        event = an_event(EventName(name), subject=subject, seq=seq)
        return sorted(webhook.id for webhook in audience.of(event))

    assert receivers_of(8, "j") == ["j:0", "own"]
    assert receivers_of(7, "j") == ["own"]
    assert receivers_of(8, "x") == ["own"]
    assert receivers_of(8, "own", "webhook.test") == ["own"]
    assert receivers_of(8, "j:0", "webhook.test") == ["j:0"]
