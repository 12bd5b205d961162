"""Commands that need a server, and accounts in a local yard and over HTTP."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Somewhere
from tests.acceptance.shell import (
    FAST,
    GRANTS,
    MINUTE,
    SLOW,
    Shell,
    draining_stderr,
    environment,
    serving,
    until,
    wait_for_exit,
)

UNREACHABLE = {"CRAWLYARD_SERVER": "http://127.0.0.1:9", "CRAWLYARD_TOKEN": "cyt_x"}
ENGINE = ("httptools", "turbohtml", "can_ada", "isal")
SERVER = ("starlette", "uvicorn", "prometheus_client")
STORE = ("sqlalchemy", "alembic", "crawlyard.yard", "crawlyard.store.open")


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory, somewhere: Somewhere) -> Iterator[Shell]:
    """A server of an empty yard."""
    with somewhere(tmp_path_factory.mktemp("yard"), "http") as shell:
        yield shell


def json_object(shell: Shell, *words: str) -> dict[str, Any]:
    """Return the JSON object that a command writes."""
    answer = shell.json(*words)
    assert isinstance(answer, dict)
    return answer


def test_a_token_is_created_listed_and_revoked(either: Shell) -> None:
    secret = either.run("tokens", "create", "laptop", "--scope", "jobs:read", "--expires", "2h")
    listed = either.run("tokens", "list", "-o", "plain")
    revoked = either.run("tokens", "revoke", "laptop")
    again = either.run("tokens", "revoke", "laptop")

    assert secret.stdout.startswith("cyt_")
    assert secret.stdout.strip() not in listed.stdout + secret.stderr + revoked.stderr
    assert "\tlaptop\t" in listed.stdout
    assert (revoked.returncode, again.returncode) == (0, 3)


def test_a_token_without_tokens_read_can_revoke_itself_by_id(yard: Shell) -> None:
    created = json_object(yard, "tokens", "create", "narrow", "--scope", "workers:read")
    narrow = Shell(yard.folder, {**yard.env, "CRAWLYARD_TOKEN": created["token"]})

    listed = narrow.run("tokens", "list")
    by_name = narrow.run("tokens", "revoke", "narrow")
    revoked = narrow.run("tokens", "revoke", created["id"])
    again = narrow.run("whoami")

    assert (listed.returncode, by_name.returncode) == (4, 4), listed.stderr
    assert "tokens:read" in listed.stderr
    assert "tokens:write" in by_name.stderr
    assert (revoked.returncode, revoked.stderr) == (0, f"revoked: {created['id']}\n")
    assert again.returncode == 4


def test_users_have_roles_and_quotas_and_can_be_disabled(either: Shell) -> None:
    created = json_object(
        either, "users", "create", "ada", "--role", "viewer", "--max-running", "2"
    )
    changed = json_object(
        either, "users", "set", "ada", "--max-pages", "10", "--max-duration", "1h"
    )
    freed = json_object(either, "users", "set", "ada", "--max-running", "none")
    off = json_object(either, "users", "disable", "ada")
    on = json_object(either, "users", "enable", "ada")
    nothing = either.run("users", "set", "ada")
    missing = either.run("users", "set", "bob", "--role", "admin")

    assert (created["role"], created["quota"]["running"]) == ("viewer", 2)
    ceilings = {"pages": 10, "bytes": None, "duration_s": 3600, "errors": None, "render_s": None}
    assert (changed["quota"]["running"], changed["quota"]["ceilings"]) == (2, ceilings)
    assert (freed["quota"]["running"], freed["quota"]["ceilings"]) == (None, ceilings)
    assert (off["disabled_at"] is None, on["disabled_at"]) == (False, None)
    assert (nothing.returncode, missing.returncode) == (2, 3)
    assert "local" in either.run("users", "list", "-q").stdout.split()


def test_grants_are_shown_and_changed_one_by_one(shell: Shell) -> None:
    token = shell.run("tokens", "create", "tests").stdout.strip()
    with serving(shell, token, "--no-worker") as asking:
        words = ("crawl", "-d", "http://127.0.0.1:1/", "--allow-private", "--ignore-robots")
        before = json_object(asking, "settings", "grants")
        refused = asking.run(*words)
        advised = re.findall(r"crawlyard (settings grants .*)", refused.stderr)
        granted = asking.run(*advised[0].split())
        submitted = asking.run(*words)
        less = json_object(asking, "settings", "grants", "--no-ignore-robots")
    here = shell.run("settings", "grants", "-o", "plain")

    assert before["effective"] == {"addresses": False, "private": False, "ignore_robots": False}
    assert refused.returncode == 4
    assert advised == ["settings grants --private --ignore-robots"]
    assert granted.stderr == "granted: private, ignore_robots\n"
    assert submitted.returncode == 0, submitted.stderr
    assert less["effective"] == {"addresses": False, "private": True, "ignore_robots": False}
    assert here.stdout.splitlines()[:3] == ["addresses\tno", "private\tyes", "ignore robots\tno"]


def test_whoami_health_and_stats_describe_a_yard(either: Shell) -> None:
    either.run("users", "create", "ada")  # creates the yard
    me = json_object(either, "whoami")
    health = either.run("health")
    stats = json_object(either, "stats", "--since", "7d")
    hosts = either.run("hosts", "list", "--json")
    ops = either.run("ops", "list", "--json")
    workers = either.run("workers", "list", "-q")

    assert (me["id"], me["role"]) == ("local", "admin")
    assert (health.returncode, health.stderr) == (0, "ok\n")
    assert (stats["cards"]["jobs"]["pending"], stats["step_s"]) == (0, 3600)
    assert len(stats["finished"]) >= 7 * 24
    assert (hosts.stdout, ops.stdout) == ("[]\n", "[]\n")
    assert len(workers.stdout.splitlines()) == either.over_http
    assert either.run("ops", "show", "no-such-id").returncode == 3
    assert either.run("workers", "forget", "no-such-id").returncode == 3


def test_the_details_of_a_job_can_be_read(crawled: Shell) -> None:
    url = str(crawled.job()["spec"]["urls"][0])  # type: ignore[index]  # JSON
    why = json_object(crawled, "jobs", "why", "last", url)
    counts = json_object(crawled, "jobs", "counts", "--tag", "a")
    config = json_object(crawled, "jobs", "config", "last")
    log = crawled.run("jobs", "log", "last", "-o", "jsonl")
    frontier = crawled.run("jobs", "frontier", "last")
    waiting = ("jobs", "wait", "last", "--timeout", "10s")
    waited = crawled.run(*waiting, "-q")
    picked = crawled.run(*waiting, "--fields", "id,state", "-o", "csv")
    refused = crawled.run("jobs", "exclude", "last", "*/print/*")

    assert why["outcome"] == "fetched"
    assert (counts["total"], counts["states"]["completed"]) == (1, 1)
    assert (config["config"]["name"], config["sources"]["name"]) == ("docs", "this job")
    assert {json.loads(line)["object"] for line in log.stdout.splitlines()} == {"log_line"}
    assert (frontier.returncode, frontier.stdout) == (0, "")
    assert (waited.returncode, waited.stdout.strip()) == (0, crawled.job()["id"])
    assert picked.stdout == f"id,state\n{crawled.job()['id']},completed\n"
    assert refused.returncode == 5


def test_jobs_wait_writes_any_format(crawled: Shell) -> None:
    job = crawled.job()
    once, twice = (("jobs", "wait", *("last",) * times) for times in (1, 2))

    outputs = [crawled.run(*once, *style) for style in ((), ("-o", "plain"), ("-o", "csv"))]
    listed = crawled.json(*twice, "--fields", "id")
    missing = crawled.run(*once, "none", "--json")

    assert [ran.stdout.count(str(job["id"])) for ran in outputs] == [0, 1, 1]
    assert json_object(crawled, *once)["id"] == job["id"]
    assert outputs[1].stdout == crawled.run("jobs", "list", "-o", "plain").stdout
    assert outputs[2].stdout == crawled.run("jobs", "list", "-o", "csv").stdout
    assert listed == {"id": job["id"]}  # a job named twice is waited for once
    assert (missing.returncode, missing.stdout) == (3, "")


def test_a_token_may_come_from_a_file(yard: Shell, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(yard.env["CRAWLYARD_TOKEN"] + "\n")
    env = {"CRAWLYARD_SERVER": yard.env["CRAWLYARD_SERVER"], "CRAWLYARD_TOKEN_FILE": "token"}

    ran = Shell(tmp_path, env).run("whoami", "-q")

    assert (ran.returncode, ran.stdout) == (0, "local\n")


@pytest.mark.parametrize("words", [("jobs", "list"), ("health",), ("crawl", "https://a.example/")])
def test_an_unreachable_server_has_its_exit_code(shell: Shell, words: tuple[str, ...]) -> None:
    ran = shell.run(*words, env=UNREACHABLE)

    assert (ran.returncode, ran.stdout) == (6, "")
    assert "http://127.0.0.1:9 cannot be reached" in ran.stderr
    assert list(shell.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("work", "--server", "http://127.0.0.1:9"), 2, "--server"),
        (("serve", "--server", "http://127.0.0.1:9"), 2, "leave the server out"),
        (("demo", "--server", "http://127.0.0.1:9"), 2, "leave the server out"),
        (("jobs", "list", "--server", "yard"), 2, "is not a server URL"),
        (("api", "GET", "jobs"), 2, "--server"),
    ],
)
def test_options_that_conflict_with_a_server_are_refused(
    shell: Shell, words: tuple[str, ...], code: int, message: str
) -> None:
    ran = shell.run(*words, env={"CRAWLYARD_TOKEN": "cyt_x"})

    assert (ran.returncode, ran.stdout) == (code, "")
    assert message in ran.stderr


def test_api_sends_any_request(yard: Shell) -> None:
    created = yard.run("api", "POST", "jobs", "-F", 'urls=["https://a.example/"]', "-F", "name=raw")
    job = json.loads(created.stdout)
    changes = json.dumps({"priority": "high"})
    patched = yard.run("api", "PATCH", f"jobs/{job['id']}", "--input", "-", stdin=changes)
    listed = yard.run("api", "GET", "jobs", "-F", "limit=1", "-i")
    refused = yard.run("api", "GET", "jobs/none")

    assert (job["object"], job["spec"]["name"]) == ("job", "raw")
    assert json.loads(patched.stdout)["spec"]["priority"] == "high"
    assert listed.stdout.startswith("HTTP 200\n")
    assert json.loads(listed.stdout.splitlines()[-1])["object"] == "list"
    assert refused.returncode == 3
    assert json.loads(refused.stdout)["code"] == "not_found"


def test_paginate_reads_a_list_to_its_end(yard: Shell) -> None:
    for name in ("first", "second", "third"):
        yard.run("crawl", "-d", "https://a.example/", "--name", name)

    words = ("api", "GET", "jobs", "-F", "limit=1", "-F", "fields=spec.name", "--paginate")
    ran = yard.run(*words)
    matching = yard.run("api", "GET", "jobs?limit=1&fields=spec.name&q=ir", "--paginate")

    jobs = [json.loads(line) for line in ran.stdout.splitlines()]
    names = [json.loads(line)["spec"]["name"] for line in matching.stdout.splitlines()]
    assert sorted(names) == ["first", "third"]
    assert [job["spec"]["name"] for job in jobs][:3] == ["third", "second", "first"]
    assert all(set(job) == {"spec"} and set(job["spec"]) == {"name"} for job in jobs)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("POST", "jobs"), "requires GET"),
        (("GET", "jobs", "-i"), "excludes --include"),
        (("GET", "meta"), "expected a list at meta"),
        (("GET", "/metrics"), "expected a list at /metrics"),
    ],
)
def test_paginate_refuses_everything_but_lists(
    yard: Shell, words: tuple[str, ...], message: str
) -> None:
    ran = yard.run("api", *words, "--paginate")

    assert (ran.returncode, ran.stdout) == (2, "")
    assert message in ran.stderr


def test_ctrl_c_leaves_a_job_of_the_server_running(yard: Shell, slow_site: str) -> None:
    with yard.started("crawl", slow_site, *SLOW) as process:
        until(process, "running")
        process.send_signal(signal.SIGINT)
        code, _, err = wait_for_exit(process)

    state = yard.job()["state"]
    yard.run("jobs", "cancel", "last")
    assert code == 130
    assert "the job continues" in err
    assert state == "running"


def test_events_are_followed_over_http(yard: Shell, site: str) -> None:
    words = ("--type", "job.completed", "--since", "1h", "--json")  # the follower may start late
    with yard.started("events", "--follow", *words) as process:
        assert process.stdout is not None
        crawl = yard.run("crawl", site, *FAST, "--max-pages", "2", "-q")
        event = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        code, _, _ = wait_for_exit(process)

    assert (event["name"], event["subject"]) == ("job.completed", crawl.stdout.strip())
    assert code == 130


def test_a_log_is_followed_to_its_last_line(either: Shell, slow_site: str) -> None:
    with either.started("crawl", slow_site, "--allow-private", "--delay", "1s") as crawl:
        until(crawl, "running")
        with either.started("jobs", "log", "last", "-f", "-o", "jsonl") as follower:
            assert follower.stdout is not None
            first = follower.stdout.readline()
            running = either.job()["state"]
            changed = either.run("jobs", "set", "last", "limits.pages=1")
            code, out, err = wait_for_exit(follower)
        wait_for_exit(crawl)
    listed = either.run("jobs", "log", "last", "-o", "jsonl")

    assert running == "running"
    assert "started by" in json.loads(first)["message"]
    assert (changed.returncode, code, err) == (0, 0, "")
    assert "limit_pages" in json.loads(out.splitlines()[-1])["message"]
    assert first + out == listed.stdout


@pytest.mark.slow
def test_following_a_log_survives_a_killed_server(shell: Shell, slow_site: str) -> None:
    token = shell.run("tokens", "create", "tests").stdout.strip()
    with ExitStack() as stack:
        with shell.started("serve", "--port", "0") as server:
            url = until(server, "serving ").split()[1].removesuffix("/api/v1")
            asking = Shell(shell.folder, {"CRAWLYARD_SERVER": url, "CRAWLYARD_TOKEN": token})
            with draining_stderr(server):
                asking.run("api", "PUT", "settings/grants", "--input", "-", stdin=GRANTS)
                asking.run("crawl", slow_site, "--allow-private", "--delay", "1s", "-d")
                follow = asking.started("jobs", "log", "last", "-f", "-o", "jsonl")
                follower = stack.enter_context(follow)
                assert follower.stdout is not None
                first = follower.stdout.readline()
                server.kill()
        with shell.started("serve", "--port", url.rpartition(":")[2]) as server:
            until(server, "serving ")
            with draining_stderr(server):
                asking.run("jobs", "set", "last", "limits.pages=1")
                code, out, err = wait_for_exit(follower)
                listed = asking.run("jobs", "log", "last", "-o", "jsonl")
                server.terminate()

    messages = [json.loads(line)["message"] for line in (first + out).splitlines()]
    assert (code, err) == (0, "")
    assert "attempt 1" in messages[0]
    assert any("attempt 2" in message for message in messages)
    assert first + out == listed.stdout


def test_following_a_log_that_is_complete_writes_it_once(crawled: Shell) -> None:
    for words in (("-o", "jsonl"), ("-o", "csv"), ("-o", "table"), ("--level", "debug", "-q")):
        listed = crawled.run("jobs", "log", "last", *words)
        followed = crawled.run("jobs", "log", "last", "-f", *words)

        assert (followed.returncode, followed.stdout) == (0, listed.stdout)
        assert len(followed.stdout.splitlines()) > 1


def loaded(shell: Shell, words: tuple[str, ...], names: tuple[str, ...]) -> list[str]:
    """Return which of these modules a command has imported by its end."""
    program = (
        "import sys, types\n"
        "from crawlyard.cli.main import main\n"
        f"sys.argv = ['crawlyard', *{words!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "real = {n for n, m in sys.modules.items() if type(m) is types.ModuleType}\n"  # not lazy
        f"print([name for name in {names!r} if name in real], file=sys.stderr)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=shell.folder,
        env=shell.environment,
        capture_output=True,
        text=True,
        timeout=MINUTE,
        check=True,
    )
    return [str(name) for name in json.loads(ran.stderr.splitlines()[-1].replace("'", '"'))]


def test_listing_jobs_imports_only_what_it_needs(crawled: Shell) -> None:
    beside = STORE if crawled.over_http else ("httpx",)
    engine = ENGINE if crawled.over_http else ("httptools", "turbohtml", "isal")
    unneeded = (*engine, *SERVER, *beside, "alembic", "structlog", "yaml", "pydantic")

    modules = loaded(crawled, ("jobs", "list"), unneeded)

    assert modules == []


def test_a_crawl_imports_only_what_it_needs(shell: Shell, site: str) -> None:
    # on SQLite, with stderr no terminal: the start is most of the cost of a small crawl
    files = ("pyarrow", "warcio", "yaml", "structlog")
    screen = ("rich.console", "rich.table", "rich.live")
    elsewhere = ("redis", "psycopg", "sqlalchemy.dialects.postgresql", "alembic")
    unneeded = (*SERVER, *files, *screen, *elsewhere, "httpx", "multiprocessing", "pydantic")

    modules = loaded(shell, ("crawl", site, *FAST, "--out", "all.jsonl"), unneeded)

    assert modules == []


def test_connect_imports_no_server_modules(shell: Shell) -> None:
    names = (*ENGINE, *SERVER, *STORE, "structlog", "typer")
    check = f"print([name for name in {names!r} if name in sys.modules])"
    program = f"import sys, crawlyard; crawlyard.connect; {check}"

    ran = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=MINUTE,
        check=True,
    )

    assert ran.stdout == "[]\n"
