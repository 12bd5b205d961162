"""`crawlyard schedules …`, as installed."""

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


def run_schedules(shell: Shell, *words: str, code: int = 0) -> Run:
    ran = shell.run("schedules", *words)
    assert ran.returncode == code, ran.stderr
    return ran


def show_schedule(shell: Shell, name: str = "nightly") -> dict[str, Any]:
    schedule = shell.json("schedules", "show", name)
    assert isinstance(schedule, dict)
    return schedule


@pytest.fixture
def nightly(either: Shell) -> Shell:
    """A yard with one schedule, which fires every day at 03:00 in Berlin."""
    when = ("--when", "0 3 * * *", "--tz", "Europe/Berlin")
    run_schedules(either, "create", "nightly", *when, URL, "--max-pages", "7", "--tag", "docs")
    return either


class TestCreate:
    def test_every_option_is_stored(self, either: Shell) -> None:
        times = ("--when", "@daily", "--tz", "Europe/Berlin", "--jitter", "5m", "--runs", "9")
        policies = ("--overlap", "queue", "--misfire", "run_all", "--grace", "10m")
        more = ("--catch-up", "3", "--pause-after", "4", "--description", "all of it")

        ran = run_schedules(
            either, "create", "nightly", *times, *policies, *more, URL, "--delay", "2s"
        )

        assert ran.stdout == ""
        assert re.match(r"created: nightly {2}next \w{3} [\d-]{10} 00:00 CES?T {2}", ran.stderr)
        schedule = show_schedule(either)
        assert (schedule["when"], schedule["zone"], schedule["jitter_s"]) == (
            "@daily",
            "Europe/Berlin",
            300,
        )
        assert (schedule["overlap"], schedule["misfire"], schedule["grace_s"]) == (
            "queue",
            "run_all",
            600,
        )
        assert (schedule["catch_up"], schedule["pause_after"], schedule["runs_left"]) == (3, 4, 9)
        assert schedule["overrides"] == {"urls": [URL], "delay_s": 2}
        assert schedule["description"] == "all of it"

    def test_a_template_is_used_with_its_parameters(self, either: Shell) -> None:
        either.run("templates", "create", "news", "{{start}}", "--param", "start:url")
        template = ("--template", "news", "-p", f"start={URL}", "--max-pages", "5")

        run_schedules(either, "create", "nightly", "--when", "every 6h", *template)

        schedule = show_schedule(either)
        assert ID.fullmatch(schedule["template_id"])
        assert schedule["params"] == {"start": URL}
        assert schedule["overrides"] == {"limits": {"pages": 5}}

    def test_invalid_schedules_are_refused(self, either: Shell) -> None:
        for words, code, message in (
            (("--when", "61 * * * *", URL), 2, "minute 61 is out of 0-59, at position 0"),
            (("--when", "@daily", "--tz", "Europe/Berlim", URL), 2, "Europe/Berlin?"),
            (("--when", "@daily"), 2, "error: URL: expected"),
            (("--when", "@daily", "--overlap", "perhaps", URL), 2, "perhaps"),
            (("--when", "@daily", "--template", "none"), 3, "there is no template none"),
            ((URL,), 2, "--when"),
        ):
            ran = run_schedules(either, "create", "nightly", *words, code=code)

            assert message in ran.stderr, words
            assert ran.stdout == "", words

    def test_a_name_cannot_be_used_twice(self, nightly: Shell) -> None:
        ran = run_schedules(nightly, "create", "nightly", "--when", "@daily", URL, code=5)

        assert "nightly" in ran.stderr


