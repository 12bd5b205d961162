"""An instant as a user says it: how long ago, or by date and time."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from crawlyard.cli import values


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
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
                return When(at=datetime.fromisoformat(text.strip()).astimezone())
            except (ValueError, OverflowError):
                expected = "expected how long ago, such as 90s, 2h or 7d, or an instant"
                message = f"{expected} such as 2026-11-24T16:30, got {text!r}"
                raise ValueError(message) from error

    def instant(self, now: datetime) -> datetime:
        """Return the instant that it is at *now*."""
        return now - self.ago if self.at is None else self.at
