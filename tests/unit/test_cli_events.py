"""The `events` command: its options, and a line for each event."""

from datetime import UTC, datetime, timedelta

import pytest

from crawlyard.cli.events import line
from crawlyard.cli.when import When
from crawlyard.core.events.event import Event, EventName
from crawlyard.core.jobs.answers import EventOut
from tests.builders import NOW, a_job, a_spec


def test_since_when_is_how_long_ago_or_an_instant() -> None:
    for text, instant in [
        ("90s", NOW - timedelta(seconds=90)),
        ("2h", NOW - timedelta(hours=2)),
        ("7d", NOW - timedelta(days=7)),
        ("2026-01-01T00:00Z", datetime(2026, 1, 1, tzinfo=UTC)),
        ("2026-01-01T00:00+05:45", datetime(2025, 12, 31, 18, 15, tzinfo=UTC)),
        ("2026-01-01 00:00:01Z", datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)),
    ]:
        assert When.of(text).instant(NOW) == instant, text


def test_an_instant_without_an_offset_is_local() -> None:
    instant = When.of("2026-01-01T12:00").instant(NOW)
    assert instant == datetime(2026, 1, 1, 12).astimezone()


def test_what_is_neither_is_refused(subtests: pytest.Subtests) -> None:
    for text in ["yesterday", "2h ago", "", "2026-13-01"]:
        with (
            subtests.test(text=text),
            pytest.raises(ValueError, match="expected an age such as 90s, 2h or 7d"),
        ):
            When.of(text)


def event_line(event: Event) -> str:
    return line(EventOut.of(event), event.at)[8:]


def test_an_event_is_one_line_for_people() -> None:
    job = a_job(id="0192abcd-0000-7000-8000-00007f3a91c2", spec=a_spec(name="do\x1bcs"))
    assert event_line(job.event(EventName.CREATED, NOW, "ada")) == (
        "  job.created         7f3a91c2  do\\x1bcs · waiting for a free slot"
    )
    assert event_line(job.event(EventName.PROGRESSED, NOW, "w", percent=50)) == (
        "  job.progressed      7f3a91c2  do\\x1bcs · 50 % · waiting for a free slot"
    )


def test_a_tick_says_what_became_of_it_and_why() -> None:
    data = {"outcome": "skipped", "reason": "overlap", "detail": "job 1 runs"}
    event = Event(
        name=EventName.SCHEDULE_TICKED,
        subject="0192abcd-0000-7000-8000-00007f3a91c2",
        owner="ada",
        at=NOW,
        actor="scheduler",
        data=data,
    )
    assert (
        event_line(event)
        == "  schedule.ticked     7f3a91c2  skipped (another job was active) · job 1 runs"
    )


def test_the_longest_name_fits_its_column() -> None:
    assert max(len(name) for name in EventName) < 18
