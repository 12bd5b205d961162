"""Job queries in SQL; `core.jobs.filter.fits` defines what their conditions mean."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime

from msgspec.structs import replace
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Integer,
    Select,
    and_,
    cast,
    column,
    exists,
    false,
    func,
    literal,
    literal_column,
    not_,
    or_,
    select,
    union_all,
)

from crawlyard.core.access.job_parts import JobPart
from crawlyard.core.jobs.filter import Condition, FilterKey
from crawlyard.core.jobs.job import Source
from crawlyard.core.jobs.lifecycle import State, StateReason
from crawlyard.core.jobs.outcome import LIMIT_REASONS, STOPPED
from crawlyard.core.jobs.spec import Priority
from crawlyard.store.codec.jobs import TAIL_LENGTH, id_tail, max_id, min_id
from crawlyard.store.db.database import is_postgres
from crawlyard.store.db.dialects import postgresql
from crawlyard.store.db.rows import equal
from crawlyard.store.queries import JobQuery
from crawlyard.store.tables.jobs import (
    DATED,
    LISTED,
    PRESENT,
    UNDATED,
    UNUSUAL,
    job_hosts,
    job_tags,
    job_texts,
    jobs,
    shards,
)


def conditions(query: JobQuery) -> list[ColumnElement[bool]]:
    """Return the conditions of *query* on the rows of `jobs`."""
    filters = [_has_tag(tag) for tag in sorted(query.tags)]
    filters += [_condition(condition) for condition in query.where]
    filters += equal(
        (jobs.c.owner, query.owner),
        (jobs.c.template_id, query.template_id),
        (jobs.c.schedule_id, query.schedule_id),
    )
    if query.seen_by is not None:
        filters.append(shown_to(query.seen_by, query.part))
    if query.states:
        filters.append(_in_state(query.states))
    if query.priorities:
        filters.append(jobs.c.priority.in_([p.rank for p in query.priorities]))
    if query.text:
        filters.append(_has(query.text))
    if query.id_part:
        part = query.id_part.lower()
        begins = jobs.c.id.startswith(part, autoescape=True)
        filters.append(or_(begins, jobs.c.id.endswith(part, autoescape=True)))
    if query.before is not None:
        filters.append(jobs.c.id < query.before)
    if query.after is not None:
        filters.append(jobs.c.id > query.after)
    return filters


def shown_to(user: str, part: JobPart) -> ColumnElement[bool]:
    """Return the condition on `jobs` that *user* owns the job or it shows *part* to others."""
    return or_(jobs.c.owner == user, jobs.c.hidden < int(part))


def _condition(condition: Condition) -> ColumnElement[bool]:
    expression = _SQL[condition.key](condition.words)
    return not_(expression) if condition.negated else expression


_BY_USER = and_(
    jobs.c.state == literal_column(f"'{State.CANCELLED.value}'"),
    jobs.c.state_reason == StateReason.BY_USER.value,
    exists().where(shards.c.job_no == jobs.c.no, shards.c.shard == 0, shards.c.done > 0),
)
_BY_LIMIT = and_(
    jobs.c.state == literal_column(f"'{State.COMPLETED.value}'"),
    jobs.c.state_reason.in_([reason.value for reason in LIMIT_REASONS]),
    exists().where(
        shards.c.job_no == jobs.c.no, shards.c.shard == 0, shards.c.discovered > shards.c.done
    ),
)
IS_STOPPED = or_(_BY_USER, _BY_LIMIT)
"""The condition on `jobs` of `core.jobs.outcome.is_stopped`."""


def _in_state(words: Collection[str]) -> ColumnElement[bool]:
    # literals, as in `tables/jobs.py`: otherwise no partial index is used
    states: list[ColumnElement[str]] = [
        literal_column(f"'{State(word).value}'") for word in sorted(words) if word != STOPPED
    ]
    in_states = jobs.c.state == states[0] if len(states) == 1 else jobs.c.state.in_(states)
    if STOPPED not in words:
        return in_states
    return or_(in_states, IS_STOPPED) if states else IS_STOPPED


def _of_priority(words: Sequence[str]) -> ColumnElement[bool]:
    numbers = [Priority.of(word).rank for word in words]
    if len(numbers) == 1 and numbers[0] != Priority.NORMAL.rank:
        return and_(jobs.c.priority == numbers[0], UNUSUAL)
    return jobs.c.priority.in_(numbers)


def _has_tag(*tags: str) -> ColumnElement[bool]:
    return exists().where(job_tags.c.job_no == jobs.c.no, job_tags.c.tag.in_(tags))


def _has(text: str) -> ColumnElement[bool]:
    return exists().where(job_texts.c.job_no == jobs.c.no, text_contains(text))


def text_contains(*words: str) -> ColumnElement[bool]:
    """Return the condition on `job_texts` that the text contains any of *words*."""
    having = (job_texts.c.text.contains(word.casefold(), autoescape=True) for word in words)
    return or_(false(), *having)


def _reaches(*hosts: str) -> ColumnElement[bool]:
    return exists().where(job_hosts.c.job_no == jobs.c.no, job_hosts.c.host.in_(hosts))


def _in(column: Column[str]) -> Callable[[Sequence[str]], ColumnElement[bool]]:
    # false instead of NULL where the column is NULL: otherwise the negation would not match either
    return lambda words: and_(column.is_not(None), column.in_(words))


def _each(
    condition_of: Callable[[str], ColumnElement[bool]],
) -> Callable[[Sequence[str]], ColumnElement[bool]]:
    return lambda words: or_(false(), *(condition_of(word) for word in words))


_RETRIED, _TIMED, _MADE = (
    column.is_not(None) for column in (jobs.c.retry_of, jobs.c.schedule_id, jobs.c.template_id)
)

_FROM: Mapping[Source, ColumnElement[bool]] = {
    Source.RETRY: _RETRIED,
    Source.SCHEDULE: and_(not_(_RETRIED), _TIMED),
    Source.TEMPLATE: and_(not_(_RETRIED), not_(_TIMED), _MADE),
    Source.DIRECT: and_(not_(_RETRIED), not_(_TIMED), not_(_MADE)),
}
"""The condition on `jobs` for each source, in agreement with `Job.source`."""

_SQL: Mapping[FilterKey, Callable[[Sequence[str]], ColumnElement[bool]]] = {
    FilterKey.STATE: _in_state,
    FilterKey.PRIORITY: _of_priority,
    FilterKey.PRIORITY_GTE: _each(lambda word: jobs.c.priority >= Priority.of(word).rank),
    FilterKey.TAG: lambda words: _has_tag(*words),
    FilterKey.HOST: lambda words: _reaches(*words),
    FilterKey.TEMPLATE: _in(jobs.c.template_id),
    FilterKey.SCHEDULE: _in(jobs.c.schedule_id),
    FilterKey.GROUP_ID: _in(jobs.c.group_id),
    FilterKey.OWNER: jobs.c.owner.in_,
    FilterKey.ORIGIN: _each(lambda word: _FROM[Source(word)]),
    FilterKey.CREATED_AFTER: _each(lambda word: jobs.c.created_at >= datetime.fromisoformat(word)),
    FilterKey.CREATED_BEFORE: _each(lambda word: jobs.c.created_at < datetime.fromisoformat(word)),
    FilterKey.TEXT: _each(_has),
}

_SPLIT = frozenset({FilterKey.STATE, FilterKey.OWNER, FilterKey.TEMPLATE, FilterKey.SCHEDULE})
"""Keys with an index that has the jobs of one value in order, but not those of several."""

_DATES = frozenset({FilterKey.CREATED_AFTER, FilterKey.CREATED_BEFORE})

_SHAPE = "00000000-0000-0000-0000-000000000000"

RARE = 5_000
"""If fewer jobs than this have a tag or host, all are read, in 20 ms; else the list is walked."""

_BELONGING: Mapping[FilterKey, tuple[Column[int], Column[str]]] = {
    FilterKey.TAG: (job_tags.c.job_no, job_tags.c.tag),
    FilterKey.HOST: (job_hosts.c.job_no, job_hosts.c.host),
}


def rare_condition(
    conn: Connection, query: JobQuery, rare: int | None = None
) -> list[ColumnElement[bool]]:
    """Return a condition that *query* implies and fewer than *rare* jobs meet, or an empty list.

    *rare* ``None`` means `RARE`.
    """
    rare = RARE if rare is None else rare
    candidates: list[tuple[FilterKey, tuple[str, ...]]] = [
        (FilterKey.TAG, (tag,)) for tag in sorted(query.tags)
    ]
    candidates += [(c.key, c.words) for c in query.where if c.key in _BELONGING and not c.negated]
    for key, words in candidates:
        no, word = _BELONGING[key]
        with_it = select(no).where(word.in_(words))
        some = with_it.limit(rare).subquery()
        if (conn.scalar(select(func.count()).select_from(some)) or 0) < rare:
            return [jobs.c.no.in_(with_it)]
    for words in _texts(query):
        # run this only once: a search that finds nothing reads all texts
        numbers = conn.scalars(
            select(job_texts.c.job_no).where(text_contains(*words)).limit(rare)
        ).all()
        if len(numbers) < rare:
            return [jobs.c.no.in_(select_numbers(conn, numbers))]
    return []


def _texts(query: JobQuery) -> Iterator[tuple[str, ...]]:
    """Yield groups of words; the text of each job of *query* contains one word of each group."""
    if query.text:
        yield (query.text,)
    for condition in query.where:
        if condition.key is FilterKey.TEXT and not condition.negated:
            yield condition.words


def select_numbers(conn: Connection, numbers: Sequence[int]) -> Select[int]:
    """Return a query for *numbers* that has a single parameter, however many there are."""
    listed = ",".join(map(str, numbers))
    if is_postgres(conn):
        return select(func.unnest(cast(literal(f"{{{listed}}}"), postgresql.ARRAY(BigInteger))))
    return select(func.json_each(f"[{listed}]").table_valued(column("value", Integer)).c.value)


def first_keys(
    conn: Connection, query: JobQuery, limit: int, rare: int | None = None
) -> Select[int]:
    """Return a query for the keys of the first *limit* jobs of *query*, possibly of more.

    If *query* implies a condition that fewer than *rare* jobs meet (`RARE` if it is ``None``),
    only those jobs are read.
    """
    few = rare_condition(conn, query, rare)
    order = jobs.c.id.asc() if query.oldest_first else jobs.c.id.desc()
    parts = [
        select(jobs.c.no).where(PRESENT, *few, *filters, *dated).order_by(order).limit(limit)
        for part_query in _split(query)
        for filters in _with_part(part_query)
        for dated in creation_bounds(part_query)
    ]
    if len(parts) == 1:
        return parts[0]
    return select(union_all(*(select(part.subquery().c.no) for part in parts)).subquery().c.no)


def creation_bounds(query: JobQuery) -> Sequence[list[ColumnElement[bool]]]:
    """Return alternatives of conditions on the creation time; each job of *query* meets one.

    Nearly all ids contain the creation time, so that jobs created before or after the range
    are not read; jobs whose id doesn't contain it are the second alternative.
    """
    bounds: list[ColumnElement[bool]] = []
    for condition in query.where:
        instants = [
            datetime.fromisoformat(word) for word in condition.words if condition.key in _DATES
        ]
        if instants and not condition.negated:
            if condition.key is FilterKey.CREATED_AFTER:
                bounds.append(jobs.c.id >= min_id(min(instants)))
            else:
                bounds.append(jobs.c.id <= max_id(max(instants)))
    return [[DATED, *bounds], [UNDATED]] if bounds else [[]]


def _split(query: JobQuery) -> Iterator[JobQuery]:
    """Yield queries that together find what *query* does, split to one state or value each."""
    if len(query.states) > 1:
        for state in sorted(query.states):
            yield replace(query, states=frozenset({state}))
        return
    for place, condition in enumerate(query.where):
        if condition.key in _SPLIT and not condition.negated and len(condition.words) > 1:
            before, behind = query.where[:place], query.where[place + 1 :]
            for word in dict.fromkeys(condition.words):
                yield replace(query, where=(*before, replace(condition, words=(word,)), *behind))
            return
    yield query


def _with_part(query: JobQuery) -> Iterator[list[ColumnElement[bool]]]:
    """Yield alternatives of conditions for *query*: the id begins or ends with its `id_part`."""
    part, rest = query.id_part.lower(), conditions(replace(query, id_part=""))
    keys = {condition.key for condition in query.where if not condition.negated}
    scheduled = query.schedule_id is not None or FilterKey.SCHEDULE in keys
    # for a schedule, its own few jobs are walked, not all jobs in that state
    if (query.states or FilterKey.STATE in keys) and not scheduled:
        rest.append(LISTED)  # only here: Postgres expects few such rows, and sorts instead
    if not part:
        yield rest
        return
    least = part + _SHAPE[len(part) :]
    most = part + _SHAPE[len(part) :].replace("0", "f")
    begins = jobs.c.id.startswith(part, autoescape=True)
    yield [*rest, jobs.c.id >= least, jobs.c.id <= most, begins]
    ends = [jobs.c.id.endswith(part, autoescape=True)]
    if len(part) >= TAIL_LENGTH:
        ends.append(jobs.c.tail == id_tail(part))
    yield [*rest, *ends]
