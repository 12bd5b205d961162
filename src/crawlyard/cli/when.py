"""An instant as a user says it: how long ago, or by date and time."""

from datetime import UTC, datetime, timedelta, tzinfo

from msgspec import Struct

from crawlyard.cli import values
from crawlyard.core.schedules.timetable import check_instant
from crawlyard.errors import Invalid


def instant_of(option: str, text: str, zone: tzinfo | None = None) -> datetime:
    """Return the instant that ``2027-03-27`` or ``2027-03-27T08:00`` is, in UTC.

    Without an offset, it is one of *zone*; ``None``: of the machine.

    Raises:
        Invalid: of *option*; it is none, or out of the years that zones can write.
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
    """An instant, or a distance from now."""

    at: datetime | None = None
    ago: timedelta = timedelta(0)

    @staticmethod
    def of(text: str) -> "When":
        """Return what ``90s``, ``2h``, ``7d`` or ``2026-11-24T16:30`` means.

        Without an offset, local time is meant.

        Raises:
            ValueError: it is neither.
        """
        try:
            return When(ago=values.duration(text))
        except ValueError as error:
            try:
                return When(at=instant_of("instant", text))
            except Invalid:
                expected = "expected how long ago, such as 90s, 2h or 7d, or an instant"
                message = f"{expected} such as 2026-11-24T16:30, got {text!r}"
                raise ValueError(message) from error

    def instant(self, now: datetime) -> datetime:
        """Return the instant that it is at *now*."""
        return now - self.ago if self.at is None else self.at
