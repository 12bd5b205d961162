# made of asynchronous/events.py by `python -m tests.sync_client`; a test compares it
"""What has happened, and what happens: followed without a gap and without a repeat."""

import time
from collections.abc import Generator
from contextlib import closing
from datetime import datetime

from crawlyard.client.following import AWAY, Place, fits
from crawlyard.client.messages import Message
from crawlyard.client.synchronous.calls import Calls
from crawlyard.client.synchronous.listening import listen
from crawlyard.client.synchronous.results import Words
from crawlyard.client.transport import part
from crawlyard.core.answers.jobs.jobs import EventOut

_EVENTS = "events"


class Events:
    """Reads the events of what is yours; an admin's are all of them."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(
        self,
        *,
        type: Words = None,  # noqa: A002 - the name of the parameter
        subject: str | None = None,
        job: str | None = None,
        since: datetime | None = None,
        actor: str | None = None,
        owner: str | None = None,
        after: int | None = None,
        sort: str = "-seq",
        limit: int | None = None,
    ) -> Generator[EventOut]:
        """Yield events, newest first unless *sort* is ``seq``; *after* is a seq."""
        asked = {
            "type": type,
            "subject": subject,
            "job": job,
            "since": since,
            "actor": actor,
            "owner": owner,
            "after": after,
            "sort": sort,
        }
        return self._calls.every(EventOut, _EVENTS, asked, limit)

    def last(self) -> int:
        """Return the seq of the newest event of the yard: where to go on from."""
        answer = self._calls.send("GET", _EVENTS, params={"limit": 1})
        return int(answer.headers.get("x-event-seq", "0"))

    def stream(
        self, *, topics: Words = None, job: str | None = None, after: int | None = None
    ) -> Generator[Message]:
        """Yield the messages of one connection, progress and pings too, until it ends.

        Raises:
            Unavailable: it broke off, or what answers cannot stream.
        """
        path = f"{_EVENTS}/stream" if job is None else f"jobs/{part(job)}/events/stream"
        asked = {"topics": topics if job is None else None}
        with closing(listen(self._calls, path, asked, after)) as told:
            for message in told:
                yield message

    def follow(
        self,
        *,
        type: Words = None,  # noqa: A002 - the name of the parameter
        job: str | None = None,
        since: datetime | None = None,
        after: int | None = None,
    ) -> Generator[EventOut]:
        """Yield events as they happen, without end: none is lost, and none comes twice.

        Those that happened *since* an instant, or have a seq above *after*, come first.
        A connection that breaks off is made anew; where there can be none, the list is
        asked every second.

        Raises:
            Refused: the server does not let you listen.
        """
        place = Place(after)
        if since is not None or after is None:
            last = self.last()
            if since is not None:
                with closing(self.list(type=type, job=job, since=since, sort="seq")) as past:
                    for event in past:
                        yield event
                        last = max(last, event.seq)
            place.begin(last)
        while True:
            if place.streams():
                with closing(self._heard(place, type, job)) as heard:
                    for event in heard:
                        yield event
            if place.failures:
                with closing(self._asked(place, type, job)) as asked:
                    for event in asked:
                        yield event
            time.sleep(place.pause_s)

    def _heard(self, place: Place, type_: Words, job: str | None) -> Generator[EventOut]:
        """Yield what one connection tells from *place* on, and what it says was missed."""
        try:
            with closing(self.stream(job=job, after=place.seq)) as told:
                for message in told:
                    place.lives()
                    if place.missed(message):
                        with closing(self._asked(place, type_, job)) as asked:
                            for event in asked:
                                yield event
                    happened = place.event(message)
                    if happened is not None and fits(happened, type_):
                        yield happened
        except AWAY as error:
            place.failed(error)

    def _asked(self, place: Place, type_: Words, job: str | None) -> Generator[EventOut]:
        """Yield what the list has behind *place*; while nobody answers, nothing."""
        asked = self.list(type=type_, job=job, after=place.seq, sort="seq")
        try:
            with closing(asked) as found:
                for event in found:
                    if place.takes(event.seq):
                        yield event
        except AWAY as error:
            place.failed(error)
