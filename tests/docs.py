"""Pages of `docs/reference/` that are made of the code: ``python -m tests.docs`` writes them."""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from zoneinfo import ZoneInfo

from jsonschema_rs import Draft202012Validator
from msgspec.structs import replace

from crawlyard import LIFECYCLE, ErrorKind, EventName, Move, State, StateReason
from crawlyard.config import settings_fields
from crawlyard.core.answer import as_dict, json_value
from crawlyard.core.crawl.changes import MOST_ANNOUNCED
from crawlyard.core.events.data import data_of
from crawlyard.core.events.event import Event
from crawlyard.core.fields import Field
from crawlyard.core.jobs.answers import EventOut
from crawlyard.core.jobs.job import EVENT_OF
from crawlyard.core.jobs.lifecycle import ENDED
from crawlyard.core.jobs.outcome import STOPPED
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.core.jobs.spec_json import FIELDS, at, form_of
from crawlyard.core.quantity import duration_text
from crawlyard.core.schedules.cron import ALIASES
from crawlyard.core.schedules.cron import FIELDS as CRON_FIELDS
from crawlyard.core.schedules.schedule import (
    MISFIRE_HELP,
    MOST_CATCH_UP,
    OVERLAP_HELP,
    Misfire,
    Overlap,
    TickOutcome,
    TickReason,
)
from crawlyard.core.schedules.timetable import SHORTEST, timetable
from crawlyard.core.webhooks.webhook import MAX_BODY, message
from crawlyard.core.words import ERRORS, REASONS, STATES
from crawlyard.export.jsonl import dumps
from tests import docs_limits, docs_metrics, docs_streams
from tests.builders import NOW, a_job, a_spec, its_event

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"

_MADE = "<!-- made by `python -m tests.docs`; a test compares it with the code -->"
_MEMBER = re.compile(r"^    ([A-Z0-9_]+) = .*?  # (.+)$", re.MULTILINE)


def comments_of(closed: type[Enum]) -> dict[str, str]:
    """Return what the source says behind each member of an enumeration, by its name."""
    return dict(_MEMBER.findall(inspect.getsource(closed)))


def lifecycle() -> str:
    """Return the page about states, moves and reasons."""
    states, moves, reasons = (comments_of(each) for each in (State, Move, StateReason))
    table = [
        [f"**{state}**", *(LIFECYCLE[state].get(move, "") for move in Move)] for state in State
    ]
    drawing = [
        "stateDiagram-v2",
        f"    [*] --> {State.PENDING}",
        *(
            f"    {state} --> {after}: {', '.join(_between(state, after))}"
            for state in State
            for after in dict.fromkeys(LIFECYCLE[state].values())
        ),
    ]
    return _page(
        "The life of a job",
        "A job is always in one of six states. Nothing but the moves below changes its state, "
        "and each move writes its event in the same transaction.",
        "## States",
        _table(
            ["state", "shown as", "what it means"],
            [[f"`{s}`", STATES[s], states[s.name]] for s in State],
        ),
        f"A job that ended with URLs left is shown as *{STATES[STOPPED]}*: `{State.COMPLETED}` by "
        f"a limit, or `{State.CANCELLED}` by a user after it had begun. Its pages are kept, and it "
        f"can be resumed. The filter of jobs finds them by `state:{STOPPED}`, and those that wait "
        "by `state:waiting` or `state:pending`.",
        f"{_listed(s for s in State if s in ENDED)} are ends: "
        "nothing more happens unless somebody asks for it.",
        "## Moves",
        _table(
            ["move", "what happens", "its event"],
            [[f"`{m}`", moves[m.name], f"`{EVENT_OF[m]}`"] for m in Move],
        ),
        "From the state on the left, each move leads to the state in its column. "
        "Where there is none, the move is refused.",
        _table(["", *(f"`{m}`" for m in Move)], table),
        "```mermaid\n" + "\n".join(drawing) + "\n```",
        "A job that is pending may have to wait until its due time. A resumed job and one that "
        "goes on after a lost worker or a lost slot keep their place in the queue.",
        "## Reasons",
        "Beside its state, a job has a reason from this list, and often a sentence of detail.",
        _table(
            ["reason", "shown as", "state, and why"],
            [[f"`{r}`", REASONS[r], reasons[r.name]] for r in StateReason],
        ),
        "A `low` job that runs may have to give its slot to an urgent one: it is queued again as "
        f"`{StateReason.PREEMPTED}`, see [Priorities and fair share]"
        "(../howto/priorities-and-fair-share.md#urgent-jobs).",
        "All events, with what each of them carries, are in [Events](events.md).",
    )


