"""`crawlyard schedules …`: crawls that run repeatedly, at set times."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

from crawlyard import clock as clocks
from crawlyard.cli import values
from crawlyard.cli.failures import DECLINED
from crawlyard.cli.invoke import action
from crawlyard.cli.jobs.crawl_options import SpecOptions, Urls, form_of
from crawlyard.cli.jobs.lookup import resolve_since
from crawlyard.cli.options import (
    Basics,
    Common,
    IdempotencyKey,
    Limit,
    Style,
    Yes,
    argument,
    choice,
    flag,
    flat,
    group,
    option,
)
from crawlyard.cli.render import output
from crawlyard.cli.render.words import printable
from crawlyard.cli.schedules.options import (
    TIMES,
    NewUse,
    Policies,
    Ref,
    Refs,
    Times,
    beside,
    remove_values,
    schedule_fields,
    version_of,
)
from crawlyard.cli.stdout import write_line
from crawlyard.cli.templates.options import Use, params_of
from crawlyard.cli.usage import essential
from crawlyard.cli.when import instant_of
from crawlyard.core.crawl.changes import ChangeKind
from crawlyard.core.endpoints.endpoint import every
from crawlyard.core.jobs.spec_json import NO_LIMIT, Form
from crawlyard.core.merge_patch import patch_between
from crawlyard.core.quantity import count_noun
from crawlyard.core.schedules.timetable import instants, timetable, zone_of
from crawlyard.errors import Invalid
from crawlyard.lazy import lazily

# a command needs one of them
with lazily():
    from crawlyard.cli.jobs import diff as diffs
    from crawlyard.cli.schedules import views
    from crawlyard.core.schedules import answers as timetables
if TYPE_CHECKING:
    from crawlyard.cli.session import Session
    from crawlyard.core.schedules.answers import ScheduleOut

app = group(
    """Create and manage schedules, which run crawls repeatedly.

    crawlyard schedules create nightly --when '0 3 * * *' --tz Europe/Berlin https://example.org
    crawlyard schedules runs nightly
    crawlyard schedules explain '0 3 * * MON-FRI' --tz Europe/Berlin
    """
)

_MOST = 1000
"""Maximum instants listed at once."""

_RANGE: Mapping[str, Any] = {"from": "--from", "to": "--until", "zone": "--tz"}
_NO_DRY_RUN = "it submits jobs; --dry-run shows what would run"

When = Annotated[
    str,
    argument("WHEN", "A cron expression, '@daily', 'every 6h' or 'at 2027-01-01T08:00'."),
]
Zone = Annotated[
    str, option(str, "--tz", "ZONE", "IANA time zone, such as Europe/Berlin; default UTC.")
]
Number = Annotated[int, option(values.count, "-n", "N", "Number of runs; default 5.")]
ByUrl = Annotated[bool, flag("--urls", text="List the changed pages, in the order of runs.")]
OnlyKinds = Annotated[
    list[ChangeKind] | None,
    choice("--only", of=ChangeKind, text="Only changes of this kind", many=True),
]
From = Annotated[str, option(str, "--from", "DATETIME", "List runs after DATETIME; default now.")]


@app.command()
@flat(zone="--tz")
def explain(
    when: When,
    *,
    tz: Zone = "UTC",
    number: Number = 5,
    since: From = "",
    style: Annotated[Style | None, choice("--output", "-o", of=Style, text="Output format")] = (
        None
    ),
    json: Annotated[bool, flag("--json", text="Write JSON to stdout.")] = False,
    quiet: Annotated[bool, flag("--quiet", "-q", text="Print only local times.")] = False,
) -> None:
    """Explain a timetable and list its next runs; nothing is stored or run.

    crawlyard schedules explain '0 3 * * *' --tz Europe/Berlin
    crawlyard schedules explain '30 2 * * *' --tz America/New_York --from 2027-03-13
    crawlyard schedules explain 'every 6h' -n 3 --json
    """
    common = Common(json=json, quiet=quiet, style=style)
    _check_number(number)
    told_as = common.style_on(terminal=sys.stdout.isatty())
    place = zone_of(tz)
    now = instant_of("--from", since, place) if since else clocks.SystemClock().wall()
    table = timetable(when, tz, now)
    coming = islice(instants(table, now, starts_at=None, ends_at=None), number)
    answer = timetables.TimetableOut.of(table, when, place, coming, now)
    if told_as in (Style.JSON, Style.YAML) and not quiet:
        output.write_one(answer, told_as)
        return
    if not quiet:
        sys.stderr.write(f"{printable(answer.text)}\n")
    out = output.Screen(sys.stdout)
    # without a session: loading an instance would take longer than everything else here
    asyncio.run(output.write_all(answer.next, views.COMING, told_as, out, common))
    if number and not answer.next and not quiet:
        last = views.format_local(now.astimezone(place))
        sys.stderr.write(f"no runs after {last}\n")


def _check_number(count: int) -> None:
    if count > _MOST:
        raise Invalid("-n", f"expected at most {_MOST:,}, got {count:,}")


Name = Annotated[str, argument("NAME", "Unique name of the schedule.")]
WHEN_HELP = "A cron expression, '@daily', 'every 6h' or 'at DATETIME'."
Due = Annotated[str, option(str, "--when", "WHEN", WHEN_HELP, TIMES)]
NewDue = Annotated[str | None, option(str, "--when", "WHEN", WHEN_HELP, TIMES)]
NewName = Annotated[str | None, option(values.line, "--rename", "NAME", "New name.")]
About_ = Annotated[str | None, option(str, "--description", "TEXT", "Purpose of the schedule.")]
Query = Annotated[
    str, option(str, "--query", "TEXT", "Only schedules with TEXT in their name or description.")
]
Paused = Annotated[bool, flag("--paused", text="Only paused schedules.")]
On = Annotated[bool, flag("--on", text="Only schedules that are not paused.")]
Reason = Annotated[str, option(str, "--reason", "TEXT", "Reason, shown with skipped runs.")]
Owner = Annotated[str, option(str, "--owner", "USER", "Only schedules of this user.")]
OfTemplate = Annotated[str, option(str, "--template", "T", "Only schedules with this template.")]
# Without an offset, these are in the zone of the schedule, or of --tz
Before = Annotated[str, option(str, "--before", "DATETIME", "Only runs due before DATETIME.")]
Since = Annotated[
    str, option(str, "--from", "DATETIME", "Start of the range, in the schedule's time zone.")
]
Start = Annotated[str, option(str, "--from", "DATETIME", "Start of the range; default now.")]
Until = Annotated[
    str, option(str, "--until", "DATETIME", "End of the range (exclusive); default now.")
]
End = Annotated[str, option(str, "--until", "DATETIME", "End of the range; default in a week.")]
DryRun = Annotated[bool, flag("--dry-run", text="Only show what would run.")]


@app.command("list")
@action(empty=True)
async def list_(
    session: "Session",
    *,
    query: Query = "",
    paused: Paused = False,
    on: On = False,
    template: OfTemplate = "",
    owner: Owner = "",
    limit: Limit = None,
) -> None:
    """List schedules by name.

    crawlyard schedules list
    crawlyard schedules list --paused --json
    crawlyard schedules list --template news
    """
    state = None if paused == on else paused
    surface = session.surface
    schedule_list = every(
        surface.schedules.list,
        paused=state,
        template=(await surface.templates.get(template)).id if template else None,
        owner=owner or None,
        q=query,
        limit=session.list_limit(limit),
    )
    count = await session.write_list(schedule_list, views.SCHEDULES)
    is_filtered = query or state is not None or template or owner
    none = "no schedule is like that" if is_filtered else "there is no schedule yet"
    session.tell_list_end(count, limit, none)


@app.command()
@action()
async def show(session: "Session", schedule: Ref) -> None:
    """Show one schedule in detail; credentials are hidden.

    crawlyard schedules show nightly
    crawlyard schedules show nightly --json
    """
    await session.show(await session.surface.schedules.get(schedule), views.SCHEDULES)


@app.command()
@essential("--when --tz --template --param --max-pages --overlap --pause-after --server")
@action(creates=True, name="NAME", params="--param")
async def create(
    session: "Session",
    schedule: Name,
    urls: Urls = None,
    *,
    when: Due,
    description: About_ = None,
    idempotency_key: IdempotencyKey = None,
    times: Times,
    policies: Policies,
    use: Use,
    options: SpecOptions,
) -> None:
    """Run a crawl repeatedly, from a template or from the options of `crawl`.

    crawlyard schedules create nightly --when '0 3 * * *' --tz Europe/Berlin --template news
    crawlyard schedules create docs --when @daily https://docs.example.org --max-pages 500
    """
    draft = schedule_fields(
        times, policies, zone="UTC", description=description, **use.form_terms()
    )
    overrides = await resolve_since(session, form_of(urls or (), options))
    fields = {"name": schedule, "when": when, "overrides": overrides, **draft}
    created = await session.surface.schedules.create(**fields, idempotency_key=idempotency_key)
    await _report_change(session, "created", [created])


@app.command()
@essential("--when --tz --overlap --ends --pause-after --max-pages --unset --server")
@action(name="--rename", params="--param")
async def edit(
    session: "Session",
    schedule: Ref,
    urls: Urls = None,
    *,
    when: NewDue = None,
    rename: NewName = None,
    description: About_ = None,
    times: Times,
    policies: Policies,
    use: NewUse,
    options: SpecOptions,
) -> None:
    """Change settings of a schedule; a new timetable applies at once.

    crawlyard schedules edit nightly --when '0 4 * * *'
    crawlyard schedules edit nightly --overlap queue --max-pages 1000
    crawlyard schedules edit nightly --ends none --unset limits.pages --unset params.site
    """
    fields = {"when": when, "name": rename, "description": description, "template": use.template}
    params: Mapping[str, object] = params_of(use.param or ())
    overrides = await resolve_since(session, form_of(urls or (), options))
    current = await session.surface.schedules.get(schedule)
    changes = schedule_fields(times, policies, zone=current.zone, **fields)
    if use.template_version is not None:
        changes["template_version"] = version_of(use.template_version)
    if not changes and not params and not overrides and not use.unset:
        message = "expected something to change, such as --when '0 4 * * *'"
        raise Invalid("schedules edit", message)
    overrides = _in_words(overrides)
    if use.unset:
        more = {**current.params, **params}, beside(current.overrides, overrides)
        try:
            objects = remove_values(*more, use.unset)
        except Invalid as error:
            raise Invalid("--unset", str(error)) from error
        params, overrides = map(patch_between, (current.params, current.overrides), objects)
    changes |= {n: v for n, v in (("params", params), ("overrides", overrides)) if v}
    changed = await session.surface.schedules.edit(current.id, version=current.version, **changes)
    await _report_change(session, "changed", [changed])


def _in_words(form: Form) -> dict[str, object]:
    """Return *form* with a word for null: in a change, null would remove an override."""
    facts: dict[str, object] = {}
    for name, value in form.items():
        inner = _in_words(value) if isinstance(value, Mapping) else value
        facts[name] = NO_LIMIT if inner is None else inner
    return facts


@app.command()
@action()
async def pause(session: "Session", schedules: Refs, *, reason: Reason = "") -> None:
    """Pause schedules until they are resumed; runs in between are recorded as skipped.

    crawlyard schedules pause nightly --reason 'the site is being moved'
    crawlyard schedules list -q | crawlyard schedules pause -
    """
    manager = session.surface.schedules
    targets = [await manager.get(ref) for ref in schedules]  # all exist, or none is paused
    await _report_change(
        session, "paused", [await manager.pause(target.id, reason) for target in targets]
    )


@app.command()
@action()
async def resume(session: "Session", schedules: Refs) -> None:
    """Resume paused schedules; skipped runs are started only with --misfire run_all.

    crawlyard schedules resume nightly
    """
    manager = session.surface.schedules
    targets = [await manager.get(ref) for ref in schedules]
    await _report_change(
        session, "resumed", [await manager.resume(target.id) for target in targets]
    )


@app.command()
@action()
async def run(session: "Session", schedule: Ref, *, idempotency_key: IdempotencyKey = None) -> None:
    """Submit a job of a schedule now, and print its id.

    crawlyard schedules run nightly
    crawlyard jobs watch "$(crawlyard schedules run nightly -q)"
    """
    job = await session.surface.schedules.run(schedule, idempotency_key=idempotency_key)
    if session.uses_api_format:
        session.write_record(job)
    else:
        write_line(job.id)
    session.tell(session.with_worker_hint("a worker runs what is queued"))


@app.command()
@action()
async def runs(
    session: "Session", schedule: Ref, *, before: Before = "", limit: Limit = None
) -> None:
    """List past runs of a schedule and their outcomes, the latest first.

    crawlyard schedules runs nightly
    crawlyard schedules runs nightly --before 2026-11-24 -o csv
    """
    current = await session.surface.schedules.get(schedule)
    instant = instant_of("--before", before, zone_of(current.zone)) if before else None
    list_runs = session.surface.schedules.runs
    ticks = every(list_runs, current.id, before=instant, limit=session.list_limit(limit))
    count = await session.write_list(ticks, views.past_runs_view(current.zone))
    session.tell_list_end(count, limit, f"schedule {current.name} has not been due yet", "latest")


@app.command("next")
@action()
async def next_(session: "Session", schedule: Ref, *, number: Number = 5) -> None:
    """List the next runs of a schedule, and the effect of clock changes on them.

    crawlyard schedules next nightly -n 10
    """
    _check_number(number)
    current = await session.surface.schedules.get(schedule)
    ahead = await session.surface.schedules.next(current.id, max(number, 1))
    await session.write_list(ahead.next[:number], views.COMING)
    if ahead.overdue_at is not None:
        at = views.local(ahead.overdue_at, current.zone)
        session.tell(f"schedule {current.name} is overdue since {at}: no scheduler is running")
    if not current.enabled:
        session.tell(f"schedule {current.name} is paused; it runs again after a resume")
    elif number and not ahead.next:
        session.tell(f"schedule {current.name} is not due any more")


@app.command()
@action(**_RANGE)
async def backfill(
    session: "Session",
    schedule: Ref,
    *,
    since: Since,
    until: Until = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    idempotency_key: IdempotencyKey = None,
) -> int:
    """Start the missed or skipped runs of a period.

    crawlyard schedules backfill nightly --from 2026-11-01 --until 2026-11-08 --dry-run
    crawlyard schedules backfill nightly --from 2026-11-01 --yes
    """
    schedules = session.surface.schedules
    current = await schedules.get(schedule)
    zone = zone_of(current.zone)
    start = instant_of("--from", since, zone)
    end = instant_of("--until", until, zone) if until else None
    would = await schedules.backfill(current.id, start, end, dry_run=True)
    done = would
    if not dry_run and would.runs:
        jobs = count_noun(len(would.runs), "job")
        question = f"Submit {jobs} of {current.name} for these instants?"
        about = [views.local(tick.due_at, current.zone) for tick in would.runs]
        if not yes and not session.confirm(question, about, _NO_DRY_RUN):
            session.tell("nothing was submitted")
            return DECLINED
        done = await schedules.backfill(
            current.id, start, would.until, dry_run=False, idempotency_key=idempotency_key
        )
    if session.uses_api_format:
        session.write_record(done)
    else:
        await session.write_list(done.runs, views.past_runs_view(current.zone))
    if done.operation_id is not None:  # there are many
        doing = f"operation {done.operation_id} submits {count_noun(len(would.runs), 'job')}"
        session.tell(session.with_worker_hint(f"{doing}; a worker runs it"))
        return 0
    verb = "would be submitted" if done.dry_run else "submitted"
    session.tell(
        f"{count_noun(len(done.runs), 'job')} {verb}; "
        f"{count_noun(done.kept, 'run')} already done, waiting or in the future"
    )
    return 0


@app.command()
@action(**_RANGE)
async def calendar(
    session: "Session", *, since: Start = "", until: End = "", tz: Zone = "UTC"
) -> None:
    """List past and planned runs of all schedules, by time.

    crawlyard schedules calendar --tz Europe/Berlin
    crawlyard schedules calendar --from 2026-12-01 --until 2027-01-01 --json
    """
    place = zone_of(tz)
    start = instant_of("--from", since, place) if since else None
    end = instant_of("--until", until, place) if until else None
    month = await session.surface.schedules.calendar(start, end)
    await session.write_list(month.occurrences, views.calendar_view(tz))
    if not month.occurrences:
        session.tell("no runs in that time")
    for schedule_id in month.unreadable:
        session.tell(f"left out, its timetable is no longer valid: {schedule_id}")
    if not month.whole and not month.unreadable:
        session.tell(f"only the first {len(month.occurrences):,} are shown; ask for less time")


@app.command()
@action(only="--only")
async def changes(
    session: "Session",
    schedule: Ref,
    *,
    urls: ByUrl = False,
    only: OnlyKinds = None,
    limit: Limit = None,
) -> None:
    """Count the changed pages of each run of a schedule, newest run first; --urls lists them.

    crawlyard schedules changes nightly
    crawlyard schedules changes nightly --urls --only gone
    """
    surface = session.surface
    if urls:
        kinds = tuple(only or ())
        listed = every(
            surface.changes.list, schedule=schedule, only=kinds, limit=session.list_limit(limit)
        )
        count = await session.write_list(listed, diffs.FEED)
        session.tell_list_end(count, limit, "no matching changes")
        return
    if only:
        raise Invalid("--only", "requires --urls")
    run_changes = every(surface.schedules.changes, schedule, limit=session.list_limit(limit))
    count = await session.write_list(run_changes, diffs.runs_view(session.clock.now()))
    session.tell_list_end(count, limit, "no run yet", "newest")


@app.command()
@action(basics=Basics)
async def delete(session: "Session", schedules: Refs, *, yes: Yes = False) -> int:
    """Delete schedules and the records of their past runs; their jobs stay.

    crawlyard schedules delete nightly
    crawlyard schedules list --paused -q | crawlyard schedules delete --yes -
    """
    targets = [await session.surface.schedules.get(ref) for ref in schedules]
    about = [f"{target.name}  {target.when}  {target.id}" for target in targets]
    if not session.confirm_deletion("schedules", about, "what is known of past runs", yes=yes):
        return DECLINED
    for target in targets:
        await session.surface.schedules.delete(target.id, version=target.version)
        session.tell(f"deleted: {target.name}")
    return 0


async def _report_change(session: "Session", done: str, schedules: "Sequence[ScheduleOut]") -> None:
    """Report a change of schedules, and write them if requested."""
    for schedule in schedules:
        at = schedule.next_at
        due = f"next {views.local(at, schedule.zone)}" if at is not None else "not due any more"
        session.tell(f"{done}: {schedule.name}  {due}  {schedule.id}")
    await session.write_changed_records(schedules, views.SCHEDULES, single=len(schedules) == 1)
