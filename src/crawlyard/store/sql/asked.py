"""What a query for jobs asks, as conditions of SQL; `core.filter.fits` says what they mean."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Column, ColumnElement, and_, exists, false, not_, or_

from crawlyard.core.filter import Condition, FilterKey, Source
from crawlyard.core.priority import Priority
from crawlyard.store.base import JobQuery
from crawlyard.store.codec.jobs import HOST_MARK
from crawlyard.store.tables.jobs import job_tags, jobs


def conditions(query: JobQuery) -> list[ColumnElement[bool]]:
    """Return the conditions on the rows of `jobs` that *query* asks for."""
    asked = [_tagged(tag) for tag in sorted(query.tags)]
    asked += [_condition(one) for one in query.where]
    if query.owner is not None:
        asked.append(jobs.c.owner == query.owner)
    if query.states:
        asked.append(jobs.c.state.in_([s.value for s in query.states]))
    if query.priorities:
        asked.append(jobs.c.priority.in_([int(p) for p in query.priorities]))
    if query.text:
        asked.append(_has(query.text))
    if query.id_part:
        part = query.id_part.lower()
        begins = jobs.c.id.startswith(part, autoescape=True)
        asked.append(or_(begins, jobs.c.id.endswith(part, autoescape=True)))
    if query.template_id is not None:
        asked.append(jobs.c.template_id == query.template_id)
    if query.schedule_id is not None:
        asked.append(jobs.c.schedule_id == query.schedule_id)
    if query.before is not None:
        asked.append(jobs.c.id < query.before)
    if query.after is not None:
        asked.append(jobs.c.id > query.after)
    return asked


def _condition(asked: Condition) -> ColumnElement[bool]:
    found = _SQL[asked.key](asked.words)
    return not_(found) if asked.negated else found


def _tagged(*tags: str) -> ColumnElement[bool]:
    return exists().where(job_tags.c.job_no == jobs.c.no, job_tags.c.tag.in_(tags))


def _has(text: str) -> ColumnElement[bool]:
    return jobs.c.search.contains(text.casefold(), autoescape=True)


def _reaches(host: str) -> ColumnElement[bool]:
    return jobs.c.hosts.contains(f"{HOST_MARK}{host}{HOST_MARK}", autoescape=True)


def _in(column: Column[str]) -> Callable[[Sequence[str]], ColumnElement[bool]]:
    # false, not unknown, where there is none: else its opposite would not hold either
    return lambda words: and_(column.is_not(None), column.in_(words))


def _each(
    one: Callable[[str], ColumnElement[bool]],
) -> Callable[[Sequence[str]], ColumnElement[bool]]:
    return lambda words: or_(false(), *(one(word) for word in words))


_RETRIED, _TIMED, _MADE = (
    column.is_not(None) for column in (jobs.c.retry_of, jobs.c.schedule_id, jobs.c.template_id)
)

_FROM: Mapping[Source, ColumnElement[bool]] = {
    Source.RETRY: _RETRIED,
    Source.SCHEDULE: and_(not_(_RETRIED), _TIMED),
    Source.TEMPLATE: and_(not_(_RETRIED), not_(_TIMED), _MADE),
    Source.DIRECT: and_(not_(_RETRIED), not_(_TIMED), not_(_MADE)),
}

_SQL: Mapping[FilterKey, Callable[[Sequence[str]], ColumnElement[bool]]] = {
    FilterKey.STATE: jobs.c.state.in_,
    FilterKey.PRIORITY: lambda words: jobs.c.priority.in_([int(Priority.of(w)) for w in words]),
    FilterKey.PRIORITY_GTE: _each(lambda word: jobs.c.priority >= int(Priority.of(word))),
    FilterKey.TAG: lambda words: _tagged(*words),
    FilterKey.HOST: _each(_reaches),
    FilterKey.TEMPLATE: _in(jobs.c.template_id),
    FilterKey.SCHEDULE: _in(jobs.c.schedule_id),
    FilterKey.OWNER: jobs.c.owner.in_,
    FilterKey.ORIGIN: _each(lambda word: _FROM[Source(word)]),
    FilterKey.CREATED_AFTER: _each(lambda word: jobs.c.created_at >= datetime.fromisoformat(word)),
    FilterKey.CREATED_BEFORE: _each(lambda word: jobs.c.created_at < datetime.fromisoformat(word)),
    FilterKey.TEXT: _each(_has),
}
