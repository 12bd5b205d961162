"""Snapshots: progress of running jobs, counts and workers, sent when they have changed."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime

from crawlyard.core.access.job_parts import JobPart, shows_others
from crawlyard.core.access.user import Actor
from crawlyard.core.answer import Wire
from crawlyard.core.endpoints.stream_messages import JobsProgressOut, RunningJobOut
from crawlyard.core.events.event import Topic
from crawlyard.core.jobs.job import Standing
from crawlyard.core.jobs.limits import Usage
from crawlyard.core.jobs.progress import Progress, progress_of_standing
from crawlyard.web.live.sse import Frame, frame
from crawlyard.web.live.stream import Group, Stream

_View = tuple[Group, bool, str | None, bool]
"""Owner, whether jobs that others share are included, job id, and whether all running jobs are
included or only those that progressed.
"""

_Position = tuple[float, int, int]
"""Progress of a job: running time, URLs done and discovered; it only rises."""


class ProgressBoard:
    """Sends the progress of running jobs: changes, in one message per poll.

    The running jobs and their owners are those of the last poll of the store.
    """

    def __init__(self) -> None:
        self._running: Mapping[str, Standing] = {}
        self._sent: dict[str, tuple[int, _Position]] = {}  # version and position of a job, by id
        self._has_unknown_jobs = False

    @property
    def needs_poll(self) -> bool:
        """True after progress of a job that did not run at the last poll."""
        return self._has_unknown_jobs

    def publish(
        self,
        running: Sequence[Standing],
        streams: Collection[Stream],
        fresh: Collection[Stream],
        at: datetime,
    ) -> None:
        """Send the *running* jobs that have progressed since the last poll to *streams*.

        *fresh* streams get all jobs they may see. Streams with the same view share a message.
        """
        progressed = [standing for standing in running if self._has_progressed(standing)]
        self._running = {standing.job.id: standing for standing in running}
        self._sent = {
            standing.job.id: (standing.job.version, self._latest_position(standing))
            for standing in running
        }
        self._has_unknown_jobs = False

        def make_message(view: _View) -> Frame | None:
            standings = running if view[-1] else progressed
            return _progress_message(((standing, None) for standing in standings), view, at)

        _send_by_view(streams if progressed else fresh, fresh, make_message)

    def relay(
        self, updates: Mapping[str, Progress], streams: Collection[Stream], at: datetime
    ) -> None:
        """Send *updates* of running jobs, by id, ahead of the next poll.

        Updates that are not ahead of the last message are dropped: the store may be faster.
        """
        advanced: list[tuple[Standing, Progress]] = []
        for job_id, progress in updates.items():
            standing = self._running.get(job_id)
            if standing is None:
                self._has_unknown_jobs = True
                continue
            position = progress.elapsed_s, progress.done, progress.discovered
            if position > self._sent[job_id][1]:
                self._sent[job_id] = self._sent[job_id][0], position
                advanced.append((standing, progress))
        if advanced:
            _send_by_view(streams, (), lambda view: _progress_message(advanced, view, at))

    def _has_progressed(self, standing: Standing) -> bool:
        sent = self._sent.get(standing.job.id)
        if sent is None:
            return True
        version, position = sent
        return standing.job.version != version or _position(standing.shard.usage) > position

    def _latest_position(self, standing: Standing) -> _Position:
        """Return the later of the stored and the sent position: a poll may predate an update."""
        position, sent = _position(standing.shard.usage), self._sent.get(standing.job.id)
        return (
            position if sent is None or sent[0] != standing.job.version else max(position, sent[1])
        )


def _send_by_view(
    streams: Collection[Stream], fresh: Collection[Stream], make: Callable[[_View], Frame | None]
) -> None:
    """Send the message of its view to each stream with the topic of jobs; each is made once."""
    messages: dict[_View, Frame | None] = {}
    for stream in streams:
        if Topic.JOBS not in stream.subscription.topics:
            continue
        view = (stream.group, stream.sees_shared, stream.subscription.job, stream in fresh)
        if view not in messages:
            messages[view] = make(view)
        message = messages[view]
        if message is not None:
            stream.enqueue(message)


def _position(usage: Usage) -> _Position:
    return usage.duration_s, usage.done, usage.discovered


def _progress_message(
    running: Iterable[tuple[Standing, Progress | None]], view: _View, at: datetime
) -> Frame | None:
    """Return the message of the jobs in *view*, or ``None`` if it would be an empty update.

    A progress of ``None`` is that of the standing.
    """
    group, shared, job, whole = view
    jobs = [
        RunningJobOut.of(standing, progress or progress_of_standing(standing))
        for standing, progress in running
        if group in (None, standing.job.owner)
        or (shared and shows_others(standing.job, JobPart.PAGES))
        if job in (None, standing.job.id)
    ]
    if not jobs and not whole:
        return None
    return frame("jobs.progress", JobsProgressOut(at=at, jobs=jobs))


class Board:
    """Sends a snapshot to all streams with the same rights, when it has changed."""

    def __init__(self, event: str, topic: Topic, read: Callable[[Actor], Awaitable[Wire]]) -> None:
        self._event = event
        self._topic = topic
        self._read = read
        self._last: dict[Group, Frame] = {}
        self._stale: set[Group] = set()

    def invalidate(self, *owners: str) -> None:
        """Mark the snapshots of these owners as changed; without any, of all."""
        self._stale |= {None, *(owners or self._last)}

    def is_for(self, stream: Stream) -> bool:
        """Return whether a stream gets the snapshot; one of a single job does not."""
        return self._topic in stream.subscription.topics and stream.subscription.job is None

    def _subscribers(self, streams: Collection[Stream]) -> Mapping[Group, Sequence[Stream]]:
        """Return the streams that get the snapshot, by group."""
        subscribers: dict[Group, list[Stream]] = defaultdict(list)
        for stream in streams:
            if self.is_for(stream):
                subscribers[stream.group].append(stream)
        return subscribers

    async def publish(
        self, streams: Collection[Stream], fresh: Collection[Stream], *, poll: bool
    ) -> None:
        """Send the snapshot to *fresh* streams; with *poll*, to all if it has changed."""
        if not poll and not fresh:
            return
        groups = self._subscribers(streams)
        self._last = {group: message for group, message in self._last.items() if group in groups}
        for group, members in groups.items():
            previous = self._last.get(group)
            if previous is None or (poll and group in self._stale):
                self._stale.discard(group)
                shape = await self._read(members[0].caller.actor)
                self._last[group] = frame(self._event, shape)
            message = self._last[group]
            changed = previous is None or message.data != previous.data
            for stream in members:
                if changed or stream in fresh:
                    stream.enqueue(message)
