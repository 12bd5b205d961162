"""Golden output of commands in each format: ``python -m tests.golden`` writes the files.

The commands read a yard that is the same each time (`tests.golden_yard`), in this
process's folder and over HTTP: a file holds for both.
"""

import asyncio
import json
import math
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from crawlyard.cli.options import Style
from crawlyard.core.webhooks.webhook import message_id
from tests.acceptance.shell import MINUTE, Shell, serving
from tests.golden_yard import (
    BROKEN,
    DOCS,
    GROUP,
    HELD,
    LATER,
    NEXT,
    NIGHTLY,
    SHARE,
    SHOP,
    TICKED,
    TOKEN,
    TRIAL,
    TRIGGER,
    WEEKLY,
    build,
    fixed,
)

FOLDER = Path(__file__).parent / "acceptance" / "golden"
_IN_TURN = Path(__file__).parent / "acceptance" / "in_turn.py"

FROZEN = datetime(2026, 1, 15, 12, tzinfo=UTC)
"""When the yard is built, as the files have it."""


@dataclass(frozen=True)
class Look:
    """A command that shows something, in which formats, and fields to pick of that."""

    words: str
    fields: str = ""  # nothing: it takes none
    styles: Sequence[Style] = (Style.TABLE, Style.PLAIN, Style.JSON, Style.CSV)

    @property
    def lines(self) -> Iterator[str]:
        """Yield the command in each format."""
        for style in self.styles:
            yield f"{self.words} -o {style}"
        if len(self.styles) > 1:
            yield f"{self.words} -q"
        if self.fields:
            yield f"{self.words} --fields {self.fields}"
            yield f"{self.words} --fields {self.fields} -o json"


_ROWS = (Style.TABLE, Style.PLAIN, Style.CSV)
_MONTH = "--from 2100-01-01T00:00Z --until 2100-01-06T00:00Z"
_EXPLAINED = "@weekly --tz Europe/Berlin --from 2100-01-01T00:00Z -n 2"

