"""Stopping, resuming and changing running jobs, from this process or another."""

import json
import re
import shlex
import signal
import subprocess
from pathlib import Path
from time import sleep

import pytest

from tests.acceptance.shell import (
    FAST,
    MANY,
    SLOW,
    Shell,
    demo_site,
    pages_requested_twice,
    records,
    until,
    until_stored,
    wait_for_exit,
)
from tests.site import read_log


def test_ctrl_c_pauses_and_the_printed_command_resumes(shell: Shell, slow_site: str) -> None:
    words = ("crawl", slow_site, *SLOW, "--data-dir", "my data", "--out", "pages.jsonl")
    with shell.fresh.started(*words) as process:
        until(process, "running")
        process.send_signal(signal.SIGINT)
        code, out, err = wait_for_exit(process)

    assert (code, out) == (130, "")
    command = shlex.split(err.splitlines()[-1])
    assert command[1:3] == ["jobs", "resume"]
    assert command[-2:] == ["--data-dir", "my data"]
    paused = shell.job("--data-dir", "my data")
    assert (paused["state"], paused["detail"]) == ("paused", "SIGINT")
    assert not (shell.folder / "pages.jsonl").exists()

    resumed = shell.run(*command[1:])

    assert resumed.returncode == 0, resumed.stderr
    urls = [record["url"] for record in records(shell.folder / "pages.jsonl")]
    assert len(urls) == len(set(urls)) == MANY
    assert pages_requested_twice(shell) == []


def test_a_second_ctrl_c_quits_at_once(tmp_path: Path) -> None:
    shell = Shell(tmp_path, {"CRAWLYARD_SHUTDOWN_S": "60"})
    with (
        demo_site("--latency-ms", "25000", "--plain") as url,
        shell.fresh.started("crawl", url, *FAST, "--ignore-robots") as process,
    ):
        until(process, "running")
        process.send_signal(signal.SIGINT)
        until(process, "stopping; press Ctrl-C again to quit at once")
        signals = 0
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            signals += 1
            try:
                process.wait(timeout=0.2)
            except subprocess.TimeoutExpired:
                continue

    assert process.returncode == 130
    assert signals < 50  # well before the requests in flight are over
    assert shell.job()["state"] == "paused"


def test_sigterm_pauses_too(shell: Shell, slow_site: str) -> None:
    with shell.fresh.started("crawl", slow_site, *SLOW) as process:
        until(process, "running")
        process.terminate()
        code, _, err = wait_for_exit(process)

    assert code == 143
    assert "nothing is lost" in err
    assert shell.job()["state"] == "paused"


@pytest.mark.slow
def test_a_killed_crawl_resumes_where_it_stopped(shell: Shell, slow_site: str) -> None:
    with shell.fresh.started("crawl", slow_site, *SLOW) as process:
        until(process, "running")
        until_requested(shell, 10)
        process.kill()
        wait_for_exit(process)

    resumed = shell.run("jobs", "resume", "last", "--watch", "--out", "pages.jsonl")

    assert resumed.returncode == 0, resumed.stderr
    urls = [record["url"] for record in records(shell.folder / "pages.jsonl")]
    assert len(urls) == len(set(urls)) == MANY


def test_a_crawl_shares_its_store_with_a_worker(shell: Shell, slow_site: str) -> None:
    with shell.started("work") as worker:
        until(worker, "runs up to")
        crawled = shell.run("crawl", slow_site, *SLOW, "--out", "-")
        worker.terminate()
        code, _, _ = wait_for_exit(worker)

    assert (crawled.returncode, code) == (0, 0)
    assert len(crawled.stdout.splitlines()) == MANY
    assert pages_requested_twice(shell) == []


def test_a_pause_from_another_process_ends_the_crawl(either: Shell, slow_site: str) -> None:
    with either.started("crawl", slow_site, *SLOW) as process:
        until(process, "running")
        paused = either.run("jobs", "pause", "last")
        code, out, err = wait_for_exit(process)

    assert paused.returncode == 0
    assert (code, out) == (0, "")
    assert "paused in" in err
    assert "crawlyard jobs resume" in err


def test_a_cancel_from_another_process_ends_the_crawl(either: Shell, slow_site: str) -> None:
    with either.started("crawl", slow_site, *SLOW) as process:
        until(process, "running")
        either.run("jobs", "cancel", "last")
        code, _, err = wait_for_exit(process)

    assert code == 11
    assert re.search(r"stopped: \d+ of \d+ found in", err)
    stopped, waiting = (
        either.run("jobs", "list", "-q", "--state", word).stdout for word in ("stopped", "waiting")
    )
    assert (stopped, waiting) == (f"{either.job()['id']}\n", "")


def test_a_running_job_can_be_read_and_changed(either: Shell, slow_site: str) -> None:
    with either.started("crawl", slow_site, *SLOW, "--max-pages", "190", "--json") as process:
        until(process, "running")
        until_stored(either)
        changed = either.run("jobs", "set", "last", "limits.pages=150", "priority=high", "--json")
        exported = either.run("jobs", "export", "last")
        code, out, _ = wait_for_exit(process)

    assert json.loads(changed.stdout)["spec"]["priority"] == "high"
    assert len(exported.stdout.splitlines()) > 0
    job = json.loads(out)
    assert (code, job["state_reason"]) == (0, "limit_pages")
    assert (
        150 <= job["usage"]["pages"] < 190
    )  # more than 150 if they were fetched before the change


