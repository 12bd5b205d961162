"""Words for states, reasons and kinds of errors."""

from crawlyard.core.attention.trouble import Trouble
from crawlyard.core.crawl.page import ErrorKind, RuleKind
from crawlyard.core.jobs.filter import StateWord
from crawlyard.core.jobs.lifecycle import State, StateReason
from crawlyard.core.jobs.outcome import STOPPED
from crawlyard.core.jobs.waiting import WaitReason
from crawlyard.core.schedules.schedule import TickOutcome, TickReason
from crawlyard.core.words import TABLES, error_words, rule_words


def test_each_value_has_its_words_and_no_word_is_a_name_of_code() -> None:
    values = {
        "state": {*State, STOPPED},
        "reason": set(StateReason),
        "wait": set(WaitReason),
        "error": set(ErrorKind),
        "rule": set(RuleKind),
        "notice": set(Trouble),
        "outcome": set(TickOutcome),
        "tick": set(TickReason),
    }

    assert {name: set(table) for name, table in TABLES.items()} == values
    for table in TABLES.values():
        assert not [words for words in table.values() if "_" in words or not words.strip()]


def test_the_filter_takes_each_word_that_a_state_is_shown_with() -> None:
    shown_words = {words.split()[0] for words in TABLES["state"].values()}

    assert shown_words <= set(StateWord)


def test_an_error_with_a_status_is_told_by_it() -> None:
    assert error_words("http_4xx", 404) == "not found (404)"
    assert error_words("http_5xx", 503) == "service unavailable (503)"
    assert error_words("http_4xx", 499) == "refused by the server (4xx)"
    assert error_words("rate_limited", 429) == "too many requests"
    assert error_words("connect", None) == "host not reached"


def test_a_rule_begins_with_the_words_for_its_kind() -> None:
    assert rule_words("robots: Disallow: /secret") == "robots.txt: Disallow: /secret"
    assert rule_words("scope: other host") == "out of scope: other host"
    assert rule_words("kept out by hand") == "kept out by hand"
