"""Earlier job that a recrawl is compared with."""

import re
from typing import Annotated, TypeAlias

from crawlyard.core.fields import Count, Panel, about
from crawlyard.errors import Invalid

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

EarlierJob: TypeAlias = Annotated[
    str | None,
    about(
        "id of an earlier job: unchanged pages are not downloaded again",
        label="Only what changed since",
        help="Download only pages that changed since JOB.",
        panel=Panel.RECRAWL,
        metavar="JOB",
        null="every page is fetched",
    ),
]
FullEvery: TypeAlias = Annotated[
    Count | None,
    about(
        "every Nth run of a schedule fetches all pages; 1: every run",
        label="Fetch everything every Nth run",
        help="Fetch all pages in every Nth run of a schedule.",
        panel=Panel.RECRAWL,
        null="only the first run",
        least=1,
        most=1_000,
    ),
]


def check_earlier_job(job_id: str) -> None:
    """Check the id of the earlier job.

    Raises:
        Invalid: it is not an id.
    """
    if not _ID.fullmatch(job_id):
        raise Invalid("since", f"expected the id of a job, got {job_id[:100]!r}")
