"""The installed command, as a user meets it: what it writes where, and how it ends."""

import csv
import io
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from crawlyard.demo.site import DemoSite
from tests.site import read_log

PAGES = 24  # of the site that is crawled once and then read by many tests
MANY = 200  # of the site that takes four seconds or more
MINUTE = 60  # more than any command here takes; a hang fails instead of blocking the suite

Run = subprocess.CompletedProcess[str]


@pytest.fixture(autouse=True, scope="module")
def interruptible() -> Iterator[None]:
    """Let children hear Ctrl-C, even where the suite itself runs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def environment(**more: str) -> dict[str, str]:
    """Return an environment without settings of ours, and no terminal's."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return kept | {"PYTHONUTF8": "1"} | more


@dataclass(frozen=True, slots=True)
class Shell:
    """A folder in which commands are run."""

    folder: Path

    def run(self, *words: str, stdin: str = "", env: Mapping[str, str] | None = None) -> Run:
        """Run ``crawlyard …`` to its end."""
        return subprocess.run(
            [sys.executable, "-m", "crawlyard", *words],
            cwd=self.folder,
            env=environment(**(env or {})),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=MINUTE,
            check=False,
        )

    @contextmanager
    def started(self, *words: str) -> Iterator["subprocess.Popen[str]"]:
        """Run ``crawlyard …`` beside the block."""
        process = subprocess.Popen(
            [sys.executable, "-m", "crawlyard", *words],
            cwd=self.folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()

    def json(self, *words: str) -> object:
        """Return what a command writes as JSON."""
        ran = self.run(*words, "--json")
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    def job(self, *options: str) -> Mapping[str, object]:
        """Return the last job."""
        found = self.json("jobs", "show", "last", *options)
        assert isinstance(found, dict)
        return found


@contextmanager
def a_site(*options: str) -> Iterator[str]:
    """Serve the demo site in a process of its own, and yield its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "crawlyard.demo", *options],
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip().removesuffix("/")
        finally:
            process.terminate()


def until(process: "subprocess.Popen[str]", words: str) -> str:
    """Read stderr up to the line that has *words* in it, and return that."""
    assert process.stderr is not None
    read: list[str] = []
    for line in process.stderr:
        read.append(line)
        if words in line:
            return line
    pytest.fail(f"ended without {words!r}: {''.join(read)}")


def rest(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Wait for the end; return exit code, stdout and what was still to come on stderr."""
    out, err = process.communicate(timeout=MINUTE)
    return process.returncode, out, err


def records(path: Path) -> list[Any]:
    """Return what a file of JSON Lines holds."""
    return [json.loads(line) for line in path.read_text().splitlines()]


SLOW = ("--allow-private", "--delay", "0")
FAST = (*SLOW, "--per-host", "8")


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """A site that answers at once and never fails."""
    with a_site("--pages", str(PAGES), "--plain") as url:
        yield url


@pytest.fixture(scope="module")
def crawled(site: str, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A data directory with one completed job, to be read and not changed."""
    shell = Shell(tmp_path_factory.mktemp("crawled"))
    with a_site("--pages", str(PAGES)) as url:
        ran = shell.run("crawl", url, *FAST, "--max-depth", "3", "--name", "docs", "--tag", "a")
    assert ran.returncode == 0, ran.stderr
    return shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """An empty folder."""
    return Shell(tmp_path)


@pytest.fixture
def slow_site(tmp_path: Path) -> Iterator[str]:
    """A site that takes seconds to crawl and logs what it is asked."""
    log = str(tmp_path / "hits.jsonl")
    with a_site("--pages", str(MANY), "--plain", "--latency-ms", "40", "--log", log) as url:
        yield url


def asked_twice(shell: Shell) -> list[str]:
    """Return the pages that the slow site was asked for more than once."""
    hits = read_log(shell.folder / "hits.jsonl")
    asked = Counter(hit.path for hit in hits if hit.path != "/robots.txt")
    return [path for path, times in asked.items() if times > 1]


# -- what is written where -------------------------------------------------------------------


def test_a_crawl_writes_its_pages_and_says_how_it_ended(shell: Shell, site: str) -> None:
    ran = shell.run("crawl", site, *FAST, "--out", "pages.jsonl")

    assert (ran.returncode, ran.stdout) == (0, "")
    assert re.search(
        rf"^completed \(exhausted\) in .* · {PAGES} pages, .* · pages.jsonl ",
        ran.stderr,
        re.MULTILINE,
    )
    found = records(shell.folder / "pages.jsonl")
    reachable = DemoSite(PAGES, faults=False).reachable()
    assert sorted(record["url"] for record in found) == sorted(site + path for path in reachable)
    assert all(record["text"] and record["error"] is None for record in found)


def test_json_on_stdout_is_the_job_and_nothing_else(shell: Shell, site: str) -> None:
    ran = shell.run("crawl", site, *FAST, "--max-pages", "5", "--json")

    job = json.loads(ran.stdout)
    assert (job["object"], job["state"], job["state_reason"]) == ("job", "completed", "limit_pages")
    assert job["usage"]["pages"] == 5
    assert "limits.pages=10" in ran.stderr


def test_pages_on_stdout_are_nothing_but_pages(shell: Shell, site: str) -> None:
    ran = shell.run("crawl", site, *FAST, "--max-pages", "5", "--json", "--out", "-", "--quiet")

    assert [json.loads(line)["status"] for line in ran.stdout.splitlines()] == [200] * 5
    assert ran.stderr == ""


def test_extracted_values_reach_a_spreadsheet(shell: Shell, site: str) -> None:
    ran = shell.run(
        "crawl", site, *FAST, "--max-pages", "1", "--extract", "head=h1", "--out", "pages.csv"
    )

    assert ran.returncode == 0, ran.stderr
    header, row = (shell.folder / "pages.csv").read_text().splitlines()[:2]
    assert header.endswith(",error_kind,error_detail,extracted.head,text")
    assert row.startswith(f"{site}/,{site}/,200,text/html,The harbour handbook,")


def normal(text: str) -> str:
    """Return *text* without what differs from run to run."""
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", text)
    text = re.sub(r"20\d\d-\d\d-\d\dT[\d:.]+Z", "INSTANT", text)
    return re.sub(r"127\.0\.0\.1:\d+", "HOST", text)


GOLDEN = {
    "plain": "http_4xx\t1\tINSTANT\tINSTANT\thttp://HOST/chapter-that-was-removed.html\n"
    "http_5xx\t1\tINSTANT\tINSTANT\thttp://HOST/broken-index\n",
    "csv": "kind,count,first,last,example\n"
    "http_4xx,1,INSTANT,INSTANT,http://HOST/chapter-that-was-removed.html\n"
    "http_5xx,1,INSTANT,INSTANT,http://HOST/broken-index\n",
    "jsonl": '{"kind":"http_4xx","count":1,"first_at":"INSTANT","last_at":"INSTANT",'
    '"samples":["http://HOST/chapter-that-was-removed.html"]}\n'
    '{"kind":"http_5xx","count":1,"first_at":"INSTANT","last_at":"INSTANT",'
    '"samples":["http://HOST/broken-index"]}\n',
    "json": """\
[
  {
    "kind": "http_4xx",
    "count": 1,
    "first_at": "INSTANT",
    "last_at": "INSTANT",
    "samples": [
      "http://HOST/chapter-that-was-removed.html"
    ]
  },
  {
    "kind": "http_5xx",
    "count": 1,
    "first_at": "INSTANT",
    "last_at": "INSTANT",
    "samples": [
      "http://HOST/broken-index"
    ]
  }
]
""",
}


@pytest.mark.parametrize("style", GOLDEN)
def test_each_style_is_written_as_documented(crawled: Shell, style: str) -> None:
    ran = crawled.run("jobs", "errors", "last", "-o", style)

    assert normal(ran.stdout) == GOLDEN[style]


def test_a_table_is_for_terminals_and_tabs_are_for_pipes(crawled: Shell) -> None:
    table = crawled.run("jobs", "list", "-o", "table", env={"COLUMNS": "120"})
    piped = crawled.run("jobs", "list")

    columns = "STATE ID NAME DONE FOUND FAILED RATE LEFT REASON PRIORITY AGE"
    assert " ".join(table.stdout.splitlines()[0].split()) == columns
    assert normal(piped.stdout).split("\t") == [
        "completed", "ID", "docs", "28", "28", "2", "0.0", "", "exhausted", "normal", "INSTANT\n"
    ]  # fmt: skip
    assert "\x1b" not in table.stdout + piped.stdout


def test_jobs_are_found_by_state_tag_and_name(crawled: Shell) -> None:
    whole = crawled.job()["id"]

    for filter_ in (("--state", "completed"), ("--tag", "a"), ("--query", "DOC"), ("--limit", "0")):
        assert crawled.run("jobs", "list", "-q", *filter_).stdout == f"{whole}\n"
    none = crawled.run("jobs", "list", "-q", "--state", "failed", "--state", "paused")
    assert (none.returncode, none.stdout) == (0, "")


def test_pages_can_be_picked_and_counted(crawled: Shell) -> None:
    failed = crawled.run("jobs", "pages", "last", "--only", "failed", "-q")
    two = crawled.run("jobs", "pages", "last", "--limit", "2")
    skipped = crawled.run("jobs", "pages", "last", "--skipped")

    assert len(failed.stdout.splitlines()) == 2
    assert len(two.stdout.splitlines()) == 2
    assert "the first 2 are shown" in two.stderr
    left_out = {line.split("\t")[2].rsplit("/", 2)[1] for line in skipped.stdout.splitlines()}
    assert left_out == {"example.org", "private"}


def test_events_tell_the_life_of_a_job(crawled: Shell) -> None:
    ran = crawled.run("jobs", "events", "last")

    assert [line.split("\t")[1] for line in ran.stdout.splitlines()] == [
        "job.created",
        "job.started",
        "job.completed",
    ]


def test_an_export_has_every_record_once(crawled: Shell) -> None:
    everything = crawled.run("jobs", "export", "last")
    ok = crawled.run("jobs", "export", "last", "--only", "ok", "--format", "csv")
    failed = crawled.run("jobs", "export", "last", "--only", "failed", "--out", "failed.jsonl")

    urls = [json.loads(line)["url"] for line in everything.stdout.splitlines()]
    assert len(urls) == len(set(urls)) == PAGES + 2
    assert len(list(csv.reader(io.StringIO(ok.stdout)))) == PAGES + 1
    assert (failed.returncode, failed.stdout) == (0, "")
    kinds = [record["error"]["kind"] for record in records(crawled.folder / "failed.jsonl")]
    assert sorted(kinds) == ["http_4xx", "http_5xx"]


def test_a_reader_that_has_enough_is_no_error(crawled: Shell) -> None:
    with crawled.started("jobs", "export", "last") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        process.wait(timeout=MINUTE)

        assert process.stderr is not None
        assert (process.returncode, process.stderr.read()) == (0, "")


def on_terminal(shell: Shell, *words: str, **env: str) -> str:
    """Run a command on a terminal of 80 columns, and return all that it shows."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "crawlyard", *words],
        cwd=shell.folder,
        env=environment(COLUMNS="80", LINES="24", TERM="xterm-256color", **env),
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    seen = b""
    while True:
        try:
            seen += os.read(leader, 65536)
        except OSError:  # Linux says so when the last process has closed the terminal
            break
    os.close(leader)
    process.wait(timeout=MINUTE)
    return seen.decode()


COLOUR = re.compile(r"\x1b\[[0-9;]*?(3[0-7]|9[0-7]|38;5;\d+)[0-9;]*m")


def test_colours_are_for_terminals_that_want_them(shell: Shell, slow_site: str) -> None:
    words = ("crawl", slow_site, *SLOW, "--max-pages", "60")

    assert COLOUR.search(on_terminal(shell, *words))
    plain = on_terminal(shell, *words, NO_COLOR="1")
    assert not COLOUR.search(plain)
    assert "60 pages" in plain
    assert "\x1b[?25h" in plain  # the cursor is back


def test_help_and_completion_do_not_wait_for_the_engine() -> None:
    heavy = ["aiohttp", "sqlalchemy", "pydantic_settings", "turbohtml", "structlog", "uvloop"]
    program = f"import sys, crawlyard.cli.app; print([m for m in {heavy} if m in sys.modules])"

    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=MINUTE
    )

    assert ran.stdout == "[]\n"


def test_the_version_is_told_in_three_ways(shell: Shell) -> None:
    told = shell.run("version").stdout

    assert re.fullmatch(r"crawlyard \d+\.\d+\.\d+\S*\n", told)
    assert shell.run("--version").stdout == told
    found = shell.json("version")
    assert isinstance(found, dict)
    assert f"crawlyard {found['crawlyard']}\n" == told


# -- what goes wrong -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("jobs", "show", "no-such-id"), 3, "there is no job no-such-id"),
        (("jobs", "pause", "last"), 5, "cannot pause a job that is completed"),
        (("jobs", "resume", "last"), 5, "nothing left to fetch"),
        (("jobs", "set", "last", "colour=red"), 2, "expected FIELD=VALUE"),
        (("jobs", "set", "last", "limits.pages=many"), 2, "got 'many'"),
        (("jobs", "delete", "last"), 2, "say --yes"),
        (("jobs", "list", "--state", "asleep"), 2, "'asleep' is not one of 'pending'"),
        (("jobs", "list", "--json", "-o", "csv"), 2, "expected one format"),
        (("jobs", "lst"), 2, "Did you mean 'list'"),
        (("crwl",), 2, "Did you mean 'crawl'"),
        (("jobs", "retry", "last", "--kind", "tls"), 5, "no URL to retry"),
        (("jobs", "resume", "last", "--out", "x.csv"), 2, "goes with --watch"),
        (("jobs", "export", "last", "--out", "x.txt"), 2, "got 'x.txt'"),
        (("jobs", "export", "last", "--out", "no/x.csv"), 1, "there is no folder no"),
        (
            ("jobs", "export", "last", "--out", "/dev/full", "--format", "csv"),
            1,
            "full: No space",
        ),
        (("crawl", "not-a-url"), 2, "got 'not-a-url'"),
        (("crawl",), 2, "expected at least one start URL"),
        (("crawl", "@no-such-file"), 2, "cannot read no-such-file"),
        (("crawl", "http://127.0.0.1:9/"), 2, "--allow-address 127.0.0.1"),
        (("crawl", "http://x/", "--max-duration", "soon"), 2, "got 'soon'"),
        (("crawl", "http://x/", "--max-pages", "0"), 2, "expected more than 0"),
        (("crawl", "http://x/", "--header", "Host: y"), 2, "cannot be set"),
        (("crawl", "http://x/", "--extract", "price"), 2, "expected name=CSS"),
        (("crawl", "http://x/", "--priority", "asap"), 2, "got 'asap'"),
        (("crawl", "http://x/", "-d", "--out", "x.csv"), 2, "jobs export"),
        (("work", "--jobs", "0"), 2, "expected 1 to 256, got 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_an_error_is_one_sentence_and_a_code(
    crawled: Shell, words: tuple[str, ...], code: int, said: str
) -> None:
    ran = crawled.run(*words)

    assert (ran.returncode, ran.stdout) == (code, "")
    assert ran.stderr.startswith("error: ")
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_traceback_is_there_for_those_who_ask(crawled: Shell) -> None:
    ran = crawled.run("jobs", "show", "no-such-id", "--debug")

    assert ran.returncode == 3
    assert "Traceback" in ran.stderr
    assert ran.stderr.splitlines()[-1] == "error: there is no job no-such-id"


def test_what_does_not_exist_is_not_made_by_looking(shell: Shell) -> None:
    listed = shell.run("jobs", "list", "--json")
    shown = shell.run("jobs", "show", "last")

    assert (listed.returncode, listed.stdout) == (0, "[]\n")
    assert (shown.returncode, shown.stdout) == (3, "")
    assert "crawlyard-data does not exist" in shown.stderr
    assert list(shell.folder.iterdir()) == []


@pytest.mark.parametrize("place", ["/proc/crawlyard", "a-file"])
def test_an_unwritable_data_directory_is_told(shell: Shell, place: str) -> None:
    (shell.folder / "a-file").write_text("")

    ran = shell.run("crawl", "https://example.org", "--data-dir", place)

    assert (ran.returncode, ran.stdout) == (6, "")
    assert f"{place}/crawlyard.db" in ran.stderr


def test_bad_settings_say_where_they_are_from(shell: Shell) -> None:
    (shell.folder / "crawlyard.toml").write_text("lease = 3\n")

    by_file = shell.run("jobs", "list")
    (shell.folder / "crawlyard.toml").write_text("lease_s = [\n")
    no_toml = shell.run("jobs", "list")
    (shell.folder / "crawlyard.toml").unlink()
    by_environment = shell.run("jobs", "list", env={"CRAWLYARD_JOBS": "many"})

    assert {by_file.returncode, no_toml.returncode, by_environment.returncode} == {2}
    assert "lease: Extra inputs are not permitted" in by_file.stderr
    assert "crawlyard.toml" in no_toml.stderr
    assert "CRAWLYARD_JOBS" in by_environment.stderr


def test_a_port_that_refuses_fails_the_job_and_says_why(shell: Shell) -> None:
    ran = shell.run("crawl", "http://127.0.0.1:9/", "--allow-private", "--json")

    assert ran.returncode == 10
    assert "failed (start_failed)" in ran.stderr
    assert "127.0.0.1" in json.loads(ran.stdout)["detail"]


def test_too_many_errors_have_a_code_of_their_own(shell: Shell) -> None:
    with a_site("--pages", "60") as url:
        ran = shell.run("crawl", url, *FAST, "--max-errors", "1")

    assert ran.returncode == 12
    assert "completed (limit_errors)" in ran.stderr


# -- what is stopped, and goes on ------------------------------------------------------------


def test_ctrl_c_pauses_and_the_printed_command_goes_on(shell: Shell, slow_site: str) -> None:
    words = ("crawl", slow_site, *SLOW, "--data-dir", "my data", "--out", "pages.jsonl")
    with shell.started(*words) as process:
        until(process, "running")
        process.send_signal(signal.SIGINT)
        code, out, err = rest(process)

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
    assert asked_twice(shell) == []


def test_a_second_ctrl_c_quits_at_once(shell: Shell) -> None:
    with (
        a_site("--latency-ms", "3500", "--plain") as url,
        shell.started("crawl", url, *FAST) as process,
    ):
        until(process, "running")
        process.send_signal(signal.SIGINT)
        until(process, "once more quits at once")
        signals = 0
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            signals += 1
            try:
                process.wait(timeout=0.2)
            except subprocess.TimeoutExpired:
                continue

    assert process.returncode == 130
    assert signals < 10  # well before the requests in flight are over
    assert shell.job()["state"] == "paused"


def test_sigterm_pauses_too(shell: Shell, slow_site: str) -> None:
    with shell.started("crawl", slow_site, *SLOW) as process:
        until(process, "running")
        process.terminate()
        code, _, err = rest(process)

    assert code == 143
    assert "nothing is lost" in err
    assert shell.job()["state"] == "paused"


def test_a_pause_from_elsewhere_ends_the_crawl(shell: Shell, slow_site: str) -> None:
    with shell.started("crawl", slow_site, *SLOW) as process:
        until(process, "running")
        paused = shell.run("jobs", "pause", "last")
        code, out, err = rest(process)

    assert paused.returncode == 0
    assert (code, out) == (0, "")
    assert "paused in" in err
    assert "crawlyard jobs resume" in err


def test_a_cancel_from_elsewhere_ends_the_crawl(shell: Shell, slow_site: str) -> None:
    with shell.started("crawl", slow_site, *SLOW) as process:
        until(process, "running")
        shell.run("jobs", "cancel", "last")
        code, _, err = rest(process)

    assert code == 11
    assert "cancelled in" in err


def test_a_running_job_can_be_read_and_changed(shell: Shell, slow_site: str) -> None:
    with shell.started("crawl", slow_site, *SLOW, "--max-pages", "190", "--json") as process:
        until(process, "running")
        changed = shell.run("jobs", "set", "last", "limits.pages=150", "priority=high", "--json")
        exported = shell.run("jobs", "export", "last")
        code, out, _ = rest(process)

    assert json.loads(changed.stdout)["priority"] == "high"
    assert len(exported.stdout.splitlines()) > 0
    job = json.loads(out)
    assert (code, job["state_reason"], job["usage"]["pages"]) == (0, "limit_pages", 150)


def test_a_detached_job_is_run_by_a_worker_and_watched(shell: Shell, slow_site: str) -> None:
    submitted = shell.run("crawl", "-", *SLOW, "-d", stdin=f"# start\n{slow_site}\n\n")
    job_id = submitted.stdout.strip()
    with shell.started("work", "--drain") as worker:
        until(worker, "runs up to")
        with shell.started("jobs", "watch", job_id) as watcher:
            until(watcher, "running")
            watcher.send_signal(signal.SIGINT)
            code, out, err = rest(watcher)
        watched = shell.run("jobs", "watch", job_id[-8:])
        drained, _, _ = rest(worker)

    assert (code, out) == (130, "")
    assert "the job goes on" in err
    assert (watched.returncode, drained) == (0, 0)
    assert "completed (exhausted)" in watched.stderr
    assert asked_twice(shell) == []


def test_a_worker_that_is_stopped_gives_its_jobs_back(shell: Shell, slow_site: str) -> None:
    shell.run("crawl", slow_site, *SLOW, "-d", "-q")
    with shell.started("work") as worker, shell.started("jobs", "watch", "last") as watcher:
        until(watcher, "running")
        worker.terminate()
        code, _, _ = rest(worker)
        until(watcher, "pending (worker_stopped)")

    assert code == 0
    assert shell.job()["state"] == "pending"


def test_ids_come_from_stdin_and_one_failure_does_not_stop_the_rest(
    shell: Shell, site: str
) -> None:
    for _ in range(2):
        shell.run("crawl", site, *FAST, "-d", "-q")
    ids = shell.run("jobs", "list", "-q", "--state", "pending").stdout

    paused = shell.run("jobs", "pause", "-", "-q", stdin=ids)
    mixed = shell.run("jobs", "cancel", "nonsense", "-", stdin=ids)

    assert (paused.returncode, paused.stdout) == (0, ids)
    assert mixed.returncode == 1
    assert "error: there is no job nonsense" in mixed.stderr
    assert mixed.stderr.count("cancelled: ") == 2


def test_failed_urls_are_tried_again_in_the_same_job(shell: Shell) -> None:
    with a_site("--pages", "20") as url:
        shell.run("crawl", url, *FAST)
        again = shell.run("jobs", "retry", "last", "--kind", "http_4xx", "--watch", "--json")
        fresh = shell.run("jobs", "retry", "last", "--json")

    job = json.loads(again.stdout)
    assert (again.returncode, job["state"], job["usage"]["errors"]) == (0, "completed", 2)
    assert "1 failed URLs" in again.stderr
    assert json.loads(fresh.stdout)["retry_of"] == job["id"]


def test_a_deleted_job_is_gone(shell: Shell, site: str) -> None:
    shell.run("crawl", site, *FAST, "--max-pages", "3", "-q")

    deleted = shell.run("jobs", "delete", "last", "--yes")

    assert (deleted.returncode, deleted.stdout) == (0, "")
    assert shell.run("jobs", "show", "last").returncode == 3


def test_the_demo_needs_nothing_and_says_what_to_do_next(shell: Shell) -> None:
    ran = shell.run("demo", "--pages", "40")

    assert (ran.returncode, ran.stdout) == (0, "")
    exported = (shell.folder / "crawlyard-demo" / "pages.jsonl").read_text()
    assert len(exported.splitlines()) == 42
    listed = shell.run(*shlex.split(_hint(ran.stderr, "jobs pages"))[1:])
    assert len(listed.stdout.splitlines()) == 42


def _hint(text: str, words: str) -> str:
    """Return the command that a hint proposes."""
    return next(line.strip() for line in text.splitlines() if words in line)
