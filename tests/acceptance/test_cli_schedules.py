"""`crawlyard schedules …`: what the installed command keeps, tells and refuses."""

import csv
import io
import json
import re
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from tests.acceptance.shell import FAST, Run, Shell

URL = "https://example.org/"
ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def schedules(shell: Shell, *words: str, code: int = 0) -> Run:
    ran = shell.run("schedules", *words)
    assert ran.returncode == code, ran.stderr
    return ran


def shown(shell: Shell, name: str = "nightly") -> dict[str, Any]:
    found = shell.json("schedules", "show", name)
    assert isinstance(found, dict)
    return found


@pytest.fixture
def nightly(either: Shell) -> Shell:
    """A folder with one schedule of last year's first days, and of next year's."""
    when = ("--when", "0 3 * * *", "--tz", "Europe/Berlin")
    schedules(either, "create", "nightly", *when, URL, "--max-pages", "7", "--tag", "docs")
    return either


class TestCreate:
    def test_what_is_said_is_what_is_kept(self, either: Shell) -> None:
        times = ("--when", "@daily", "--tz", "Europe/Berlin", "--jitter", "5m", "--runs", "9")
        policies = ("--overlap", "queue", "--misfire", "run_all", "--grace", "10m")
        more = ("--catch-up", "3", "--pause-after", "4", "--description", "all of it")

        ran = schedules(either, "create", "nightly", *times, *policies, *more, URL, "--delay", "2s")

        assert ran.stdout == ""
        assert re.match(r"created: nightly {2}next \w{3} [\d-]{10} 00:00 CES?T {2}", ran.stderr)
        kept = shown(either)
        assert (kept["when"], kept["zone"], kept["jitter_s"]) == ("@daily", "Europe/Berlin", 300)
        assert (kept["overlap"], kept["misfire"], kept["grace_s"]) == ("queue", "run_all", 600)
        assert (kept["catch_up"], kept["pause_after"], kept["runs_left"]) == (3, 4, 9)
        assert kept["overrides"] == {"urls": [URL], "delay_s": 2}
        assert kept["description"] == "all of it"

    def test_a_template_is_used_with_its_parameters(self, either: Shell) -> None:
        either.run("templates", "create", "news", "{{start}}", "--param", "start:url")
        template = ("--template", "news", "-p", f"start={URL}", "--max-pages", "5")

        schedules(either, "create", "nightly", "--when", "every 6h", *template)

        kept = shown(either)
        assert ID.fullmatch(kept["template_id"])
        assert kept["params"] == {"start": URL}
        assert kept["overrides"] == {"limits": {"pages": 5}}

    def test_what_could_never_run_is_refused(self, either: Shell) -> None:
        for words, code, said in (
            (("--when", "61 * * * *", URL), 2, "minute 61 is out of 0-59, at position 0"),
            (("--when", "@daily", "--tz", "Europe/Berlim", URL), 2, "Europe/Berlin?"),
            (("--when", "@daily"), 2, "error: URL: expected"),
            (("--when", "@daily", "--overlap", "perhaps", URL), 2, "perhaps"),
            (("--when", "@daily", "--template", "none"), 3, "there is no template none"),
            ((URL,), 2, "--when"),
        ):
            ran = schedules(either, "create", "nightly", *words, code=code)

            assert said in ran.stderr, words
            assert ran.stdout == "", words

    def test_a_name_is_taken_once(self, nightly: Shell) -> None:
        ran = schedules(nightly, "create", "nightly", "--when", "@daily", URL, code=5)

        assert "nightly" in ran.stderr


