"""Where a crawl begins, and how it ends."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field

from crawlyard.core.lifecycle import StateReason
from crawlyard.core.limits import Usage
from crawlyard.core.page import Target


@dataclass(frozen=True, slots=True)
class Start:
    """Where a crawl begins or goes on."""

    key: str  # of the job, for the host gate
    usage: Usage
    known: set[int] = field(default_factory=set)  # fp of every URL ever found; taken over
    waiting: Sequence[Target] = ()  # the first window of the frontier, in its order
    roots: Sequence[str] = ()  # where redirects of start URLs led
    load: Callable[[int, Collection[str]], Awaitable[Sequence[Target]]] | None = None


@dataclass(frozen=True, slots=True)
class End:
    """How a crawl ended by itself."""

    reason: StateReason
    detail: str = ""
