"""Retry-After, as servers write it."""

from datetime import timedelta
from email.utils import format_datetime

from crawlyard.engine.visit import retry_after_s
from tests.builders import NOW

NOW_ = NOW.replace(microsecond=0)


def test_it_is_a_number_of_seconds_or_a_date() -> None:
    for value, seconds in [
        ("120", 120),
        (" 0 ", 0),
        (format_datetime(NOW_ + timedelta(minutes=2)), 120),
        (format_datetime(NOW_ - timedelta(minutes=2)), 0),
        ("9" * 400, 999_999_999),
    ]:
        assert retry_after_s(value, NOW_) == seconds, value


def test_what_cannot_be_read_says_nothing() -> None:
    for value in [
        "",
        "soon",
        "-1",
        "1e9",
        "٣",
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 01 Jan 2026 00:00:00 +99999999999999999999",
        "Mon, 99999999999999999999 Jan 2026 00:00:00 GMT",
        "Mon, 01 Jan 2026 99999999999999999999:00:00 GMT",
    ]:
        assert retry_after_s(value, NOW_) is None, value
