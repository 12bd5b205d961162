"""Parsing of Retry-After headers."""

from datetime import timedelta
from email.utils import format_datetime

import pytest

from crawlyard.engine.http.fetch import retry_after_s
from tests.builders import NOW

NOW_ = NOW.replace(microsecond=0)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 0 ", 0),
        (format_datetime(NOW_ + timedelta(minutes=2)), 120),
        (format_datetime(NOW_ - timedelta(minutes=2)), 0),
        ("9" * 400, 999_999_999),
    ],
)
def test_it_is_a_number_of_seconds_or_a_date(value: str, seconds: float) -> None:
    assert retry_after_s(value, NOW_) == seconds


@pytest.mark.parametrize(
    "value",
    [
        "",
        "soon",
        "-1",
        "1e9",
        "٣",
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 01 Jan 2026 00:00:00 +99999999999999999999",
        "Mon, 99999999999999999999 Jan 2026 00:00:00 GMT",
        "Mon, 01 Jan 2026 99999999999999999999:00:00 GMT",
    ],
)
def test_what_cannot_be_read_says_nothing(value: str) -> None:
    assert retry_after_s(value, NOW_) is None
