"""Output for people: words for every value, and no Python notation."""

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path

from tests import golden
from tests.acceptance.shell import Shell
from tests.enum_names import names_in
from tests.golden_yard import fixed
from tests.program import FORMATTED
from tests.rich_yard import EVERY_TICK, PROBLEMS, REASONS, build

_SETTINGS = ("jobs config", "templates render", "templates show")  # the JSON of a spec
_JOB, _SCHEDULE = fixed(PROBLEMS), fixed(EVERY_TICK)
_MORE = (
    f"jobs errors {_JOB}",
    f"jobs events {_JOB}",
    f"jobs pages {_JOB}",
    f"jobs pages {_JOB} --skipped",
    f"jobs show {_JOB}",
    *(f"jobs why {_JOB} https://example.com/failed/{n}" for n in range(17)),
    f"jobs why {_JOB} https://example.com/skipped/0",
    f"jobs retry {_JOB} --failed --kind dns",
    f"jobs retry {fixed(41)} --failed --kind rate_limited --kind dns",
    *(f"jobs show {fixed(200 + n)}" for n in range(sum(map(len, REASONS.values())))),
    *(f"jobs {move} {fixed(210)}" for move in ("pause", "resume", "retry --now", "retry --failed")),
    f"diff {_JOB} {fixed(212)}",
    f"schedules show {_SCHEDULE}",
    f"schedules runs {_SCHEDULE}",
    "jobs list --limit 0",
    "ops list",
    "health",
)


def test_no_command_shows_raw_enum_values(tmp_path: Path) -> None:
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    asyncio.run(build(tmp_path / "crawlyard-data", now))
    shell = Shell(tmp_path, {"COLUMNS": "300"})
    looks = [look.words for each in golden.LOOKS.values() for look in each]
    lines = [*looks, *_MORE, *map(_for_people, golden.CHANGES)]
    lines += [f"ops show {operation}" for operation in _ids(shell, "ops", "list")]
    lines += [f"schedules show {schedule}" for schedule in _ids(shell, "schedules", "list")]
    lines = [line for line in lines if not line.startswith(_SETTINGS)]

    def words_of(line: str) -> list[str]:
        name = next((name for name in FORMATTED if f"{line} ".startswith(f"{name} ")), "")
        return [*line.split(), *(["-o", "table"] if name else [])]

    results = golden.in_turn(shell, [words_of(line) for line in lines])

    assert [line for line, result in zip(lines, results, strict=True) if result.code == 2] == []
    raw_values = {
        line: names
        for line, result in zip(lines, results, strict=True)
        if (names := names_in(result.out + result.err))
    }
    assert raw_values == {}
    counts = dict(zip(lines, results, strict=True))["jobs counts"].out
    assert [line.split()[0] for line in counts.splitlines()][:2] == ["waiting", "running"]


def _for_people(line: str) -> str:
    """Remove the options that select JSON or ids from a command."""
    return re.sub(r" (?:--json|-q|-o \S+|--fields \S+)(?= |$)", "", line)


def _ids(shell: Shell, *words: str) -> list[str]:
    return shell.run(*words, "-q", "--limit", "0").stdout.split()