def settings() -> str:
    """Return the page about settings."""
    rows = [
        [
            f"`{name}`",
            f"`CRAWLYARD_{name.upper()}`",
            _default(field),
            _range(field),
            field.about.doc,
        ]
        for name, field in settings_fields().items()
    ]
    return _page(
        "Settings",
        "A setting comes from the first of these that has it: a flag of the command, the "
        "environment, the file `crawlyard.toml` in the working directory, the default.",
        _table(["in `crawlyard.toml`", "in the environment", "default", "range", "what"], rows),
        "The flags are `--data-dir` of every command that uses one, and `--jobs` of "
        "`crawlyard work`. `--data-dir` stands for the SQLite file in it, and takes precedence "
        "over `database_url` as well, wherever that is set. A value out of its range, and "
        "a name in the file that is none, ends the command with exit code 2.",
        "An example of `crawlyard.toml`:",
        '```toml\ndata_dir = "/var/lib/crawlyard"\njobs = 8\n'
        'user_agent = "ExampleBot/1.0 (+https://example.org/bot)"\n```',
    )


def errors() -> str:
    """Return the page about failed URLs."""
    comments = comments_of(ErrorKind)
    return _page(
        "Why a URL failed",
        "A failed URL has a page record with an `error`: a kind from this closed list, and a "
        "sentence of detail.",
        _table(
            ["kind", "shown as", "what happened"],
            [[f"`{k}`", ERRORS[k], comments[k.name]] for k in ErrorKind],
        ),
        "Time-outs, lost connections, names that do not resolve, and the statuses 500, 502, 503 "
        "and 504 are tried again, twice unless the job says otherwise, after growing waits. A 429, "
        "and a 503 with Retry-After, hold the whole host first. A robots.txt that cannot be had is "
        "asked for again as well, and its site is closed meanwhile. All else is final at once.",
        "List a job's failures with `crawlyard jobs errors ID`, and try them again with "
        "`crawlyard jobs retry ID --failed`, or only some of them with `--kind`.",
    )


def spec_form() -> str:
    """Return the page about the form of a spec."""
    defaults = form_of(JobSpec(urls=("https://example.org/",))) | {"urls": []}
    rows = [
        [
            f"`{field.path}`" + (f", `{field.also}`" if field.also else ""),
            field.accepts,
            f"`{dumps(at(defaults, field.path))}`",
            field.field.about.doc.replace("|", "\\|"),
        ]
        for field in FIELDS.values()
    ]
    return _page(
        "The form of a spec",
        "Templates, their files and the settings of a schedule say what to crawl in one form: an "
        "object of the fields below. `limits` and `retry` are objects of their own; `limits.pages` "
        "may also be written as one name. What is left out is as in the template, or the default.",
        _table(["field", "what it takes", "default", "what it is"], rows),
        "A field that is not there is refused, with the one that was probably meant; a value that "
        "cannot be read is refused with the path of its field and what was expected.",
    )


