"""What there is to know about a job: progress, settings, attempts, events, log."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from crawlyard.client.asynchronous.listening import listen
from crawlyard.client.asynchronous.results import Results
from crawlyard.client.following import AWAY, LogPlace, stands_still
from crawlyard.client.messages import Message
from crawlyard.client.transport import if_match, part, read
from crawlyard.core.answers.fleet.watch import CourseOut, LineOut
from crawlyard.core.answers.jobs.exclusions import ExclusionOut
from crawlyard.core.answers.jobs.fate import FateOut
from crawlyard.core.answers.jobs.job_looks import AttemptOut, ConfigOut, JobProgressOut, ShardOut
from crawlyard.core.answers.jobs.jobs import EventOut, JobOut


class Looks(Results):
    """Tells of one job."""

    async def progress(self, job_id: str) -> JobProgressOut:
        """Return how far a job has come."""
        return await self._calls.one(JobProgressOut, "GET", _about(job_id, "progress"))

    async def wait(
        self, job_id: str, *, timeout_s: float = 30.0, states: Sequence[str] = ()
    ) -> JobOut:
        """Return a job once it has ended or its state has changed, or after *timeout_s*.

        A server waits for a minute at most; with *states*, until it is in one of them.
        """
        asked = {"timeout_s": timeout_s, "states": states}
        patience_s = timeout_s + self._calls.server.timeout_s
        path = _about(job_id, "wait")
        answer = await self._calls.send("GET", path, params=asked, silence_s=patience_s)
        return read(JobOut, answer)

    async def config(self, job_id: str) -> ConfigOut:
        """Return the settings in force, and where each comes from."""
        return await self._calls.one(ConfigOut, "GET", _about(job_id, "config"))

    def attempts(self, job_id: str) -> AsyncGenerator[AttemptOut]:
        """Yield each time that a worker had the job, the first in front."""
        return self._calls.whole(AttemptOut, _about(job_id, "attempts"))

    def shards(self, job_id: str) -> AsyncGenerator[ShardOut]:
        """Yield the parts that a job is spread over, by number; none if one worker has it all."""
        return self._calls.whole(ShardOut, _about(job_id, "shards"))

    def events(self, job_id: str, *, limit: int | None = None) -> AsyncGenerator[EventOut]:
        """Yield what has happened to a job, oldest first."""
        return self._calls.every(EventOut, _about(job_id, "events"), limit=limit)

    def log(
        self,
        job_id: str,
        *,
        level: str = "info",
        q: str = "",
        after: int = 0,
        limit: int | None = None,
    ) -> AsyncGenerator[LineOut]:
        """Yield lines of a job's log above number *after*, oldest first."""
        asked = {"level": level, "q": q or None, "after": after}
        return self._calls.every(LineOut, _about(job_id, "log"), asked, limit)

    async def log_stream(
        self, job_id: str, *, level: str = "info", after: int = 0
    ) -> AsyncGenerator[Message]:
        """Yield the messages of one connection to a job's log, pings too, until it ends.

        Raises:
            Unavailable: it broke off, or what answers cannot stream.
        """
        path = _about(job_id, "log/stream")
        async with aclosing(listen(self._calls, path, {"level": level}, after)) as told:
            async for message in told:
                yield message

    async def follow_log(
        self, job_id: str, *, level: str = "info", after: int = 0
    ) -> AsyncGenerator[LineOut]:
        """Yield lines of a job's log above number *after*, then each new one.

        It ends with the last line of a job that has ended. None is lost that is still
        kept, and none comes twice: a connection that breaks off is made anew; where there
        can be none, the list is asked every second.

        Raises:
            Refused: there is no such job, or the server does not let you read it any more.
        """
        place = LogPlace(after)
        while True:
            if place.streams():
                async with aclosing(self._heard(place, job_id, level)) as heard:
                    async for line in heard:
                        yield line
            if place.failures and not place.over:
                async with aclosing(self._asked(place, job_id, level)) as asked:
                    async for line in asked:
                        yield line
            if place.over:
                return
            await asyncio.sleep(place.pause_s)

    async def _heard(self, place: LogPlace, job_id: str, level: str) -> AsyncGenerator[LineOut]:
        """Yield what one connection tells from *place* on."""
        connection = self.log_stream(job_id, level=level, after=place.seq or 0)
        try:
            async with aclosing(connection) as told:
                async for message in told:
                    place.lives()
                    for line in place.lines(message):
                        yield line
                    if place.over:
                        return
        except AWAY as error:
            place.failed(error)

    async def _asked(self, place: LogPlace, job_id: str, level: str) -> AsyncGenerator[LineOut]:
        """Yield what the list has behind *place*; while nobody answers, nothing."""
        try:
            job = await self._calls.one(JobOut, "GET", f"jobs/{part(job_id)}")
            async with aclosing(self.log(job_id, level=level, after=place.seq or 0)) as found:
                async for line in found:
                    if place.takes(line.n):
                        yield line
        except AWAY as error:
            place.failed(error)
        else:
            place.over = stands_still(job)  # asked first: what it said last is listed by now

    async def metrics(self, job_id: str) -> CourseOut:
        """Return how a job went: rate, answers, latency, bytes and queue over time."""
        return await self._calls.one(CourseOut, "GET", _about(job_id, "metrics"))

    async def why(self, job_id: str, url: str) -> FateOut:
        """Return what became of a URL, or what would."""
        return await self._calls.one(FateOut, "GET", _about(job_id, "why"), params={"url": url})

    async def exclude(
        self, job_id: str, pattern: str, *, dry_run: bool = False, version: int | None = None
    ) -> ExclusionOut:
        """Let no URL be fetched that *pattern* matches; return how many of those that wait go."""
        return await self._calls.one(
            ExclusionOut,
            "POST",
            _about(job_id, "exclusions"),
            body={"pattern": pattern, "dry_run": dry_run},
            headers=if_match(version),
        )


def _about(job_id: str, what: str) -> str:
    return f"jobs/{part(job_id)}/{what}"