LOOKS: Mapping[str, Sequence[Look]] = {
    "jobs list": [
        Look("jobs list", "id,state,progress.done,spec.tags", _ROWS),
        # the two others write what JSON has, line by line or otherwise
        Look("jobs list --state completed --state running", styles=tuple(Style)),
    ],
    "jobs show": [
        *(
            Look(f"jobs show {fixed(number)}", "id,state_reason,spec.limits.pages,waits_for")
            for number in (DOCS, SHOP, LATER)
        ),
        *(
            Look(f"jobs show {fixed(number)}", styles=[Style.TABLE])
            for number in (BROKEN, HELD, TICKED, NEXT)
        ),
    ],
    "jobs queue": [Look("jobs queue", "id,spec.priority,waits_for.reason")],
    "jobs counts": [Look("jobs counts", "total,states")],
    "groups show": [Look(f"groups show {fixed(GROUP)}", "id,states")],
    "jobs pages": [Look(f"jobs pages {fixed(DOCS)}", "url,status,error.kind")],
    "diff": [Look(f"diff {fixed(SHOP)} {fixed(DOCS)}", "kind,url,detail")],
    "jobs errors": [Look(f"jobs errors {fixed(DOCS)}", "kind,samples")],
    "jobs links": [Look(f"jobs links {fixed(DOCS)}", "source,target")],
    "jobs events": [Look(f"jobs events {fixed(DOCS)}", "name,data.reason")],
    "jobs shards": [
        Look(f"jobs shards {fixed(SHOP)}", "number,worker"),
        Look(f"jobs shards {fixed(DOCS)}", styles=[Style.TABLE]),
    ],
    "jobs frontier": [Look(f"jobs frontier {fixed(DOCS)}", "url")],
    "jobs log": [Look(f"jobs log {fixed(DOCS)}", "level,message")],
    "jobs config": [Look(f"jobs config {fixed(TICKED)}", "config.urls,template")],
    "jobs why": [
        Look(f"jobs why {fixed(DOCS)} https://docs.example.org/{path}", "outcome,detail")
        for path in ("a", "gone", "waits", "unknown")
    ],
    "templates list": [Look("templates list", "name,version")],
    "templates show": [Look("templates show news", "id,parameters.name")],
    "templates versions": [Look("templates versions news", "version,public")],
    "templates render": [
        Look("templates render news -p start_url=https://n.example/", "spec.urls,template_id")
    ],
    "schedules list": [Look("schedules list", "name,next_at,enabled")],
    "schedules show": [
        Look(f"schedules show {fixed(number)}", "name,when_text") for number in (NIGHTLY, WEEKLY)
    ],
    "schedules runs": [Look("schedules runs nightly", "due_at,outcome,job_id")],
    "schedules changes": [Look("schedules changes nightly", "job_id,counts")],
    "schedules next": [Look("schedules next weekly -n 2", "local,zone")],
    "schedules calendar": [Look(f"schedules calendar {_MONTH}", "schedule_name,due_at")],
    "schedules explain": [Look(f"schedules explain {_EXPLAINED}")],
    "webhooks list": [Look("webhooks list", "id,active,events")],
    "webhooks show": [Look(f"webhooks show {fixed(52)}", "url,disabled_reason")],
    "webhooks deliveries": [Look(f"webhooks deliveries {fixed(51)}", "state,attempts.status")],
    "notifications list": [Look("notifications list", "id,name,kind,on")],
    "notifications show": [Look("notifications show ops", "name,to,quiet_hours")],
    "notifications deliveries": [Look("notifications deliveries ops", styles=[Style.TABLE])],
    "sessions list": [Look("sessions list", "name,version,origins")],
    "sessions show": [Look("sessions show wiki", "name,kind,made_at")],
    "events": [Look("events", "seq,name,subject")],
    "pages": [
        Look("pages --host docs.example.org", "url,job_id,status"),
        Look("pages handbook --only ok --status 2xx", styles=[Style.PLAIN]),
    ],
    "attention": [Look("attention", "kind,subject.name,help.endpoint")],
    "workers list": [Look("workers list", "id,state,tags,running")],
    "workers show": [Look("workers show crawler:4001:abc1", "id,pages_per_s")],
    "hosts list": [Look("hosts list", "host,state,in_flight,rule.delay_s")],
    "hosts show": [
        Look("hosts show shop.example", "host,jobs,rule.note"),
        Look("hosts show ads.example", styles=[Style.TABLE]),
    ],
    "ops list": [Look("ops list", "id,state,done")],
    "ops show": [Look(f"ops show {fixed(61)}", "id,failures.code")],
    "tokens list": [Look("tokens list", "id,name,scopes")],
    "audit list": [Look("audit list --action token.*,webhook.*", "actor,action,address")],
    "shares list": [Look("shares list", "id,name,job_id")],
    "shares show": [Look(f"shares show {fixed(SHARE)}", "id,name,downloads")],
    "triggers list": [Look("triggers list", "id,name,schedule_id")],
    "triggers show": [Look(f"triggers show {fixed(TRIGGER)}", "id,name,schedule_id")],
    "users list": [Look("users list", "id,role,quota.running")],
    "settings grants": [Look("settings grants", "effective,version")],
    "whoami": [Look("whoami", "id,role")],
    "stats": [Look("stats", "cards.jobs.running,cards.workers")],
}
"""Commands, as files are named, and how they are called."""

_NEXT, _HELD, _SENT = fixed(NEXT), fixed(HELD), message_id(fixed(51), 12)

