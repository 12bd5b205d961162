"""`crawlyard hosts …`: what is done to hosts, and how they are to be asked."""

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated, cast

import typer

from crawlyard.cli import values
from crawlyard.cli.options import Basics, Common, flat, option
from crawlyard.cli.stdin_args import read_ids
from crawlyard.cli.stdout import write_line
from crawlyard.lazy import lazily

if TYPE_CHECKING:
    from crawlyard.cli import invoke
    from crawlyard.cli.fleet import reports
    from crawlyard.services.fleet.hosts import HostChanges
else:
    reports = lazily("crawlyard.cli.fleet.reports")
    invoke = lazily("crawlyard.cli.invoke")

app = typer.Typer()

Host = Annotated[
    str,
    typer.Argument(
        metavar="HOST", help="With its port if it has one of its own.", show_default=False
    ),
]
Hosts = Annotated[
    list[str],
    typer.Argument(
        metavar="HOST",
        help="Hosts, with their ports if they have some of their own; '-' reads them from stdin.",
        show_default=False,
    ),
]
Limit = Annotated[int, option(values.count, "--limit", "N", "How many at most; 0 is all; else 50.")]
Delay = Annotated[
    object,
    option(
        values.none_or(values.duration),
        "--delay",
        "TIME",
        "At least between two requests, or none.",
    ),
]
PerHost = Annotated[
    object,
    option(values.none_or(values.count), "--per-host", "N", "At most at once, or none."),
]
Note = Annotated[str | None, option(str, "--note", "TEXT", "Why.")]


@app.callback(invoke_without_command=True)
def root(context: typer.Context) -> None:
    """See what is done to hosts and for which jobs, and say how they are to be asked.

    crawlyard hosts list
    crawlyard hosts set example.org --delay 2 --per-host 1
    crawlyard hosts pause example.org --note 'Down until Friday'
    """
    if context.invoked_subcommand is None:
        write_line(context.get_help())


@app.command("list")
@flat
def list_(*, limit: Limit = 50, common: Common) -> None:
    """List the hosts that are asked now, and those of which something is said.

    crawlyard hosts list
    crawlyard hosts list -o csv
    """
    doing = partial(reports.hosts, limit=limit, common=common)
    invoke.run(common, doing, absent=partial(reports.no_hosts, common))


@app.command()
@flat
def show(host: Host, *, common: Common) -> None:
    """Show what is done to one host, and what is said of it.

    crawlyard hosts show docs.example.org
    """
    invoke.run(common, partial(reports.host, name=host, common=common))


@app.command("set")
@flat
def set_(
    hosts: Hosts,
    *,
    delay: Delay = None,
    per_host: PerHost = None,
    note: Note = None,
    common: Common,
) -> None:
    """Say how gently all jobs together ask a host; they may be gentler still.

    crawlyard hosts set example.org --delay 2
    crawlyard hosts set example.org --per-host 1 --note 'Their admin asked us to'
    crawlyard hosts set example.org --delay none

    For admins. It holds from the next request on, for jobs that run as well.
    """
    doing = partial(
        reports.set_hosts,
        names=read_ids(hosts),
        changes=_changes(delay, per_host, note),
        common=common,
    )
    invoke.run(common, doing, creates=True)


@app.command()
@flat
def pause(hosts: Hosts, *, note: Note = None, common: Common) -> None:
    """Let nobody ask hosts until they are resumed; their URLs wait.

    crawlyard hosts pause example.org --note 'Down until Friday'
    """
    doing = partial(reports.pause_hosts, names=read_ids(hosts), note=note, common=common)
    invoke.run(common, doing, creates=True)


@app.command()
@flat
def block(hosts: Hosts, *, note: Note = None, common: Common) -> None:
    """Let nobody ask hosts; their URLs are skipped, in running jobs as well.

    crawlyard hosts block ads.example.org
    """
    doing = partial(reports.block_hosts, names=read_ids(hosts), note=note, common=common)
    invoke.run(common, doing, creates=True)


@app.command()
@flat
def resume(hosts: Hosts, *, common: Common) -> None:
    """Let hosts be asked again that were paused or blocked.

    crawlyard hosts resume example.org
    """
    invoke.run(common, partial(reports.resume_hosts, names=read_ids(hosts), common=common))


@app.command()
@flat
def unset(hosts: Hosts, *, basics: Basics) -> None:
    """Forget what is said of hosts: they are asked as jobs wish.

    crawlyard hosts unset example.org
    """
    invoke.run(basics, partial(reports.unset_hosts, names=read_ids(hosts)))


def _changes(delay: object, per_host: object, note: str | None) -> "HostChanges":
    """Return what was said, as the API writes it; ``None`` takes it away."""
    length = delay.total_seconds() if isinstance(delay, timedelta) else delay
    said = {"delay_s": length, "at_once": per_host, "note": note}
    changes = {n: None if v == values.NONE else v for n, v in said.items() if v is not None}
    return cast("HostChanges", changes)
