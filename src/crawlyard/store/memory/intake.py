"""`IntakeStore` over dictionaries."""

# ruff: noqa: D102  # the Protocols in store/base say what each method does

from collections.abc import Mapping, Sequence

from msgspec import Struct

from crawlyard.core.desk import Section
from crawlyard.core.event import Event
from crawlyard.core.job import Job
from crawlyard.core.lifecycle import State
from crawlyard.core.policy import SectionName, ceilings_of, grants_of
from crawlyard.core.user import NO_QUOTA
from crawlyard.errors import Conflict, Refused
from crawlyard.store.base.intake import Entered, Entrant, Rules, check_like
from crawlyard.store.memory.shelf import Shelf


class MemoryIntake(Struct, frozen=True):
    """`IntakeStore` in memory."""

    _shelf: Shelf

    async def enter(self, entrants: Sequence[Entrant]) -> list[Entered]:
        answers: list[Entered] = []
        made: list[tuple[Job, Event]] = []
        for entrant in entrants:
            try:
                job, event = self._judged(entrant, [job for job, _ in made])
            except (Refused, Conflict) as refusal:
                answers.append(refusal)
            else:
                made.append((job, event))
                answers.append(job)
        ids = [job.id for job, _ in made]
        if len({*ids, *self._shelf.records}) < len(ids) + len(self._shelf.records):
            raise Conflict(f"there is a job {' or '.join(ids)} already")
        for job, event in made:
            self._shelf.add(job)
            self._shelf.tell(event)
        return answers

    def _judged(self, entrant: Entrant, before: Sequence[Job]) -> tuple[Job, Event]:
        owner, there = entrant.owner, [record.job for record in self._shelf.there()]
        check_like(entrant, {job.id: job.version for job in there})
        user = self._shelf.users.get(owner)
        waiting = sum(job.owner == owner and job.state is State.PENDING for job in there)
        return entrant.judge(
            Rules(
                ceilings=ceilings_of(self._section(SectionName.CEILINGS)),
                grants=grants_of(self._section(SectionName.GRANTS)),
                quota=user.quota if user else NO_QUOTA,
                waiting=waiting + sum(job.owner == owner for job in before),
            )
        )

    def _section(self, name: SectionName) -> Mapping[str, object]:
        return self._shelf.sections.get(name, Section(name=name)).value
