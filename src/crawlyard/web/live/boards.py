"""How things stand, told again where it has changed: running jobs, counts, workers."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime

from crawlyard.core.checkpoint import Standing
from crawlyard.core.topic import Topic
from crawlyard.core.user import Actor
from crawlyard.services.job_reader import progress_of_standing
from crawlyard.web.live.frames import Frame, frame
from crawlyard.web.live.stream import Group, Stream
from crawlyard.web.wire.base import Wire
from crawlyard.web.wire.live import JobProgressOut, JobsProgressOut

_View = tuple[Group, str | None, bool]
"""Whose jobs, which of them, and all that run or only those that have come further."""


class ProgressBoard:
    """Tells how far the running jobs have come: what has changed, in one message a look."""

    def __init__(self) -> None:
        self._told: Mapping[str, tuple[int, int]] = {}

    def tell(
        self,
        running: Sequence[Standing],
        streams: Collection[Stream],
        fresh: Collection[Stream],
        at: datetime,
    ) -> None:
        """Tell *streams* which of the *running* jobs have come further since the last look.

        The *fresh* are told of all that they may see. Streams that may see the same
        share one message.
        """
        now = {one.job.id: (one.job.version, one.shard.seq) for one in running}
        moved = [one for one in running if self._told.get(one.job.id) != now[one.job.id]]
        self._told = now
        made: dict[_View, Frame | None] = {}
        for stream in streams if moved else fresh:
            if Topic.JOBS not in stream.wish.topics:
                continue
            whole = stream in fresh
            view = (stream.group, stream.wish.job, whole)
            if view not in made:
                made[view] = _progress(running if whole else moved, view, at)
            message = made[view]
            if message is not None:
                stream.put(message)


def _progress(found: Sequence[Standing], view: _View, at: datetime) -> Frame | None:
    """Return the message of what is found and in *view*; one of nothing only of the whole."""
    group, job, whole = view
    shown = [
        JobProgressOut.of(one, progress_of_standing(one))
        for one in found
        if group in (None, one.job.owner) and job in (None, one.job.id)
    ]
    if not shown and not whole:
        return None
    return frame("jobs.progress", JobsProgressOut(at=at, jobs=shown))


class Board:
    """Tells something that is the same for all who may see the same, when it has changed."""

    def __init__(self, event: str, topic: Topic, read: Callable[[Actor], Awaitable[Wire]]) -> None:
        self._event = event
        self._topic = topic
        self._read = read
        self._last: dict[Group, Frame] = {}
        self._stale: set[Group] = set()

    def stain(self, *owners: str) -> None:
        """Take note that what these have is not as it was; without any: everybody's."""
        self._stale |= {None, *(owners or self._last)}

    def is_for(self, stream: Stream) -> bool:
        """Tell whether somebody is told; who follows one job is not."""
        return self._topic in stream.wish.topics and stream.wish.job is None

    def _listeners(self, streams: Collection[Stream]) -> Mapping[Group, Sequence[Stream]]:
        """Return who is told, by what they may see."""
        found: dict[Group, list[Stream]] = defaultdict(list)
        for stream in streams:
            if self.is_for(stream):
                found[stream.group].append(stream)
        return found

    async def tell(
        self, streams: Collection[Stream], fresh: Collection[Stream], *, look: bool
    ) -> None:
        """Tell the *fresh* how it stands; with *look*, also the others if it has changed."""
        if not look and not fresh:
            return
        groups = self._listeners(streams)
        self._last = {group: told for group, told in self._last.items() if group in groups}
        for group, listening in groups.items():
            known = self._last.get(group)
            if known is None or (look and group in self._stale):
                self._stale.discard(group)
                shape = await self._read(listening[0].caller.actor)
                self._last[group] = frame(self._event, shape)
            told = self._last[group]
            changed = known is None or told.data != known.data
            for stream in listening:
                if changed or stream in fresh:
                    stream.put(told)
