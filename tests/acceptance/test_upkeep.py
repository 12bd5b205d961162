"""Freed disk space, expired jobs, and live events, by the command."""

import json
import re
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.acceptance.shell import FAST, MANY, MINUTE, SLOW, Shell, demo_site, until, wait_for_exit


def database(shell: Shell) -> Path:
    return shell.folder / "crawlyard-data" / "crawlyard.db"


def names(lines: str) -> list[str]:
    """Return the names of events written as JSON Lines."""
    return [json.loads(line)["name"] for line in lines.splitlines()]


# --- disk space


def test_deleting_a_job_reports_the_freed_space_and_shrinks_the_file(
    shell: Shell, site: str
) -> None:
    with demo_site("--pages", "400", "--plain") as large:
        shell.run("crawl", large, *FAST, "--keep", "html", "-q")
    shell.run("crawl", site, *FAST, "-q")
    size = database(shell).stat().st_size

    large_job = shell.run("jobs", "list", "-q").stdout.splitlines()[1]
    ran = shell.run("jobs", "delete", large_job, "--yes")

    assert (ran.returncode, ran.stdout) == (0, "")
    freed_text = re.search(r"deleted 1 job, freed ([\d.]+) (k|M)B on disk", ran.stderr)
    assert freed_text is not None, ran.stderr
    freed = float(freed_text[1]) * {"k": 1_000, "M": 1_000_000}[freed_text[2]]
    shrunk = size - database(shell).stat().st_size
    assert shrunk > 400_000
    assert abs(freed - shrunk) < 0.1 * shrunk
    assert shell.job()["state"] == "completed"


def test_the_file_shrinks_also_while_a_worker_has_it_open(shell: Shell, site: str) -> None:
    with demo_site("--pages", "400", "--plain") as large:
        shell.run("crawl", large, *FAST, "--keep", "html", "-q")
    with shell.started("work") as worker:
        until(worker, "runs up to")
        size = database(shell).stat().st_size
        ran = shell.run("jobs", "delete", "last", "--yes")
        after = database(shell).stat().st_size
        worker.terminate()
        wait_for_exit(worker)

    assert "deleted 1 job, freed" in ran.stderr
    assert after < size - 400_000


def test_deleting_several_jobs_prints_one_line_and_quiet_prints_none(
    shell: Shell, site: str
) -> None:
    for _ in range(3):
        shell.run("crawl", site, *FAST, "--max-pages", "1", "-q")
    first, two, three = shell.run("jobs", "list", "-q").stdout.split()

    deleted = shell.run("jobs", "delete", first, two, "--yes")
    quiet = shell.run("jobs", "delete", three, "--yes", "-q")

    assert "deleted 2 jobs, freed" in deleted.stderr
    assert (quiet.returncode, quiet.stderr) == (0, "")


def test_a_worker_deletes_jobs_past_their_retention(shell: Shell, site: str) -> None:
    shell.run("crawl", site, *FAST, "-q")

    drained = shell.run("work", "--drain", env={"CRAWLYARD_RETENTION_DAYS": "0.0000001"})

    assert drained.returncode == 0, drained.stderr
    assert shell.run("jobs", "list", "-q").stdout == ""
    assert names(shell.run("events", "--json").stdout)[-1] == "job.deleted"


def test_a_job_paused_too_long_emits_a_warning_and_is_cancelled(shell: Shell, site: str) -> None:
    shell.run("crawl", site, *FAST, "-d", "-q")
    shell.run("jobs", "pause", "last")
    (shell.folder / "crawlyard.toml").write_text(f"paused_ttl_days = {1 / 86_400:.7f}")
    follow = ("events", "--follow", "--since", "1h", "--type", "job.cancelled", "--limit", "1")

    with shell.started(*follow, "--json") as follower, shell.started("work") as worker:
        until(worker, "runs up to")
        code, out, _ = wait_for_exit(follower)
        worker.terminate()
        wait_for_exit(worker)

    assert (code, names(out)) == (0, ["job.cancelled"])
    events = [
        json.loads(x) for x in shell.run("events", "--job", "last", "--json").stdout.splitlines()
    ]
    assert [e["name"] for e in events][-2:] == ["job.expiring", "job.cancelled"]
    assert events[-1]["actor"] == "janitor"
    job = shell.job()
    assert (job["state"], job["state_reason"]) == ("cancelled", "paused_too_long")


# --- events


def test_a_follower_in_another_process_sees_each_event_of_a_crawl_once_and_in_order(
    shell: Shell, slow_site: str
) -> None:
    with shell.started("events", "--follow", "--since", "1h", "-o", "jsonl") as follower:
        crawled = shell.run("crawl", slow_site, *SLOW, "--max-pages", "60", "--max-errors", "5")
        deleted = shell.run("jobs", "delete", "last", "--yes")
        events: list[dict[str, object]] = []
        assert follower.stdout is not None
        while not events or events[-1]["name"] != "job.deleted":
            events.append(json.loads(follower.stdout.readline()))
        follower.send_signal(signal.SIGINT)
        code, more, err = wait_for_exit(follower)

    every = [
        json.loads(x) for x in shell.run("events", "--limit", "0", "--json").stdout.splitlines()
    ]
    assert (crawled.returncode, deleted.returncode) == (0, 0)
    assert events == every
    assert [e["name"] for e in events][:2] == ["job.created", "job.started"]
    assert {"job.limit_reached", "job.completed"} <= {e["name"] for e in events}
    assert (code, more, err) == (130, "", "")


