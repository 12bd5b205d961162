"""Groups: jobs that were submitted together, with one progress and one end."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from msgspec import Struct

from crawlyard.core.answer import API, Wire
from crawlyard.core.events.event import Event, EventName
from crawlyard.core.jobs.lifecycle import ENDED, State

_ENDS = frozenset({EventName.COMPLETED, EventName.FAILED, EventName.CANCELLED})


class JobGroup(Struct, frozen=True, kw_only=True):
    """The jobs of a group that are not deleted, and the totals of their usage."""

    id: str
    owner: str
    states: Mapping[State, int]  # number of jobs in each state, without zeros
    pages: int
    errors: int
    bytes: int
    discovered: int
    done: int
    created_at: datetime
    ended_at: datetime | None  # of the job that ended last

    @property
    def jobs(self) -> int:
        """Sum of all states."""
        return sum(self.states.values())

    @property
    def ended(self) -> bool:
        """True if all of its jobs have ended."""
        return self.states.keys() <= ENDED

    def completed(self, last: Event) -> Event:
        """Return the event at its end, which *last*, the event of a job, has caused."""
        return Event(
            name=EventName.GROUP_COMPLETED,
            subject=self.id,
            owner=self.owner,
            at=last.at,
            actor=last.actor,
            data={
                "jobs": self.jobs,
                "states": {str(state): count for state, count in self.states.items()},
                "pages": self.pages,
                "errors": self.errors,
            },
        )


class GroupOut(Wire, frozen=True, kw_only=True):
    """A group of jobs and its progress."""

    id: str
    object: Literal["group"] = "group"
    owner: str
    ended: bool  # all of its jobs have ended
    jobs: int
    states: Mapping[str, int]  # number of jobs in each state, without zeros
    pages: int
    errors: int
    bytes: int
    discovered: int
    done: int
    left_s: float | None  # until the job that takes longest ends; null: unknown, or ended
    created_at: datetime
    ended_at: datetime | None
    links: Mapping[str, str]

    @classmethod
    def of(cls, group: JobGroup, left_s: float | None) -> "GroupOut":
        """Return the answer for a group with its estimated time left."""
        own = f"{API}/groups/{group.id}"
        return cls.filled(
            group,
            ended=group.ended,
            jobs=group.jobs,
            states={str(state): count for state, count in group.states.items()},
            ended_at=group.ended_at if group.ended else None,
            left_s=left_s,
            links={"self": own, "jobs": f"{API}/jobs?group_id={group.id}"},
        )


def group_ended_by(event: Event) -> str | None:
    """Return the id of the group that *event* may have ended; ``None``: none."""
    group_id = event.data.get("group_id")
    if not isinstance(group_id, str):
        return None
    # an ended job that is deleted ended its group before
    removed = event.name is EventName.DELETED and event.data.get("state") not in ENDED
    return group_id if removed or event.name in _ENDS else None
