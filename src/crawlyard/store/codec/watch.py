"""Rows of worker reports, log lines and courses, and frontier rows as they are shown."""

from typing import Any

from msgspec.structs import replace

from crawlyard.core.crawl.page import KnownURL, TargetState, Via
from crawlyard.core.jobs.job_log import Course, Level, LogLine
from crawlyard.core.overview.worker_status import WorkerReport, WorkerWish
from crawlyard.store.codec.base import Row, decoder_of, to_json

_REPORT = decoder_of(WorkerReport)
_COURSE = decoder_of(Course)


def worker_row(report: WorkerReport) -> dict[str, Any]:
    """Return the columns of a row of `workers` that its worker writes."""
    said = to_json(replace(report, wish=WorkerWish.NONE))
    return {"id": report.id, "report": said, "beat_at": report.beat_at}


def worker_of(row: Row) -> WorkerReport:
    """Return the report of a row of `workers`."""
    return replace(_REPORT.decode(row["report"]), wish=WorkerWish(row["wish"]))


def line_row(job_no: int, n: int, line: LogLine) -> dict[str, Any]:
    """Return all columns of a row of `log_lines`, the *n*-th of its job; `LogLine.n` is ignored."""
    return {
        "job_no": job_no,
        "n": n,
        "at": line.at,
        "level": int(line.level),
        "message": line.message,
        "url": line.url,
    }


def line_of(row: Row) -> LogLine:
    """Return the line of a row of `log_lines`."""
    return LogLine(
        at=row["at"], level=Level(row["level"]), message=row["message"], url=row["url"], n=row["n"]
    )


def course_row(job_no: int, course: Course) -> dict[str, Any]:
    """Return all columns of a row of `courses`."""
    return {"job_no": job_no, "course": to_json(course)}


def course_of(text: str) -> Course:
    """Return the course stored as *text*."""
    return _COURSE.decode(text)


def known_of(row: Row) -> KnownURL:
    """Return the URL of a row of `frontier`; its `parent` must be the URL of the parent."""
    return KnownURL(
        key=row["id"],
        url=row["url"],
        host=row["host"],
        depth=row["depth"],
        via=Via(row["via"]),
        state=TargetState(row["state"]),
        rule=row["rule"],
        tries=row["tries"],
        due_at=row["due_at"],
        parent=row["parent"],
    )
