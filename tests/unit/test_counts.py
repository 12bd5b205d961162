"""One of something is named in the singular, wherever people read it."""

import re
from pathlib import Path

from crawlyard.cli.render.job_display import ceiling
from crawlyard.core.jobs.limits import Limits, ResourceLimiter, Usage
from crawlyard.core.jobs.waiting import Surroundings, pending_waits
from crawlyard.core.quantity import counted
from tests.builders import NOW, a_job
from tests.builders_serve import a_report
from tests.unit.test_cli_output import job_out

SOURCE = Path(__file__).parents[2] / "src" / "crawlyard"
_NOUNS = (
    "attempts|cores|entries|errors|failures|instants|jobs|lines|pages|processes|records|rounds|rows|"
    "schedules|sitemaps|slots|tables|templates|ticks|tries|URLs|webhooks|workers"
)
PLURAL = re.compile(rf"(?<!than )(?<!these )\{{[a-z][^{{}}]*\}} (?:[a-z]+ )?(?:{_NOUNS})\b")
"""A value that is no constant, and a plural behind it."""


def test_a_count_of_one_is_singular_and_every_other_plural() -> None:
    assert [counted(n, "page") for n in (0, 1, 2, 1000)] == [
        "0 pages",
        "1 page",
        "2 pages",
        "1,000 pages",
    ]
    assert counted(1, "retry", "retries") == "1 retry"
    assert counted(2, "job goes", "jobs go") == "2 jobs go"


def test_a_job_waits_for_one_job_before_it_and_for_the_one_slot() -> None:
    job = a_job(due_at=NOW)
    busy = a_report(slots=1, running=("other",))

    waits = pending_waits(
        job, NOW, None, 1, held=False, among=Surroundings(workers=(busy,), counted=100)
    )

    assert [wait.detail for wait in waits] == [
        "every slot is taken (1 slot of 1 worker)",
        "1 job is ahead of it",
    ]


def test_a_limit_of_one_is_singular() -> None:
    limiter = ResourceLimiter(Limits(pages=1, errors=1))

    assert limiter.describe("pages", Usage(pages=1)) == "the limit of 1 page was reached"
    assert limiter.describe("errors", Usage(errors=2)) == (
        "the limit of 1 error was reached and passed by 1 error"
    )
    out = job_out(limits=Limits(pages=1, errors=1))
    assert [ceiling(out.spec.limits, name) for name in ("pages", "errors")] == ["1 page", "1 error"]


def test_no_message_puts_a_plural_behind_a_number_that_may_be_one() -> None:
    for suffix in ["py", "js"]:
        found = [
            f"{file.relative_to(SOURCE)}: {one[0]}"
            for file in SOURCE.rglob(f"*.{suffix}")
            for one in PLURAL.finditer(file.read_text("utf-8"))
        ]

        assert found == [], suffix