def events() -> str:
    """Return the page about events."""
    job = a_job(
        id="01a210f8-13ce-73bf-8a3f-f06cfe4c2e98",
        spec=a_spec(name="nightly"),
        state=State.COMPLETED,
        state_reason=StateReason.EXHAUSTED,
        version=3,
    )
    example = replace(its_event(job, EventName.COMPLETED), actor="worker:w1", seq=42)
    example_json = dumps(as_dict(EventOut.of(example)), indent=2)
    sent = dumps(as_dict(message(example)), indent=2)
    tables = [
        block
        for kind in dict.fromkeys(name.kind for name in EventName)
        for block in (
            f"## Of {'the' if kind == 'settings' else 'a'} {kind}",
            f"Each has in its data: {', '.join(f'`{key}`' for key in _common_fields(kind))}."
            + _PERHAPS.get(kind, ""),
            _table(
                ["event", "when", "and in its data"],
                [_event_row(name) for name in EventName if name.kind == kind],
            ),
        )
    ]
    return _page(
        "Events",
        "Whatever happens in the yard is written down as an event, in the transaction that makes "
        "it true. Events are numbered by `seq` in the order in which they became true.",
        *tables,
        "## As it is shown",
        f"```json\n{example_json}\n```",
        "`v` is the version of this shape and of `data`: within a version, names are only added, "
        "and none changes its meaning.",
        "## As a webhook is told of it",
        f"```json\n{sent}\n```",
        "`details` is the event's data; `data.v` is the version as above. With the setting "
        "`public_url`, `data.url` is the page of the job, schedule or template in the dashboard. A "
        f"message has fewer than {MAX_BODY:,} bytes: what is longer is cut, and `data.cut` is true "
        "then.",
    )


def undocumented(events: Iterable[Event]) -> list[str]:
    """Return how the data of *events* differs from what their documentation says."""
    wrong: list[str] = []
    for event in events:
        fields = data_of(event.name)
        extra = event.data.keys() - fields.always.keys() - fields.sometimes.keys()
        wrong += [f"{event.name} has {key}" for key in extra]
        wrong += [f"{event.name} has no {key}" for key in fields.always.keys() - event.data.keys()]
        valid = Draft202012Validator(fields.schema()).iter_errors(json_value(dict(event.data)))
        wrong += [f"{event.name}: {error.message}" for error in valid]
    return wrong


def _event_row(name: EventName) -> list[str]:
    fields, common = data_of(name), _common_fields(name.kind)
    own = [f"`{key}`" for key in fields.always if key not in common]
    optional = [f"`{key}`" for key in fields.sometimes if key not in _OF_PARENT]
    if optional:
        own.append(f"in some cases {', '.join(optional)}")
    return [f"`{name}`", name.summary, ", ".join(own)]


def _common_fields(kind: str) -> list[str]:
    """Return the fields that the data of every event of *kind* has."""
    every = (data_of(name).always.keys() for name in EventName if name.kind == kind)
    return sorted(set.intersection(*map(set, every)))


_OF_PARENT = frozenset({"schedule_id", "job_id"})
_PERHAPS = {
    "job": " That of a job of a schedule has `schedule_id` as well.",
    "run": " `schedule_id` as well. `counts` has the number of pages by kind of change.",
    "page": " `schedule_id` as well. `pages` has `kind`, `url` and, if it moved, `moved_to` of at "
    f"most {MOST_ANNOUNCED} pages; `more` is how many others there are.",
    "webhook": " That of a job's own webhook has `job_id` as well.",
}


