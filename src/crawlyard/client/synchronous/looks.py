# made of asynchronous/looks.py by `python -m tests.sync_client`; a test compares it
"""What there is to know about a job: progress, settings, attempts, events, log."""

from collections.abc import Generator, Sequence

from crawlyard.client.synchronous.results import Results
from crawlyard.client.transport import if_match, part, read
from crawlyard.web.wire.exclusions import ExclusionOut
from crawlyard.web.wire.fate import FateOut
from crawlyard.web.wire.job_looks import AttemptOut, ConfigOut, JobProgressOut
from crawlyard.web.wire.jobs import EventOut, JobOut
from crawlyard.web.wire.watch import CourseOut, LineOut


class Looks(Results):
    """Tells of one job."""

    def progress(self, job_id: str) -> JobProgressOut:
        """Return how far a job has come."""
        return self._calls.one(JobProgressOut, "GET", _about(job_id, "progress"))

    def wait(self, job_id: str, *, timeout_s: float = 30.0, states: Sequence[str] = ()) -> JobOut:
        """Return a job once it has ended or its state has changed, or after *timeout_s*.

        A server waits for a minute at most; with *states*, until it is in one of them.
        """
        asked = {"timeout_s": timeout_s, "states": states}
        patience_s = timeout_s + self._calls.server.timeout_s
        path = _about(job_id, "wait")
        answer = self._calls.send("GET", path, params=asked, silence_s=patience_s)
        return read(JobOut, answer)

    def config(self, job_id: str) -> ConfigOut:
        """Return the settings in force, and where each comes from."""
        return self._calls.one(ConfigOut, "GET", _about(job_id, "config"))

    def attempts(self, job_id: str) -> Generator[AttemptOut]:
        """Yield each time that a worker had the job, the first in front."""
        return self._calls.whole(AttemptOut, _about(job_id, "attempts"))

    def events(self, job_id: str, *, limit: int | None = None) -> Generator[EventOut]:
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
    ) -> Generator[LineOut]:
        """Yield lines of a job's log above number *after*, oldest first."""
        asked = {"level": level, "q": q or None, "after": after}
        return self._calls.every(LineOut, _about(job_id, "log"), asked, limit)

    def metrics(self, job_id: str) -> CourseOut:
        """Return how a job went: rate, answers, latency, bytes and queue over time."""
        return self._calls.one(CourseOut, "GET", _about(job_id, "metrics"))

    def why(self, job_id: str, url: str) -> FateOut:
        """Return what became of a URL, or what would."""
        return self._calls.one(FateOut, "GET", _about(job_id, "why"), params={"url": url})

    def exclude(
        self, job_id: str, pattern: str, *, dry_run: bool = False, version: int | None = None
    ) -> ExclusionOut:
        """Let no URL be fetched that *pattern* matches; return how many of those that wait go."""
        return self._calls.one(
            ExclusionOut,
            "POST",
            _about(job_id, "exclusions"),
            body={"pattern": pattern, "dry_run": dry_run},
            headers=if_match(version),
        )


def _about(job_id: str, what: str) -> str:
    return f"jobs/{part(job_id)}/{what}"
