"""`crawlyard events`: what has happened, and what happens."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

from crawlyard.cli import values
from crawlyard.cli.options import Common, flag, flat, option
from crawlyard.cli.when import When
from crawlyard.lazy import lazily

if TYPE_CHECKING:
    from crawlyard.cli import invoke
    from crawlyard.cli.overview import event_reports
else:
    event_reports = lazily("crawlyard.cli.overview.event_reports")
    invoke = lazily("crawlyard.cli.invoke")


Follow = Annotated[bool, flag("--follow", "-f", text="Go on with what happens, until Ctrl-C.")]
Types = Annotated[
    list[str] | None,
    option(str, "--type", "NAME", "Only these: a name, or a pattern such as job.*. Repeatable."),
]
Since = Annotated[
    When | None,
    option(When.of, "--since", "WHEN", "From then on: 2h, 7d, or 2026-11-24T16:30 (local time)."),
]
Job = Annotated[
    str, option(str, "--job", "ID", "Only of this job: an id, or a part of it, or last")
]
Limit = Annotated[
    int | None,
    option(values.count, "--limit", "N", "How many at most; 0 is all; else 50, or all to follow."),
]


@flat
def events(
    *,
    follow: Follow = False,
    type: Types = None,  # noqa: A002 - the name of the option
    since: Since = None,
    job: Job = "",
    limit: Limit = None,
    common: Common,
) -> None:
    """List what has happened, oldest first; with --follow, also as it happens.

    crawlyard events --since 24h --type job.failed
    crawlyard events --follow --type 'job.*' --json
    crawlyard events --follow --job last

    --json writes JSON Lines: one event each.
    """
    asked = event_reports.Asked(
        patterns=tuple(type or ()), since=since, job=job, limit=limit, follow=follow
    )
    doing = partial(event_reports.events, asked=asked, common=common)
    absent = None if follow else partial(event_reports.none, asked=asked, common=common)
    invoke.run(common, doing, creates=follow, absent=absent)
