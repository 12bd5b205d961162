"""What goes over a bus, as bytes, and back: nothing that comes from outside is believed unread."""

import json
import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypeVar

from msgspec import Struct, field

from crawlyard.core.eta import Confidence, Eta
from crawlyard.core.progress import Progress

T = TypeVar("T")


class Message(Struct, frozen=True, kw_only=True):
    """What one process tells all others."""

    origin: str  # who sent it
    progress: Mapping[str, Progress] = field(default_factory=dict)  # by the ids of the jobs
    happened: bool = False  # events were stored


def message_bytes(message: Message) -> bytes:
    """Return *message* as JSON."""
    told = {
        "origin": message.origin,
        "jobs": {job_id: _told(progress) for job_id, progress in message.progress.items()},
        "happened": message.happened,
    }
    return json.dumps(told).encode()


def message_of(data: bytes) -> Message:
    """Return the message that some bytes are.

    Raises:
        ValueError: they are none, or that of a version which says it otherwise.
    """
    told = _parsed(data)
    jobs: Mapping[str, Any] = _is(told.get("jobs"), dict)
    return Message(
        origin=_is(told.get("origin"), str),
        progress={job_id: _progress(_is(one, dict)) for job_id, one in jobs.items()},
        happened=_is(told.get("happened"), bool),
    )


def progress_bytes(progress: Progress) -> bytes:
    """Return *progress* as JSON."""
    return json.dumps(_told(progress)).encode()


def progress_from(data: bytes) -> Progress:
    """Return the progress that some bytes are.

    Raises:
        ValueError: they are none, or that of a version which says it otherwise.
    """
    return _progress(_parsed(data))


def _parsed(data: bytes) -> Mapping[str, Any]:
    try:
        return _is(json.loads(data), dict)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _told(progress: Progress) -> Mapping[str, object]:
    eta = progress.eta
    return {
        "done": progress.done,
        "discovered": progress.discovered,
        "failed": progress.failed,
        "pages": progress.pages,
        "bytes": progress.bytes,
        "elapsed_s": progress.elapsed.total_seconds(),
        "rate": progress.rate,
        "current_url": progress.current_url,
        "eta": None
        if eta is None
        else {
            "p10_s": eta.p10_s,
            "p50_s": eta.p50_s,
            "p90_s": eta.p90_s,
            "confidence": eta.confidence,
            "limit": eta.limit,
        },
        "eta_unknown": progress.eta_unknown,
    }


def _progress(told: Mapping[str, Any]) -> Progress:
    eta = told.get("eta")
    return Progress(
        done=_is(told.get("done"), int),
        discovered=_is(told.get("discovered"), int),
        failed=_is(told.get("failed"), int),
        pages=_is(told.get("pages"), int),
        bytes=_is(told.get("bytes"), int),
        elapsed=_duration(told.get("elapsed_s")),
        rate=_number(told.get("rate")),
        current_url=_is(told.get("current_url"), str),
        eta=None if eta is None else _eta(_is(eta, dict)),
        eta_unknown=_is(told.get("eta_unknown"), str),
    )


def _eta(told: Mapping[str, Any]) -> Eta:
    limit = told.get("limit")
    return Eta(
        p10_s=_number(told.get("p10_s")),
        p50_s=_number(told.get("p50_s")),
        p90_s=_number(told.get("p90_s")),
        confidence=Confidence(_is(told.get("confidence"), str)),
        limit=None if limit is None else _is(limit, str),
    )


def _duration(value: object) -> timedelta:
    try:
        return timedelta(seconds=_number(value))
    except OverflowError:
        raise ValueError(f"expected seconds, got {value!r}") from None


def _number(value: object) -> float:
    number = float(value) if type(value) is int else _is(value, float)
    if not math.isfinite(number):
        raise ValueError(f"expected a number, got {value!r}")
    return number


def _is(value: object, kind: type[T]) -> T:
    if type(value) is not kind:
        raise ValueError(f"expected {kind.__name__}, got {value!r:.100}")
    return value
