"""The filter language of jobs: parsing, errors with their position, matching."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawlyard.core.jobs.filter import (
    MOST_TERMS,
    MOST_VALUES,
    Condition,
    FilterKey,
    condition,
    fits,
    parse,
)
from crawlyard.core.jobs.job import Origin
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.spec import Priority
from crawlyard.core.parse import hosts_in
from crawlyard.errors import Invalid
from tests.builders import NOW, a_job, a_spec


def a_condition(key: str, *words: str, negated: bool = False) -> Condition:
    return Condition(key=FilterKey(key), words=words, negated=negated)


def test_a_text_states_conditions() -> None:
    for text, expected in [
        ("", []),
        ("  \t ", []),
        ("state:failed", [a_condition("state", "failed")]),
        ("STATE:Failed,running", [a_condition("state", "failed", "running")]),
        (
            'state:failed host:X.example -tag:y "free text"',
            [
                a_condition("state", "failed"),
                a_condition("host", "x.example"),
                a_condition("tag", "y", negated=True),
                a_condition("text", "free text"),
            ],
        ),
        ('tag:"a b","c,d"', [a_condition("tag", "a b", "c,d")]),
        (r'tag:"say \"hi\" \\"', [a_condition("tag", 'say "hi" \\')]),
        ('-"not this"', [a_condition("text", "not this", negated=True)]),
        ("-word", [a_condition("text", "word", negated=True)]),
        ("https://a.example/x", [a_condition("text", "https://a.example/x")]),
        ('"state:failed"', [a_condition("text", "state:failed")]),
        ("50%_a\\b", [a_condition("text", "50%_a\\b")]),
        (
            "created_after:2026-01-02",
            [a_condition("created_after", "2026-01-02T00:00:00+00:00")],
        ),
        (
            "created_before:2026-01-02T03:00:00+02:00",
            [a_condition("created_before", "2026-01-02T01:00:00+00:00")],
        ),
        ("priority_gte:high", [a_condition("priority_gte", "high")]),
    ]:
        assert list(parse(text)) == expected, text


def test_what_cannot_be_read_is_refused_where_it_stands(subtests: pytest.Subtests) -> None:
    for text, position, message in [
        ("state:", 5, "a value"),
        ("a state:failed,", 14, "a value"),
        ("state:,failed", 5, "a value"),
        ('tag:""', 3, "a value"),
        ("state:done", 6, "expected one of pending, running"),
        ("state:failed,done", 13, "expected one of"),
        ("a  -", 3, "a term after -"),
        ("x colour:red", 2, "unknown key 'colour'"),
        (":red", 0, "unknown key ''"),
        ('a "open', 2, "closing"),
        ('tag:"open', 4, "closing"),
        ('"a"b', 3, "whitespace"),
        ("created_after:yesterday", 14, "a day or an instant"),
        ("created_after:2026-01-02T03:00:00", 14, "a day or an instant"),
        ("created_after:0001-01-01T00:00:00+14:00", 14, "a day or an instant"),
        ("tag:x " * MOST_TERMS + "tag:y", 6 * MOST_TERMS, f"at most {MOST_TERMS} terms"),
        ("tag:" + ",".join("x" * (MOST_VALUES + 1)), 0, f"at most {MOST_VALUES} values"),
    ]:
        with subtests.test(text=text), pytest.raises(Invalid, match=message) as refused:
            parse(text)
        assert (refused.value.field, refused.value.position) == ("q", position), text


_PIECES = st.sampled_from(
    [*FilterKey, ":", ",", '"', "-", " ", "\\", "failed", "high", "2026-01-02"]
)


def read(text: str) -> tuple[tuple[Condition, ...], int | None]:
    """Return the conditions of a text, or the position of its error."""
    try:
        return parse(text), None
    except Invalid as refused:
        return (), -1 if refused.position is None else refused.position


@given(st.text(max_size=60) | st.lists(_PIECES, max_size=20).map("".join))
def test_any_text_is_read_or_refused_at_one_of_its_characters(text: str) -> None:
    conditions, position = read(text)
    assert position is None or 0 <= position < len(text)
    for term in conditions:
        assert term.words
        fits(term, a_job())


@given(
    key=st.sampled_from([FilterKey.TAG, FilterKey.OWNER, FilterKey.TEXT]),
    words=st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=5),
    negated=st.booleans(),
)
def test_quoted_text_is_taken_literally(key: FilterKey, words: list[str], negated: bool) -> None:
    quoted = ",".join('"' + w.replace("\\", "\\\\").replace('"', '\\"') + '"' for w in words)
    [parsed] = parse(f"{'-' if negated else ''}{key}:{quoted}")
    assert parsed == condition(key, words, negated=negated)


def test_jobs_match_filters() -> None:
    for text, fitting in [
        ("state:paused", True),
        ("state:failed,paused", True),
        ("-state:failed", True),
        ("priority:high", True),
        ("priority_gte:normal", True),
        ("priority_gte:urgent", False),
        ("tag:docs", True),
        ("tag:Docs", False),
        ("-tag:docs", False),
        ("host:docs.example", True),
        ("host:docs.example:8080", True),
        ("host:example", False),
        ("template:t1", False),
        ("-template:t1", True),
        ("schedule:s1", True),
        ("owner:ada,bob", True),
        ("origin:schedule", True),
        ("origin:direct", False),
        ("created_after:2026-01-02", True),
        ("created_after:2026-01-03", False),
        ("created_before:2026-01-02", False),
        ("created_before:2026-01-03", True),
        ("NIGHTLY", True),
        ("/guide", True),
        ('"nightly crawl"', True),
        ("weekly", False),
    ]:
        job = a_job(
            spec=a_spec(
                name="Nightly crawl",
                urls=("https://Docs.example:8080/guide",),
                tags=("docs",),
                priority=Priority.HIGH,
            ),
            state=State.PAUSED,
            owner="ada",
            origin=Origin(schedule_id="s1"),
        )
        [parsed] = parse(text)
        assert fits(parsed, job) is fitting, text


def test_an_instant_belongs_to_what_comes_after_it() -> None:
    job, at = a_job(), NOW.isoformat()
    later = (NOW + timedelta(microseconds=1)).isoformat()
    assert fits(condition(FilterKey.CREATED_AFTER, [at]), job)
    assert not fits(condition(FilterKey.CREATED_BEFORE, [at]), job)
    assert fits(condition(FilterKey.CREATED_BEFORE, [later]), job)


def test_a_job_comes_from_one_source() -> None:
    for job, source in [
        (a_job(), "direct"),
        (a_job(origin=Origin(template_id="t")), "template"),
        (a_job(origin=Origin(template_id="t", schedule_id="s")), "schedule"),
        (a_job(origin=Origin(template_id="t", schedule_id="s"), retry_of="j"), "retry"),
    ]:
        conditions = {word: condition(FilterKey.ORIGIN, [word]) for word in ("direct", "template")}
        conditions |= {word: condition(FilterKey.ORIGIN, [word]) for word in ("schedule", "retry")}
        assert [
            word for word, origin_condition in conditions.items() if fits(origin_condition, job)
        ] == [source], job


def test_hosts_are_read_off_urls() -> None:
    urls = [
        "https://A.example/",
        "http://a.example:80/x",
        "http://a.example:81",
        "no url",
        "http://[",
    ]
    assert hosts_in(urls) == ("a.example", "a.example:81")


def test_days_begin_at_midnight_utc() -> None:
    [parsed] = parse("created_after:2026-01-02")
    assert datetime.fromisoformat(parsed.words[0]) == datetime(2026, 1, 2, tzinfo=UTC)
