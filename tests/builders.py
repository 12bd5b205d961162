"""Records for tests: valid as they are, each field to be had otherwise."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from xxhash import xxh3_64_intdigest

from crawlyard.core.crawl.page import (
    Body,
    ErrorKind,
    Outcome,
    Page,
    PageError,
    Skipped,
    Target,
    TargetState,
)
from crawlyard.core.events.event import Event, EventName
from crawlyard.core.jobs.checkpoint import Batch
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.lifecycle import State, StateReason
from crawlyard.core.jobs.limits import Usage
from crawlyard.core.jobs.spec import JobSpec, Priority
from crawlyard.ids import new_id

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
LEASE = timedelta(seconds=8)
NOTHING: Mapping[str, object] = {}


def a_spec(**fields: Any) -> JobSpec:
    """Return a spec of one start URL."""
    defaults: dict[str, Any] = {"urls": ("https://example.com/",)}
    return JobSpec(**(defaults | fields))


def a_job(*, spec: JobSpec | None = None, priority: Priority | None = None, **fields: Any) -> Job:
    """Return a pending job that is due at `NOW`."""
    spec = spec or (a_spec() if priority is None else a_spec(priority=priority))
    defaults: dict[str, Any] = {
        "id": new_id(),
        "owner": "local",
        "state": State.PENDING,
        "state_reason": StateReason.WAITING_SLOT,
        "created_at": NOW,
        "updated_at": NOW,
        "since": NOW,
        "queued_at": NOW,
        "due_at": NOW,
    }
    return Job(spec=spec, **(defaults | fields))


def its_event(job: Job, name: EventName = EventName.CREATED, **data: object) -> Event:
    return job.event(name, NOW, "local", **data)


def noted(job: Job, at: datetime = NOW, data: Mapping[str, object] = NOTHING) -> Event:
    """Return what a worker has to say about *job*."""
    return job.event(EventName.NOTED, at, "worker:w1", **data)


def fp_of(url: str) -> int:
    """Return the signed 64-bit hash of *url*."""
    unsigned = xxh3_64_intdigest(url.encode("utf-8", "surrogatepass"))
    return unsigned - (1 << 64) if unsigned >> 63 else unsigned


def a_target(path: str = "", *, host: str = "example.com", **fields: Any) -> Target:
    """Return a target of *host*; another path is another target."""
    url = f"https://{host}/{path}"
    defaults: dict[str, Any] = {"url": url, "fp": fp_of(url), "host": host}
    return Target(**(defaults | fields))


def a_page(target: Target | None = None, **fields: Any) -> Page:
    """Return the page of *target*, answered with 200."""
    target = target or a_target()
    defaults: dict[str, Any] = {
        "url": target.url,
        "final_url": target.url,
        "status": 200,
        "content_type": "text/html",
        "title": f"Title of {target.url}",
        "depth": target.depth,
        "fetched_at": NOW,
        "bytes": 1000,
    }
    return Page(**(defaults | fields))


def done(target: Target, bodies: Mapping[Body, bytes] | None = None, **fields: Any) -> Outcome:
    """Return the outcome of a target that was answered."""
    return Outcome(target, TargetState.DONE, a_page(target, **fields), bodies or {})


def failed(
    target: Target, kind: ErrorKind = ErrorKind.TIMEOUT, detail: str = "", **fields: Any
) -> Outcome:
    """Return the outcome of a target that was given up, without an answer unless *fields* say."""
    error = PageError(kind=kind, detail=detail)
    page = a_page(target, **({"status": None, "bytes": 0, "error": error} | fields))
    return Outcome(target, TargetState.FAILED, page)


def a_batch(
    found: Sequence[Target] = (),
    outcomes: Sequence[Outcome] = (),
    skipped: Sequence[Skipped] = (),
    **fields: Any,
) -> Batch:
    """Return a batch with the usage that its outcomes make."""
    pages = [o.page for o in outcomes if o.page is not None]
    usage = Usage(
        pages=sum(p.status is not None for p in pages),
        bytes=sum(p.bytes for p in pages),
        errors=sum(p.error is not None for p in pages),
        discovered=len(found),
        done=sum(o.state is not TargetState.WAITING for o in outcomes),
        skipped=len(skipped),
    )
    defaults: dict[str, Any] = {
        "found": tuple(found),
        "outcomes": tuple(outcomes),
        "skipped": tuple(skipped),
        "usage": usage,
    }
    return Batch(**(defaults | fields))