class TestList:
    def test_a_pipe_gets_tabs_and_quiet_writes_ids(self, nightly: Shell) -> None:
        line = run_schedules(nightly, "list").stdout.rstrip("\n").split("\t")

        assert line[:4] == ["on", "nightly", "0 3 * * *", "Europe/Berlin"]
        assert run_schedules(nightly, "list", "-q").stdout.strip() == show_schedule(nightly)["id"]

    def test_filters_narrow(self, nightly: Shell) -> None:
        run_schedules(nightly, "create", "weekly", "--when", "@weekly", URL)
        run_schedules(nightly, "pause", "weekly")

        def names(*options: str) -> list[str]:
            listed = nightly.json("schedules", "list", *options)
            assert isinstance(listed, list)
            return [schedule["name"] for schedule in listed]

        assert names() == ["nightly", "weekly"]
        assert names("--paused") == ["weekly"]
        assert names("--on") == ["nightly"]
        assert names("--query", "WEEK") == ["weekly"]
        assert names("--owner", "local") == ["nightly", "weekly"]
        assert names("--owner", "ann") == []
        nightly.run("templates", "create", "news", URL)
        run_schedules(nightly, "edit", "weekly", "--template", "news")
        assert names("--template", "news") == ["weekly"]
        assert "none" in run_schedules(nightly, "list", "--template", "none", code=3).stderr

    def test_a_folder_without_data_has_no_schedules(self, shell: Shell) -> None:
        ran = run_schedules(shell, "list")

        assert (ran.stdout, ran.stderr) == ("", "there is no schedule yet\n")
        assert not any(shell.folder.iterdir())


class TestChange:
    def test_an_edit_changes_only_the_given_options(self, nightly: Shell) -> None:
        before = show_schedule(nightly)

        run_schedules(nightly, "edit", "nightly", "--when", "0 5 * * *", "--max-errors", "3")

        after = show_schedule(nightly)
        assert after["when"] == "0 5 * * *"
        assert after["next_at"] != before["next_at"]
        assert after["overrides"] == before["overrides"] | {"limits": {"pages": 7, "errors": 3}}
        assert (after["zone"], after["version"]) == (before["zone"], 2)

    def test_one_edit_can_unset_and_set_fields_of_one_group(self, nightly: Shell) -> None:
        before = show_schedule(nightly)

        words = ("--unset", "limits.pages", "--max-errors", "9")
        run_schedules(nightly, "edit", "nightly", *words)

        assert show_schedule(nightly)["overrides"] == before["overrides"] | {
            "limits": {"errors": 9}
        }

    def test_none_removes_the_limit_of_a_template(self, either: Shell) -> None:
        either.run("templates", "create", "news", URL, "--max-pages", "500")
        run_schedules(either, "create", "nightly", "--when", "@daily", "--template", "news")

        run_schedules(either, "edit", "nightly", "--max-pages", "none", "--max-errors", "3")

        run_schedules(either, "run", "nightly")
        spec: Any = either.job()["spec"]
        assert (spec["limits"]["pages"], spec["limits"]["errors"]) == (None, 3)

    def test_an_edit_without_a_change_is_refused(self, nightly: Shell) -> None:
        assert "--when" in run_schedules(nightly, "edit", "nightly", code=2).stderr

    def test_a_pause_has_its_reason_and_ends_with_a_resume(self, nightly: Shell) -> None:
        run_schedules(nightly, "pause", "nightly", "--reason", "they move")
        paused = show_schedule(nightly)
        run_schedules(nightly, "resume", "nightly")

        assert (paused["enabled"], paused["pause_reason"]) == (False, "they move")
        assert show_schedule(nightly)["enabled"] is True

    def test_a_rename_is_an_edit(self, nightly: Shell) -> None:
        run_schedules(nightly, "edit", "nightly", "--rename", "early")

        assert show_schedule(nightly, "early")["version"] == 2
        run_schedules(nightly, "show", "nightly", code=3)

    def test_options_can_be_unset(self, nightly: Shell) -> None:
        shell = nightly
        shell.run("templates", "create", "news", "{{start}}", "--param", f"start:url={URL}")
        bounds = ("--starts", "2026-12-01", "--ends", "2030-01-01", "--runs", "9")
        run_schedules(shell, "edit", "nightly", *bounds, "--pause-after", "3", "--template", "news")
        run_schedules(shell, "edit", "nightly", "--template-version", "1", "-p", f"start={URL}")
        before = show_schedule(shell)

        unset = ("--starts", "none", "--ends", "none", "--runs", "none", "--pause-after", "none")
        removed = ("--unset", "limits.pages", "--unset", "params.start")
        run_schedules(shell, "edit", "nightly", *unset, *removed, "--template-version", "latest")
        wrong = run_schedules(shell, "edit", "nightly", "--unset", "limits.pages", code=2)

        after = show_schedule(shell)
        assert (before["starts_at"], before["template_version"]) == ("2026-11-30T23:00:00.000Z", 1)
        names = ("starts_at", "ends_at", "runs_left", "pause_after", "template_version")
        assert [after[name] for name in names] == [None] * 5
        assert (before["params"], after["params"]) == ({"start": URL}, {})
        assert "limits" not in after["overrides"]
        assert wrong.stderr.startswith("error: --unset: limits.pages: is not set, so it cannot")

    def test_an_invalid_edit_names_the_option(self, nightly: Shell) -> None:
        for words, message in (
            (("--runs", "0"), "--runs: no runs are left"),
            (("--runs", "many"), "--runs: expected a whole number"),
            (("--ends", "2026-01-01"), "--ends: '0 3 * * *' has no future run"),
            (("--starts", "0001-01-01T00:00+00:00"), "--starts: expected an instant of the years"),
            (("--starts", "soon"), "--starts: expected an instant such as"),
            (("--template-version", "old"), "--template-version: expected a whole number"),
        ):
            ran = run_schedules(nightly, "edit", "nightly", *words, code=2)

            assert ran.stderr.startswith(f"error: {message}"), words

    def test_instants_are_read_in_the_new_time_zone(self, nightly: Shell) -> None:
        run_schedules(
            nightly, "edit", "nightly", "--tz", "Asia/Tokyo", "--ends", "2030-01-01T09:00"
        )

        assert show_schedule(nightly)["ends_at"] == "2030-01-01T00:00:00.000Z"

    def test_an_unknown_schedule_leaves_the_others_unchanged(self, nightly: Shell) -> None:
        for verb in ("pause", "resume"):
            before = show_schedule(nightly)

            ran = run_schedules(nightly, verb, "nightly", "nope", code=3)

            assert "nope" in ran.stderr, verb
            assert show_schedule(nightly) == before, verb
            run_schedules(nightly, "pause", "nightly")

    def test_deleting_requires_yes(self, nightly: Shell) -> None:
        refused = run_schedules(nightly, "delete", "nightly", code=2)
        run_schedules(nightly, "delete", "nightly", "--yes")

        assert "--yes" in refused.stderr
        assert run_schedules(nightly, "list").stdout == ""


