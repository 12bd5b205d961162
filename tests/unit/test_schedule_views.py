"""Text shown to users about schedules."""

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from crawlyard.cli.schedules.views import SCHEDULES, local, status
from crawlyard.core.answer import as_dict
from crawlyard.core.schedules.answers import ScheduleOut, TickOut
from crawlyard.core.schedules.schedule import TickReason
from tests.builders import NOW
from tests.builders_schedules import a_schedule, a_tick


def facts(schedule: ScheduleOut) -> dict[str, str]:
    return {name: str(value) for name, value in SCHEDULES.facts(schedule)}


@pytest.mark.parametrize(
    ("zone", "shown_text"),
    [
        ("Europe/Berlin", "Sun 2026-03-29 03:00 CEST"),
        ("UTC", "Sun 2026-03-29 01:00 UTC"),
        ("Mars/Olympus", "Sun 2026-03-29 01:00 UTC"),
    ],
)
def test_an_instant_is_shown_as_the_clock_on_that_wall_does(zone: str, shown_text: str) -> None:
    assert local(datetime(2026, 3, 29, 1, tzinfo=UTC), zone) == shown_text


def test_a_schedule_is_on_paused_or_ended() -> None:
    schedule = a_schedule()

    assert status(ScheduleOut.of(schedule)) == "on"
    assert status(ScheduleOut.of(replace(schedule, paused_at=NOW))) == "paused"
    assert status(ScheduleOut.of(replace(schedule, next_at=None, fire_at=None))) == "ended"


def test_one_whose_zone_is_gone_can_be_looked_at() -> None:
    schedule = ScheduleOut.of(a_schedule(zone="Mars/Olympus", paused_at=NOW, paused_by="scheduler"))

    rows = facts(schedule)

    assert "Mars/Olympus" in rows["in words"]
    assert rows["paused"] == "by scheduler, Fri 2026-01-02 03:04:05 UTC"


def test_what_a_policy_does_is_told() -> None:
    rows = facts(ScheduleOut.of(a_schedule()))

    assert rows["overlap"].startswith("skip: No run is started")
    assert rows["misfire"].startswith("run once: After downtime")


def test_a_run_of_a_user_names_them_once_however_its_row_was_stored() -> None:
    for detail in ("by ada", "asked for by ada"):  # the second by earlier versions
        tick = a_tick(a_schedule(), reason=TickReason.BY_USER, detail=detail)
        assert TickOut.of(tick).detail == "by ada"


def test_params_that_are_credentials_are_not_shown() -> None:
    params = {"api_token": "S3CRET", "site": "https://ann:S3CRET@a.example/", "plain": "S3CRET"}
    schedule = a_schedule(params=params | {"depth": 3})

    by_name = ScheduleOut.of(schedule).params
    by_place = ScheduleOut.of(schedule, {"api_token", "plain"}).params

    assert by_name["api_token"] == by_place["api_token"] == by_place["plain"] == "***"
    assert by_name["site"] == "https://***@a.example/"
    assert (by_name["plain"], by_place["depth"]) == ("S3CRET", 3)


def test_credentials_are_not_shown() -> None:
    overrides = {"urls": ["https://example.com/"], "headers": {"Authorization": "Bearer s3cret"}}

    schedule = ScheduleOut.of(a_schedule(overrides=overrides))

    assert "s3cret" not in str(as_dict(schedule))
