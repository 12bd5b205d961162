"""A cron expression in words."""

from collections.abc import Iterable, Sequence

from crawlyard.core.cron import LAST, LAST_WORKDAY, Cron, Term

_MONTHS = (
    "",
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_NTH = {1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth", LAST: "last"}
_MOST_TIMES = 6  # more times of a day than these are told as minutes and hours


def cron_words(cron: Cron) -> str:
    """Return what *cron* means as one sentence: ``At 03:00 on Monday to Friday``."""
    minutes, hours = _numbers(cron.minutes), _numbers(cron.hours)
    days = _days(cron)
    if len(minutes) * len(hours) <= _MOST_TIMES:
        times = f"at {_listed(f'{h:02}:{m:02}' for h in hours for m in minutes)}"
        days = days or "every day"
    else:
        times = _times(cron, minutes, hours)
    sentence = " ".join(part for part in (times, days, _months(cron.months)) if part)
    return sentence[:1].upper() + sentence[1:]


def _times(cron: Cron, minutes: Sequence[int], hours: Sequence[int]) -> str:
    """Return the times of a day that are too many to be listed."""
    only = cron.minutes[0]
    regular = len(cron.minutes) == 1 and only.star and 60 % only.step == 0
    if regular:
        minute = "every minute" if only.step == 1 else f"every {only.step} minutes"
    else:
        minute = f"at minute{'s' if len(minutes) > 1 else ''} {_listed(_spans(cron.minutes))}"
    if len(hours) == 24:
        return minute if regular else f"{minute} of every hour"
    return f"{minute} {_listed(_hours(term, regular=regular) for term in cron.hours)}"


def _hours(term: Term, *, regular: bool) -> str:
    within = f"from {term.first:02}:00 to {term.last:02}:59"
    if term.step > 1:
        return f"of every {_ordinal(term.step)} hour {'from 00:00' if term.star else within}"
    return within if regular else f"of every hour {within}"


def _days(cron: Cron) -> str:
    """Return on which days, nothing for every day."""
    every_date = len(_numbers(cron.days)) == 31
    weekdays = _weekdays(cron.weekdays)
    dates = "" if every_date else f"on {_listed(map(_date, cron.days))} of the month"
    if not cron.both_days:
        # either field lets a day through: if one lets all of them, so do both together
        return f"{dates} or on {weekdays}" if dates and weekdays else ""
    if dates and weekdays:
        return f"{dates} where that is {weekdays}"
    return dates or (f"on {weekdays}" if weekdays else "")


def _date(term: Term) -> str:
    if term.first == LAST:
        return "the last day"
    if term.first == LAST_WORKDAY:
        return "the last working day (Monday to Friday)"
    if term.single:
        return f"day {term.first}"
    if term.step == 1:
        return f"days {term.first} to {term.last}"
    return f"every {_ordinal(term.step)} day from day {term.first} to {term.last}"


def _weekdays(terms: Sequence[Term]) -> str:
    """Return which weekdays, nothing for all of them."""
    if len({number % 7 for number in _numbers(terms)}) == 7:
        return ""
    words = []
    for term in terms:
        if term.nth is not None:
            words.append(f"the {_NTH[term.nth]} {_WEEKDAYS[term.first]} of the month")
        elif term.step == 1 and not term.single:
            words.append(f"{_WEEKDAYS[term.first]} to {_WEEKDAYS[term.last]}")
        else:
            days = sorted({number % 7 for number in _numbers([term])})
            words += [_WEEKDAYS[day] for day in days]
    return _listed(words)


def _months(terms: Sequence[Term]) -> str:
    if len(_numbers(terms)) == 12:
        return ""
    words = []
    for term in terms:
        if term.step == 1 and not term.single:
            words.append(f"{_MONTHS[term.first]} to {_MONTHS[term.last]}")
        else:
            words += [_MONTHS[number] for number in _numbers([term])]
    return f"in {_listed(words)}"


def _spans(terms: Sequence[Term]) -> list[str]:
    words = []
    for term in terms:
        numbers = _numbers([term])
        if term.step == 1 and not term.single:
            words.append(f"{term.first} to {term.last}")
        elif len(numbers) > _MOST_TIMES:
            words.append(f"{term.first} to {term.last} by {term.step}")
        else:
            words += map(str, numbers)
    return words


def _numbers(terms: Iterable[Term]) -> list[int]:
    """Return the numbers that plain terms match, in order."""
    plain = (term for term in terms if term.nth is None and term.first >= 0)
    return sorted({n for term in plain for n in range(term.first, term.last + 1, term.step)})


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if 10 < number < 14 else ending}"


def _listed(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
