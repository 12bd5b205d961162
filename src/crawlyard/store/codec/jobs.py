"""Jobs, their shards, targets and pages, and events."""

import json
import sys
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from crawlyard.core.checkpoint import Shard
from crawlyard.core.due import needs_text
from crawlyard.core.event import Event, EventName
from crawlyard.core.job import Job, Origin
from crawlyard.core.lifecycle import State, StateReason
from crawlyard.core.limits import USAGE_NAMES, Limits, Usage
from crawlyard.core.page import ErrorKind, Page, StoredPage, Target, TargetState, Via
from crawlyard.core.progress import Pulse
from crawlyard.core.spec import JobSpec
from crawlyard.core.user import Grant
from crawlyard.store.codec.base import Row, decoded, decoder_of, to_json
from crawlyard.store.codec.dates import is_dated

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


TAIL = 4
"""Characters of `jobs.tail`."""

_SPEC = decoder_of(JobSpec)
_PULSE = decoder_of(Pulse)
_LIMITS = decoder_of(Limits)


def compressed(data: bytes) -> bytes:
    """Return *data* as a zstd frame."""
    return zstd.compress(data)


def decompressed(data: bytes) -> bytes:
    """Return what a zstd frame holds."""
    return zstd.decompress(data)


def job_row(job: Job) -> dict[str, Any]:
    """Return the columns of `jobs` that change with moves."""
    return {
        "state": job.state.value,
        "state_reason": job.state_reason.value,
        "detail": job.detail,
        "version": job.version,
        "level": int(job.level),
        "turn": job.turn,
        "updated_at": job.updated_at,
        "since": job.since,
        "queued_at": job.queued_at,
        "due_at": job.due_at,
        "ready": int(job.due_at <= job.updated_at),
        "started_at": job.started_at,
        "ended_at": job.ended_at,
        "failures": job.failures,
        "losses": job.losses,
    }


def spec_row(spec: JobSpec) -> dict[str, Any]:
    """Return the columns of `jobs` that come from the spec: with 100,000 seeds, megabytes."""
    return {
        "name": spec.name,
        "spec": to_json(spec),
        "priority": int(spec.priority),
        "needs": needs_text(spec.worker_tags),
        "retention": spec.retention,
    }


def text_of(spec: JobSpec) -> str:
    """Return what a word of a filter is looked for in, as `job_texts` has it."""
    return "\n".join((spec.name, *spec.urls)).casefold()


def limits_of(text: str) -> Limits:
    """Return the limits of a spec as its JSON has them."""
    return decoded(_LIMITS, text)


def tail_of(part: str) -> str:
    """Return the last characters of an id, or of a part of one, as `jobs.tail` has them."""
    return part[-TAIL:]


def needs_of(text: str) -> list[str]:
    """Return the tags of `jobs.needs`."""
    return text.split("\n") if text else []


def new_job_row(job: Job) -> dict[str, Any]:
    """Return all columns of a row of `jobs` but its key."""
    never_change: dict[str, Any] = {
        "id": job.id,
        "tail": tail_of(job.id),
        "dated": int(is_dated(job.id, job.created_at)),
        "owner": job.owner,
        "created_at": job.created_at,
        "retry_of": job.retry_of,
        "template_id": job.origin.template_id,
        "template_version": job.origin.template_version,
        "schedule_id": job.origin.schedule_id,
        "tick_at": job.origin.tick_at,
        "given": to_json(job.origin.given) if job.origin.given else "[]",
        "by_grant": to_json(job.by_grant) if job.by_grant else "[]",
        "spread": 0,
    }
    return never_change | job_row(job) | spec_row(job.spec)