def test_a_detached_job_is_run_by_a_worker_and_watched(shell: Shell, slow_site: str) -> None:
    submitted = shell.run("crawl", "-", *SLOW, "-d", stdin=f"# start\n{slow_site}\n\n")
    job_id = submitted.stdout.strip()
    with shell.started("work", "--drain") as worker:
        until(worker, "runs up to")
        with shell.started("jobs", "watch", job_id) as watcher:
            until(watcher, "running")
            watcher.send_signal(signal.SIGINT)
            code, out, err = wait_for_exit(watcher)
        watched = shell.run("jobs", "watch", job_id[-8:])
        drained, _, _ = wait_for_exit(worker)

    assert (code, out) == (130, "")
    assert "the job goes on" in err
    assert (watched.returncode, drained) == (0, 0)
    assert "completed in" in watched.stderr
    assert pages_requested_twice(shell) == []


def test_a_draining_worker_reports_how_many_jobs_it_leaves_and_why(shell: Shell) -> None:
    for tag in ((), (), ("--worker-tag", "eu")):
        shell.run("crawl", "-d", "-q", "http://127.0.0.1:9/", *FAST, *tag)
    shell.run("users", "set", "local", "--max-running", "0")

    for words in ((), ("--processes", "2")):
        drained = shell.run("work", "--drain", *words)

        lines = [line for line in drained.stderr.splitlines() if line.startswith("left")]
        assert drained.returncode == 0, drained.stderr
        assert lines == [
            "left 3 jobs pending, waiting for a quota (2), a worker with other tags (1)"
        ]
    assert shell.run("jobs", "list", "--state", "pending", "-q").stdout.count("\n") == 3


def test_a_stopped_worker_releases_its_jobs(shell: Shell, slow_site: str) -> None:
    shell.run("crawl", slow_site, *SLOW, "-d", "-q")
    with shell.started("work") as worker, shell.started("jobs", "watch", "last") as watcher:
        until(watcher, "running")
        worker.terminate()
        code, _, _ = wait_for_exit(worker)
        until(watcher, "waiting (its worker was shut down)")

    assert code == 0
    assert shell.job()["state"] == "pending"


def test_ids_come_from_stdin_and_one_failure_does_not_stop_the_rest(
    either: Shell, slow_site: str
) -> None:
    for _ in range(2):
        either.run("crawl", slow_site, *SLOW, "-d", "-q")
    ids = either.run("jobs", "list", "-q", "--state", "pending", "--state", "running").stdout

    paused = either.run("jobs", "pause", "-", "-q", stdin=ids)
    mixed = either.run("jobs", "cancel", "nonsense", "-", stdin=ids)

    assert (paused.returncode, paused.stdout) == (0, ids)
    assert mixed.returncode == 1
    assert "error: there is no job nonsense" in mixed.stderr
    assert mixed.stderr.count("cancelled: ") == 2


def test_failed_urls_are_tried_again_in_the_same_job(either: Shell) -> None:
    with demo_site("--pages", "20") as url:
        either.run("crawl", url, *FAST)
        again = either.run("jobs", "retry", "last", "--kind", "http_4xx", "--watch", "--json")
        fresh = either.run("jobs", "retry", "last", "--json")

    job = json.loads(again.stdout)
    assert (again.returncode, job["state"], job["usage"]["errors"]) == (0, "completed", 2)
    assert "1 failed URL of" in again.stderr
    assert json.loads(fresh.stdout)["retry_of"] == job["id"]


def test_a_deleted_job_is_gone(either: Shell, site: str) -> None:
    either.run("crawl", site, *FAST, "--max-pages", "3", "-q")

    deleted = either.run("jobs", "delete", "last", "--yes")

    assert (deleted.returncode, deleted.stdout) == (0, "")
    assert either.run("jobs", "show", "last").returncode == 3


def test_the_demo_needs_no_setup_and_prints_the_next_steps(shell: Shell) -> None:
    ran = shell.run("demo", "--pages", "40")

    assert (ran.returncode, ran.stdout) == (0, "")
    exported = (shell.folder / "crawlyard-demo" / "pages.jsonl").read_text()
    assert len(exported.splitlines()) == 42
    listed = shell.run(*shlex.split(_hint(ran.stderr, "jobs pages"))[1:])
    assert len(listed.stdout.splitlines()) == 42


def until_requested(shell: Shell, times: int) -> None:
    """Return once the slow site has received *times* requests."""
    log = shell.folder / "hits.jsonl"
    while not log.exists() or len(read_log(log)) < times:
        sleep(0.02)


def _hint(text: str, words: str) -> str:
    """Return the command suggested by a hint."""
    return next(line.strip() for line in text.splitlines() if words in line)