CHANGES = (
    f"jobs wait {_HELD} --fields state -o json",
    f"groups wait {fixed(GROUP)} --fields id,ended -o json",
    f"groups cancel {fixed(GROUP)}",
    f"jobs pause {_NEXT} --json",
    f"jobs resume {_NEXT} -o jsonl",
    (
        f"jobs set {_NEXT} priority=low limits.pages=7 tags=+late"
        " --fields spec.priority,spec.tags -o json"
    ),
    f"jobs retry {fixed(LATER)} --now --fields state_reason,due_in_s,version -o yaml",
    f"jobs cancel {_NEXT} {_HELD} --fields id,state,allowed_actions -o json",
    f"jobs retry {_NEXT} --fields id,retry_of,state -o json",
    f"jobs retry {fixed(BROKEN)} --failed --fields id,state,version -o json",
    f"jobs set {fixed(DOCS)} limits.pages=none --fields spec.limits.pages",
    f"jobs resume {fixed(DOCS)} -q",
    f"jobs exclude {fixed(SHOP)} */waits --dry-run --json",
    f"jobs exclude {fixed(SHOP)} */waits -o yaml",
    f"jobs delete {fixed(TRIAL)} --yes",
    "templates create shops {{start}} --param start:url --max-pages 9 --json",
    "templates edit shops --description All --fields version,description -o json",
    "templates publish shops -o jsonl",
    "templates unpublish shops --fields public,version -o csv",
    "templates restore shops 1 --fields version,description -o json",
    "templates duplicate shops --name others --json",
    "templates export shops --out shops.yaml",
    "templates import shops.yaml --update -o yaml",
    "templates delete others --yes",
    "schedules create hourly --when @hourly --starts 2100-01-01 https://a.example/ --json",
    "schedules edit hourly --when @daily --fields name,when,version -o json",
    "schedules pause hourly --reason lunch --fields enabled,pause_reason -o json",
    "schedules resume hourly -o jsonl",
    "schedules run hourly --fields id,state,origin.schedule_id -o json",
    "schedules backfill weekly --from 2026-01-01 --until 2026-01-02 --dry-run --json",
    "schedules delete hourly --yes",
    "webhooks create https://192.0.43.8/in --event job.* --json",
    f"webhooks edit {fixed(51)} --description Talk --fields description,version -o json",
    f"webhooks disable {fixed(51)} --fields active,disabled_reason -o json",
    f"webhooks enable {fixed(51)} -o jsonl",
    f"webhooks rotate {fixed(51)} --fields secret,rotated_until -o json",
    f"webhooks test {fixed(51)} --fields id,active -o json",
    f"webhooks replay {_SENT} --fields id,event,attempts -o json",
    f"webhooks delete {fixed(51)} --yes",
    (
        "notifications create night --ntfy https://192.0.43.8/crawls --on failed,changed"
        " --quiet-hours 22:00-07:00 --json"
    ),
    "notifications edit night --digest 1h --fields digest_s,version -o json",
    "notifications disable night --fields active,disabled_reason -o json",
    "notifications enable night -o jsonl",
    "notifications test night --fields name,to,active -o json",
    "notifications delete night --yes",
    "sessions login ci bearer --url https://ci.example/ --secret env:PYTHONUTF8 --json",
    "sessions delete ci --yes",
    "users create eve --role viewer --max-pages 5 --json",
    "users set eve --max-running 2 --max-pages none --fields quota,version -o json",
    "users disable eve --fields id,disabled_at -o json",
    "users enable eve -o yaml",
    "tokens create ci --user eve --scope jobs:read --json",
    "tokens revoke ci",
    f"jobs share {fixed(DOCS)} --name editors --json",
    f"shares revoke {fixed(SHARE)}",
    "triggers create CMS --schedule nightly --json",
    "triggers list -o plain",
    "settings grants --addresses --fields value,version -o json",
    "workers quiet crawler:4001 --fields id,state,wish -o json",
    "workers resume abc1 -o jsonl",
    "workers stop crawler:4001:abc1 --fields state,wish -o csv",
    "workers forget crawler:4002:abc2",
    "hosts set new.example --delay 1.5 --per-host 2 --note Slowly --json",
    "hosts set new.example --per-host none --fields rule -o yaml",
    "hosts pause new.example www.example.org --note Down --fields host,state -o csv",
    "hosts block www.example.org --fields host,state,rule.note -o json",
    "hosts resume new.example -o jsonl",
    "hosts unset new.example www.example.org",
    f"ops cancel {fixed(63)} --fields state,done,ended_at -o json",
    "jobs counts --json",
    "audit export --format csv --action webhook.created --until 2026-01-10",
)
"""Commands that change something, one after the other, and may write what they have changed."""


