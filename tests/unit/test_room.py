"""How many messages may be under way at once, and who hears of an event."""

from crawlyard.core.event import EventName
from crawlyard.core.webhooks.delivery_limits import DEFAULT_ROOM, DeliveryRoom, Traffic
from crawlyard.core.webhooks.subscribers import Subscribers
from tests.builders import NOW
from tests.builders_webhooks import a_webhook, an_event


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

    def heard(seq: int, subject: str, name: str = "job.completed") -> list[str]:
        event = an_event(EventName(name), subject=subject, seq=seq)
        return sorted(webhook.id for webhook in audience.of(event))

    assert heard(8, "j") == ["j:0", "own"]
    assert heard(7, "j") == ["own"]
    assert heard(8, "x") == ["own"]
    assert heard(8, "own", "webhook.test") == ["own"]
    assert heard(8, "j:0", "webhook.test") == ["j:0"]
