"""Job intake: check new jobs against quotas and policies and insert them."""

import json
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

from msgspec.structs import replace
from sqlalchemy import Connection, ScalarSelect, bindparam, func, literal_column, select

from crawlyard.core.access.policy import SectionName, ceilings_of, grants_of
from crawlyard.core.access.user import NO_QUOTA
from crawlyard.core.event import Event
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.priority import Priority
from crawlyard.core.jobs.queue import QueueEntry
from crawlyard.errors import Conflict, Refused
from crawlyard.store.codec.records import quota_of
from crawlyard.store.db.database import is_postgres
from crawlyard.store.db.raw_sqlite import one_row
from crawlyard.store.db.transactions import StorePart, writes
from crawlyard.store.jobs.insert_jobs import add_jobs
from crawlyard.store.jobs.job_rows import versions
from crawlyard.store.jobs.queue_position import LINE, OwnerTurns, line_in
from crawlyard.store.queries import Entered, Entrant, IntakeRules, check_like
from crawlyard.store.tables.access import users
from crawlyard.store.tables.base import CleanText
from crawlyard.store.tables.desk import settings
from crawlyard.store.tables.jobs import PENDING, PRESENT, jobs

_ITS_OWNER = bindparam("owner", type_=CleanText)


class IntakeStore(StorePart):
    """Admission of new jobs."""

    @writes
    def enter(self, conn: Connection, entrants: Sequence[Entrant]) -> list[Entered]:
        """Admit jobs in order, in ONE transaction; return an answer for each.

        Each job is checked against the rules as that transaction sees them; earlier jobs of the
        same owner count as waiting. Concurrent transactions never admit more jobs of an owner
        than their quota allows. A job that is refused, or whose `like` job has changed its version
        meanwhile, doesn't affect the others.

        Raises:
            Conflict: an id is taken; nothing is written.
        """
        # Lock order, to avoid deadlocks: jobs by key, then users by key, then the events.
        there = _versions(conn, entrants)
        lines, rules = _first_look(conn, entrants)
        limited = sorted(owner for owner, rule in rules.items() if rule.quota.pending is not None)
        if limited:
            rules |= _counted(conn, limited, rules)
        answers, made = _judged(entrants, there, rules)
        if made:
            new, told = [job for job, _ in made], [event for _, event in made]
            add_jobs(conn, new, OwnerTurns(conn, lines), told)
        return answers


def _judged(
    entrants: Sequence[Entrant], there: Mapping[str, int], rules: dict[str, IntakeRules]
) -> tuple[list[Entered], list[tuple[Job, Event]]]:
    """Return the answer to each entrant, and the job and event to write for each admitted one."""
    answers: list[Entered] = []
    made: list[tuple[Job, Event]] = []
    for entrant in entrants:
        held = rules[entrant.owner]
        try:
            check_like(entrant, there)
            job, event = entrant.judge(held)
        except (Refused, Conflict) as refusal:
            answers.append(refusal)
        else:
            rules[entrant.owner] = replace(held, waiting=held.waiting + 1)
            made.append((job, event))
            answers.append(job)
    return answers, made


def _versions(conn: Connection, entrants: Sequence[Entrant]) -> Mapping[str, int]:
    """Return the versions of the jobs that entrants are copied from, and lock those jobs."""
    return versions(conn, {one.like.id for one in entrants if one.like is not None})


def _first_look(
    conn: Connection, entrants: Sequence[Entrant]
) -> tuple[Mapping[tuple[str, Priority], QueueEntry], dict[str, IntakeRules]]:
    """Return what most entrants need, with one statement per owner and level."""
    lines: dict[tuple[str, Priority], QueueEntry] = {}
    rules: dict[str, IntakeRules] = {}
    for owner, level in dict.fromkeys((one.owner, one.level) for one in entrants):
        row = one_row(conn, _FIRST_LOOK, {"owner": owner, "level": level.rank})
        lines[owner, level] = line_in(row)
        rules[owner] = _rules(row.ceilings or "{}", row.grants or "{}", row.quota)
    return lines, rules


@lru_cache(maxsize=256)  # safe: a changed setting or quota is a different text
def _rules(ceilings: str, grants: str, quota: str | None) -> IntakeRules:
    return IntakeRules(
        ceilings=ceilings_of(json.loads(ceilings)),
        grants=grants_of(json.loads(grants)),
        quota=NO_QUOTA if quota is None else quota_of({"quota": quota}),
    )


def _counted(
    conn: Connection, limited: Collection[str], rules: Mapping[str, IntakeRules]
) -> dict[str, IntakeRules]:
    """Return the *rules* of owners whose quota limits pending jobs, with their current number."""
    found: dict[str, IntakeRules] = {}
    if is_postgres(conn):
        # Otherwise two concurrent transactions count the same jobs, and both add one.
        theirs = select(users.c.id, users.c.quota).where(users.c.id.in_(limited))
        alone = theirs.order_by(users.c.id).with_for_update(key_share=True)
        quotas = {row["id"]: quota_of(row) for row in conn.execute(alone).mappings()}
    else:
        quotas = {}
    for owner in limited:
        waiting = conn.scalar(_WAITING, {"owner": owner}) or 0
        quota = quotas.get(owner, rules[owner].quota)
        found[owner] = replace(rules[owner], quota=quota, waiting=waiting)
    return found


def _section(name: SectionName) -> ScalarSelect[Any]:
    its = settings.c.name == literal_column(f"'{name.value}'")
    return select(settings.c.value).where(its).scalar_subquery()


_WAITING = select(func.count()).where(PENDING, PRESENT, jobs.c.owner == _ITS_OWNER)

_FIRST_LOOK = LINE.add_columns(
    _section(SectionName.CEILINGS).label("ceilings"),
    _section(SectionName.GRANTS).label("grants"),
    select(users.c.quota).where(users.c.id == _ITS_OWNER).scalar_subquery().label("quota"),
)
