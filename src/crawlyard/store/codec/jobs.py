"""Rows of jobs, their shards, targets and pages."""

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import attrgetter
from typing import Any

from msgspec import convert
from msgspec.structs import replace

from crawlyard.core.access.job_parts import hidden_by
from crawlyard.core.access.user import Grant
from crawlyard.core.crawl.page import (
    ErrorKind,
    Page,
    PageError,
    StoredPage,
    Target,
    TargetState,
    Via,
)
from crawlyard.core.fields import as_stored
from crawlyard.core.jobs.job import Job, Origin, Shard
from crawlyard.core.jobs.lifecycle import State, StateReason
from crawlyard.core.jobs.limits import USAGE_NAMES, Limits, Usage
from crawlyard.core.jobs.pulse import Pulse
from crawlyard.core.jobs.queue import needs_text
from crawlyard.core.jobs.spec import JobSpec, Priority
from crawlyard.errors import Invalid
from crawlyard.store.codec.base import (
    UNREADABLE,
    Row,
    decoder_of,
    field_errors,
    object_of,
    to_json,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


_UNREADABLE_URL = "(unreadable)"  # placeholder for a start URL
_TIMESTAMP_COLUMNS = (
    *("created_at", "updated_at", "since", "queued_at", "due_at"),
    *("started_at", "ended_at"),
)
_JOB_COLUMNS = (
    *("id", "owner", "state", "state_reason", "detail", "version", "turn", "failures", "losses"),
    *("retry_of", "template_id", "template_version", "schedule_id", "tick_at"),
    "group_id",
    *("given", "by_grant", *_TIMESTAMP_COLUMNS),
)

TAIL_LENGTH = 4
"""Number of characters of `jobs.tail`."""

_SPEC = decoder_of(JobSpec)
_PULSE = decoder_of(Pulse)
_LIMITS = decoder_of(Limits)


def compress(data: bytes) -> bytes:
    """Return *data* as a zstd frame."""
    return zstd.compress(data)


def compress_each() -> Callable[[bytes], bytes]:
    """Return a function for one thread that does what `compress` does: many in half the time."""
    compressor = zstd.ZstdCompressor()
    return partial(compressor.compress, mode=compressor.FLUSH_FRAME)


def decompress(data: bytes) -> bytes:
    """Return the content of a zstd frame."""
    return zstd.decompress(data)


def decompress_text(data: bytes | None) -> bytes:
    """Return the text in a zstd frame; empty if there is none or it is damaged."""
    return (data and decompress_body(data)) or b""


def decompress_body(data: bytes) -> bytes | None:
    """Return the content of a zstd frame, ``None`` if it is damaged."""
    try:
        return decompress(data)
    except zstd.ZstdError:
        return None


def state_columns(job: Job) -> dict[str, Any]:
    """Return the columns of `jobs` that change with state transitions."""
    return {
        "state": job.state.value,
        "state_reason": job.state_reason.value,
        "detail": job.detail,
        "version": job.version,
        "level": job.level.rank,
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


def spec_columns(spec: JobSpec) -> dict[str, Any]:
    """Return the columns of `jobs` that come from the spec: megabytes, with 100,000 seeds."""
    return {
        "name": spec.name,
        "spec": to_json(spec),
        "priority": spec.priority.rank,
        "needs": needs_text(spec.worker_tags),
        "based_on": spec.since,
        "hidden": int(hidden_by(spec)),
        "retention": None if spec.retention_s is None else timedelta(seconds=spec.retention_s),
    }


def search_text(spec: JobSpec) -> str:
    """Return the text that filters search for a word, as stored in `job_texts`."""
    return "\n".join((spec.name, *spec.urls)).casefold()


def limits_of(text: str) -> Limits:
    """Return the limits in the JSON of a spec, or no limits if they are damaged.

    A running job goes on, as do the others of its worker; the next claim finds the damage.
    """
    try:
        return _LIMITS.decode(text)
    except (ValueError, TypeError, Invalid):
        return Limits()


def id_tail(part: str) -> str:
    """Return the last characters of an id, or of a part of one, as stored in `jobs.tail`."""
    return part[-TAIL_LENGTH:]


def parse_needs(text: str) -> list[str]:
    """Return the tags of `jobs.needs`."""
    return text.split("\n") if text else []


def new_job_row(job: Job) -> dict[str, Any]:
    """Return all columns of a row of `jobs` except its key."""
    constant_columns: dict[str, Any] = {
        "id": job.id,
        "tail": id_tail(job.id),
        "dated": int(has_creation_time(job.id, job.created_at)),
        "owner": job.owner,
        "created_at": job.created_at,
        "retry_of": job.retry_of,
        "template_id": job.origin.template_id,
        "template_version": job.origin.template_version,
        "schedule_id": job.origin.schedule_id,
        "tick_at": job.origin.tick_at,
        "group_id": job.origin.group_id,
        "given": to_json(job.origin.given) if job.origin.given else "[]",
        "by_grant": to_json(job.by_grant) if job.by_grant else "[]",
        "spread": 0,
        "unique_key": job.spec.unique_key,
        "settled_pages": 0,
    }
    return constant_columns | state_columns(job) | spec_columns(job.spec)


def job_of(row: Row) -> Job:
    """Return the job of a row of `jobs`.

    A row that cannot be read, for example after a manual edit, gives a job that is `damaged`
    and cannot run, so that it does not fail a whole list.
    """
    try:
        with as_stored():
            job = _job_of(row)
    except (ValueError, TypeError, Invalid):
        return _decode_damaged(row)
    instants = (job.created_at, job.updated_at, job.since, job.queued_at, job.due_at)
    return _decode_damaged(row) if UNREADABLE in (*instants, job.started_at, job.ended_at) else job


def _job_of(row: Row) -> Job:
    spec, aged = _SPEC.decode(row["spec"]), row["level"] - row["priority"]
    Priority.from_rank(spec.priority.rank + aged)
    return Job(
        id=row["id"],
        owner=row["owner"],
        spec=spec,
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
        aged=aged,
        failures=row["failures"],
        losses=row["losses"],
        retry_of=row["retry_of"],
        origin=Origin(
            template_id=row["template_id"],
            template_version=row["template_version"],
            schedule_id=row["schedule_id"],
            tick_at=row["tick_at"],
            group_id=row["group_id"],
            given=tuple(json.loads(row["given"])),
        ),
        by_grant=tuple(Grant(word) for word in json.loads(row["by_grant"])),
    )


_DECODERS: Mapping[str, tuple[Callable[[Any], object], Any]] = {
    "state": (State, State.FAILED),
    "state_reason": (StateReason, StateReason.INTERNAL_ERROR),
    "level": (Priority.from_rank, Priority.NORMAL.rank),
    "priority": (Priority.from_rank, Priority.NORMAL.rank),
    "given": (json.loads, "[]"),
    "by_grant": (lambda text: [Grant(word) for word in json.loads(text)], "[]"),
}
"""Columns that may hold an invalid value: their decoder, and the fallback."""


def _decode_damaged(row: Row) -> Job:
    """Return the readable parts of a row as a job; `Job.damaged` lists the problems."""
    spec, problems = _readable_spec(row)
    replacements: dict[str, Any] = {"spec": to_json(spec)}
    for name, (decode, fallback) in _DECODERS.items():
        try:
            decode(row[name])
        except (ValueError, TypeError) as error:
            problems.append(f"{name}: {error}")
            replacements[name] = fallback
    problems += [
        f"{name}: not a timestamp" for name in _TIMESTAMP_COLUMNS if row[name] == UNREADABLE
    ]
    replacements["level"] = replacements["priority"] = spec.priority.rank  # not aged
    values = {name: row[name] for name in _JOB_COLUMNS} | replacements
    damage = "; ".join(problems) or "level: does not match the priority"
    return replace(_job_of(values), damaged=damage)


def _readable_spec(row: Row) -> tuple[JobSpec, list[str]]:
    """Return the readable parts of a row's spec, and the problems of its other parts."""
    stored = object_of(row["spec"])
    values: dict[str, Any] = dict(stored or {})
    errors = field_errors(JobSpec, values)
    problems = [f"spec: {error}" for error in errors.values()]
    if stored is None:
        problems.append("spec: not a JSON object")
    for name in errors:
        del values[name]
    values = {"urls": [_UNREADABLE_URL], "name": str(row["name"])[:200]} | values
    while True:
        try:
            return convert(values, JobSpec, strict=False), problems
        except Invalid as error:  # of the right type, but out of range
            problems += [f"spec: {fault}" for fault in error.faults]
            names = {fault.field.partition(".")[0] for fault in error.faults}
            values = {n: v for n, v in values.items() if n not in names}
            values.setdefault("urls", [_UNREADABLE_URL])


def shard_row(shard: Shard) -> dict[str, Any]:
    """Return all columns of a row of `shards` except its key."""
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
        "asked_by": shard.asked_by,
        "deaths": shard.deaths,
    }


def shard_of(row: Row) -> Shard:
    """Decode a row of `shards`; a damaged pulse or budget is empty."""
    return Shard(
        worker=row["worker"],
        attempt=row["attempt"],
        lease_until=row["lease_until"],
        seq=row["seq"],
        usage=Usage(**{name: row[name] for name in USAGE_NAMES}),
        pulse=_pulse_of(row["pulse"]),
        current_url=row["current_url"],
        updated_at=row["recorded_at"],
        budget=object_of(row["budget"]) or {},
        deaths=row["deaths"],
        freed_at=row["freed_at"],
        asked_by=row["asked_by"],
    )


def _pulse_of(text: str) -> Pulse:
    try:
        return _PULSE.decode(text)
    except ValueError:  # damaged: the estimates start anew
        return Pulse()


def target_row(job_no: int, target: Target, state: TargetState, rule: str) -> dict[str, Any]:
    """Return all columns of a row of `frontier` except its key."""
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
    """Decode a row of `frontier`, without its state and rule."""
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


_CONVERTED = ("parent", "extracted", "structured", "error")  # fields that need a conversion
_COPIED = tuple(name for name in Page.__struct_fields__ if name not in _CONVERTED)

_copied_values = attrgetter(*_COPIED)

PAGE_COLUMNS = ("id", *_COPIED, *_CONVERTED, "error_detail")
"""The columns that `page_of` takes, in this order."""


def page_row(job_no: int, target: Target, page: Page, body_of: int | None = None) -> dict[str, Any]:
    """Return all columns of a row of `pages` except its key; the parent is that of the target."""
    row: dict[str, Any] = dict(zip(_COPIED, _copied_values(page), strict=True))
    row["job_no"] = job_no
    row["fp"] = target.fp
    row["parent_fp"] = target.parent
    row["body_of"] = body_of
    row["extracted"] = to_json(page.extracted) if page.extracted else None
    row["structured"] = to_json(page.structured) if page.structured else None
    row["error"] = page.error.kind.value if page.error else None
    row["error_detail"] = page.error.detail if page.error else ""
    return row


def page_of(values: Sequence[Any]) -> StoredPage:
    """Return the page of a row of the columns `PAGE_COLUMNS`; `parent` is the URL of its parent.

    A row that cannot be read gives a page with what is readable, and an error that says what is
    not, so that it does not fail a whole list.
    """
    row = dict(zip(PAGE_COLUMNS, values, strict=True))
    key, detail = row.pop("id"), row.pop("error_detail")
    try:
        row["extracted"] = _decode_extracted(row["extracted"]) if row["extracted"] else {}
        row["structured"] = _decode_object(row["structured"]) if row["structured"] else {}
        error = PageError(kind=ErrorKind(row["error"]), detail=detail) if row["error"] else None
        is_damaged = UNREADABLE in (row["fetched_at"], row["unchanged_since"])
    except (ValueError, TypeError, AttributeError):
        is_damaged = True
    row["error"] = _clear_damaged(row) if is_damaged else error
    return StoredPage(id=key, page=Page(**row))


def _decode_extracted(text: str) -> Mapping[str, tuple[str, ...]]:
    return {name: tuple(values) for name, values in json.loads(text).items()}


def _decode_object(text: str) -> Mapping[str, Any]:
    return dict(json.loads(text))


_PAGE_DECODERS: Mapping[str, Callable[[Any], object]] = {
    "extracted": _decode_extracted,
    "structured": _decode_object,
    "error": ErrorKind,
}


def _clear_damaged(row: dict[str, Any]) -> PageError:
    """Empty the unreadable columns of a row of `pages`; return an error that names them."""
    names = [name for name in ("fetched_at", "unchanged_since") if row[name] == UNREADABLE]
    for name, decode in _PAGE_DECODERS.items():
        try:
            if isinstance(row[name], str):
                row[name] = decode(row[name])
        except (ValueError, TypeError, AttributeError):
            names.append(name)
            row[name] = {}
        row[name] = row[name] or {}
    detail = f"damaged: its row cannot be read ({', '.join(names)})"
    return PageError(kind=ErrorKind.INTERNAL, detail=detail)


def error_kind_of(text: str) -> ErrorKind:
    """Return the kind of error in a row of `pages`; `INTERNAL` if it is unknown."""
    try:
        return ErrorKind(text)
    except ValueError:
        return ErrorKind.INTERNAL


# --- creation times in job ids: a UUIDv7 begins with the milliseconds since 1970
# Source: RFC 9562, section 5.7.

MAX_DRIFT = timedelta(minutes=1)
"""Maximum difference between the time in an id and `created_at`."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_MAX_DRIFT_MS = MAX_DRIFT // _MILLISECOND
_MAX_MS = 2**48 - 1
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def has_creation_time(job_id: str, created_at: datetime) -> bool:
    """Return whether an id has a time, and it differs from *created_at* by at most `MAX_DRIFT`."""
    if _UUID.fullmatch(job_id) is None:
        return False
    difference_ms = int(job_id[:8] + job_id[9:13], 16) - (created_at - _EPOCH) // _MILLISECOND
    return abs(difference_ms) <= _MAX_DRIFT_MS


def min_id(created_from: datetime) -> str:
    """Return a lower bound of the ids of `dated` jobs created at *created_from* or later."""
    return f"{_id_prefix(created_from, -MAX_DRIFT)}-0000-0000-000000000000"


def max_id(created_until: datetime) -> str:
    """Return an upper bound of the ids of `dated` jobs created until *created_until*."""
    return f"{_id_prefix(created_until, MAX_DRIFT)}-ffff-ffff-ffffffffffff"


def _id_prefix(at: datetime, drift: timedelta) -> str:
    # not `at + drift`: the sum may be out of the range of datetime
    time_ms = (at - _EPOCH) // _MILLISECOND + drift // _MILLISECOND
    digits = f"{min(max(time_ms, 0), _MAX_MS):012x}"
    return f"{digits[:8]}-{digits[8:]}"