class TestList:
    def test_a_pipe_gets_tabs_and_a_quiet_one_ids(self, nightly: Shell) -> None:
        line = schedules(nightly, "list").stdout.rstrip("\n").split("\t")

        assert line[:4] == ["on", "nightly", "0 3 * * *", "Europe/Berlin"]
        assert schedules(nightly, "list", "-q").stdout.strip() == shown(nightly)["id"]

    def test_filters_narrow(self, nightly: Shell) -> None:
        schedules(nightly, "create", "weekly", "--when", "@weekly", URL)
        schedules(nightly, "pause", "weekly")

        def names(*options: str) -> list[str]:
            found = nightly.json("schedules", "list", *options)
            assert isinstance(found, list)
            return [schedule["name"] for schedule in found]

        assert names() == ["nightly", "weekly"]
        assert names("--paused") == ["weekly"]
        assert names("--on") == ["nightly"]
        assert names("--query", "WEEK") == ["weekly"]
        assert names("--owner", "local") == ["nightly", "weekly"]
        assert names("--owner", "ann") == []
        nightly.run("templates", "create", "news", URL)
        schedules(nightly, "edit", "weekly", "--template", "news")
        assert names("--template", "news") == ["weekly"]
        assert "none" in schedules(nightly, "list", "--template", "none", code=3).stderr

    def test_a_folder_without_data_has_none(self, shell: Shell) -> None:
        ran = schedules(shell, "list")

        assert (ran.stdout, ran.stderr) == ("", "there is no schedule yet\n")
        assert not any(shell.folder.iterdir())


class TestChange:
    def test_an_edit_changes_what_is_given_alone(self, nightly: Shell) -> None:
        before = shown(nightly)

        schedules(nightly, "edit", "nightly", "--when", "0 5 * * *", "--max-errors", "3")

        after = shown(nightly)
        assert after["when"] == "0 5 * * *"
        assert after["next_at"] != before["next_at"]
        assert after["overrides"] == before["overrides"] | {"limits": {"pages": 7, "errors": 3}}
        assert (after["zone"], after["version"]) == (before["zone"], 2)

    def test_one_edit_takes_away_and_sets_what_stands_together(self, nightly: Shell) -> None:
        before = shown(nightly)

        words = ("--unset", "limits.pages", "--max-errors", "9")
        schedules(nightly, "edit", "nightly", *words)

        assert shown(nightly)["overrides"] == before["overrides"] | {"limits": {"errors": 9}}

    def test_none_takes_away_the_limit_of_a_template(self, either: Shell) -> None:
        either.run("templates", "create", "news", URL, "--max-pages", "500")
        schedules(either, "create", "nightly", "--when", "@daily", "--template", "news")

        schedules(either, "edit", "nightly", "--max-pages", "none", "--max-errors", "3")

        schedules(either, "run", "nightly")
        spec: Any = either.job()["spec"]
        assert (spec["limits"]["pages"], spec["limits"]["errors"]) == (None, 3)

    def test_an_edit_without_a_change_is_refused(self, nightly: Shell) -> None:
        assert "--when" in schedules(nightly, "edit", "nightly", code=2).stderr

    def test_a_pause_has_its_reason_and_ends_with_a_resume(self, nightly: Shell) -> None:
        schedules(nightly, "pause", "nightly", "--reason", "they move")
        paused = shown(nightly)
        schedules(nightly, "resume", "nightly")

        assert (paused["enabled"], paused["pause_reason"]) == (False, "they move")
        assert shown(nightly)["enabled"] is True

    def test_a_rename_is_an_edit(self, nightly: Shell) -> None:
        schedules(nightly, "edit", "nightly", "--rename", "early")

        assert shown(nightly, "early")["version"] == 2
        schedules(nightly, "show", "nightly", code=3)

    def test_what_was_set_can_be_taken_away(self, nightly: Shell) -> None:
        shell = nightly
        shell.run("templates", "create", "news", "{{start}}", "--param", f"start:url={URL}")
        bounds = ("--starts", "2026-12-01", "--ends", "2030-01-01", "--runs", "9")
        schedules(shell, "edit", "nightly", *bounds, "--pause-after", "3", "--template", "news")
        schedules(shell, "edit", "nightly", "--template-version", "1", "-p", f"start={URL}")
        before = shown(shell)

        unset = ("--starts", "none", "--ends", "none", "--runs", "none", "--pause-after", "none")
        taken = ("--unset", "limits.pages", "--unset", "params.start")
        schedules(shell, "edit", "nightly", *unset, *taken, "--template-version", "latest")
        wrong = schedules(shell, "edit", "nightly", "--unset", "limits.pages", code=2)

        after = shown(shell)
        assert (before["starts_at"], before["template_version"]) == ("2026-11-30T23:00:00.000Z", 1)
        names = ("starts_at", "ends_at", "runs_left", "pause_after", "template_version")
        assert [after[name] for name in names] == [None] * 5
        assert (before["params"], after["params"]) == ({"start": URL}, {})
        assert "limits" not in after["overrides"]
        assert wrong.stderr.startswith("error: --unset: limits.pages: cannot be taken away")

    def test_a_wrong_edit_names_what_is_wrong(self, nightly: Shell) -> None:
        for words, said in (
            (("--runs", "0"), "--runs: no run is left"),
            (("--runs", "many"), "--runs: expected a whole number"),
            (("--ends", "2026-01-01"), "--ends: no instant"),
            (("--starts", "0001-01-01T00:00+00:00"), "--starts: expected an instant of the years"),
            (("--starts", "soon"), "--starts: expected an instant such as"),
            (("--template-version", "old"), "--template-version: expected a whole number"),
        ):
            ran = schedules(nightly, "edit", "nightly", *words, code=2)

            assert ran.stderr.startswith(f"error: {said}"), words

    def test_instants_are_of_the_new_zone_if_there_is_one(self, nightly: Shell) -> None:
        schedules(nightly, "edit", "nightly", "--tz", "Asia/Tokyo", "--ends", "2030-01-01T09:00")

        assert shown(nightly)["ends_at"] == "2030-01-01T00:00:00.000Z"

    def test_of_several_all_must_be_there(self, nightly: Shell) -> None:
        for verb in ("pause", "resume"):
            before = shown(nightly)

            ran = schedules(nightly, verb, "nightly", "nope", code=3)

            assert "nope" in ran.stderr, verb
            assert shown(nightly) == before, verb
            schedules(nightly, "pause", "nightly")

    def test_deleting_wants_a_yes(self, nightly: Shell) -> None:
        refused = schedules(nightly, "delete", "nightly", code=2)
        schedules(nightly, "delete", "nightly", "--yes")

        assert "--yes" in refused.stderr
        assert schedules(nightly, "list").stdout == ""


