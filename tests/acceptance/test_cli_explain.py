"""`crawlyard schedules explain`: its output; it needs no data directory and creates none."""

import json
import re

import pytest

from tests.acceptance.shell import Shell

SPRING = ("--tz", "Europe/Berlin", "--from", "2027-03-26T12:00", "-n", "3")


def explain(shell: Shell, *words: str) -> tuple[str, str]:
    """Return stdout and stderr of the command."""
    ran = shell.run("schedules", "explain", *words)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout, ran.stderr


def test_a_table_has_local_times_and_marks_the_clock_change(shell: Shell) -> None:
    out, summary = explain(shell, "30 2 * * *", *SPRING, "-o", "table")

    assert summary == "At 02:30 every day (Europe/Berlin)\n"
    assert [line.rstrip() for line in out.splitlines()] == [
        "LOCAL TIME            ZONE      IN  REMARK",
        "Sat 2027-03-27 02:30  CET   14h30m",
        "Sun 2027-03-28 03:00  CEST   1d14h  in place of 02:30: the clocks go forward",
        "Mon 2027-03-29 02:30  CEST   2d13h",
    ]


def test_a_pipe_gets_lines_of_columns(shell: Shell) -> None:
    out, _ = explain(shell, "30 2 * * *", *SPRING)

    change = "in place of 02:30: the clocks go forward"
    assert out.splitlines() == [
        "2027-03-27T02:30:00+01:00\tCET\t2027-03-27T01:30:00Z\t52200.0\t",
        f"2027-03-28T03:00:00+02:00\tCEST\t2027-03-28T01:00:00Z\t136800.0\t{change}",
        "2027-03-29T02:30:00+02:00\tCEST\t2027-03-29T00:30:00Z\t221400.0\t",
    ]


def test_json_holds_the_whole_timetable(shell: Shell) -> None:
    out, summary = explain(
        shell, "at 2027-10-31T02:30", "--tz", "Europe/Berlin", "--from", "2027-10-31", "--json"
    )

    assert summary == ""
    assert json.loads(out) == {
        "object": "timetable",
        "when": "at 2027-10-31T02:30",
        "zone": "Europe/Berlin",
        "kind": "at",
        "text": "Once, at 2027-10-31 02:30 CEST (Europe/Berlin)",
        "next": [
            {
                "at": "2027-10-31T00:30:00.000Z",
                "local": "2027-10-31T02:30:00+02:00",
                "zone": "CEST",
                "in_s": 9000.0,
                "remark": "the first 02:30 of two: the clocks go back",
            }
        ],
    }


def test_without_a_start_the_instants_begin_now(shell: Shell) -> None:
    out, summary = explain(shell, "every 6h", "-n", "2", "-q")

    assert summary == ""
    assert len(out.splitlines()) == 2
    assert re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00\n){2}", out)


def test_a_schedule_with_no_run_left_is_reported(shell: Shell) -> None:
    out, summary = explain(shell, "at 2020-01-01T08:00", "--from", "2027-01-01T08:00Z")

    assert out == ""
    assert summary.splitlines() == [
        "Once, at 2020-01-01 08:00 UTC (UTC)",
        "no runs after Fri 2027-01-01 08:00",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["0 24 * * *"], "error: WHEN: hour 24 is out of 0-23, at position 2"),
        (
            ["@daily", "--tz", "Berlin"],
            "error: --tz: unknown time zone 'Berlin'; did you mean Europe/Berlin?",
        ),
        (["@daily", "--from", "now"], "error: --from: expected an instant such as 2027-03-27"),
        (["@daily", "-n", "1001"], "error: -n: expected at most 1,000, got 1,001"),
        (["@daily", "-n", "many"], "error: invalid value for '-n': expected a whole number"),
    ],
)
def test_invalid_values_are_usage_errors(shell: Shell, words: list[str], message: str) -> None:
    ran = shell.run("schedules", "explain", *words)

    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith(message)


def test_explain_creates_no_files(shell: Shell) -> None:
    explain(shell, "@daily")

    assert list(shell.folder.iterdir()) == []