def job_of(row: Row) -> Job:
    """Return the job of a row of `jobs`."""
    return Job(
        id=row["id"],
        owner=row["owner"],
        spec=decoded(_SPEC, row["spec"]),
        state=State(row["state"]),
        state_reason=StateReason(row["state_reason"]),
        detail=row["detail"],
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        since=row["since"],
        queued_at=row["queued_at"],
        due_at=row["due_at"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        turn=row["turn"],
        aged=row["level"] - row["priority"],
        failures=row["failures"],
        losses=row["losses"],
        retry_of=row["retry_of"],
        origin=Origin(
            template_id=row["template_id"],
            template_version=row["template_version"],
            schedule_id=row["schedule_id"],
            tick_at=row["tick_at"],
            given=tuple(json.loads(row["given"])),
        ),
        by_grant=tuple(Grant(word) for word in json.loads(row["by_grant"])),
    )


def shard_row(shard: Shard) -> dict[str, Any]:
    """Return all columns of a row of `shards` but its key."""
    row = {name: getattr(shard.usage, name) for name in USAGE_NAMES}
    return row | {
        "worker": shard.worker,
        "attempt": shard.attempt,
        "lease_until": shard.lease_until,
        "seq": shard.seq,
        "pulse": to_json(shard.pulse),
        "current_url": shard.current_url,
        "recorded_at": shard.updated_at,
        "budget": to_json(dict(shard.budget)),
        "freed_at": shard.freed_at,
        "deaths": shard.deaths,
    }


def shard_of(row: Row) -> Shard:
    """Return the shard of a row of `shards`."""
    return Shard(
        worker=row["worker"],
        attempt=row["attempt"],
        lease_until=row["lease_until"],
        seq=row["seq"],
        usage=Usage(**{name: row[name] for name in USAGE_NAMES}),
        pulse=decoded(_PULSE, row["pulse"]),
        current_url=row["current_url"],
        updated_at=row["recorded_at"],
        budget=json.loads(row["budget"]),
        deaths=row["deaths"],
        freed_at=row["freed_at"],
    )


def target_row(job_no: int, target: Target, state: TargetState, rule: str) -> dict[str, Any]:
    """Return all columns of a row of `frontier` but its key."""
    return {
        "job_no": job_no,
        "fp": target.fp,
        "url": target.url,
        "host": target.host,
        "depth": target.depth,
        "via": target.via.value,
        "parent_fp": target.parent,
        "hops": target.hops,
        "origin": target.origin,
        "state": int(state),
        "tries": target.tries,
        "due_at": target.due_at,
        "rule": rule,
    }


def target_of(row: Row) -> Target:
    """Return the target of a row of `frontier`."""
    return Target(
        url=row["url"],
        fp=row["fp"],
        host=row["host"],
        depth=row["depth"],
        via=Via(row["via"]),
        parent=row["parent_fp"],
        hops=row["hops"],
        origin=row["origin"],
        tries=row["tries"],
        due_at=row["due_at"],
    )


_COPIED = tuple(n for n in Page.__struct_fields__ if n not in {"parent", "extracted", "error"})

_copied = attrgetter(*_COPIED)

PAGE_READ = ("id", *_COPIED, "parent", "extracted", "error")
"""What `page_of` takes, in its order."""


def page_row(job_no: int, target: Target, page: Page) -> dict[str, Any]:
    """Return all columns of a row of `pages` but its key; the parent is the target's."""
    row: dict[str, Any] = dict(zip(_COPIED, _copied(page), strict=True))
    row["job_no"] = job_no
    row["fp"] = target.fp
    row["parent_fp"] = target.parent
    row["extracted"] = to_json(page.extracted) if page.extracted else None
    row["error"] = page.error.value if page.error else None
    return row


def page_of(found: Sequence[Any]) -> StoredPage:
    """Return the page of a row: what `PAGE_READ` names, `parent` being the URL of its parent."""
    key, *copied, parent, extracted, error = found
    given: dict[str, list[str]] = json.loads(extracted) if extracted else {}
    page = Page(
        **dict(zip(_COPIED, copied, strict=True)),
        parent=parent,
        extracted={name: tuple(values) for name, values in given.items()},
        error=ErrorKind(error) if error else None,
    )
    return StoredPage(id=key, page=page)


def event_row(event: Event) -> dict[str, Any]:
    """Return all columns of a row of `events` but its key."""
    return {
        "subject": event.subject,
        "owner": event.owner,
        "name": event.name.value,
        "at": event.at,
        "actor": event.actor,
        "data": to_json(event.data),
    }


def event_of(row: Row) -> Event:
    """Return the event of a row of `events`."""
    return Event(
        name=EventName(row["name"]),
        subject=row["subject"],
        owner=row["owner"],
        at=row["at"],
        actor=row["actor"],
        data=json.loads(row["data"]),
        seq=row["seq"],
    )