class TestShow:
    def test_show_explains_the_policies(self, nightly: Shell) -> None:
        text = run_schedules(nightly, "show", "nightly").stdout

        assert "overlap\tskip: No run is started while the previous one has not ended" in text
        assert "misfire\trun once: After downtime of the scheduler" in text

    def test_params_used_in_credentials_are_hidden(self, either: Shell) -> None:
        header = ("--header", "Authorization: Bearer {{word}}", "--param", "word")
        either.run("templates", "create", "news", URL, *header)
        when = ("--when", "@daily", "--template", "news", "-p", "word=S3CRET")

        run_schedules(either, "create", "nightly", *when)

        for command in (("show", "nightly"), ("list", "--json"), ("show", "nightly", "--json")):
            assert "S3CRET" not in run_schedules(either, *command).stdout
        assert show_schedule(either)["params"] == {"word": "***"}


class TestRuns:
    def test_a_run_now_is_a_job_and_a_row(self, nightly: Shell) -> None:
        job_id = run_schedules(nightly, "run", "nightly").stdout.strip()

        job = nightly.job()
        spec: Any = job["spec"]
        assert (job["id"], spec["name"], spec["tags"]) == (
            job_id,
            "nightly",
            ["docs"],
        )
        [tick] = schedules_json(nightly, "runs", "nightly")
        assert (tick["outcome"], tick["reason"], tick["job_id"]) == ("ran", "by_user", job_id)

    def test_runs_are_listed_in_words_and_local_time(self, nightly: Shell) -> None:
        run_schedules(nightly, "run", "nightly")

        table = run_schedules(nightly, "runs", "nightly", "-o", "table").stdout

        head, row = table.splitlines()
        assert head.split() == ["DUE", "OUTCOME", "REASON", "JOB", "DETAIL"]
        assert re.match(r"\w{3} [\d-]{10} \d\d:\d\d(:\d\d)? CES?T +ran +requested +\w{8} +", row)

    def test_runs_before_an_instant_are_listed(self, nightly: Shell) -> None:
        run_schedules(nightly, "edit", "nightly", "--overlap", "allow")
        for _ in range(3):
            run_schedules(nightly, "run", "nightly")
        latest, *older = schedules_json(nightly, "runs", "nightly")

        some = schedules_json(nightly, "runs", "nightly", "--before", latest["due_at"])
        none = run_schedules(nightly, "runs", "nightly", "--before", "2026-01-01")

        assert len(older) == 2
        assert some == older
        assert none.stdout == ""

    def test_a_second_run_is_refused_while_one_has_not_ended(self, nightly: Shell) -> None:
        job_id = run_schedules(nightly, "run", "nightly").stdout.strip()

        ran = run_schedules(nightly, "run", "nightly", code=5)

        assert job_id in ran.stderr

    def test_a_backfill_can_be_previewed(self, nightly: Shell) -> None:
        # the first run is at 02:00 UTC: the range is of the schedule's zone
        days = ("--from", "2026-01-02T03:00", "--until", "2026-01-05T03:00")

        dry = run_schedules(nightly, "backfill", "nightly", *days, "--dry-run", "-o", "csv")
        refused = run_schedules(nightly, "backfill", "nightly", *days, code=2)
        done = run_schedules(nightly, "backfill", "nightly", *days, "--yes")

        rows = list(csv.DictReader(io.StringIO(dry.stdout)))
        assert [row["due"][:10] for row in rows] == ["2026-01-02", "2026-01-03", "2026-01-04"]
        assert [row["job"] for row in rows] == ["", "", ""]
        assert "--yes" in refused.stderr
        assert "3 jobs submitted" in done.stderr
        jobs = nightly.json("jobs", "list")
        assert isinstance(jobs, list)
        assert len(jobs) == 3

    def test_a_long_backfill_becomes_an_operation(self, nightly: Shell) -> None:
        days = ("--from", "2025-01-01", "--until", "2025-08-01")

        ran = run_schedules(nightly, "backfill", "nightly", *days, "--yes")

        operation = nightly.run("ops", "list", "-q").stdout.strip()
        assert ran.stdout == ""
        assert f"operation {operation} submits 212 jobs; a worker runs it" in ran.stderr

    def test_an_invalid_range_names_its_option(self, nightly: Shell) -> None:
        for words in (("calendar",), ("backfill", "nightly", "--yes")):
            days = ("--from", "2027-01-02", "--until", "2027-01-01")
            ran = run_schedules(nightly, *words, *days, code=2)

            assert ran.stderr.startswith("error: --until: expected a range"), words


