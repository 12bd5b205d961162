"""Responses for schedules and ticks, with credentials hidden and requested fields added."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from crawlyard.core.access.user import Actor
from crawlyard.core.schedules.answers import (
    ExpandedScheduleOut,
    ScheduleOut,
    TickJobOut,
    TickTiesOut,
)
from crawlyard.core.schedules.schedule import CrawlSchedule, Tick
from crawlyard.core.secret_names import is_secret
from crawlyard.core.templates.secrets import secret_names
from crawlyard.errors import NotFound
from crawlyard.services.schedules.lookup import actions_on, jobs_reader

if TYPE_CHECKING:
    from crawlyard.store.store import Store

MOST_RECENT = 60
"""Number of recent ticks shown with a schedule."""


async def schedule_answer(store: "Store", actor: Actor, schedule: CrawlSchedule) -> ScheduleOut:
    """Return *schedule* with its credentials hidden."""
    return (await _schedules_out(store, actor, [schedule]))[schedule.id]


async def _schedules_out(
    store: "Store", actor: Actor, schedules: Sequence[CrawlSchedule]
) -> Mapping[str, ScheduleOut]:
    secret = await _secret_params(store, schedules)
    return {
        schedule.id: ScheduleOut.of(
            schedule,
            secret[schedule.id],
            actions_on(actor, schedule),
            for_others=not actor.may_see(schedule.owner),
        )
        for schedule in schedules
    }


async def schedule_answers(
    store: "Store", actor: Actor, schedules: Sequence[CrawlSchedule], expanded: frozenset[str]
) -> Mapping[str, ExpandedScheduleOut]:
    """Return schedules by id, with credentials hidden and `recent` added if *expanded* names it."""
    answers = await _schedules_out(store, actor, schedules)
    if "recent" not in expanded:
        return {
            key: ExpandedScheduleOut.with_recent(answer, None) for key, answer in answers.items()
        }
    recent = await store.ticks.recent(list(answers), MOST_RECENT, jobs_reader(actor))
    return {
        key: ExpandedScheduleOut.with_recent(answer, recent.get(key, ()))
        for key, answer in answers.items()
    }


async def tick_ties(
    store: "Store", actor: Actor, ticks: Sequence[Tick]
) -> Mapping[datetime, TickTiesOut]:
    """Return how far the visible jobs of ticks came, and what they changed, by instant."""
    ids = {tick.job_id for tick in ticks if tick.job_id is not None}
    facts, changed = await store.ticks.runs(ids, jobs_reader(actor)), await store.changes.runs(ids)
    jobs = {key: TickJobOut.of(job_facts, changed.get(key)) for key, job_facts in facts.items()}
    return {tick.due_at: TickTiesOut.of(tick, jobs.get(tick.job_id or "")) for tick in ticks}


async def _secret_params(
    store: "Store", schedules: Iterable[CrawlSchedule]
) -> Mapping[str, set[str]]:
    """Return the names of the params that are credentials, by schedule id.

    A param is one if it is named like one or fills the place of one in the template.
    """
    used: dict[tuple[str, int | None], frozenset[str]] = {}
    secret: dict[str, set[str]] = {}
    for schedule in schedules:
        secret[schedule.id] = {name for name in schedule.params if is_secret(name)}
        if not schedule.params or schedule.template_id is None:
            continue
        key = schedule.template_id, schedule.template_version
        if key not in used:
            used[key] = await _secret_places(store, *key)
        secret[schedule.id] |= used[key]
    return secret


async def _secret_places(store: "Store", template_id: str, version: int | None) -> frozenset[str]:
    try:
        return secret_names((await store.templates.get(template_id, version)).spec)
    except NotFound:
        return frozenset()
