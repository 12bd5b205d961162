"""Instants as typed by users: an age, or a date and time."""

from datetime import UTC, datetime, timedelta, tzinfo

from msgspec import Struct

from crawlyard.cli import values
from crawlyard.core.schedules.timetable import check_instant
from crawlyard.errors import Invalid


def instant_of(option: str, text: str, zone: tzinfo | None = None) -> datetime:
    """Return the instant in text such as ``2027-03-27`` or ``2027-03-27T08:00``, in UTC.

    Without an offset, it is in *zone*; ``None``: the zone of the machine.

    Raises:
        Invalid: the value of *option* is not an instant, or out of the range of time zones.
    """
    try:
        read = datetime.fromisoformat(text.strip())
    except ValueError:
        expected = "expected an instant such as 2027-03-27 or 2027-03-27T08:00"
        raise Invalid(option, f"{expected}, got {text!r}") from None
    check_instant(option, read if read.tzinfo is not None else read.replace(tzinfo=UTC))
    if read.tzinfo is None and zone is not None:
        read = read.replace(tzinfo=zone)
    return read.astimezone(UTC)


class When(Struct, frozen=True, kw_only=True):
    """An instant, or an age."""

    at: datetime | None = None
    ago: timedelta = timedelta(0)

    @staticmethod
    def of(text: str) -> "When":
        """Return the instant or age in text such as ``90s``, ``7d`` or ``2026-11-24T16:30``.

        Without an offset, it is in local time.

        Raises:
            ValueError: it is neither.
        """
        try:
            return When(ago=values.duration(text))
        except ValueError as error:
            try:
                return When(at=instant_of("instant", text))
            except Invalid:
                expected = "expected an age such as 90s, 2h or 7d, or an instant"
                message = f"{expected} such as 2026-11-24T16:30, got {text!r}"
                raise ValueError(message) from error

    def instant(self, now: datetime) -> datetime:
        """Resolve an age against *now*."""
        return now - self.ago if self.at is None else self.at
