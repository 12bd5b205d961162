"""`crawlyard schedules …`: run crawls again and again, at their times."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from crawlyard.cli import values
from crawlyard.cli.jobs.crawl_options import SpecOptions, form_of
from crawlyard.cli.options import Basics, Common, Style, choice, flag, flat, option
from crawlyard.cli.schedules.options import (
    TIMES,
    NewUse,
    Policies,
    Ref,
    Refs,
    Times,
    given,
    version_of,
)
from crawlyard.cli.stdin_args import read_ids, read_seeds
from crawlyard.cli.stdout import write_line
from crawlyard.cli.templates.options import Use, params_of
from crawlyard.lazy import lazily

if TYPE_CHECKING:
    from crawlyard.cli import invoke
    from crawlyard.cli.schedules import actions, explain, reports
else:
    invoke = lazily("crawlyard.cli.invoke")
    explain = lazily("crawlyard.cli.schedules.explain")
    actions = lazily("crawlyard.cli.schedules.actions")
    reports = lazily("crawlyard.cli.schedules.reports")

app = typer.Typer()


@app.callback(invoke_without_command=True)
def root(context: typer.Context) -> None:
    """Run crawls again and again, at their times.

    crawlyard schedules create nightly --when '0 3 * * *' --tz Europe/Berlin https://example.org
    crawlyard schedules runs nightly
    crawlyard schedules explain '0 3 * * MON-FRI' --tz Europe/Berlin
    """
    if context.invoked_subcommand is None:
        write_line(context.get_help())


When = Annotated[
    str,
    typer.Argument(
        metavar="WHEN",
        help="A cron expression, '@daily', 'every 6h' or 'at 2027-01-01T08:00'.",
        show_default=False,
    ),
]
Zone = Annotated[
    str, option(str, "--tz", "ZONE", "An IANA time zone such as Europe/Berlin; else UTC.")
]
Number = Annotated[int, option(values.count, "-n", "N", "How many instants; else 5.")]
From = Annotated[str, option(str, "--from", "INSTANT", "Those after this instant; else after now.")]


@app.command("explain")
def explain_(
    when: When,
    *,
    tz: Zone = "UTC",
    number: Number = 5,
    since: From = "",
    style: Annotated[Style | None, choice("--output", "-o", of=Style, text="How to write it")] = (
        None
    ),
    json: Annotated[bool, flag("--json", text="Write JSON to stdout.")] = False,
    quiet: Annotated[bool, flag("--quiet", "-q", text="The local times only.")] = False,
) -> None:
    """Say what a time means and when it comes next; nothing is stored or run.

    crawlyard schedules explain '0 3 * * *' --tz Europe/Berlin
    crawlyard schedules explain '30 2 * * *' --tz America/New_York --from 2027-03-13
    crawlyard schedules explain 'every 6h' -n 3 --json
    """
    common = Common(json=json, quiet=quiet, style=style)
    explain.explain(when, tz, since, number, common)


Name = Annotated[
    str, typer.Argument(metavar="NAME", help="Its name, one of a kind.", show_default=False)
]
Urls = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="URL",
        help="Start URLs; '-' reads them from stdin, '@FILE' from a file.",
        show_default=False,
    ),
]
WHEN_HELP = "A cron expression, '@daily', 'every 6h' or 'at INSTANT'."
Due = Annotated[str, option(str, "--when", "WHEN", WHEN_HELP, TIMES)]
NewDue = Annotated[str | None, option(str, "--when", "WHEN", WHEN_HELP, TIMES)]
NewName = Annotated[str | None, option(values.line, "--rename", "NAME", "Another name for it.")]
About_ = Annotated[str | None, option(str, "--description", "TEXT", "What it is for.")]
Query = Annotated[
    str, option(str, "--query", "TEXT", "Only where name or description has this in it.")
]
Paused = Annotated[bool, flag("--paused", text="Only paused ones.")]
On = Annotated[bool, flag("--on", text="Only those that are not paused.")]
Limit = Annotated[int, option(values.count, "--limit", "N", "How many at most; 0 is all; else 50.")]
Reason = Annotated[str, option(str, "--reason", "TEXT", "Why; the ledger repeats it.")]
Owner = Annotated[str, option(str, "--owner", "USER", "Only those of this user.")]
OfTemplate = Annotated[str, option(str, "--template", "T", "Only those of this template.")]
# what has no offset is of the zone of the schedule, or of --tz
Before = Annotated[str, option(str, "--before", "INSTANT", "Only what was due before.")]
Since = Annotated[str, option(str, "--from", "INSTANT", "The first instant, in its zone.")]
Start = Annotated[str, option(str, "--from", "INSTANT", "From this instant on; else from now.")]
Until = Annotated[str, option(str, "--until", "INSTANT", "Up to and without this; else now.")]
End = Annotated[str, option(str, "--until", "INSTANT", "Up to this; else a week.")]
DryRun = Annotated[bool, flag("--dry-run", text="Only say what would run.")]
Yes = Annotated[bool, flag("--yes", "-y", text="Do not ask.")]


@app.command("list")
@flat
def list_(
    *,
    query: Query = "",
    paused: Paused = False,
    on: On = False,
    template: OfTemplate = "",
    owner: Owner = "",
    limit: Limit = 50,
    common: Common,
) -> None:
    """List schedules by name.

    crawlyard schedules list
    crawlyard schedules list --paused --json
    crawlyard schedules list --template news
    """
    state = None if paused == on else paused
    doing = partial(reports.schedules, query=query, paused=state, template=template, owner=owner)
    doing = partial(doing, limit=limit, common=common)
    invoke.run(common, doing, absent=partial(reports.no_schedules, common))


@app.command()
@flat
def show(schedule: Ref, *, common: Common) -> None:
    """Show all there is to know of one schedule; credentials are hidden.

    crawlyard schedules show nightly
    crawlyard schedules show nightly --json
    """
    invoke.run(common, partial(reports.schedule, ref=schedule, common=common))


@app.command()
@flat
def create(
    schedule: Name,
    urls: Urls = None,
    *,
    when: Due,
    description: About_ = None,
    times: Times,
    policies: Policies,
    use: Use,
    asked: SpecOptions,
    common: Common,
) -> None:
    """Run a crawl again and again: of a template, or by the options of `crawl`.

    crawlyard schedules create nightly --when '0 3 * * *' --tz Europe/Berlin --template news
    crawlyard schedules create docs --when @daily https://docs.example.org --max-pages 500
    """
    form = form_of(read_seeds(urls or ()), asked)
    made = given(times, policies, zone="UTC", description=description, **use.asked())
    fields = {"name": schedule, "when": when, "overrides": form, **made}
    doing = partial(actions.create, fields=fields, common=common)
    invoke.run(common, doing, creates=True)


@app.command()
@flat
def edit(
    schedule: Ref,
    urls: Urls = None,
    *,
    when: NewDue = None,
    rename: NewName = None,
    description: About_ = None,
    times: Times,
    policies: Policies,
    use: NewUse,
    asked: SpecOptions,
    common: Common,
) -> None:
    """Change a schedule: only what is given; another time holds at once.

    crawlyard schedules edit nightly --when '0 4 * * *'
    crawlyard schedules edit nightly --overlap queue --max-pages 1000
    crawlyard schedules edit nightly --ends none --unset limits.pages --unset params.site
    """
    form = form_of(read_seeds(urls or ()), asked)
    others = {"when": when, "name": rename, "description": description, "template": use.template}

    def changes(zone: str) -> dict[str, object]:
        version = use.template_version
        also = {} if version is None else {"template_version": version_of(version)}
        return given(times, policies, zone=zone, **others) | also

    doing = partial(actions.edit, ref=schedule, changes=changes, overrides=form)
    doing = partial(doing, params=params_of(use.param or ()), unset=use.unset or ())
    invoke.run(common, partial(doing, common=common))


@app.command()
@flat
def pause(schedules: Refs, *, reason: Reason = "", common: Common) -> None:
    """Run schedules no more until they are resumed; their instants are noted as skipped.

    crawlyard schedules pause nightly --reason 'the site is being moved'
    crawlyard schedules list -q | crawlyard schedules pause -
    """
    doing = partial(actions.toggle, refs=read_ids(schedules), enabled=False)
    invoke.run(common, partial(doing, reason=reason, common=common))


@app.command()
@flat
def resume(schedules: Refs, *, common: Common) -> None:
    """Let paused schedules go on; what was skipped is made up for only with run_all.

    crawlyard schedules resume nightly
    """
    doing = partial(actions.toggle, refs=read_ids(schedules), enabled=True)
    invoke.run(common, partial(doing, reason="", common=common))


@app.command()
@flat
def run(schedule: Ref, *, common: Common) -> None:
    """Submit a job of a schedule now, and print its id.

    crawlyard schedules run nightly
    crawlyard jobs watch "$(crawlyard schedules run nightly -q)"
    """
    invoke.run(common, partial(actions.run, ref=schedule, common=common))


@app.command()
@flat
def runs(schedule: Ref, *, before: Before = "", limit: Limit = 50, common: Common) -> None:
    """List what became of each time a schedule was due, the latest first.

    crawlyard schedules runs nightly
    crawlyard schedules runs nightly --before 2026-11-24 -o csv
    """
    doing = partial(reports.runs, ref=schedule, before=before, limit=limit)
    invoke.run(common, partial(doing, common=common))


@app.command("next")
@flat
def next_(schedule: Ref, *, number: Number = 5, common: Common) -> None:
    """List when a schedule will be due, and what clock changes do to that.

    crawlyard schedules next nightly -n 10
    """
    doing = partial(reports.next_runs, ref=schedule, count=number, common=common)
    invoke.run(common, doing)


@app.command()
@flat
def backfill(
    schedule: Ref,
    *,
    since: Since,
    until: Until = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    common: Common,
) -> None:
    """Make up for the runs of a range that were missed or skipped.

    crawlyard schedules backfill nightly --from 2026-11-01 --until 2026-11-08 --dry-run
    crawlyard schedules backfill nightly --from 2026-11-01 --yes
    """
    doing = partial(actions.backfill, ref=schedule, since=since, until=until)
    invoke.run(common, partial(doing, dry_run=dry_run, yes=yes, common=common))


@app.command()
@flat
def calendar(*, since: Start = "", until: End = "", tz: Zone = "UTC", common: Common) -> None:
    """List when all schedules are due, in their order.

    crawlyard schedules calendar --tz Europe/Berlin
    crawlyard schedules calendar --from 2026-12-01 --until 2027-01-01 --json
    """
    doing = partial(reports.calendar, since=since, until=until, zone=tz, common=common)
    invoke.run(common, doing)


@app.command()
@flat
def delete(schedules: Refs, *, yes: Yes = False, basics: Basics) -> None:
    """Delete schedules and what is known of their past runs; their jobs stay.

    crawlyard schedules delete nightly
    crawlyard schedules list --paused -q | crawlyard schedules delete --yes -
    """
    invoke.run(basics, partial(actions.delete, refs=read_ids(schedules), yes=yes))
