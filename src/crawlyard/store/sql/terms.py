"""The terms of the filter language by which jobs are counted: `tag:daily`, `origin:retry`.

A step has all that fit its jobs in one text, as JSON, each behind a comma: with a row for each,
a job of ten tags would take ten times as many at each of its moves.
"""

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache

from sqlalchemy import ColumnElement, case, false, func, or_

from crawlyard.core.filter import Condition, FilterKey, Source, source_of
from crawlyard.core.job import Job
from crawlyard.store.codec.base import to_json
from crawlyard.store.sql.asked import FROM
from crawlyard.store.tables.tallies import tally_steps
from crawlyard.store.text import clean

LONGEST_TAG = 200
"""Characters: a key of Postgres has room for some 2,700 bytes. By a longer tag none are counted."""

ORIGIN: ColumnElement[str] = case(*((there, source.value) for source, there in FROM.items()))
"""The word of the source of a row of `jobs`."""

COUNTED = frozenset({FilterKey.TAG, FilterKey.ORIGIN})
"""The keys of these terms."""


def terms_of(job: Job) -> str:
    """Return the terms that *job* fits, as a step has them."""
    return written(source_of(job), tuple(job.spec.tags))  # a caller may have given a list


@lru_cache(maxsize=1024)  # jobs of one schedule or template have the same
def written(source: Source, tags: tuple[str, ...]) -> str:
    """Return the terms of a job from *source* with *tags*, as a step has them."""
    known = sorted({clean(tag) for tag in tags})
    return listed([_of_origin(source), *(_of_tag(tag) for tag in known if _is_counted(tag))])


def listed(terms: Iterable[str]) -> str:
    """Return *terms* as a step has them."""
    return "".join(map(_said, terms))


@lru_cache(maxsize=1024)
def read(terms: str) -> tuple[str, ...]:
    """Return what `listed` made one text of."""
    return tuple(json.loads(array_of(terms))[1:])


def array_of(terms: str) -> str:
    """Return the terms of a step as an array, behind an empty one."""
    return f'[""{terms}]'


def asked(one: Condition) -> Sequence[str] | None:
    """Return the terms of which a job fits at most one, and then *one*, but for its negation.

    ``None``: jobs are not counted by such.
    """
    words = sorted({clean(word) for word in one.words})
    if one.key is FilterKey.ORIGIN:
        return [_of_origin(word) for word in words]
    # a job may have several tags, and would count as often
    return [_of_tag(word) for word in words] if len(words) == 1 and _is_counted(*words) else None


def steps_with(terms: Iterable[str]) -> ColumnElement[bool]:
    """Return the condition that a step counts jobs that fit one of *terms*."""
    # neither LIKE, which knows no upper case on SQLite, nor a function that only one of them has
    have = tally_steps.c.terms
    return or_(false(), *(func.replace(have, _said(term), "") != have for term in terms))


def _said(term: str) -> str:
    # Within another, its comma would be followed by a quote that is escaped.
    return "," + to_json(term)


def _of_origin(source: str) -> str:
    return f"{FilterKey.ORIGIN}:{source}"


def _of_tag(tag: str) -> str:
    return f"{FilterKey.TAG}:{tag}"


def _is_counted(tag: str) -> bool:
    return len(tag) <= LONGEST_TAG
