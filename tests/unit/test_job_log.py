"""The course of a job, and the lines of its log."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from crawlyard.core.crawl.page import ErrorKind, Outcome, TargetState
from crawlyard.core.jobs.checkpoint import Batch
from crawlyard.core.jobs.job_log import FIRST_STEP_S, MOST_POINTS, Course, Level, Point
from crawlyard.core.jobs.limits import Usage
from crawlyard.services.workers.job_log import MOST_PER_BATCH, JobLog, lines_of
from tests.builders import NOW, a_batch, a_target, done, failed

spans = st.lists(
    st.tuples(st.floats(0.01, 60), st.integers(0, 500)),
    max_size=600,
)


@given(spans)
def test_a_course_loses_nothing_and_stays_short(parts: list[tuple[float, int]]) -> None:
    course = Course()
    for seconds, pages in parts:
        course = course.grown(Point(at=NOW, seconds=seconds, pages=pages))
    assert len(course.points) <= MOST_POINTS
    assert sum(point.pages for point in course.points) == sum(pages for _, pages in parts)
    assert all(point.seconds >= course.step_s for point in course.points[:-1])


def test_latency_is_the_mean_over_pages_and_waiting_the_last() -> None:
    first = Point(at=NOW, seconds=1, pages=1, latency_ms=100, waiting=9, statuses={"2xx": 1})
    second = Point(at=NOW, seconds=1, pages=3, latency_ms=20, waiting=4, statuses={"2xx": 2})
    [point] = Course().grown(first).grown(second).points
    assert (point.latency_ms, point.waiting, point.statuses) == (40.0, 4, {"2xx": 3})


def test_a_course_is_written_when_a_point_is_complete_and_at_the_end() -> None:
    diary = JobLog(Course(), "begun")

    def follow(seconds: float, *, last: bool = False) -> bool:
        usage = Usage(duration_s=seconds, pages=1)
        batch = Batch(usage=usage, last=last)
        return diary.follow(batch, usage, NOW) is not None

    assert [follow(FIRST_STEP_S / 2), follow(FIRST_STEP_S / 2), follow(0.1)] == [False, True, False]
    assert follow(0.1, last=True)
    assert follow(0.0, last=True)


def test_the_log_tells_of_failures_and_of_what_was_not_fetched() -> None:
    outcomes = [
        done(a_target("fine")),
        failed(a_target("slow"), ErrorKind.TIMEOUT, detail="no answer in 30 s"),
        failed(a_target("gone"), ErrorKind.HTTP_4XX, status=404),
        Outcome(a_target("shut"), TargetState.SKIPPED, rule="robots: Disallow: /shut"),
        Outcome(a_target("busy", tries=1, due_at=NOW + timedelta(seconds=4)), TargetState.WAITING),
    ]
    lines = lines_of(a_batch(outcomes=outcomes, notes=({"note": "a host is closed"},)), NOW)
    assert [(line.level, line.message) for line in lines] == [
        (Level.WARNING, "a host is closed"),
        (Level.ERROR, "timeout: no answer in 30 s"),
        (Level.WARNING, "http_4xx: "),
        (Level.INFO, "not fetched, robots: Disallow: /shut"),
        (Level.INFO, "try 1 failed, asked again in 4 s"),
    ]
    assert lines[1].url == a_target("slow").url


def test_a_batch_of_failures_does_not_flood_the_log() -> None:
    outcomes = [failed(a_target(f"p{n}")) for n in range(MOST_PER_BATCH + 30)]
    lines = lines_of(a_batch(outcomes=outcomes), NOW)
    assert len(lines) == MOST_PER_BATCH + 1
    assert lines[-1].message == "30 more lines were left out"