class TestAhead:
    def test_next_runs_are_in_local_time(self, nightly: Shell) -> None:
        coming = schedules_json(nightly, "next", "nightly", "-n", "3")

        assert [c["local"][11:19] for c in coming] == ["03:00:00"] * 3
        assert {c["zone"] for c in coming} <= {"CET", "CEST"}

    def test_at_most_a_thousand_instants_are_listed(self, nightly: Shell) -> None:
        for words in (("next", "nightly"), ("explain", "@daily")):
            ran = run_schedules(nightly, *words, "-n", "1001", code=2)

            assert ran.stderr == "error: -n: expected at most 1,000, got 1,001\n", words

    def test_a_count_of_zero_lists_nothing(self, nightly: Shell) -> None:
        ran = run_schedules(nightly, "next", "nightly", "-n", "0")

        assert (ran.stdout, ran.stderr) == ("", "")

    def test_an_overdue_schedule_is_reported(self, nightly: Shell) -> None:
        run_schedules(nightly, "create", "often", "--when", "every 10s", URL)
        database = nightly.folder / "crawlyard-data" / "crawlyard.db"
        with closing(sqlite3.connect(database)) as conn, conn:
            conn.execute("UPDATE schedules SET next_at = next_at - 60000000, fire_at = next_at")
            conn.execute("UPDATE schedules SET fire_at = next_at")

        ran = run_schedules(nightly, "next", "often", "-n", "1")

        assert "schedule often is overdue since" in ran.stderr
        assert "no scheduler is running" in ran.stderr
        assert len(ran.stdout.splitlines()) == 1

    def test_a_calendar_uses_its_time_zone_which_must_exist(self, nightly: Shell) -> None:
        day = ("--from", "2027-01-01", "--until", "2027-01-02")

        tokyo = run_schedules(nightly, "calendar", *day, "--tz", "Asia/Tokyo", "-o", "plain")
        wrong = run_schedules(nightly, "calendar", *day, "--tz", "Foo", code=2)
        early = run_schedules(nightly, "calendar", "--from", "0001-01-01T00:00+00:00", code=2)

        assert tokyo.stdout.startswith("2027-01-01T02:00:00Z\tnightly")
        assert wrong.stderr.startswith("error: --tz: unknown time zone 'Foo'")
        assert early.stderr.startswith("error: --from: expected an instant of the years 1970")

    def test_a_calendar_lists_all_schedules(self, nightly: Shell) -> None:
        run_schedules(nightly, "create", "noon", "--when", "0 12 * * *", URL)
        days = ("--from", "2027-01-01T00:00+00:00", "--until", "2027-01-03T00:00+00:00")

        ran = run_schedules(nightly, "calendar", *days, "-o", "plain")

        instants = [tuple(line.split("\t")[:2]) for line in ran.stdout.splitlines()]
        assert instants == [
            ("2027-01-01T02:00:00Z", "nightly"),
            ("2027-01-01T12:00:00Z", "noon"),
            ("2027-01-02T02:00:00Z", "nightly"),
            ("2027-01-02T12:00:00Z", "noon"),
        ]


