"""Filters in URLs: of jobs, by keys or in the filter language, and of pages.

A value given again, or after a comma, is an alternative; different keys must all fit.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

from fastapi import Depends, Query
from msgspec.structs import replace
from pydantic import Field

from crawlyard.core.answers.problems import FieldErrorOut
from crawlyard.core.crawl.page import ErrorKind, status_asked
from crawlyard.core.jobs.filter import (
    MAX_WORD,
    MOST_VALUES,
    Condition,
    FilterKey,
    condition,
    parse,
)
from crawlyard.errors import Invalid
from crawlyard.store.queries import PageQuery
from crawlyard.web.errors.problems import Problem

MOST_Q = 500
_DEEPEST = 1_000_000

LONGEST_ITEM = MOST_VALUES * MAX_WORD
"""Of one parameter, which may hold all values between commas."""

Depth = Annotated[int | None, Field(ge=0, le=_DEEPEST)]

Values = list[Annotated[str, Field(max_length=LONGEST_ITEM)]] | None


def words(name: str, given: Sequence[str] | None) -> list[str]:
    """Return the values of parameter *name*, whose items may be several between commas.

    Raises:
        Problem: they are too many, or one of them is too long.
    """
    found = [word for item in given or () for part in item.split(",") if (word := part.strip())]
    with of_parameter(name):
        if len(found) > MOST_VALUES:
            raise Invalid(name, f"expected at most {MOST_VALUES} values, got {len(found)}")
        if any(len(word) > MAX_WORD for word in found):
            raise Invalid(name, f"expected at most {MAX_WORD} characters")
    return found


@contextmanager
def of_parameter(name: str) -> Iterator[None]:
    """Let what is wrong with a value be answered as the fault of parameter *name*.

    Raises:
        Problem: in place of `Invalid`.
    """
    try:
        yield
    except Invalid as error:
        said = str(error).removeprefix(f"{error.field}: ")
        one = FieldErrorOut(parameter=name, code="invalid", detail=said, position=error.position)
        detail = f"{name}: {said}"
        raise Problem("validation_failed", detail, more={"errors": (one,)}) from None


def _many(description: str) -> object:
    return Query(max_length=100, description=f"{description} Several: any of them.")


def _conditions(
    state: Annotated[Values, _many("`pending`, `running`, `paused`, …")] = None,
    priority: Annotated[Values, _many("`urgent`, `high`, `normal`, `low`.")] = None,
    priority_gte: Annotated[Values, _many("That priority or a higher one.")] = None,
    tag: Annotated[Values, _many("A tag.")] = None,
    host: Annotated[Values, _many("The host of a start URL, perhaps with its port.")] = None,
    template: Annotated[Values, _many("The id of a template, its name, or OWNER/NAME.")] = None,
    schedule: Annotated[Values, _many("The id of a schedule, its name, or OWNER/NAME.")] = None,
    owner: Annotated[Values, _many("A user; `me` is whoever asks.")] = None,
    origin: Annotated[Values, _many("`direct`, `template`, `schedule`, `retry`.")] = None,
    created_after: Annotated[Values, _many("At this day or instant, or after it.")] = None,
    created_before: Annotated[Values, _many("Before this day or instant.")] = None,
    q: Annotated[
        str,
        Query(
            max_length=MOST_Q,
            description='The filter language: `state:failed host:x -tag:y "free text"`.',
        ),
    ] = "",
) -> tuple[Condition, ...]:
    given = {
        FilterKey.STATE: state,
        FilterKey.PRIORITY: priority,
        FilterKey.PRIORITY_GTE: priority_gte,
        FilterKey.TAG: tag,
        FilterKey.HOST: host,
        FilterKey.TEMPLATE: template,
        FilterKey.SCHEDULE: schedule,
        FilterKey.OWNER: owner,
        FilterKey.ORIGIN: origin,
        FilterKey.CREATED_AFTER: created_after,
        FilterKey.CREATED_BEFORE: created_before,
    }
    asked: list[Condition] = []
    for key, items in given.items():
        if wanted := words(key.value, items):
            with of_parameter(key.value):
                asked.append(condition(key, wanted))
    with of_parameter("q"):
        return (*asked, *parse(q))


JobFilter = Annotated[tuple[Condition, ...], Depends(_conditions)]
"""What the URL asks of jobs."""


def _which_pages(
    status: Annotated[Values, _many("Of HTTP: `404`, or a class: `4xx`.")] = None,
    kind: Annotated[Values, _many("Kinds of errors: `timeout`, `http_4xx`, …")] = None,
    failed: Annotated[bool | None, Query(description="With an error, or without.")] = None,
    needs_scripts: Annotated[
        bool | None,
        Query(
            description="Whether the page needs scripts: without them its text is empty or partial."
        ),
    ] = None,
    content_type: Annotated[Values, _many("`text/html`, or `text/*`.")] = None,
    depth: Annotated[Values, _many("Links from a start URL.")] = None,
    min_depth: Annotated[Depth, Query(description="At least so many.")] = None,
    max_depth: Annotated[Depth, Query(description="At most so many.")] = None,
    host: Annotated[Values, _many("Of the URL; without a port: on any.")] = None,
) -> PageQuery:
    return PageQuery(
        failed=failed,
        needs_scripts=needs_scripts,
        kinds=frozenset(error_kind("kind", word) for word in words("kind", kind)),
        statuses=frozenset(_status(word) for word in words("status", status)),
        content_types=frozenset(word.lower() for word in words("content_type", content_type)),
        depths=frozenset(_depth(word) for word in words("depth", depth)),
        min_depth=min_depth,
        max_depth=max_depth,
        hosts=frozenset(word.lower() for word in words("host", host)),
    )


WhichPages = Annotated[PageQuery, Depends(_which_pages)]
"""What the URL asks of pages, without the text."""


def _page_query(
    which: WhichPages,
    q: Annotated[str, Query(max_length=MOST_Q, description="A part of the URL or title.")] = "",
) -> PageQuery:
    return replace(which, text=q)


PageFilter = Annotated[PageQuery, Depends(_page_query)]
"""What the URL asks of a job's pages."""


def error_kind(parameter: str, word: str) -> ErrorKind:
    """Return the kind of error that *word* names.

    Raises:
        Problem: there is none of that name.
    """
    with of_parameter(parameter):
        if word not in set(ErrorKind):
            raise Invalid(parameter, f"expected one of {', '.join(ErrorKind)}, got {word[:100]!r}")
    return ErrorKind(word)


def _status(word: str) -> int:
    with of_parameter("status"):
        try:
            return status_asked(word)
        except ValueError as error:
            raise Invalid("status", str(error)) from None


def _depth(word: str) -> int:
    with of_parameter("depth"):
        return _whole("depth", word, 0, _DEEPEST, "a whole number")


def _whole(name: str, word: str, least: int, most: int, expected: str) -> int:
    number = int(word) if word.isascii() and word.isdigit() and len(word) < 10 else -1
    if not least <= number <= most:
        raise Invalid(name, f"expected {expected}, got {word[:100]!r}")
    return number
