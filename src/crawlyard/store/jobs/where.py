"""SQL conditions of a job query; `core.jobs.filter.fits` defines their meaning."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Column, ColumnElement, and_, exists, false, literal_column, not_, or_

from crawlyard.core.jobs.filter import Condition, FilterKey, Source
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.priority import Priority
from crawlyard.store.queries import JobQuery
from crawlyard.store.tables.jobs import UNUSUAL, job_hosts, job_tags, job_texts, jobs


def conditions(query: JobQuery) -> list[ColumnElement[bool]]:
    """Return the conditions of *query* on the rows of `jobs`."""
    asked = [_tagged(tag) for tag in sorted(query.tags)]
    asked += [_condition(one) for one in query.where]
    if query.owner is not None:
        asked.append(jobs.c.owner == query.owner)
    if query.states:
        asked.append(_in_state(query.states))
    if query.priorities:
        asked.append(jobs.c.priority.in_([p.rank for p in query.priorities]))
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


def _in_state(words: Iterable[str]) -> ColumnElement[bool]:
    # literals, as in `tables/jobs.py`: otherwise no partial index is used
    states: list[ColumnElement[str]] = [
        literal_column(f"'{State(word).value}'") for word in sorted(words)
    ]
    return jobs.c.state == states[0] if len(states) == 1 else jobs.c.state.in_(states)


def _of_priority(words: Sequence[str]) -> ColumnElement[bool]:
    numbers = [Priority.of(word).rank for word in words]
    if len(numbers) == 1 and numbers[0] != Priority.NORMAL.rank:
        return and_(jobs.c.priority == numbers[0], UNUSUAL)
    return jobs.c.priority.in_(numbers)


def _tagged(*tags: str) -> ColumnElement[bool]:
    return exists().where(job_tags.c.job_no == jobs.c.no, job_tags.c.tag.in_(tags))


def _has(text: str) -> ColumnElement[bool]:
    return exists().where(job_texts.c.job_no == jobs.c.no, says(text))


def says(*words: str) -> ColumnElement[bool]:
    """Return the condition on `job_texts` that the text contains any of *words*."""
    having = (job_texts.c.text.contains(word.casefold(), autoescape=True) for word in words)
    return or_(false(), *having)


def _reaches(*hosts: str) -> ColumnElement[bool]:
    return exists().where(job_hosts.c.job_no == jobs.c.no, job_hosts.c.host.in_(hosts))


def _in(column: Column[str]) -> Callable[[Sequence[str]], ColumnElement[bool]]:
    # false instead of NULL where the column is NULL: otherwise the negation would not match either
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
"""The condition on `jobs` for each source, in agreement with `core.jobs.filter.source_of`."""

_SQL: Mapping[FilterKey, Callable[[Sequence[str]], ColumnElement[bool]]] = {
    FilterKey.STATE: _in_state,
    FilterKey.PRIORITY: _of_priority,
    FilterKey.PRIORITY_GTE: _each(lambda word: jobs.c.priority >= Priority.of(word).rank),
    FilterKey.TAG: lambda words: _tagged(*words),
    FilterKey.HOST: lambda words: _reaches(*words),
    FilterKey.TEMPLATE: _in(jobs.c.template_id),
    FilterKey.SCHEDULE: _in(jobs.c.schedule_id),
    FilterKey.OWNER: jobs.c.owner.in_,
    FilterKey.ORIGIN: _each(lambda word: _FROM[Source(word)]),
    FilterKey.CREATED_AFTER: _each(lambda word: jobs.c.created_at >= datetime.fromisoformat(word)),
    FilterKey.CREATED_BEFORE: _each(lambda word: jobs.c.created_at < datetime.fromisoformat(word)),
    FilterKey.TEXT: _each(_has),
}