def cron() -> str:
    """Return the page about timetables and the policies of schedules."""
    outcomes, reasons = comments_of(TickOutcome), comments_of(TickReason)
    return _page(
        "When a schedule is due",
        "A schedule says when in one of these ways, and has an IANA time zone; else it is UTC:",
        _table(
            ["when", "what it means"],
            [
                ["`0 3 * * MON-FRI`", "a cron expression: times of the clock on the wall"],
                ["`@daily`", "a short name of one"],
                [
                    "`every 6h`, `every 1h30m`",
                    (
                        f"an interval of at least {duration_text(SHORTEST)}, whatever clocks do: "
                        "it counts from the start date, or else from when it was created; "
                        "a day is 24 hours"
                    ),
                ],
                [
                    "`at 2027-01-01T08:00`",
                    "once; in the zone, or with an offset of its own such as `Z` or `+02:00`",
                ],
            ],
        ),
        "What an expression means and when it comes next, without storing anything:",
        "```sh\ncrawlyard schedules explain '0 3 * * MON-FRI' --tz Europe/Berlin -n 3\n```",
        "## Cron expressions",
        "Five fields, separated by blanks:",
        _table(
            ["field", "values", "names", "special"],
            [
                [
                    field.name,
                    f"{field.first}-{field.last}",
                    f"{field.names[0]}-{field.names[-1]}, in any case" if field.names else "",
                    _SPECIAL.get(field.name, ""),
                ]
                for field in CRON_FIELDS
            ],
        ),
        "Each field is a list, separated by commas, of `*` (all), a value, a range `a-b`, and any "
        "of these with a step: `*/15`, `10-50/20`; `5/15` counts from 5 to the end. A range does "
        "not run backwards. There is no field for seconds or years.",
        "**Day of month and weekday.** If both are given, either lets a day through: "
        "`0 0 13 * FRI` is every 13th and every Friday. But if one of the two begins with `*`, "
        "both must hold: `0 0 1-7 * */7` is the first Sunday of the month. Debian's cron does so.",
        _table(
            ["short name", "means"], [[f"`{name}`", f"`{is_}`"] for name, is_ in ALIASES.items()]
        ),
        "What cannot be is refused, with the field and the position of the error, counted from 0: "
        "`61 * * * *` says «minute 61 is out of 0-59, at position 0». So is what never comes, such "
        "as `0 0 31 2 *`.",
        _table(
            ["expression", "in words"],
            [[f"`{when}`", timetable(when, "UTC", NOW).text[:-6]] for when in _TOLD],
        ),
        "## When the clocks change",
        "As with Debian's cron:",
        "- **Fixed times**, whose minute and hour do not begin with `*`: a time that the clocks "
        "skip runs once, right after the gap, also if several times are skipped. A time that comes "
        "twice runs the first time. `at` does the same.\n"
        "- **All others** follow the clock on the wall: they run whenever it shows a time that "
        "matches, so twice in an hour that is repeated, and not in one that is skipped.\n"
        "- **Intervals** do not notice.",
        _table(
            ["expression", "zone", "what runs"],
            [[f"`{when}`", zone, _runs(when, zone, day)] for when, zone, day in _CHANGES],
        ),
        "## Overlap: while a job of the schedule has not ended",
        _policies(OVERLAP_HELP),
        "A paused job has not ended either. The policy looks at the schedule's own jobs only, and "
        "not at those of a backfill: they neither hold up a tick nor are cancelled for one. A run "
        "that somebody asks for (`schedules run`) is refused by `skip` and `queue` while a job has "
        "not ended, and makes room by `cancel_previous` as a tick does.",
        "## Misfire: when no scheduler was there in time",
        "A tick still counts as in time until its grace, 5 minutes unless the schedule says "
        "otherwise, is over. What becomes of later ones:",
        _policies(MISFIRE_HELP),
        f"`catch_up` is 10 unless the schedule says otherwise, and at most {MOST_CATCH_UP:,}. What "
        "is made up for obeys the overlap policy like all else. So with `run_all`, of several that "
        "are made up for at once, `skip` runs the earliest; `queue` the earliest and, after it, "
        "the next; `cancel_previous` the latest; and only `allow` runs all, side by side.",
        "A resumed schedule goes on with its next tick. Only with `run_all` it makes up for what "
        "it skipped while it was paused, the latest `catch_up` of it.",
        "## The rest",
        "- **Jitter** delays each tick, by a hash of schedule and instant: schedules that are due "
        "together spread, and the same tick always has the same delay. It never reaches the next "
        "tick.\n"
        "- **Start and end date** bound the instants, both included.\n"
        "- **Remaining runs** count down with each job that is submitted; at 0 the schedule ends.\n"
        "- **Pause after N failures** in a row: a completed job ends the row, a cancelled one "
        "does not count. They are counted from the last resume, or since N was changed; other "
        "edits do not start anew.\n"
        "- **An edit** of when, zone, jitter, start, end or remaining runs holds at once: what has "
        "come by the old time table is decided before, without its jitter. No instant that has "
        "been decided comes again, even if the clock was set back; until it is there again, "
        "nothing is due.\n"
        "- **A backfill** fires what is due first, and then submits a job for each instant of its "
        "range that has none. Instants that are not decided yet are left to their time. How its "
        "jobs end does not count for `pause_after`: what went wrong then says nothing about now.\n"
        "- Instants without an offset, such as `--starts`, `--ends`, `--from` and `--until`, are "
        "of the schedule's zone; years are 1970 to 9998.\n"
        "- A schedule that cannot be read or decided any more, because its zone is gone, say, is "
        "paused with the reason; the others go on.",
        "## The ledger",
        "Each instant at which a schedule was due has one row: what became of it, and why.",
        _table(["outcome", "what it means"], [[f"`{o}`", outcomes[o.name]] for o in TickOutcome]),
        _table(
            ["reason", "of which outcome, and why"],
            [[f"`{r}`", reasons[r.name]] for r in TickReason],
        ),
    )