@dataclass(frozen=True)
class Built:
    """A yard in a folder, and the instant at which it was built."""

    folder: Path
    at: datetime

    @property
    def zone(self) -> str:
        """The time zone, in POSIX notation, in which it was built at noon."""
        west = self.at.hour * 60 + self.at.minute - 12 * 60
        sign = "" if west >= 0 else "-"
        return f"YARD{sign}{abs(west) // 60:02}:{abs(west) % 60:02}"

    @property
    def shell(self) -> Shell:
        url = {"CRAWLYARD_PUBLIC_URL": "https://crawls.example.org"}  # links need one
        return Shell(self.folder, {"TZ": self.zone, "COLUMNS": "160"} | url)

    @contextmanager
    def served(self) -> Iterator[Shell]:
        """Serve it, and yield what runs commands over HTTP."""
        with serving(self.shell, TOKEN, "--no-worker") as shell:
            yield shell


def built(folder: Path) -> Built:
    """Return a new yard in *folder*."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    asyncio.run(build(folder / "crawlyard-data", now))
    return Built(folder, now)


def texts(yard: Built, shell: Shell, ends: tuple[str, ...] = ("",)) -> dict[str, str]:
    """Return what commands write there, by the names of their files.

    Commands that change nothing are run if they end with one of *ends*.
    """
    lines = {
        name: [line for look in looks for line in look.lines if line.endswith(ends)]
        for name, looks in LOOKS.items()
    }
    lines["changes"] = [*CHANGES]  # the last ones: nothing else sees them
    every = [line for each in lines.values() for line in each]
    ran = in_turn(shell, [line.split() for line in every])
    failed = [
        f"{line}: {output.err}" for line, output in zip(every, ran, strict=True) if output.code
    ]
    if failed:
        raise RuntimeError("\n".join(failed))
    outputs = iter(ran)
    steady = Steady(yard.at)
    return {
        f"{name.replace(' ', '-')}.txt": "\n".join(
            f"$ crawlyard {line}\n{steady.text(next(outputs).out)}" for line in each
        )
        for name, each in lines.items()
    }


def parts(text: str) -> dict[str, str]:
    """Return what each command of a file wrote, without the empty lines behind it."""
    _, *sections = re.split(r"^\$ crawlyard (.*)\n", text, flags=re.MULTILINE)
    return {line: out.rstrip("\n") for line, out in zip(sections[::2], sections[1::2], strict=True)}


@dataclass(frozen=True)
class CommandResult:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


def in_turn(shell: Shell, commands: Sequence[Sequence[str]]) -> list[CommandResult]:
    """Run commands in one process, and return their results."""
    ran = subprocess.run(
        [sys.executable, str(_IN_TURN)],
        cwd=shell.folder,
        env=shell.environment,
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        timeout=5 * MINUTE,
        check=True,
    )
    return [CommandResult(**fields) for fields in json.loads(ran.stdout)]


_ID = re.compile(r"\b(?!01900000-0000-7000-8000-)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_SECRET = re.compile(r"\b(whsec|cyt|cyh|cyv)_(?!0000)[\w+/=-]+")
_DAYS = "Mon|Tue|Wed|Thu|Fri|Sat|Sun"
_UTC = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|\+00:00)")
_NAMED = re.compile(rf"\b(?:{_DAYS}) (\d{{4}}-\d\d-\d\d \d\d:\d\d)(?::\d\d)? UTC")
_LOCAL = re.compile(r"(?<!-)\b(\d{4}-\d\d-\d\d \d\d:\d\d)\b(?! UTC)")
_TODAY = re.compile(r"(?<![\dT:-])(\d\d:\d\d:\d\d)(?![\dZ.])")
_DATE = re.compile(r"(?<![\d-])(\d{4}-\d\d-\d\d)(?![-\dT]| \d\d:)")
_IN = re.compile(r'(\b(?:in|due_in|oldest_wait)_s"?: ?)(\d+\.?\d*)')
_DISK = re.compile(r'(\bdisk_\w+_bytes"?: ?)\d+')
_DAYS_LEFT = re.compile(r"(\bin \d+d) \d+m")
_CENTURY = re.compile(r"\b2\d{9}\.\d+|\b2\d{4}d(?:\d+h)?")
_CENTURY_HEAD = re.compile(r"UTC +IN( +REMARK)")  # its hours have one digit or two
_MOST = timedelta(days=60)
_HOUR = timedelta(hours=1)
_RUN = timedelta(minutes=45)  # more than it takes to read the yard


class Steady:
    """Writes instants as if the yard had been built at `FROZEN`, and read in that moment.

    What is not a whole number of hours away, or a little less than one, is an hour that
    was counted from the moment of reading. What is far away has its own date. Ids that are
    made meanwhile are numbered, and secrets are not shown.
    """

    def __init__(self, at: datetime) -> None:
        self._at = at
        self._ids: dict[str, str] = {}

    def text(self, text: str) -> str:
        """Return *text* as it is each time, with plain line ends and nothing behind them."""
        text = _ID.sub(lambda m: self._ids.setdefault(m[0], f"id-{len(self._ids) + 1}"), text)
        text = _SECRET.sub(r"\1_secret", text)
        text = _UTC.sub(lambda m: self._utc(m[1], m[2], m[3]), text)
        text = _NAMED.sub(lambda m: self._named(m[0], m[1]), text)
        text = _LOCAL.sub(lambda m: self._local(m[1]), text)
        text = _TODAY.sub(lambda m: self._today(m[1]), text)
        text = _DATE.sub(lambda m: self._date(m[1]), text)
        text = _IN.sub(lambda m: f"{m[1]}{_hours_s(float(m[2]))}", text)
        text = _DISK.sub(r"\g<1>7", text)
        text = _DAYS_LEFT.sub(r"\1", text)
        text = _CENTURY.sub("a-century", text)
        text = _CENTURY_HEAD.sub(r"UTC  IN\1", text)
        return re.sub(r" +$", "", text.replace("\r\n", "\n"), flags=re.MULTILINE)

    def _utc(self, whole: str, fraction: str | None, zone: str) -> str:
        at = self._moved(datetime.fromisoformat(whole).replace(tzinfo=UTC))
        return f"{at:%Y-%m-%dT%H:%M:%S}{'' if fraction is None else '.000'}{zone}"

    def _named(self, text: str, at: str) -> str:
        there = datetime.fromisoformat(at).replace(tzinfo=UTC)
        moved = self._moved(there)
        return text if moved == there else f"{moved:%a %Y-%m-%d %H:%M} UTC"

    def _local(self, text: str) -> str:
        there = datetime.fromisoformat(text)
        moved = self._moved_here(there)
        return text if moved is None else f"{moved:%Y-%m-%d %H:%M}"

    def _today(self, text: str) -> str:
        noon = datetime.fromisoformat(f"{self._noon:%Y-%m-%d} {text}")
        moved = self._moved_here(noon)
        return text if moved is None else f"{moved:%H:%M:%S}"

    def _date(self, text: str) -> str:
        day = date.fromisoformat(text)
        far = abs(day - self._at.date()) > _MOST
        return text if far else f"{day + (FROZEN.date() - self._at.date())}"

    @property
    def _noon(self) -> datetime:
        """Its wall-clock time when it was built."""
        to_noon = timedelta(minutes=12 * 60 - self._at.hour * 60 - self._at.minute)
        return self._at.replace(tzinfo=None) + to_noon

    def _moved_here(self, local: datetime) -> datetime | None:
        """Return an instant of the clock on its wall, ``None`` if that is far away."""
        at = self._at + (local - self._noon)
        moved = self._moved(at)
        return None if moved == at else moved

    def _moved(self, at: datetime) -> datetime:
        past = at - self._at
        if abs(past) > _MOST:
            return at
        rest = past % _HOUR
        return FROZEN + past - (rest if rest < _RUN else timedelta(0))


def _hours_s(seconds: float) -> int:
    """Return whole hours, in seconds; of a century one."""
    return math.floor(min(seconds, _MOST.total_seconds()) / 3600) * 3600


def main() -> None:
    """Write the files anew."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        yard = built(Path(folder))
        outputs = texts(yard, yard.shell)
    for file in FOLDER.glob("*.txt"):
        if file.name not in outputs:
            file.unlink()
    for name, text in outputs.items():
        (FOLDER / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
