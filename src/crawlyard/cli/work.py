"""`crawlyard work`: a worker, until it is stopped."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

from crawlyard.cli import values
from crawlyard.cli.lazy import lazily
from crawlyard.cli.options import Basics, flag, flat, option

if TYPE_CHECKING:
    from crawlyard.cli import session, working
else:
    session, working = lazily("crawlyard.cli.session"), lazily("crawlyard.cli.working")

Slots = Annotated[
    int | None, option(values.count, "--jobs", "N", "How many jobs at once; else by the settings.")
]
Drain = Annotated[bool, flag("--drain", text="End when no job is left to do.")]


@flat
def work(*, jobs: Slots = None, drain: Drain = False, basics: Basics) -> None:
    """Run queued jobs until stopped; Ctrl-C gives them back.

    crawlyard work --jobs 8
    crawlyard work --drain
    """
    doing = partial(working.work, slots=jobs, drain=drain)
    session.run(basics, doing, creates=True, log_level="info")
