"""Quotas: when a user's jobs wait, and what a day is."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from crawlyard.core.access.quota import day_of, held_back, limited, spent
from crawlyard.core.access.quota_ask import quota_asked
from crawlyard.core.access.user import NO_QUOTA, Quota
from crawlyard.core.jobs.limits import Limits, Usage
from crawlyard.errors import Invalid


def test_a_job_waits_while_a_part_of_the_quota_is_used_up() -> None:
    for quota, running, used, expected in [
        (NO_QUOTA, 10**6, 10**9, None),
        (Quota(pending=0), 10**6, 10**9, None),
        (Quota(running=2), 1, 0, None),
        (Quota(running=2), 2, 0, "running"),
        (Quota(running=2), 3, 0, "running"),
        (Quota(running=0), 0, 0, "running"),
        (Quota(pages_per_day=10), 5, 9, None),
        (Quota(pages_per_day=10), 0, 10, "pages_per_day"),
        (Quota(pages_per_day=0), 0, 0, "pages_per_day"),
        (Quota(running=1, pages_per_day=10), 1, 10, "running"),
        (Quota(running=1, pages_per_day=10), 0, 10, "pages_per_day"),
        (Quota(bytes_per_day=1_000), 0, 9, None),
        (Quota(bytes_per_day=1_000), 0, 10, "bytes_per_day"),
        (Quota(pages_per_day=11, bytes_per_day=1_000), 0, 10, "bytes_per_day"),
        (Quota(running=1, bytes_per_day=1_000), 1, 10, "running"),
    ]:
        assert held_back(quota, running, Usage(pages=used, bytes=100 * used)) == expected, (
            quota,
            running,
            used,
        )


def test_how_many_run_says_nothing_of_the_day() -> None:
    quota = Quota(running=0, pages_per_day=10)
    assert spent(quota, Usage(pages=9)) is None
    assert spent(quota, Usage(pages=10)) == "pages_per_day"


def test_a_quota_that_holds_nothing_back_is_not_asked_at_a_claim() -> None:
    assert not limited(NO_QUOTA)
    assert not limited(Quota(pending=1))
    assert limited(Quota(running=0))
    assert limited(Quota(pages_per_day=0))
    assert limited(Quota(bytes_per_day=0))


def test_a_day_is_one_of_utc() -> None:
    tokyo = timezone(timedelta(hours=9))
    morning = datetime(2026, 1, 2, 8, 59, tzinfo=tokyo)
    assert day_of(morning).isoformat() == "2026-01-01"
    assert day_of(morning.astimezone(UTC) + timedelta(minutes=1)).isoformat() == "2026-01-02"


def test_what_is_no_quota_is_refused_by_name(subtests: pytest.Subtests) -> None:
    cases: list[tuple[dict[str, object], str]] = [
        ({"running": -1}, "quota.running"),
        ({"pending": "many"}, "quota.pending"),
        ({"ceilings": {"pages": 0}}, "quota.ceilings.pages"),
        ({"paging": 1}, "quota.paging"),
    ]
    for asked, field in cases:
        with subtests.test(asked=asked), pytest.raises(Invalid) as refused:
            quota_asked(asked)

        assert refused.value.field == field, asked


def test_a_quota_is_refused_in_the_words_of_the_api() -> None:
    with pytest.raises(Invalid, match="pages: expected a whole number of at least 1, got 0"):
        quota_asked({"ceilings": {"pages": 0}})


def test_a_quota_that_is_asked_for_is_one() -> None:
    asked = {"running": 2, "bytes_per_day": None, "ceilings": {"duration_s": 60}}
    assert quota_asked(asked).quota == Quota(running=2, ceilings=Limits(duration_s=60))
