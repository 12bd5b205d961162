"""Parameters of the endpoints of jobs."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypedDict

from msgspec import Meta

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.endpoints.endpoint import LONGEST_REF, Header, Instant, Rest, Words
from crawlyard.core.jobs.job_log import LevelWord
from crawlyard.core.jobs.order import SORTED_MOST, GroupKey
from crawlyard.core.jobs.spec import MAX_PATTERN, MAX_URL
from crawlyard.core.operations.bulk import RetryScope
from crawlyard.store.queries import COUNTED_TO

MAX_REASON = 500
MAX_VERSION = 2**31 - 1
MOST_TESTED = 200
"""URLs that one `preview` tests."""

MOST_TAGS = 50
"""Tags that one `bulk` adds or removes."""

MOST_JOBS = 1_000
"""Jobs in one `submit_many`."""

LONGEST_WAIT_S = 60.0
_MOST_LINE = 2**31 - 1

JobId = Annotated[str, Meta(pattern=r"^[0-9A-Za-z-]{1,64}$")]
IdPart = Annotated[
    str, Meta(max_length=64, description="A whole id, or what one begins or ends with.")
]
Sort = Literal[
    "-created_at", "created_at", "-started_at", "started_at", "-ended_at", "ended_at",
    "-duration", "duration", "-pages", "pages", "name", "-name",
]  # fmt: skip
"""A `SortKey`, and whether it descends."""

SortBy = Annotated[
    Sort,
    Meta(
        description="`-`: descending, as newest first. By anything but `created_at`, "
        f"`ended_at` and `pages`, at most {SORTED_MOST:,} jobs are sorted: 422 if more "
        "match. Those without a value, such as a start, come last."
    ),
]
GroupBy = Annotated[
    GroupKey | None,
    Meta(
        description="Sorts by this first. By `state`: what runs, then what waits or is "
        "paused, then what has ended. By `schedule` and `host`, at most "
        f"{SORTED_MOST:,} jobs; by `owner`, so many of each if the sort has that limit."
    ),
]
Count = Annotated[
    Literal["exact", "estimate"] | None,
    Meta(
        description="Adds `total`: how many there are in all. An `estimate` counts to "
        f"{COUNTED_TO:,} and no further: a total of {COUNTED_TO:,} means that many or more."
    ),
]
Expand = Annotated[
    Words, Meta(description="Adds `expanded` with what is named: `template`, `schedule`.")
]

Form = Annotated[Mapping[str, Any], Rest("job")]
NO_FORM: Mapping[str, Any] = {}
Changes = Annotated[Mapping[str, Any], Rest("change")]
Reason = Annotated[str, Meta(max_length=MAX_REASON)]
WITH_REASON = {"reason": "the site is being moved"}
"""An example of a body."""

TemplateRef = Annotated[
    str,
    Meta(min_length=1, max_length=LONGEST_REF, description="A template's id, name, or OWNER/NAME."),
]
TemplateVersion = Annotated[int, Meta(ge=1, le=MAX_VERSION)]
Params = Annotated[dict[str, Any], Meta(description="Values of the template's parameters.")]
Forms = Annotated[Sequence[dict[str, Any]], Meta(min_length=1, max_length=MOST_JOBS)]
TestURLs = Annotated[
    tuple[Annotated[str, Meta(max_length=MAX_URL)], ...],
    Meta(
        max_length=MOST_TESTED,
        description="URLs to say of whether they would be fetched, and why not.",
    ),
]


class FormTerms(TypedDict, total=False):
    """Members of a job request besides its form."""

    template: TemplateRef | None
    template_version: TemplateVersion | None
    params: Params | None
    start_at: Instant | None
    grant: Annotated[
        bool,
        Meta(description="Let this job have what the settings do not grant. Admins may."),
    ]


ExpectedCount = Annotated[
    Annotated[int, Meta(ge=0, le=10**9)] | None,
    Meta(description="409 if there are a tenth more or less by now."),
]
DryRun = Annotated[bool, Meta(description="Only say what would be done.")]
Scope = Annotated[
    RetryScope,
    Meta(
        description="`all`: a new job with the same spec; `failed`: the same job, its "
        "failed URLs; `now`: end the wait of a pending one."
    ),
]
Kinds = Annotated[
    tuple[ErrorKind, ...], Meta(max_length=50, description="Of `failed`: only these.")
]
Pattern = Annotated[str, Meta(min_length=1, max_length=MAX_PATTERN, examples=["*/print/*"])]
CountOnly = Annotated[bool, Meta(description="Only count the URLs that would be skipped.")]

Timeout = Annotated[float, Meta(ge=0, le=LONGEST_WAIT_S, description="Seconds, at most.")]
States = Annotated[Words, Meta(description="Answer once it is in one of them, or has ended.")]
AtLeast = Annotated[LevelWord, Meta(description="At least this.")]
LogText = Annotated[str, Meta(max_length=200, description="A part of message or URL.")]
After = Annotated[int, Meta(ge=0, le=_MOST_LINE, description="Lines above this *n*.")]
LastId = Annotated[
    Annotated[int, Meta(ge=0, le=_MOST_LINE)] | None,
    Header("Last-Event-ID"),
    Meta(description="The same, from a browser."),
]