class TestShow:
    def test_it_says_what_the_policies_do(self, nightly: Shell) -> None:
        told = schedules(nightly, "show", "nightly").stdout

        assert "overlap\tskip: While a job of the schedule has not ended" in told
        assert "misfire\trun once: After downtime of the scheduler" in told

    def test_params_that_fill_a_credential_are_not_shown(self, either: Shell) -> None:
        header = ("--header", "Authorization: Bearer {{word}}", "--param", "word")
        either.run("templates", "create", "news", URL, *header)
        when = ("--when", "@daily", "--template", "news", "-p", "word=S3CRET")

        schedules(either, "create", "nightly", *when)

        for command in (("show", "nightly"), ("list", "--json"), ("show", "nightly", "--json")):
            assert "S3CRET" not in schedules(either, *command).stdout
        assert shown(either)["params"] == {"word": "***"}


class TestRuns:
    def test_a_run_now_is_a_job_and_a_row(self, nightly: Shell) -> None:
        job_id = schedules(nightly, "run", "nightly").stdout.strip()

        job = nightly.job()
        spec: Any = job["spec"]
        assert (job["id"], spec["name"], spec["tags"]) == (
            job_id,
            "nightly",
            ["docs"],
        )
        [tick] = schedules_json(nightly, "runs", "nightly")
        assert (tick["outcome"], tick["reason"], tick["job_id"]) == ("ran", "by_user", job_id)

    def test_the_ledger_is_told_in_words_and_local_time(self, nightly: Shell) -> None:
        schedules(nightly, "run", "nightly")

        table = schedules(nightly, "runs", "nightly", "-o", "table").stdout

        head, row = table.splitlines()
        assert head.split() == ["DUE", "OUTCOME", "REASON", "JOB", "DETAIL"]
        assert re.match(r"\w{3} [\d-]{10} \d\d:\d\d(:\d\d)? CES?T +ran +asked for +\w{8} +", row)

    def test_the_ledger_is_read_from_an_instant_back(self, nightly: Shell) -> None:
        schedules(nightly, "edit", "nightly", "--overlap", "allow")
        for _ in range(3):
            schedules(nightly, "run", "nightly")
        latest, *older = schedules_json(nightly, "runs", "nightly")

        some = schedules_json(nightly, "runs", "nightly", "--before", latest["due_at"])
        none = schedules(nightly, "runs", "nightly", "--before", "2026-01-01")

        assert len(older) == 2
        assert some == older
        assert none.stdout == ""

    def test_a_second_run_is_refused_while_one_has_not_ended(self, nightly: Shell) -> None:
        job_id = schedules(nightly, "run", "nightly").stdout.strip()

        ran = schedules(nightly, "run", "nightly", code=5)

        assert job_id in ran.stderr

    def test_a_backfill_is_looked_at_before_it_is_made(self, nightly: Shell) -> None:
        # the first run is at 02:00 UTC: the range is of the schedule's zone
        days = ("--from", "2026-01-02T03:00", "--until", "2026-01-05T03:00")

        dry = schedules(nightly, "backfill", "nightly", *days, "--dry-run", "-o", "csv")
        refused = schedules(nightly, "backfill", "nightly", *days, code=2)
        done = schedules(nightly, "backfill", "nightly", *days, "--yes")

        rows = list(csv.DictReader(io.StringIO(dry.stdout)))
        assert [row["due"][:10] for row in rows] == ["2026-01-02", "2026-01-03", "2026-01-04"]
        assert [row["job"] for row in rows] == ["", "", ""]
        assert "--yes" in refused.stderr
        assert "3 jobs submitted" in done.stderr
        jobs = nightly.json("jobs", "list")
        assert isinstance(jobs, list)
        assert len(jobs) == 3

    def test_a_long_backfill_is_left_to_an_operation(self, nightly: Shell) -> None:
        days = ("--from", "2025-01-01", "--until", "2025-08-01")

        ran = schedules(nightly, "backfill", "nightly", *days, "--yes")

        operation = nightly.run("ops", "list", "-q").stdout.strip()
        assert ran.stdout == ""
        assert f"operation {operation} submits 212 jobs; a worker runs it" in ran.stderr

    def test_what_is_wrong_with_a_range_names_its_option(self, nightly: Shell) -> None:
        for words in (("calendar",), ("backfill", "nightly", "--yes")):
            days = ("--from", "2027-01-02", "--until", "2027-01-01")
            ran = schedules(nightly, *words, *days, code=2)

            assert ran.stderr.startswith("error: --until: expected a range"), words


