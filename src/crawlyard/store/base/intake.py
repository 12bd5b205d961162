"""What is asked of a store about new jobs: judged by what holds, and written, at once."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

from msgspec import Struct

from crawlyard.core.event import Event
from crawlyard.core.job import Job
from crawlyard.core.limits import Limits
from crawlyard.core.priority import Priority
from crawlyard.core.user import Grants, Quota
from crawlyard.errors import Conflict, Refused


class Rules(Struct, frozen=True, kw_only=True):
    """What holds for one more job of a user, as the transaction that writes it sees it."""

    ceilings: Limits  # of the yard, for one job
    grants: Grants
    quota: Quota
    waiting: int = 0  # of his jobs; counted only where his quota says how many may


Judge: TypeAlias = Callable[[Rules], tuple[Job, Event]]
"""Returns a new job and its event, or raises `Refused`. It may be called more than once."""


class Entrant(Struct, frozen=True, kw_only=True):
    """A job that is to be let in."""

    owner: str
    level: Priority  # that it will wait in
    judge: Judge
    like: Job | None = None  # the one that it is made like, which must not have changed
    urls: int = 1  # that it begins with: what it weighs


Entered: TypeAlias = Job | Refused | Conflict
"""A job that is stored, or why it is not."""


def check_like(entrant: Entrant, versions: Mapping[str, int]) -> None:
    """Check that the job that *entrant* is made like is as it was; *versions*: by id, now.

    Raises:
        Conflict: it has another version by now, or is gone.
    """
    like = entrant.like
    if like is not None and versions.get(like.id) != like.version:
        raise Conflict(f"job {like.id} is not at version {like.version} any more")


class IntakeStore(Protocol):
    """New jobs."""

    async def enter(self, entrants: Sequence[Entrant]) -> list[Entered]:
        """Let jobs in, in their order and in ONE transaction; return an answer to each.

        Each is judged by what holds in that transaction; those of the same owner before it
        count as waiting. No two transactions let in more of an owner than his quota says. One
        that is refused, or whose `like` has another version by now, harms no other.

        Raises:
            Conflict: an id is taken; nothing is written.
        """
        ...
