"""The filter language of jobs: `state:failed host:x -tag:y "free text"`.

Terms are separated by whitespace and must all match. A term is `key:value`, or text to find in
the name or a start URL. A leading `-` negates it. Of several values separated by commas, any
may match. `"…"` keeps whitespace, commas and colons together.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum, auto

from msgspec import Struct

from crawlyard.core.jobs.job import Job, Source
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.limits import Usage
from crawlyard.core.jobs.outcome import STOPPED, is_stopped
from crawlyard.core.jobs.spec import Priority
from crawlyard.core.parse import hosts_in, none_of, suggestion
from crawlyard.errors import Invalid

MOST_TERMS = 50
MOST_VALUES = 100
"""Per term."""

MAX_WORD = 500
"""Characters of a value."""

ME = "me"
"""As an owner: the current user."""


class FilterKey(StrEnum):
    """Words before the colon of a term."""

    STATE = auto()
    PRIORITY = auto()
    PRIORITY_GTE = auto()  # this priority or a higher one
    TAG = auto()
    HOST = auto()  # of a start URL, with or without its port
    TEMPLATE = auto()
    SCHEDULE = auto()
    GROUP_ID = auto()
    OWNER = auto()
    ORIGIN = auto()
    CREATED_AFTER = auto()  # at this instant, or later
    CREATED_BEFORE = auto()
    TEXT = auto()  # part of the name or of a start URL, in any case


class StateWord(StrEnum):
    """Words for `state:`: the states, and the words with which jobs are shown."""

    PENDING = State.PENDING.value
    RUNNING = State.RUNNING.value
    PAUSED = State.PAUSED.value
    COMPLETED = State.COMPLETED.value
    FAILED = State.FAILED.value
    CANCELLED = State.CANCELLED.value
    WAITING = auto()  # pending
    STOPPED = STOPPED  # completed or cancelled, with URLs left: `is_stopped`


class Condition(Struct, frozen=True, kw_only=True):
    """One term, which matches if any of its words does; words are in the form `condition` uses."""

    key: FilterKey
    words: tuple[str, ...]
    negated: bool = False


_NOTHING_USED = Usage()


def parse(text: str) -> tuple[Condition, ...]:
    """Return the conditions of *text*, in order.

    Raises:
        Invalid: it cannot be parsed; *position* is that of the first offending character.
    """
    conditions: list[Condition] = []
    for term in _terms(text):
        if len(conditions) == MOST_TERMS:
            raise _syntax_error(term.at, f"expected at most {MOST_TERMS} terms")
        conditions.append(_condition_of(term))
    return tuple(conditions)


def condition(key: FilterKey, words: Iterable[str], *, negated: bool = False) -> Condition:
    """Return a condition that matches any of *words*.

    Raises:
        Invalid: a word is not what its *key* expects; the field is the key.
    """
    read = MEANINGS[key].read
    texts = tuple(words)
    if len(texts) > MOST_VALUES:
        raise Invalid(key.value, f"expected at most {MOST_VALUES} values, got {len(texts)}")
    if any(len(word) > MAX_WORD for word in texts):
        raise Invalid(key.value, f"expected at most {MAX_WORD} characters")
    try:
        return Condition(key=key, words=tuple(read(word) for word in texts), negated=negated)
    except ValueError as error:
        raise Invalid(key.value, str(error)) from None


def fits(condition: Condition, job: Job, usage: Usage = _NOTHING_USED) -> bool:
    """Return whether *job*, which has used *usage*, matches a condition."""
    if condition.key is FilterKey.STATE and STOPPED in condition.words:
        stopped = is_stopped(job.state, job.state_reason, usage)
        return condition.negated is not (stopped or job.state in condition.words)
    return condition.negated is not any(
        MEANINGS[condition.key].fits(job, word) for word in condition.words
    )


# --- the words of each key


def _one_of(choices: Iterable[str]) -> Callable[[str], str]:
    words = tuple(choices)

    def read(word: str) -> str:
        if word.lower() not in words:
            raise ValueError(none_of(word, words))
        return word.lower()

    return read


_STATES = _one_of(StateWord)


def _state(word: str) -> str:
    read = _STATES(word)
    return State.PENDING.value if read == StateWord.WAITING else read


def _instant(word: str) -> str:
    expected = "expected a day or an instant such as 2027-01-31 or 2027-01-31T08:00:00Z"
    try:
        # a day begins at midnight UTC
        at = datetime.fromisoformat(f"{word}T00:00Z" if len(word) == _DAY else word.upper())
        # without an offset, this raises TypeError
        return (at - _EPOCH + _EPOCH).isoformat()
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"{expected}, got {word[:100]!r}") from None


_DAY = len("2027-01-31")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _any(word: str) -> str:
    return word


_PRIORITIES = tuple(str(priority) for priority in reversed(Priority))


class Meaning(Struct, frozen=True, kw_only=True):
    """A key: its possible words, the jobs they match, and its help texts."""

    doc: str  # of the parameter of the API, a sentence
    fits: Callable[[Job, str], bool]
    read: Callable[[str], str] = _any  # raises `ValueError` if the word is not valid
    choices: type[StrEnum] | None = None  # enumeration of all valid words
    instant: bool = False
    help: str = ""  # of the command-line option, a sentence; empty: there is none
    flag: str = ""  # option name; by default that of the key
    metavar: str = "NAME"


MEANINGS: Mapping[FilterKey, Meaning] = {
    FilterKey.STATE: Meaning(
        doc="`running`, `paused`, `completed`, `failed`, `cancelled`; `pending` or `waiting`; "
        "`stopped`: ended by a limit or a user with URLs left.",
        read=_state,
        choices=StateWord,
        fits=lambda job, word: job.state == word,
        help="Only jobs in this state",
    ),
    FilterKey.PRIORITY: Meaning(
        doc="`urgent`, `high`, `normal`, `low`.",
        read=_one_of(_PRIORITIES),
        fits=lambda job, word: job.priority == Priority.of(word),
        help="Only jobs of this priority. Repeatable.",
        metavar="WORD",
    ),
    FilterKey.PRIORITY_GTE: Meaning(
        doc="This priority or a higher one.",
        read=_one_of(_PRIORITIES),
        fits=lambda job, word: job.priority >= Priority.of(word),
    ),
    FilterKey.TAG: Meaning(
        doc="A tag.",
        fits=lambda job, word: word in job.spec.tags,
        help="Only jobs with this tag. Repeatable.",
        metavar="TEXT",
    ),
    FilterKey.HOST: Meaning(
        doc="The host of a start URL, optionally with its port.",
        read=str.lower,
        fits=lambda job, word: word in hosts_in(job.spec.urls),
        help="Only jobs with a start URL on this host. Repeatable.",
        metavar="HOST",
    ),
    FilterKey.TEMPLATE: Meaning(
        doc="The id of a template, its name, or OWNER/NAME.",
        fits=lambda job, word: job.origin.template_id == word,
        help="Only jobs created from this template. Repeatable.",
    ),
    FilterKey.SCHEDULE: Meaning(
        doc="The id of a schedule, its name, or OWNER/NAME.",
        fits=lambda job, word: job.origin.schedule_id == word,
        help="Only runs of this schedule. Repeatable.",
    ),
    FilterKey.GROUP_ID: Meaning(
        doc="The id of a group: jobs that were submitted together.",
        read=str.lower,
        fits=lambda job, word: job.origin.group_id == word,
        help="Only jobs of this group. Repeatable.",
        metavar="ID",
    ),
    FilterKey.OWNER: Meaning(
        doc="A user id; `me` is the caller.", fits=lambda job, word: job.owner == word
    ),
    FilterKey.ORIGIN: Meaning(
        doc="`direct`, `template`, `schedule`, `retry`.",
        read=_one_of(Source),
        fits=lambda job, word: job.source == word,
    ),
    FilterKey.CREATED_AFTER: Meaning(
        doc="Created on this day or at this time, or later.",
        read=_instant,
        instant=True,
        fits=lambda job, word: job.created_at >= datetime.fromisoformat(word),
        help="Only jobs created since WHEN: 2h, 7d or 2026-11-24T16:30.",
        flag="since",
    ),
    FilterKey.CREATED_BEFORE: Meaning(
        doc="Created before this day or time.",
        read=_instant,
        instant=True,
        fits=lambda job, word: job.created_at < datetime.fromisoformat(word),
        help="Only jobs created before WHEN.",
        flag="until",
    ),
    FilterKey.TEXT: Meaning(
        doc="Part of the name or of a start URL.",
        fits=lambda job, word: (
            word.casefold() in "\n".join((job.spec.name, *job.spec.urls)).casefold()
        ),
        help="Only jobs with TEXT in their name or URL.",
        flag="query",
        metavar="TEXT",
    ),
}
"""Each is a parameter of the API and, with `help`, an option of the command line."""


# --- the text


class _Word(Struct, frozen=True):
    """A value without its quotes, and its position."""

    at: int
    text: str


class _Term(Struct, frozen=True):
    at: int
    negated: bool
    key: str | None  # None: text
    words: tuple[_Word, ...]


def _terms(text: str) -> Iterator[_Term]:
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        term, at = _term(text, at)
        yield term


def _term(text: str, begin: int) -> tuple[_Term, int]:
    negated = text[begin] == "-"
    at = begin + negated
    if at == len(text) or text[at].isspace():
        raise _syntax_error(begin, "expected a term after -")
    if text[at] != '"':
        end = _end(text, at, ' :"')
        if text[end : end + 1] == ":" and text[end : end + 3] != "://":
            words, after = _values(text, end + 1)
            return _Term(begin, negated, text[at:end], words), after
        end = _end(text, at, "")
        return _Term(begin, negated, None, (_Word(at, text[at:end]),)), end
    word, after = _read_quoted(text, at)
    return _Term(begin, negated, None, (word,)), after


def _values(text: str, begin: int) -> tuple[tuple[_Word, ...], int]:
    """Return the values that start at *begin*, and the position after them."""
    words: list[_Word] = []
    at = begin
    while True:
        if text[at : at + 1] == '"':
            word, at = _read_quoted(text, at)
        else:
            end = _end(text, at, ",")
            word, at = _Word(at, text[at:end]), end
        if not word.text:
            raise _syntax_error(min(word.at, len(text)) - 1, "expected a value after it")
        words.append(word)
        if text[at : at + 1] != ",":
            return tuple(words), at
        at += 1


def _read_quoted(text: str, begin: int) -> tuple[_Word, int]:
    characters: list[str] = []
    at = begin + 1
    while at < len(text) and text[at] != '"':
        at += text[at] == "\\" and at + 1 < len(text)
        characters.append(text[at])
        at += 1
    if at >= len(text):
        raise _syntax_error(begin, 'expected a closing "')
    if text[at + 1 : at + 2].strip() not in ("", ","):
        raise _syntax_error(at + 1, 'expected whitespace after the closing "')
    return _Word(begin, "".join(characters)), at + 1


def _end(text: str, begin: int, marks: str) -> int:
    """Return where a word ends: at whitespace, at one of *marks*, or at the end of the text."""
    at = begin
    while at < len(text) and not text[at].isspace() and text[at] not in marks:
        at += 1
    return at


def _condition_of(term: _Term) -> Condition:
    if term.key is None:
        return condition(FilterKey.TEXT, [term.words[0].text], negated=term.negated)
    key = term.key.lower()
    if key not in set(FilterKey):
        keys = ", ".join(FilterKey)
        hint = suggestion(key, FilterKey) or f'; put text with a colon in "…", or use {keys}'
        raise _syntax_error(term.at, f"unknown key {term.key[:100]!r}{hint}")
    words: list[str] = []
    for word in term.words:
        try:
            words += condition(FilterKey(key), [word.text]).words
        except Invalid as error:
            raise _syntax_error(word.at, str(error)) from None
    if len(words) > MOST_VALUES:
        raise _syntax_error(term.at, f"expected at most {MOST_VALUES} values, got {len(words)}")
    return Condition(key=FilterKey(key), words=tuple(words), negated=term.negated)


def _syntax_error(position: int, message: str) -> Invalid:
    return Invalid("q", f"{message} (at character {position})", position)