class TestRunsAsJobs:
    def test_runs_are_listed_by_schedule_and_last_names_the_newest(self, nightly: Shell) -> None:
        run_schedules(nightly, "edit", "nightly", "--overlap", "allow")
        none = nightly.run("jobs", "show", "nightly@last")
        older, newer = (run_schedules(nightly, "run", "nightly").stdout.strip() for _ in range(2))
        paused = nightly.run("jobs", "pause", "nightly@last")
        nightly.run("crawl", "-d", "http://other.example/")

        listed = nightly.run("jobs", "list", "--schedule", "nightly", "-q").stdout.split()
        named = nightly.run("jobs", "list", "--schedule", "nightly", "--until", "1h", "-q")
        other = nightly.run("jobs", "list", "--host", "other.example", "--since", "1h", "-q")
        strange = nightly.run("jobs", "show", "daily@last")

        assert (none.returncode, none.stderr) == (3, "error: schedule nightly has no job yet\n")
        assert listed == [newer, older]
        assert (named.stdout, len(other.stdout.split())) == ("", 1)
        assert paused.stderr == f"paused: {newer}\n"
        assert (strange.returncode, "daily" in strange.stderr) == (3, True)

    def test_an_export_of_the_last_runs_has_each_page_once(self, shell: Shell, site: str) -> None:
        crawl = ("--when", "0 3 * * *", "--overlap", "allow", site, *FAST)
        run_schedules(shell, "create", "nightly", *crawl, "--max-pages", "3")
        run_schedules(shell, "run", "nightly")
        run_schedules(shell, "edit", "nightly", "--max-pages", "2")
        run_schedules(shell, "run", "nightly")
        assert shell.run("work", "--drain").returncode == 0
        export = ("jobs", "export", "--schedule", "nightly")

        latest = shell.run(*export)
        two = shell.run(*export, "--last", "2", "--format", "csv")

        urls = [json.loads(line)["url"] for line in latest.stdout.splitlines()]
        urls_of_two = [row["url"] for row in csv.DictReader(io.StringIO(two.stdout))]
        assert len(urls) == 2
        assert urls_of_two[:2] == urls
        assert len(urls_of_two) == len(set(urls_of_two)) == 3
        assert "2 runs of nightly" in two.stderr
        for words, message in (
            (("--last", "0"), "expected 1 or more"),
            (("--format", "parquet", "--out", "x.parquet"), "expected jsonl or csv"),
            (("last",), "expected either a job or --schedule"),
        ):
            wrong = shell.run(*export, *words)
            assert (wrong.returncode, message in wrong.stderr) == (2, True), words


def schedules_json(shell: Shell, *words: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(run_schedules(shell, *words, "--json").stdout)
    return rows
