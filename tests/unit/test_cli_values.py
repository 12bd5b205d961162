import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawlyard.cli import values
from crawlyard.cli.jobs import jobs
from crawlyard.cli.jobs.edits import FIELDS, changes_of
from crawlyard.cli.render import words
from crawlyard.core.jobs.answers import JobOut
from crawlyard.core.jobs.job import Shard, Standing
from crawlyard.core.jobs.limits import Limits, Usage
from crawlyard.core.jobs.progress import progress_of
from crawlyard.core.jobs.pulse import Pulse
from crawlyard.core.jobs.spec_json import EDITABLE
from crawlyard.core.quantity import FOREVER_S
from crawlyard.errors import Invalid
from tests.builders import NOW, a_job, a_spec


def test_a_pair_is_split_at_its_first_equals_sign() -> None:
    for text, pair in [
        ("price=.price", ("price", ".price")),
        ("link=a[rel=next]@href", ("link", "a[rel=next]@href")),
        (" a.b-c = h1 > b ", ("a.b-c", "h1 > b")),
    ]:
        assert values.pair(text) == pair, text


def test_a_pair_without_name_or_selector_is_refused(subtests: pytest.Subtests) -> None:
    for text in ["price", "=h1", "price=", "1a=h1", "a b=h1", "x" * 65 + "=a"]:
        with subtests.test(text=text), pytest.raises(ValueError, match="expected"):
            values.pair(text)


def test_a_header_is_split_and_trimmed() -> None:
    assert values.header("Accept-Language:  de, en;q=0.5 ") == ("Accept-Language", "de, en;q=0.5")
    assert values.header("X-Empty:") == ("X-Empty", "")


def test_a_header_that_could_forge_a_request_is_refused(subtests: pytest.Subtests) -> None:
    for text in [
        "no colon",
        ": v",
        "bad name: v",
        "X: a\r\nHost: evil",
        "X: a\nb",
        "X: a\x00b",
        "X\r: a",
        "Host: a",
        "content-length: 1",
        "Transfer-Encoding: chunked",
        "User-Agent: me",
    ]:
        with (
            subtests.test(text=text),
            pytest.raises(ValueError, match=r"expected|set by the crawler|use --user-agent"),
        ):
            values.header(text)


@given(st.text())
def test_printable_text_is_one_line_that_no_terminal_acts_on(text: str) -> None:
    line = words.printable(text)
    line.encode()
    assert not any(
        ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 or 0x2028 <= ord(c) <= 0x202E for c in line
    )


@given(st.text())
def test_printable_lines_keep_nothing_but_lines_and_tabs(text: str) -> None:
    lines = words.printable_lines(text)
    assert [words.printable(part) for part in re.split("[\n\t]", text)] == re.split("[\n\t]", lines)


def test_escapes_say_what_they_stand_for() -> None:
    text = "\x1b[31mred\x07\r\nnext\ttab \x9b2J \u202eevil \ud800 ü"
    assert words.printable(text) == (
        "\\x1b[31mred\\x07\\r\\nnext\\ttab \\x9b2J \\u202eevil \\ud800 ü"
    )


def test_a_span_has_two_units_at_most() -> None:
    for seconds, text in [
        (0, "0.0 s"),
        (0.84, "0.8 s"),
        (24.4, "24 s"),
        (59.6, "1 min 00 s"),
        (192, "3 min 12 s"),
        (7500, "2 h 05 min"),
        (187_200, "2 d 4 h"),
        (-1, "0.0 s"),
    ]:
        assert words.span(seconds) == text, seconds


def test_an_amount_is_short() -> None:
    for amount, text in [
        (0, "0 B"),
        (812, "812 B"),
        (6_100_000, "6.1 MB"),
        (999_600, "1.0 MB"),
        (48_100_000_000, "48.1 GB"),
    ]:
        assert words.amount(amount) == text, amount


def test_a_range_is_rounded_outwards() -> None:
    for low, high, text in [
        (0.0, 0.4, "0\u20131 s"),
        (12.3, 19.2, "12\u201320 s"),
        (12.0, 12.0, "12 s"),
        (40.0, 119.0, "40\u2013119 s"),
        (50.4, 170.0, "50 s\u20133 min"),
        (125.0, 235.0, "2\u20134 min"),
        (3000.0, 7300.0, "50 min\u20133 h"),
        (7300.0, 40_000.0, "2\u201312 h"),
        (90_000.0, 260_000.0, "1\u20134 d"),
    ]:
        assert words.span_range(low, high) == text, low


def test_instants_are_told_by_their_distance() -> None:
    now = datetime(2026, 1, 2, 12, tzinfo=UTC)
    assert words.ago(now - timedelta(seconds=3), now) == "now"
    assert words.ago(now - timedelta(minutes=3), now) == "3 min"
    assert words.ago(now - timedelta(days=40), now) == "40 d"


def job_out(**fields: object) -> JobOut:
    job = a_job(spec=a_spec(**fields))
    progress = progress_of(job.limits, Usage(), Pulse(), job.state)
    return JobOut.of(Standing(job=job, shard=Shard()), progress, NOW)


def test_assignments_become_changes_of_the_spec() -> None:
    job = job_out(
        limits=Limits(pages=10, duration_s=3600),
        exclude=("a", "b"),
        tags=("x",),
    )
    changes = changes_of(
        [
            "priority=high",
            "limits.pages=20k",
            "limits.duration=none",
            "limits.bytes=1GB",
            "max-depth=3",
            "delay=1s",
            "exclude=+c",
            "exclude=-a",
            "tags=y",
            "include=none",
        ],
        job,
    )
    assert changes == {
        "priority": "high",
        "limits": {"pages": 20_000, "duration_s": None, "bytes": 10**9},
        "max_depth": 3,
        "delay_s": 1.0,
        "exclude": ["b", "c"],
        "tags": ["y"],
        "include": [],
    }


def test_none_clears_what_may_be_empty() -> None:
    changes = changes_of(["name=none", "max_depth=none", "tags=none"], job_out(tags=("x",)))
    assert changes == {"name": "", "max_depth": None, "tags": []}


def test_a_bad_assignment_names_the_field(subtests: pytest.Subtests) -> None:
    for assignment, words_ in [
        ("prority=high", "expected FIELD=VALUE with one of name, tags"),
        ("priority", "expected FIELD=VALUE"),
        ("priority=highest", "expected one of urgent, high"),
        ("limits.pages=x", "limits.pages: expected a whole number"),
        ("delay=none", "delay: expected a duration"),
        ("urls=http://x", "expected FIELD=VALUE"),
    ]:
        with subtests.test(assignment=assignment), pytest.raises(Invalid, match=words_):
            changes_of([assignment], job_out())


def test_every_editable_field_can_be_set() -> None:
    assert {*(field.path for field in FIELDS.values()), "limits"} == EDITABLE
    fields = (jobs.set_.__doc__ or "").partition("Fields: ")[2].partition(".\n")[0]
    assert {*fields.replace("\n", " ").replace(",", " ").split()} == {*FIELDS}


def test_a_spread_is_a_number_or_auto() -> None:
    assert [values.spread(text) for text in ("4", " Auto ")] == [4, "auto"]
    with pytest.raises(ValueError, match=r"whole number such as .* or 'auto'"):
        values.spread("x")


def test_a_retention_is_a_duration_or_for_ever() -> None:
    for text, seconds in [("90d", 90 * 86_400.0), ("forever", FOREVER_S), (" Forever ", FOREVER_S)]:
        assert values.retention(text) == seconds, text
    with pytest.raises(ValueError, match=r"duration such as .* or 'forever'"):
        values.retention("long")
