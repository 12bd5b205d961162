"""Answers about the log and the course of a job."""

from typing import Literal

from crawlyard.core.answer import Wire, derive_answer
from crawlyard.core.jobs.job_log import Course, LogLine, Point


@derive_answer
class LineOut(LogLine, Wire, frozen=True, kw_only=True):
    """One line of a job's log; *n* increases within the job."""

    object: Literal["log_line"] = "log_line"
    level: str  # type: ignore[assignment]  # the word for the severity


@derive_answer
class PointOut(Point, Wire, frozen=True, kw_only=True):
    """Activity of a job in one stretch of its running time."""


@derive_answer
class CourseOut(Course, Wire, frozen=True, kw_only=True):
    """Course of a job: points of about equal length, oldest first, at most 120."""

    object: Literal["metrics"] = "metrics"
    points: tuple[PointOut, ...]
