"""Commands that quiet and stop workers, and that slow, pause and block hosts."""

import json
from collections.abc import Callable, Mapping
from time import monotonic, sleep
from typing import Any

import pytest

from tests.acceptance.shell import MINUTE, Shell, wait_for_exit

PAUSE_S = 0.1


def workers(shell: Shell) -> list[dict[str, Any]]:
    ran = shell.run("workers", "list", "--json")
    assert ran.returncode == 0, ran.stderr
    rows: list[dict[str, Any]] = json.loads(ran.stdout)
    return rows


def until_worker(
    shell: Shell, pid: int, holds: Callable[[Mapping[str, Any]], bool]
) -> dict[str, Any]:
    """Return the worker of a process once *holds* is true for it."""
    until = monotonic() + MINUTE
    while monotonic() < until:
        for worker in workers(shell):
            if worker["pid"] == pid and holds(worker):
                return worker
        sleep(PAUSE_S)
    pytest.fail(f"worker {pid} never reached the expected state")


def test_a_worker_is_quieted_resumed_and_stopped_with_exit_code_0(either: Shell, site: str) -> None:
    here = Shell(either.folder)
    with here.started("work") as process:
        worker = until_worker(either, process.pid, lambda w: w["state"] == "idle")
        server_workers = [w["id"] for w in workers(either) if w["id"] != worker["id"]]
        assert len(server_workers) == either.over_http  # the server's own worker

        quiet = either.run("workers", "quiet", worker["id"], *server_workers)
        assert quiet.returncode == 0, quiet.stderr
        assert f"quiet: {worker['id']}" in quiet.stderr
        for pid in [w["pid"] for w in workers(either)]:
            until_worker(either, pid, lambda w: w["quiet"])
        either.run("crawl", site, "--allow-private", "--max-pages", "1", "-d")
        waits = either.json("jobs", "show", "last")
        assert isinstance(waits, dict)
        assert waits["waits_for"][0]["reason"] == "no_worker"

        end = worker["id"][-6:]
        resumed = either.run("workers", "resume", end, "--fields", "id,state", "-o", "json")
        assert resumed.returncode == 0, resumed.stderr
        assert json.loads(resumed.stdout)["id"] == worker["id"]
        ran = either.run("jobs", "wait", "last", "--timeout", "30s", "--fields", "state")
        assert ran.stdout.split() == ["state", "completed"]

        stopped = either.run("workers", "stop", worker["id"])
        code, _, err = wait_for_exit(process)

    assert stopped.returncode == 0, stopped.stderr
    assert code == 0, err
    assert worker["id"] not in [w["id"] for w in workers(either)]


def test_a_server_outlives_its_worker(either: Shell) -> None:
    if not either.over_http:
        with Shell(either.folder).started("serve", "--port", "0") as process:
            _assert_server_outlives_its_worker(either, process.pid)
            assert process.poll() is None
        return
    [own] = workers(either)
    _assert_server_outlives_its_worker(either, own["pid"])


def _assert_server_outlives_its_worker(shell: Shell, pid: int) -> None:
    worker = until_worker(shell, pid, lambda w: w["state"] == "idle")
    assert shell.run("workers", "stop", worker["id"]).returncode == 0
    until = monotonic() + MINUTE
    while workers(shell) and monotonic() < until:
        sleep(PAUSE_S)
    assert workers(shell) == []
    assert shell.run("health").returncode == 0


def test_an_unknown_worker_does_not_block_the_others(either: Shell) -> None:
    with Shell(either.folder).started("work") as process:
        worker = until_worker(either, process.pid, lambda w: w["state"] == "idle")

        ran = either.run("workers", "quiet", "absent", worker["id"])
        until_worker(either, process.pid, lambda w: w["quiet"])
        alive = either.run("workers", "forget", worker["id"])

    assert ran.returncode == 1
    assert "there is no worker absent" in ran.stderr
    assert alive.returncode == 5
    assert either.run("workers", "stop", "absent").returncode == 3


def test_a_host_rule_holds_until_it_is_unset(either: Shell) -> None:
    rule_set = either.run(
        "hosts", "set", "EXAMPLE.org", "--delay", "2", "--per-host", "1", "--note", "asked",
        "--json",
    )  # fmt: skip
    assert rule_set.returncode == 0, rule_set.stderr
    rule = json.loads(rule_set.stdout)["rule"]
    assert (rule["delay_s"], rule["at_once"], rule["note"]) == (2, 1, "asked")

    less = either.run("hosts", "set", "https://example.org/x", "--delay", "none", "--json")
    assert json.loads(less.stdout)["rule"]["delay_s"] is None
    detail = either.run("hosts", "show", "example.org:443", "-o", "plain")
    assert "at most 1 at once" in detail.stdout

    assert either.run("hosts", "unset", "example.org").returncode == 0
    assert either.run("hosts", "show", "example.org").returncode == 3
    assert either.run("hosts", "unset", "example.org").returncode == 3
    assert json.loads(either.run("hosts", "list", "--json").stdout) == []


def test_hosts_are_paused_blocked_and_resumed_several_at_once(either: Shell) -> None:
    for verb, state in (("pause", "paused"), ("block", "blocked"), ("resume", "open")):
        ran = either.run("hosts", verb, "-", stdin="a.example\nb.example\n")
        assert ran.returncode == 0, ran.stderr
        listed = either.run("hosts", "list", "--fields", "host,state", "-o", "plain").stdout
        assert listed.split() == ["a.example", state, "b.example", state]


def test_a_crawl_waits_for_a_paused_host_and_goes_on_when_it_is_resumed(
    either: Shell, site: str
) -> None:
    assert either.run("hosts", "pause", site, "--note", "down").returncode == 0
    with Shell(either.folder).started("work"):
        either.run("crawl", site, "--allow-private", "--max-pages", "3", "-d")
        until = monotonic() + MINUTE
        job: dict[str, Any] = {"waits_for": []}
        while not any(wait["reason"] == "host" for wait in job["waits_for"]):
            assert monotonic() < until, job
            job = dict(either.job())
        assert job["usage"]["pages"] == 0

        assert either.run("hosts", "resume", site).returncode == 0
        ran = either.run("jobs", "wait", "last", "--timeout", "60s", "--fields", "state")
        assert ran.stdout.split() == ["state", "completed"]


def test_invalid_host_rules_are_refused(either: Shell) -> None:
    for words, says in (
        (("set", "example.org"), "error: hosts set: expected something to change"),
        (("set", "a..b", "--delay", "1"), "expected a host"),
        (("set", "example.org", "--per-host", "999"), "256"),
        (("pause", "user@example.org"), "expected a host"),
        (("show", "a b"), "expected a host"),
    ):
        ran = either.run("hosts", *words)
        assert ran.returncode == 2, ran.stderr
        assert says in ran.stderr


def test_host_changes_are_recorded_as_events(either: Shell) -> None:
    either.run("hosts", "pause", "a.example", "--note", "down")
    either.run("hosts", "unset", "a.example")

    events = either.run("events", "--type", "host.*", "--fields", "name,subject", "-o", "plain")

    assert events.stdout.split() == ["host.paused", "a.example", "host.unset", "a.example"]