def test_a_closed_pipe_ends_a_follower_silently(shell: Shell, site: str) -> None:
    with shell.started("events", "--follow", "--since", "1h", "--json") as follower:
        shell.run("crawl", site, *FAST, "-q")
        assert follower.stdout is not None
        follower.stdout.readline()
        follower.stdout.close()
        shell.run("jobs", "delete", "last", "--yes")
        code = follower.wait(MINUTE)
        assert follower.stderr is not None
        err = follower.stderr.read()

    assert (code, err) == (0, "")


def test_events_are_filtered_by_type_job_and_limit(crawled: Shell) -> None:
    job_id = str(crawled.job()["id"])

    for picked in (
        ("--type", "job.c*", "--job", "last"),
        ("--type", "job.created", "--type", "job.completed", "--job", job_id[-8:]),
    ):
        ran = crawled.run("events", *picked, "--json")
        assert names(ran.stdout) == ["job.created", "job.completed"]
    newest = crawled.run("events", "--limit", "1")
    assert newest.stdout.split("\t")[1:5] == ["job.completed", job_id, "docs", "exhausted"]
    assert "the newest 1 are shown" in newest.stderr
    assert crawled.run("events", "--type", "webhook.*").stderr == "no matching events\n"


def test_events_are_shown_as_a_table(crawled: Shell) -> None:
    listed = crawled.run("events", "-o", "table", env={"COLUMNS": "120"})
    followed = crawled.run(
        "events", "-f", "--since", "1h", "--type", "job.completed", "--limit", "1", "-o", "table"
    )

    first = listed.stdout.splitlines()[0].split()
    assert first == ["AT", "EVENT", "SUBJECT", "NAME", "REASON", "ACTOR", "DETAIL"]
    line = (
        r"\d\d:\d\d:\d\d  job\.completed       [0-9a-f]{8}"
        r"  docs · every URL in scope was tried\n"
    )
    assert re.fullmatch(line, followed.stdout)


def test_an_unknown_event_type_is_refused_with_the_list(crawled: Shell) -> None:
    ran = crawled.run("events", "--type", "job.finished")

    assert (ran.returncode, ran.stdout) == (2, "")
    assert "no event matches 'job.finished'; there are: job.created, " in ran.stderr


def test_invalid_options_of_events_are_refused(crawled: Shell) -> None:
    for words, message in (
        (("--follow", "-o", "csv"), "expected jsonl, plain or table with --follow"),
        (("--since", "yesterday"), "expected an age such as 90s, 2h or 7d, or an instant"),
        (("--job", "nonsense"), "there is no job nonsense"),
    ):
        ran = crawled.run("events", *words)
        assert ran.returncode in (2, 3)
        assert message in ran.stderr
        assert ran.stdout == ""


def test_events_of_a_deleted_job_are_found_by_its_id(shell: Shell, site: str) -> None:
    shell.run("crawl", site, *FAST, "--max-pages", "1", "-q")
    job_id = str(shell.job()["id"])
    shell.run("jobs", "delete", job_id, "--yes")

    ran = shell.run("events", "--job", job_id, "--json")

    assert names(ran.stdout)[-1] == "job.deleted"


def test_without_data_no_event_is_listed(shell: Shell) -> None:
    ran = shell.run("events")

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "no events yet\n")
    assert not (shell.folder / "crawlyard-data").exists()


# --- background services of a worker


def test_a_janitor_that_fails_ends_the_worker_with_an_error_and_releases_its_jobs(
    shell: Shell, slow_site: str
) -> None:
    shell.run("crawl", slow_site, *SLOW, "-d", "-q")
    with closing(sqlite3.connect(database(shell))) as broken:
        broken.execute("ALTER TABLE ticks RENAME TO lost")

    ran = shell.run("work", "--no-scheduler")

    assert ran.returncode == 1
    assert "the janitor failed; stopping the worker" in ran.stderr
    assert "no such table: ticks" in ran.stderr.splitlines()[-1]
    assert shell.job()["state"] == "pending"


def test_a_worker_without_a_janitor_keeps_running(shell: Shell, slow_site: str) -> None:
    shell.run("crawl", slow_site, *SLOW, "-d", "-q")
    with closing(sqlite3.connect(database(shell))) as broken:
        broken.execute("ALTER TABLE ticks RENAME TO lost")

    ran = shell.run("work", "--no-scheduler", "--no-janitor", "--drain")

    assert ran.returncode == 0, ran.stderr
    assert shell.job()["usage"]["pages"] == MANY  # type: ignore[index]  # JSON
