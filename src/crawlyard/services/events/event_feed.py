"""Event feed: past and live events, as far as one user may see them."""

from collections.abc import AsyncGenerator, Sequence
from functools import cached_property
from typing import Annotated, Literal

from msgspec import Meta

from crawlyard.core.access.job_parts import JobPart
from crawlyard.core.access.user import Permit
from crawlyard.core.endpoints.endpoint import (
    ANYBODY,
    Cursor,
    Header,
    Instant,
    Limit,
    Slice,
    Words,
    endpoint,
    make_slice,
)
from crawlyard.core.events.event import EventName, Topic, names_of, topics_for
from crawlyard.core.jobs.answers import EventOut
from crawlyard.core.webhooks.webhook import EVERYTHING
from crawlyard.errors import Forbidden, Invalid
from crawlyard.lazy import lazily
from crawlyard.services.events.events import match_names
from crawlyard.services.jobs.terms import words_of
from crawlyard.services.noun import Noun
from crawlyard.store.queries import EventQuery

# imported when first used: it loads the store
with lazily():
    from crawlyard.services.jobs import lookup

Seq = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Id = Annotated[str, Meta(max_length=64)]
After = Annotated[Seq | None, Meta(description="The last that you have: `X-Event-Seq`.")]
LastId = Annotated[
    Seq | None, Header("Last-Event-ID"), Meta(description="The same, from a browser.")
]


class EventFeed(Noun):
    """Lists and streams the events of what one user owns or sees, for an admin all events."""

    @cached_property
    def _permitted_topics(self) -> frozenset[Topic]:
        return topics_for(self._permits, limited=self._limited)

    @endpoint("GET /events", ANYBODY, "seq")
    async def list(
        self,
        *,
        type: Annotated[  # noqa: A002 - the name of the parameter
            Words, Meta(description="Names and patterns, such as `job.*`.")
        ] = EVERYTHING,
        subject: Annotated[Id | None, Meta(description="The id of what they are about.")] = None,
        job: Annotated[Id | None, Meta(description="The same, of a job.")] = None,
        since: Annotated[
            Instant | None,
            Meta(description="At or after."),
        ] = None,
        actor: Annotated[Id | None, Meta(description="Who did it.")] = None,
        owner: Annotated[Id | None, Meta(description="`me`, or a user.")] = None,
        after: Annotated[Seq, Meta(description="Only those above this `seq`.")] = 0,
        sort: Annotated[
            Literal["-seq", "seq"], Meta(description="Newest first, or oldest first.")
        ] = "-seq",
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Slice[EventOut]:
        """List the events of what you own or others show you, for an admin all, newest first.

        Events of others have only some fields of `data`.
        """
        if subject is not None and job not in (None, subject):
            raise Invalid("job", "expected job and subject to be the same, or only one of them")
        names = names_of(self._permitted_topics) & _match_patterns(
            words_of(type), only_jobs=job is not None
        )
        owner = self._actor.id if owner == "me" else owner
        if owner is not None and not (self._actor.sees_shared or self._actor.may_see(owner)):
            names = frozenset()
        newest_first = sort == "-seq"
        query = EventQuery(
            subject=subject or job,
            owner=owner,
            actor=self._actor.id if actor == "me" else actor,
            names=names,
            since=since,
            newest_first=newest_first,
            before=int(cursor) if cursor and newest_first else None,
        )
        last_seq = int(cursor) if cursor and not newest_first else after
        events = []
        if names:  # a query without names selects all
            events = await self._services.events.list(self._actor, query, last_seq, limit + 1)
        return make_slice(events, limit, EventOut.of, lambda event: event.seq)

    @endpoint("GET /events/stream", ANYBODY, "404")
    async def stream(
        self,
        *,
        topics: Annotated[
            Words | None,
            "words",
            Meta(description=f"Some of {', '.join(Topic)}; else all you may hear."),
        ] = None,
        job: Annotated[Id | None, Meta(description="Of this job alone.")] = None,
        after: After = None,
        last_event_id: LastId = None,
    ) -> AsyncGenerator[EventOut]:
        """Stream events as server-sent events.

        The id of each event of the log is its number, so a client that reconnects with
        `Last-Event-ID` (or `after`) gets every event once; after too long a gap, `resync` tells it
        to reload its lists. The stream also has `jobs.progress`, `counts` and `workers` with the
        current state.
        """
        subscribed_topics, job = await self.resolve_topics(topics, job)
        if not subscribed_topics:
            return
        query = EventQuery(subject=job, names=names_of(subscribed_topics))
        last_seq = after if last_event_id is None else last_event_id
        async for event in self._services.events.follow(self._actor, query, last_seq):
            yield EventOut.of(event)

    @endpoint("GET /jobs/{job_id}/events/stream", Permit.JOBS_READ, noun="events")
    async def stream_of_job(
        self, job_id: str, *, after: After = None, last_event_id: LastId = None
    ) -> AsyncGenerator[EventOut]:
        """Stream one job: its events, its progress while it runs, and its latest pages."""
        async for event in self.stream(
            topics=(Topic.JOBS,), job=job_id, after=after, last_event_id=last_event_id
        ):
            yield event

    async def resolve_topics(
        self, words: Words | None, job: str | None
    ) -> tuple[frozenset[Topic], str | None]:
        """Return the topics that *words* name, or all permitted ones, and the id of *job*.

        Of a single job, there are only the events of the topic `jobs`.

        Raises:
            Forbidden: the credential does not permit one of the topics.
            Invalid: a topic is unknown, or `jobs` is not among them, though *job* is given.
            NotFound: there is no such job that the user may see.
        """
        topics = self._permitted_topics if words is None else _parse_topics(words_of(words))
        if topics - self._permitted_topics:
            forbidden = ", ".join(sorted(topics - self._permitted_topics))
            raise Forbidden(f"your credential does not permit {forbidden}")
        if job is None:
            return topics, None
        if Topic.JOBS not in topics:
            raise Invalid("job", "expected jobs among the topics")
        standing = await lookup.find_job(self._services.store, self._actor, job, JobPart.STATE)
        return frozenset({Topic.JOBS}), standing.job.id


def _parse_topics(words: Sequence[str]) -> frozenset[Topic]:
    unknown = [word for word in words if word not in set(Topic)]
    if unknown or not words:
        raise Invalid("topics", f"expected some of {', '.join(Topic)}, got {unknown!r}"[:300])
    return frozenset(Topic(word) for word in words)


def _match_patterns(patterns: Sequence[str], *, only_jobs: bool) -> frozenset[EventName]:
    try:
        names = match_names(patterns)
    except Invalid as error:
        raise Invalid("type", str(error).partition(": ")[2]) from None
    return frozenset(name for name in names if name.kind == "job" or not only_jobs)
