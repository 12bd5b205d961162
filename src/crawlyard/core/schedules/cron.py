"""Cron expressions: parsing, with errors that name the field and position."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from msgspec import Struct

from crawlyard.errors import Invalid

ALIASES: Mapping[str, str] = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
"""Short names, as in crontab(5)."""

LAST = -1
"""As a day: the last day of the month. As `Term.nth`: the last such weekday of the month."""

LAST_WORKDAY = -2
"""As a day: the last day of the month that is not a Saturday or Sunday."""

_LONGEST = 1000  # characters; a list of all sixty minutes takes 170
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_NUMBER = re.compile(r"[0-9]{1,9}")
_WORD = re.compile(r"\S+")


class CronField(Struct, frozen=True):
    """One of the five fields: its name, the numbers and names it accepts, and its special forms."""

    name: str
    first: int
    last: int
    names: tuple[str, ...] = ()  # names of the numbers from *names_from* on
    names_from: int = 0
    specials: str = ""  # shown if a value is refused

    @property
    def allowed(self) -> str:
        """The allowed values, in words."""
        names = f", {self.names[0]}-{self.names[-1]}" if self.names else ""
        return f"{self.first}-{self.last}{names}{self.specials}"


MINUTE = CronField("minute", 0, 59)
HOUR = CronField("hour", 0, 23)
DAY = CronField("day of month", 1, 31, specials=", L, LW")
MONTH = CronField("month", 1, 12, names=_MONTHS, names_from=1)
WEEKDAY = CronField("weekday", 0, 7, names=_WEEKDAYS, specials=", such as 5L or MON#1")
FIELDS = (MINUTE, HOUR, DAY, MONTH, WEEKDAY)


class Term(Struct, frozen=True, kw_only=True):
    """One item of a list: the numbers from *first* to *last* by *step*, or a special day."""

    first: int  # or LAST, LAST_WORKDAY
    last: int
    step: int = 1
    star: bool = False  # written as "*"
    nth: int | None = None  # of a weekday: 1 to 5, or LAST: which one of the month

    def __str__(self) -> str:
        special = {LAST: "L", LAST_WORKDAY: "LW"}.get(self.first)
        if special is not None:
            return special
        if self.nth is not None:
            return f"{self.first}L" if self.nth == LAST else f"{self.first}#{self.nth}"
        by = f"/{self.step}" if self.step > 1 else ""
        if self.star:
            return f"*{by}"
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}{by}"


class Cron(Struct, frozen=True, kw_only=True):
    """A cron expression: the terms of each field, in the order of `FIELDS`."""

    minutes: tuple[Term, ...]
    hours: tuple[Term, ...]
    days: tuple[Term, ...]
    months: tuple[Term, ...]
    weekdays: tuple[Term, ...]

    @property
    def fixed(self) -> bool:
        """True if it names fixed times of day: neither minute nor hour starts with "*".

        Source: cron(8) of Debian, "Special considerations": such jobs run once regardless of
        clock changes; the others follow the wall clock.
        """
        return not (self.minutes[0].star or self.hours[0].star)

    def __str__(self) -> str:
        fields = (self.minutes, self.hours, self.days, self.months, self.weekdays)
        return " ".join(",".join(map(str, terms)) for terms in fields)


@lru_cache(maxsize=4096)
def parse_cron(when: str) -> Cron:
    """Return the parsed *when*: five fields, or one of `ALIASES`.

    Raises:
        Invalid: a field is not valid; the message names it, the values it accepts and the
            position, in characters from the start of *when*.
    """
    if len(when) > _LONGEST:
        raise Invalid("when", f"expected at most {_LONGEST} characters, got {len(when)}")
    if when.lstrip().startswith("@"):
        return parse_cron(_alias(when.strip()))
    words = [(match[0], match.start()) for match in _WORD.finditer(when)]
    if len(words) != len(FIELDS):
        raise Invalid("when", _wrong_count(words))
    minutes, hours, days, months, weekdays = (
        tuple(_terms(field, word, at)) for field, (word, at) in zip(FIELDS, words, strict=True)
    )
    return Cron(minutes=minutes, hours=hours, days=days, months=months, weekdays=weekdays)


def _alias(word: str) -> str:
    if word.lower() == "@reboot":
        raise Invalid("when", "@reboot is not supported: a schedule is not tied to a machine")
    if word.lower() not in ALIASES:
        raise Invalid("when", f"unknown name {word!r}; the names are {', '.join(ALIASES)}")
    return ALIASES[word.lower()]


def _wrong_count(words: Sequence[tuple[str, int]]) -> str:
    names = ", ".join(field.name for field in FIELDS)
    message = (
        f"expected five fields ({names}), 'every 6h', 'at 2027-01-01T08:00' or a name such as "
    )
    message += f"@daily, got {len(words)} field{'' if len(words) == 1 else 's'}"
    if len(words) == len(FIELDS) + 1:
        message += f"; there is no field for seconds or years: {words[-1][0]!r} is one too many"
    return message + (f", at position {words[len(FIELDS)][1]}" if len(words) > len(FIELDS) else "")


def _syntax_error(field: CronField, at: int, message: str) -> Invalid:
    return Invalid("when", f"{field.name} {message}, at position {at}")


def _terms(field: CronField, word: str, at: int) -> Iterator[Term]:
    """Yield the terms of a list that starts at position *at*."""
    for item in word.split(","):
        yield _term(field, item, at)
        at += len(item) + 1


def _term(field: CronField, item: str, at: int) -> Term:
    base, slash, by = item.partition("/")
    special = _special(field, base.upper(), at)
    if special is not None:
        if slash:
            raise _syntax_error(field, at + len(base), f"{base} takes no step")
        return special
    step = _step(field, by, at + len(base) + 1) if slash else 1
    if base == "*":
        return Term(first=field.first, last=field.last, step=step, star=True)
    low, dash, high = base.partition("-")
    first = _value(field, low, at)
    if not dash:
        return Term(first=first, last=field.last if slash else first, step=step)
    last = _value(field, high, at + len(low) + 1)
    if last < first:
        hint = f"; write {low}-7" if field is WEEKDAY and last == 0 else ""
        raise _syntax_error(field, at, f"range {base} runs backwards{hint}")
    return Term(first=first, last=last, step=step)


def _special(field: CronField, base: str, at: int) -> Term | None:
    """Return the term of a special form; ``None`` if *base* is a number, a name or a range."""
    if field in (DAY, WEEKDAY) and base == "?":
        return Term(first=field.first, last=field.last, star=True)
    if field is DAY and base in ("L", "LW"):
        day = LAST if base == "L" else LAST_WORKDAY
        return Term(first=day, last=day)
    if field is WEEKDAY and len(base) > 1 and base.endswith("L"):
        weekday = _value(field, base[:-1], at)
        return Term(first=weekday, last=weekday, nth=LAST)
    if field is WEEKDAY and "#" in base:
        name, _, which = base.partition("#")
        weekday = _value(field, name, at)
        if which not in tuple("12345"):
            text = repr(which) if which else "nothing"
            place = at + len(name) + 1
            raise _syntax_error(field, place, f"expected 1-5 after the '#', got {text}")
        return Term(first=weekday, last=weekday, nth=int(which))
    return None


def _step(field: CronField, text: str, at: int) -> int:
    most = field.last
    if not _NUMBER.fullmatch(text):
        raise _syntax_error(field, at, f"expected a step of 1-{most} after the '/', got {text!r}")
    if not 1 <= int(text) <= most:
        hint = "; 'every 90m' counts on over the hour" if field is MINUTE and int(text) else ""
        raise _syntax_error(field, at, f"step {text} is out of 1-{most}{hint}")
    return int(text)


def _value(field: CronField, text: str, at: int) -> int:
    if text.upper() in field.names:
        return field.names_from + field.names.index(text.upper())
    if not text:
        raise _syntax_error(field, at, f"has no value; expected {field.allowed}")
    if not _NUMBER.fullmatch(text):
        raise _syntax_error(field, at, f"does not accept {text!r}; expected {field.allowed}")
    if not field.first <= int(text) <= field.last:
        raise _syntax_error(field, at, f"{text} is out of {field.first}-{field.last}")
    return int(text)