class TestAhead:
    def test_next_runs_are_in_local_time(self, nightly: Shell) -> None:
        coming = schedules_json(nightly, "next", "nightly", "-n", "3")

        assert [c["local"][11:19] for c in coming] == ["03:00:00"] * 3
        assert {c["zone"] for c in coming} <= {"CET", "CEST"}

    def test_a_thousand_instants_are_enough(self, nightly: Shell) -> None:
        for words in (("next", "nightly"), ("explain", "@daily")):
            ran = schedules(nightly, *words, "-n", "1001", code=2)

            assert ran.stderr == "error: -n: expected at most 1,000, got 1,001\n", words

    def test_none_at_all_are_no_end(self, nightly: Shell) -> None:
        ran = schedules(nightly, "next", "nightly", "-n", "0")

        assert (ran.stdout, ran.stderr) == ("", "")

    def test_what_is_overdue_is_told(self, nightly: Shell) -> None:
        schedules(nightly, "create", "often", "--when", "every 10s", URL)
        database = nightly.folder / "crawlyard-data" / "crawlyard.db"
        with closing(sqlite3.connect(database)) as conn, conn:
            conn.execute("UPDATE schedules SET next_at = next_at - 60000000, fire_at = next_at")
            conn.execute("UPDATE schedules SET fire_at = next_at")

        ran = schedules(nightly, "next", "often", "-n", "1")

        assert "schedule often is overdue since" in ran.stderr
        assert "no scheduler is running" in ran.stderr
        assert len(ran.stdout.splitlines()) == 1

    def test_a_calendar_is_of_its_zone_which_must_be_one(self, nightly: Shell) -> None:
        day = ("--from", "2027-01-01", "--until", "2027-01-02")

        tokyo = schedules(nightly, "calendar", *day, "--tz", "Asia/Tokyo", "-o", "plain")
        wrong = schedules(nightly, "calendar", *day, "--tz", "Foo", code=2)
        early = schedules(nightly, "calendar", "--from", "0001-01-01T00:00+00:00", code=2)

        assert tokyo.stdout.startswith("2027-01-01T02:00:00Z\tnightly")
        assert wrong.stderr.startswith("error: --tz: unknown time zone 'Foo'")
        assert early.stderr.startswith("error: --from: expected an instant of the years 1970")

    def test_a_calendar_has_all_of_them(self, nightly: Shell) -> None:
        schedules(nightly, "create", "noon", "--when", "0 12 * * *", URL)
        days = ("--from", "2027-01-01T00:00+00:00", "--until", "2027-01-03T00:00+00:00")

        ran = schedules(nightly, "calendar", *days, "-o", "plain")

        told = [tuple(line.split("\t")[:2]) for line in ran.stdout.splitlines()]
        assert told == [
            ("2027-01-01T02:00:00Z", "nightly"),
            ("2027-01-01T12:00:00Z", "noon"),
            ("2027-01-02T02:00:00Z", "nightly"),
            ("2027-01-02T12:00:00Z", "noon"),
        ]


