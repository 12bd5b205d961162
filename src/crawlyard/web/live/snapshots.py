"""Snapshots: progress of running jobs, counts and workers, sent when they have changed."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime

from crawlyard.core.access.user import Actor
from crawlyard.core.answer import Wire
from crawlyard.core.endpoints.stream_messages import JobsProgressOut, RunningJobOut
from crawlyard.core.events.event import Topic
from crawlyard.core.jobs.checkpoint import Standing
from crawlyard.core.jobs.limits import Usage
from crawlyard.core.jobs.progress import Progress, progress_of_standing
from crawlyard.web.live.sse import Frame, frame
from crawlyard.web.live.stream import Group, Stream

_View = tuple[Group, str | None, bool]
"""Whose jobs, which of them, and all running ones or only those that have progressed."""

_Way = tuple[float, int, int]
"""Progress of a job: running time, URLs done and found; it only ever rises."""


class ProgressBoard:
    """Sends the progress of running jobs: what has changed, in one message per look.

    Which jobs run, and who owns them, is known from the last look at the store.
    """

    def __init__(self) -> None:
        self._running: Mapping[str, Standing] = {}
        self._told: dict[str, tuple[int, _Way]] = {}  # version of the job, and how far
        self._strangers = False

    @property
    def wants_a_look(self) -> bool:
        """Return whether there was news of a job that did not run at the last look."""
        return self._strangers

    def tell(
        self,
        running: Sequence[Standing],
        streams: Collection[Stream],
        fresh: Collection[Stream],
        at: datetime,
    ) -> None:
        """Send *streams* those of the *running* jobs that have progressed since the last look.

        The *fresh* get all that they may see. Streams that may see the same share one message.
        """
        moved = [one for one in running if self._has_moved(one)]
        self._running = {one.job.id: one for one in running}
        self._told = {one.job.id: (one.job.version, self._furthest(one)) for one in running}
        self._strangers = False

        def made(view: _View) -> Frame | None:
            found = running if view[2] else moved
            return _progress(((one, None) for one in found), view, at)

        _share(streams if moved else fresh, fresh, made)

    def hear(
        self, heard: Mapping[str, Progress], streams: Collection[Stream], at: datetime
    ) -> None:
        """Send *streams* what was *heard* of running jobs, by id, before the next look.

        What is not ahead of what was sent is left out: the store may be faster.
        """
        further: list[tuple[Standing, Progress]] = []
        for job_id, progress in heard.items():
            one = self._running.get(job_id)
            if one is None:
                self._strangers = True
                continue
            way = progress.elapsed_s, progress.done, progress.discovered
            if way > self._told[job_id][1]:
                self._told[job_id] = self._told[job_id][0], way
                further.append((one, progress))
        if further:
            _share(streams, (), lambda view: _progress(further, view, at))

    def _has_moved(self, one: Standing) -> bool:
        known = self._told.get(one.job.id)
        if known is None:
            return True
        version, way = known
        return one.job.version != version or _way(one.shard.usage) > way

    def _furthest(self, one: Standing) -> _Way:
        """Return its progress as read or as heard: a look may have begun before the news came."""
        way, known = _way(one.shard.usage), self._told.get(one.job.id)
        return way if known is None or known[0] != one.job.version else max(way, known[1])


def _share(
    streams: Collection[Stream], fresh: Collection[Stream], make: Callable[[_View], Frame | None]
) -> None:
    """Send streams with the topic of jobs the message for their view, each made once."""
    made: dict[_View, Frame | None] = {}
    for stream in streams:
        if Topic.JOBS not in stream.wish.topics:
            continue
        view = (stream.group, stream.wish.job, stream in fresh)
        if view not in made:
            made[view] = make(view)
        message = made[view]
        if message is not None:
            stream.put(message)


def _way(usage: Usage) -> _Way:
    return usage.duration_s, usage.done, usage.discovered


def _progress(
    found: Iterable[tuple[Standing, Progress | None]], view: _View, at: datetime
) -> Frame | None:
    """Return the message of what is found and in *view*; one of nothing only of the whole.

    A progress that is ``None`` is that of the standing.
    """
    group, job, whole = view
    shown = [
        RunningJobOut.of(one, progress or progress_of_standing(one))
        for one, progress in found
        if group in (None, one.job.owner) and job in (None, one.job.id)
    ]
    if not shown and not whole:
        return None
    return frame("jobs.progress", JobsProgressOut(at=at, jobs=shown))


class Board:
    """Sends something that is the same for all who may see the same, when it has changed."""

    def __init__(self, event: str, topic: Topic, read: Callable[[Actor], Awaitable[Wire]]) -> None:
        self._event = event
        self._topic = topic
        self._read = read
        self._last: dict[Group, Frame] = {}
        self._stale: set[Group] = set()

    def stain(self, *owners: str) -> None:
        """Mark the state of these owners as changed; without any: everybody's."""
        self._stale |= {None, *(owners or self._last)}

    def is_for(self, stream: Stream) -> bool:
        """Return whether a stream gets it; one that follows a single job does not."""
        return self._topic in stream.wish.topics and stream.wish.job is None

    def _listeners(self, streams: Collection[Stream]) -> Mapping[Group, Sequence[Stream]]:
        """Return the streams that get it, by what they may see."""
        found: dict[Group, list[Stream]] = defaultdict(list)
        for stream in streams:
            if self.is_for(stream):
                found[stream.group].append(stream)
        return found

    async def tell(
        self, streams: Collection[Stream], fresh: Collection[Stream], *, look: bool
    ) -> None:
        """Send it to the *fresh*; with *look*, also to the others if it has changed."""
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
