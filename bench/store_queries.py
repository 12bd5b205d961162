"""Queries of users and programs on a yard's jobs, timed one by one."""

import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, event, text

from bench.store_jobs import OWNERS, SITES, schedule_id, template_id
from crawlyard.core.access.job_parts import JobPart
from crawlyard.core.access.user import LOCAL, Actor, Role
from crawlyard.core.jobs.filter import parse
from crawlyard.services.jobs.lookup import visible_query
from crawlyard.store.db.database import Database
from crawlyard.store.queries import COUNTED_TO, JobQuery
from crawlyard.yard import Yard

Ask = Callable[[], Awaitable[object]]

SHOWN = 51
"""A page of a list, and one more: it tells that there is another page."""

USER = Actor(id="owner-3", role=Role.OPERATOR)
COLLEAGUE = Actor(id="owner-3", role=Role.OPERATOR, sees_shared=True)
"""The same user, where users see each other's jobs."""

FILTERS = (
    "",
    "state:failed",
    "state:pending",
    "state:running",
    "state:pending,running",
    "priority:urgent",
    "tag:daily",
    "tag:shop",
    "tag:rare",
    "tag:none-has-it",
    "-tag:daily",
    f"owner:owner-{OWNERS - 1}",
    f"owner:owner-{OWNERS - 1} state:failed",
    f"owner:owner-{OWNERS - 1} state:running",
    f"template:{template_id(7)}",
    f"schedule:{schedule_id(7)}",
    f"schedule:{schedule_id(7)} state:failed",
    "origin:retry",
    "origin:schedule",
    f"host:site-{SITES // 2:06}.example",
    "host:none-has-it.example",
    f"site-{SITES // 2:06}",
    "none-has-it",
)


@dataclass(frozen=True, slots=True)
class TimedQuestion:
    """A question, and how long its answers took."""

    name: str
    ms: Sequence[float]
    found: int
    statements: Sequence[tuple[str, Any]]  # with their parameters

    @property
    def median_ms(self) -> float:
        """Median duration of its answers."""
        return statistics.median(self.ms)


def questions(yard: Yard, middle: str, day: tuple[str, str]) -> Iterator[tuple[str, Ask]]:
    """Yield what is asked, by name: lists first, then counts."""
    queries = {word or "all": JobQuery(where=parse(word)) for word in FILTERS}
    dated = f"created_after:{day[0]} created_before:{day[1]}"
    queries[f"created on {day[0]}"] = JobQuery(where=parse(dated))
    walks = {
        "all, oldest first": JobQuery(oldest_first=True),
        "all, from the middle": JobQuery(before=middle),
        "state:failed, from the middle": JobQuery(where=parse("state:failed"), before=middle),
        "by the end of an id": JobQuery(id_part=middle[-8:]),
        "by the beginning of an id": JobQuery(id_part=middle[:-4]),
    }
    for name, query in (queries | walks).items():
        yield f"list {name}", _list_jobs(yard, LOCAL, query)
    yield "list a user's own", _list_jobs(yard, USER, JobQuery())
    yield "list a user's own state:running", _list_jobs(yard, USER, queries["state:running"])
    for name in ("all", "state:failed", "tag:daily", "schedule:" + schedule_id(7)):
        yield f"list a colleague's {name}", _list_jobs(yard, COLLEAGUE, queries[name])
        yield f"count a colleague's {name}", _count_jobs(yard, COLLEAGUE, queries[name])
    for name, query in queries.items():
        yield f"count {name}", _count_jobs(yard, LOCAL, query)
        if query.counted_to is not None:
            yield f"count to {COUNTED_TO:,} {name}", _count_jobs(yard, LOCAL, query, COUNTED_TO)
    yield "count a user's own", _count_jobs(yard, USER, JobQuery())


def _list_jobs(yard: Yard, actor: Actor, query: JobQuery) -> Ask:
    async def ask() -> int:
        visible = await visible_query(yard.store, actor, query, JobPart.STATE)
        return len(await yard.store.jobs.find(visible, SHOWN))

    return ask


def _count_jobs(yard: Yard, actor: Actor, query: JobQuery, most: int | None = None) -> Ask:
    async def ask() -> int:
        visible = await visible_query(yard.store, actor, query, JobPart.STATE)
        return sum((await yard.store.jobs.counts(visible, most)).values())

    return ask


async def time_question(name: str, ask: Ask, rounds: int, most_s: float) -> TimedQuestion:
    """Ask once unmeasured, then *rounds* times, fewer once that has taken *most_s* seconds."""
    with recorded_statements() as statements:
        answer = await ask()
    ms: list[float] = []
    while len(ms) < rounds and sum(ms) < most_s * 1000:
        began = time.perf_counter()
        await ask()
        ms.append((time.perf_counter() - began) * 1000)
    return TimedQuestion(name, ms, answer if isinstance(answer, int) else 0, statements)


@contextmanager
def recorded_statements() -> Iterator[list[tuple[str, Any]]]:
    """Give all statements that are sent in the block."""
    statements: list[tuple[str, Any]] = []

    def record(
        _conn: Connection, _cursor: object, statement: str, parameters: Any, *_more: object
    ) -> None:
        statements.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", record)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", record)


async def plan(database: Database, question: TimedQuestion) -> str:
    """Return how the database goes about the last statement of a question."""
    if not question.statements:
        return "no statement"
    statement, parameters = question.statements[-1]

    def look(conn: Connection) -> str:
        postgres = conn.dialect.name == "postgresql"
        explain = "EXPLAIN (COSTS OFF) " if postgres else "EXPLAIN QUERY PLAN "
        rows = conn.exec_driver_sql(explain + statement, parameters)
        return "\n".join(f"    {row[-1]}" for row in rows)

    return await database.read(look)


async def middle_of(database: Database) -> tuple[str, tuple[str, str]]:
    """Return the id in the middle of all jobs, and the day of it and the next."""

    def look(conn: Connection) -> tuple[str, int]:
        row = conn.execute(
            text("SELECT id, created_at FROM jobs WHERE no = (SELECT max(no) / 2 FROM jobs)")
        ).one()
        return str(row[0]), int(row[1])

    job_id, at_us = await database.read(look)
    day = datetime.fromtimestamp(at_us / 1e6, UTC)
    return job_id, (f"{day:%Y-%m-%d}", f"{day + timedelta(days=1):%Y-%m-%d}")