_SPECIAL = {
    "day of month": "`L` the last day, `LW` the last from Monday to Friday, `?` as `*`",
    "weekday": "0 and 7 are Sunday; `5L` the last Friday, `MON#1` the first Monday, `?` as `*`",
}

_TOLD = (
    "*/15 9-17 * * MON-FRI",
    "30 2 1,15 * *",
    "0 0 13 * FRI",
    "0 0 1-7 * */7",
    "0 6 L * *",
    "0 6 * * 5L",
    "0 9 * JAN,APR,JUL,OCT MON#1",
    "5 */2 * * *",
)

_CHANGES = (
    ("30 2 * * *", "Europe/Berlin", "2027-03-28"),
    ("15,45 2 * * *", "Europe/Berlin", "2027-03-28"),
    ("*/30 1-3 * * *", "Europe/Berlin", "2027-03-28"),
    ("30 2 * * *", "Europe/Berlin", "2027-10-31"),
    ("*/30 2 * * *", "Europe/Berlin", "2027-10-31"),
    ("15 2 * * *", "Australia/Lord_Howe", "2027-10-03"),
    ("0 0 * * *", "America/Santiago", "2027-09-05"),
)


def _runs(when: str, zone: str, day: str) -> str:
    """Return the runs of *day*, as the clock shows them."""
    start = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone))
    table, instants = timetable(when, zone, start), list[datetime]()
    at_ = table.after(start - timedelta(seconds=1))
    while at_ is not None and f"{at_.astimezone(start.tzinfo):%Y-%m-%d}" == day:
        instants.append(at_.astimezone(start.tzinfo))
        at_ = table.after(at_)
    return f"{day}: " + ", ".join(f"{local:%H:%M %Z}" for local in instants)


def _policies(helps: Mapping[Overlap, str] | Mapping[Misfire, str]) -> str:
    rows = [
        [f"`{policy}`{'' if n else ' (default)'}", text]
        for n, (policy, text) in enumerate(helps.items())
    ]
    return _table(["policy", "what it does"], rows)


def limits_of_requests() -> str:
    """Return how much of everything a request may have."""
    return _page("How much may be asked", *docs_limits.blocks(_table))


def streams() -> str:
    """Return the page about server-sent events."""
    return _page("What streams tell", *docs_streams.blocks(_table))


def metrics() -> str:
    """Return the page about metrics."""
    return _page("Metrics", *docs_metrics.blocks(_table))


PAGES: Mapping[str, Callable[[], str]] = {
    "lifecycle.md": lifecycle,
    "settings.md": settings,
    "spec-form.md": spec_form,
    "errors.md": errors,
    "cron.md": cron,
    "events.md": events,
    "limits-of-requests.md": limits_of_requests,
    "streams.md": streams,
    "metrics.md": metrics,
}


def _between(state: State, after: State) -> list[str]:
    return [str(move) for move, to in LIFECYCLE[state].items() if to is after]


def _listed(states: Iterable[State]) -> str:
    *most, last = (f"`{state}`" for state in states)
    return f"{', '.join(most)} and {last}"


def _default(field: Field) -> str:
    return f"`{field.default}`" if str(field.default) else "empty"


def _range(field: Field) -> str:
    if field.name == "user_agent":
        return "not empty"
    least, most = field.about.least, field.about.most
    return "" if least is None else f"{least} to {most}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _page(title: str, *blocks: str) -> str:
    return "\n\n".join([f"# {title}", _MADE, *blocks]) + "\n"


def write() -> None:
    """Write all of them."""
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write()
