"""Lines of consecutive jobs, and the lines whose last jobs have failed."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum, auto

from msgspec import Struct

from crawlyard.core.jobs.lifecycle import State

IN_A_ROW = 3
"""Consecutive failed jobs, or refused requests, that cause a notice."""


class SubjectKind(StrEnum):
    """Nouns that a notice can be about."""

    JOB = auto()
    SCHEDULE = auto()
    TEMPLATE = auto()
    HOST = auto()
    WEBHOOK = auto()


class NoticeLine(Struct, frozen=True, kw_only=True):
    """Consecutive jobs of one schedule, else of one template, else of one name."""

    kind: SubjectKind  # SCHEDULE, TEMPLATE, or JOB for a name
    key: str  # the id, or the name
    owner: str


def line_of(
    owner: str, schedule_id: str | None, template_id: str | None, name: str
) -> NoticeLine | None:
    """Return the line of such a job; ``None`` if it belongs to none."""
    for kind, key in (
        (SubjectKind.SCHEDULE, schedule_id),
        (SubjectKind.TEMPLATE, template_id),
        (SubjectKind.JOB, name),
    ):
        if key:
            return NoticeLine(kind=kind, key=key, owner=owner)
    return None


class JobEnd(Struct, frozen=True, kw_only=True):
    """End of a job in a line: completed or failed."""

    job_id: str
    state: State
    ended_at: datetime


def suspects(failures: Iterable[tuple[NoticeLine | None, JobEnd]]) -> Mapping[NoticeLine, datetime]:
    """Return the lines with enough failed jobs, and when the first of these failed.

    *failures* starts with the latest; lines are in the order of their latest failures.
    """
    failures_by_line: dict[NoticeLine, list[JobEnd]] = {}
    for line, end in failures:
        if line is not None:
            failures_by_line.setdefault(line, []).append(end)
    return {
        line: ends[-1].ended_at for line, ends in failures_by_line.items() if len(ends) >= IN_A_ROW
    }


def streak(ends: Sequence[JobEnd]) -> Sequence[JobEnd]:
    """Return the leading failures of *ends*, which starts with the latest."""
    failed: list[JobEnd] = []
    for end in ends:
        if end.state is not State.FAILED:
            break
        failed.append(end)
    return failed
