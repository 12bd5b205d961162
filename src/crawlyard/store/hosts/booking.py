"""Booking rule for requests to a host, shared by all stores."""

from datetime import datetime, timedelta

from crawlyard.core.jobs.checkpoint import Booking
from crawlyard.core.jobs.limits import Pace, reserve


def slots(booking: Booking, earliest: datetime, now: datetime) -> tuple[datetime, datetime]:
    """Return when the first request of *booking* may be sent, and when the host is free again."""
    pace = Pace(every=timedelta(seconds=booking.every_s))
    start, booked = reserve(pace, earliest, now)
    return start, booked + pace.every * (booking.count - 1)
