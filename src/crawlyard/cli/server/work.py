"""`crawlyard work`: a worker, until it is stopped."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

from crawlyard.cli import values
from crawlyard.cli.options import Basics, flag, flat, option
from crawlyard.lazy import lazily

if TYPE_CHECKING:
    from crawlyard.cli import here
    from crawlyard.cli.server import working
else:
    here, working = lazily("crawlyard.cli.here"), lazily("crawlyard.cli.server.working")

Slots = Annotated[
    int | None, option(values.count, "--jobs", "N", "How many jobs at once; else by the settings.")
]
Tags = Annotated[
    list[str] | None,
    option(values.line, "--tag", "TAG", "Take jobs that need it too. Repeatable."),
]
Reserved = Annotated[
    int | None,
    option(values.count, "--reserve-urgent", "N", "Keep so many slots for urgent jobs."),
]
Processes = Annotated[
    int | None,
    option(values.count, "--processes", "M", "Run as many workers, a process each; else one."),
]
Drain = Annotated[bool, flag("--drain", text="End when nothing is left to do.")]
NoScheduler = Annotated[bool, flag("--no-scheduler", text="Do not run what schedules make due.")]
NoWebhooks = Annotated[bool, flag("--no-webhooks", text="Do not deliver events to webhooks.")]
NoJanitor = Annotated[bool, flag("--no-janitor", text="Do not delete what has had its time.")]


@flat
def work(
    *,
    jobs: Slots = None,
    processes: Processes = None,
    tag: Tags = None,
    reserve_urgent: Reserved = None,
    drain: Drain = False,
    no_scheduler: NoScheduler = False,
    no_webhooks: NoWebhooks = False,
    no_janitor: NoJanitor = False,
    basics: Basics,
) -> None:
    """Run queued jobs until stopped; Ctrl-C gives them back.

    crawlyard work --jobs 8
    crawlyard work --jobs 16 --processes 4
    crawlyard work --tag eu --tag gpu --reserve-urgent 1
    crawlyard work --drain
    crawlyard work --no-scheduler --no-webhooks --no-janitor

    Beside the jobs, it works at bulk operations, fires schedules, delivers to webhooks
    and keeps the store small. Any number of workers may do so. With --drain, that is done
    once, and it ends when neither jobs nor operations are left. Jobs that need a tag
    (--worker-tag) are left to workers that have it. Of several processes, the first alone
    fires schedules, delivers and cleans; one that dies is started again.
    """
    beside = working.Beside(
        scheduler=not no_scheduler,
        webhooks=not no_webhooks,
        janitor=not no_janitor,
    )
    doing = partial(working.work, slots=jobs, drain=drain, beside=beside, processes=processes)
    flags = {"worker_tags": tag, "reserve_urgent": reserve_urgent}
    here.run(basics, doing, log_level="info", flags=flags)
