"""Which jobs a command is about: by a word for one, or by a filter."""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import Struct

from crawlyard.cli.when import When
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.priority import Priority
from crawlyard.core.templates.template import is_id
from crawlyard.errors import Invalid, NotFound

if TYPE_CHECKING:  # help needs neither
    from crawlyard.cli.session import Session
    from crawlyard.services.jobs.terms import JobTerms

_NEWEST = "@last"


async def job_id_of(session: "Session", word: str) -> str:
    """Return the id of the job that *word* means.

    A whole id, its beginning or end, ``last`` for the newest job, or ``NAME@last`` for the newest
    run of a schedule.

    Raises:
        NotFound: no job is meant.
        Invalid: more than one job is meant.
    """
    jobs = session.surface.jobs
    if is_id(word):
        return (await jobs.get(word.lower())).id
    if word.endswith(_NEWEST):
        schedule = await session.surface.schedules.get(word.removesuffix(_NEWEST))
        runs = (await jobs.list(schedule=schedule.id, limit=1)).items
        if not runs:
            raise NotFound(f"schedule {schedule.name} has no job yet")
        return runs[0].id
    last = word == "last"
    found = (await jobs.list(id="" if last else word.lower(), limit=2)).items
    if not found:
        raise NotFound("there is no job yet" if last else f"there is no job {word}")
    if len(found) > 1 and not last:
        raise Invalid("id", f"more than one job begins or ends with {word!r}; give more of it")
    return found[0].id


class JobFilter(Struct, frozen=True, kw_only=True):
    """Which jobs the options of a list ask for: those that match all of them."""

    states: tuple[State, ...] = ()
    priorities: tuple[Priority, ...] = ()
    tags: tuple[str, ...] = ()  # a job has all of them
    hosts: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    schedules: tuple[str, ...] = ()
    since: When | None = None
    until: When | None = None
    text: str = ""

    def terms(self, now: datetime) -> "JobTerms":
        """Return the filter of the list of jobs."""
        words = [*(f"tag:{_quoted(tag)}" for tag in self.tags)]
        if self.text:
            words.append(_quoted(self.text))
        terms: JobTerms = {
            "state": self.states,
            "priority": self.priorities,
            "host": self.hosts,
            "template": self.templates,
            "schedule": self.schedules,
            "q": " ".join(words),
        }
        if self.since is not None:
            terms["created_after"] = self.since.instant(now).isoformat()
        if self.until is not None:
            terms["created_before"] = self.until.instant(now).isoformat()
        return terms


def _quoted(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def tell_damaged(session: "Session", ids: Iterable[str]) -> None:
    """Say which jobs are damaged, and what to do about it."""
    for job_id in ids:
        delete = session.hint(f"jobs delete {job_id}")
        session.tell(f"job {job_id} is damaged and cannot run; delete it with: {delete}")