class TestRunsAsJobs:
    def test_its_runs_are_found_and_the_newest_goes_by_its_name(self, nightly: Shell) -> None:
        schedules(nightly, "edit", "nightly", "--overlap", "allow")
        none = nightly.run("jobs", "show", "nightly@last")
        older, newer = (schedules(nightly, "run", "nightly").stdout.strip() for _ in range(2))
        nightly.run("crawl", "-d", "http://other.example/")

        listed = nightly.run("jobs", "list", "--schedule", "nightly", "-q").stdout.split()
        named = nightly.run("jobs", "list", "--schedule", "nightly", "--until", "1h", "-q")
        other = nightly.run("jobs", "list", "--host", "other.example", "--since", "1h", "-q")
        paused = nightly.run("jobs", "pause", "nightly@last")
        strange = nightly.run("jobs", "show", "daily@last")

        assert (none.returncode, none.stderr) == (3, "error: schedule nightly has no job yet\n")
        assert listed == [newer, older]
        assert (named.stdout, len(other.stdout.split())) == ("", 1)
        assert paused.stderr == f"paused: {newer}\n"
        assert (strange.returncode, "daily" in strange.stderr) == (3, True)

    def test_the_pages_of_its_last_runs_are_written_once(self, shell: Shell, site: str) -> None:
        crawl = ("--when", "0 3 * * *", "--overlap", "allow", site, *FAST)
        schedules(shell, "create", "nightly", *crawl, "--max-pages", "3")
        schedules(shell, "run", "nightly")
        schedules(shell, "edit", "nightly", "--max-pages", "2")
        schedules(shell, "run", "nightly")
        assert shell.run("work", "--drain").returncode == 0
        asked = ("jobs", "export", "--schedule", "nightly")

        one = shell.run(*asked)
        two = shell.run(*asked, "--last", "2", "--format", "csv")

        urls = [json.loads(line)["url"] for line in one.stdout.splitlines()]
        both = [row["url"] for row in csv.DictReader(io.StringIO(two.stdout))]
        assert len(urls) == 2
        assert both[:2] == urls
        assert len(both) == len(set(both)) == 3
        assert "2 runs of nightly" in two.stderr
        for words, said in (
            (("--last", "0"), "expected 1 or more"),
            (("--format", "parquet", "--out", "x.parquet"), "expected jsonl or csv"),
            (("last",), "expected a job or a schedule"),
        ):
            wrong = shell.run(*asked, *words)
            assert (wrong.returncode, said in wrong.stderr) == (2, True), words


def schedules_json(shell: Shell, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(schedules(shell, *words, "--json").stdout)
    return found
