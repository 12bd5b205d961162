"""Commands: requests, logs and exit codes."""

import gc
import json
import logging
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pytest

from crawlyard.cli.api import Request
from crawlyard.cli.logs import log_to_stderr
from crawlyard.cli.main import main
from crawlyard.config import LogFormat
from crawlyard.errors import Invalid


class CommandOutput(NamedTuple):
    code: object
    out: str
    err: str


Crawlyard: TypeAlias = Callable[..., CommandOutput]


@pytest.fixture
def crawlyard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Crawlyard]:
    """Runs a command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / ".config"))
    root, ours = logging.getLogger(), logging.getLogger("crawlyard")
    logged, thresholds = (root.handlers[:], root.level, ours.level), gc.get_threshold()

    def run(*words: str) -> CommandOutput:
        monkeypatch.setattr(sys, "argv", ["crawlyard", *words])
        with pytest.raises(SystemExit) as end:
            main()
        return CommandOutput(end.value.code, *capfd.readouterr())

    yield run
    gc.unfreeze()
    gc.set_threshold(*thresholds)
    root.handlers[:], root.level, ours.level = logged


def test_a_port_out_of_range_is_refused_with_what_it_may_be(crawlyard: Crawlyard) -> None:
    for port in ("80000", "65536", "-1", "http", "1.5"):
        run = crawlyard("serve", "--port", port)
        assert (run.code, run.out) == (2, "")
        expected = f"expected a port from 0 to 65535, got '{port}'"
        assert f"error: invalid value for '--port': {expected}\n" in run.err


def test_an_option_that_cannot_be_read_is_named_once(crawlyard: Crawlyard) -> None:
    stderr = crawlyard("crawl", "https://example.org/", "--priority", "most").err
    expected = "expected one of urgent, high, normal, low, got 'most'"
    assert stderr.startswith(f"error: invalid value for '--priority': {expected}\n")


def test_a_server_that_is_no_url_is_refused_before_a_token_is_asked_for(
    crawlyard: Crawlyard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CRAWLYARD_SERVER", raising=False)
    for url in ("nonsense", "yard:8700", "ftp://yard/", "http://yard:99999", "http://[::1"):
        errors = {
            "--server": crawlyard("jobs", "list", "--server", url),
            "URL": crawlyard("login", url),
        }
        with monkeypatch.context() as patch:
            patch.setenv("CRAWLYARD_SERVER", url)
            errors["CRAWLYARD_SERVER"] = crawlyard("jobs", "list")

        for source, error in errors.items():
            assert (error.code, error.out) == (2, "")
            assert error.err.startswith(f"error: {source}: '{url}' is not a server URL: ")
            assert "such as http://127.0.0.1:8700" in error.err


def test_a_start_url_is_refused_with_what_it_should_have_been(crawlyard: Crawlyard) -> None:
    bare = crawlyard("crawl", "docs.example.org")
    far = crawlyard("crawl", "http://docs.example.org:99999/")
    assert (bare.code, bare.out, far.code, far.out) == (2, "", 2, "")
    assert "did you mean https://docs.example.org/?\n" in bare.err
    assert "expected a port from 1 to 65535, got '99999'" in far.err


def test_all_faults_of_a_job_are_named_by_their_options(crawlyard: Crawlyard) -> None:
    options = ("--include", "re:(", "--exclude", "x", "--extract", "a=:::", "--user-agent", "é")
    run = crawlyard("crawl", "-d", "docs.example.org", "http://a.example:99999/", *options)

    named = [line.split(": ")[1] for line in run.err.splitlines()]
    assert run.code == 2
    assert named == ["URL", "URL", "--include", "--exclude", "--extract", "--user-agent"]


def test_the_demo_keeps_its_job_where_a_setting_says_and_else_in_its_own_folder(
    crawlyard: Crawlyard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CRAWLYARD_DATA_DIR", raising=False)
    crawlyard("demo", "--pages", "3")
    monkeypatch.setenv("CRAWLYARD_DATA_DIR", "by-setting")
    by_setting = crawlyard("demo", "--pages", "3")
    crawlyard("demo", "--pages", "3", "--data-dir", "by-option")

    folders = ["by-option", "by-setting", "crawlyard-demo"]
    assert sorted(path.name for path in tmp_path.iterdir()) == folders
    for name in folders:
        assert (tmp_path / name / "pages.jsonl").is_file()
        assert (tmp_path / name / "crawlyard.db").is_file()
    assert "crawlyard jobs show last --data-dir by-setting" in by_setting.err


def test_the_demo_keeps_its_job_in_its_folder_whatever_database_is_set(
    crawlyard: Crawlyard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CRAWLYARD_DATA_DIR", raising=False)
    monkeypatch.setenv("CRAWLYARD_DATABASE_URL", f"sqlite:///{tmp_path}/other.db")

    demo = crawlyard("demo", "--pages", "3")
    show = crawlyard("jobs", "show", "last", "--data-dir", "crawlyard-demo")

    assert demo.code == show.code == 0
    assert "the job is in crawlyard-demo. Look at it:" in demo.err
    assert "crawlyard jobs show last --data-dir crawlyard-demo" in demo.err
    assert not (tmp_path / "other.db").exists()


def test_a_data_directory_named_by_an_option_wins_over_any_database_url(
    crawlyard: Crawlyard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    other = f"sqlite:///{tmp_path}/other/crawlyard.db"
    crawlyard("crawl", "-d", "https://other.example/", "--data-dir", "other")
    crawlyard("db", "backup", "empty.backup", "--data-dir", str(tmp_path / "other"))
    monkeypatch.delenv("CRAWLYARD_DATABASE_URL", raising=False)

    for source in ("environment", "file"):
        with subtests.test(source=source), monkeypatch.context() as patch:
            if source == "environment":
                patch.setenv("CRAWLYARD_DATABASE_URL", other)
            else:
                (tmp_path / "crawlyard.toml").write_text(f"database_url = {other!r}\n")
            here = ("--data-dir", f"by-{source}")
            queued = crawlyard("crawl", "-d", "https://here.example/", *here)
            listed = crawlyard("jobs", "list", "--fields", "spec.urls", *here)
            checked = crawlyard("db", "check", "-o", "json", *here)
            upgraded = crawlyard("db", "upgrade", "--json", *here)
            refused = crawlyard("db", "restore", "empty.backup", *here)
            crawlyard("jobs", "cancel", "last", *here)
            worked = crawlyard("work", "--drain", "--jobs", "1", *here)
            restored = crawlyard("db", "restore", "empty.backup", "--force", "--json", *here)

            assert f"crawlyard work {shlex.join(here)}" in queued.err
            assert listed.out == '["https://here.example/"]\n'
            file = str(tmp_path / f"by-{source}" / "crawlyard.db")
            for run in (checked, upgraded, restored):
                assert json.loads(run.out)["database"] == file
            assert (refused.code, "--force replaces it" in refused.err) == (2, True)
            assert (worked.code, restored.code) == (0, 0)
            unnamed = crawlyard("jobs", "list", "--fields", "spec.urls")
            assert unnamed.out == '["https://other.example/"]\n'


def test_two_options_that_name_different_yards_are_refused(crawlyard: Crawlyard) -> None:
    there, here = ("--server", "http://127.0.0.1:9"), ("--data-dir", "data")
    for words in (("jobs", "list"), ("crawl", "-d", "https://a.example/"), ("api", "GET", "jobs")):
        run = crawlyard(*words, *there, *here)
        assert (run.code, run.err) == (
            2,
            "error: --server: expected either --server or --data-dir\n",
        )
    copied = crawlyard("db", "copy", "--from", "a", "--to", "b", *here)
    signed_in = [crawlyard("login", *here), crawlyard("login", "http://127.0.0.1:8", *there)]

    assert (copied.code, [run.code for run in signed_in]) == (2, [2, 2])
    assert "--from: expected either --from or --data-dir" in copied.err


def test_an_upgrade_of_a_database_that_does_not_exist_creates_none(
    crawlyard: Crawlyard, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for folder in ("typo", "empty"):
        run = crawlyard("db", "upgrade", "--data-dir", folder)
        assert (run.code, run.out) == (3, "")
        assert f"there is no database {folder}/crawlyard.db to upgrade" in run.err
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


def test_the_help_of_the_demo_names_its_own_folder(crawlyard: Crawlyard) -> None:
    help_text = " ".join(crawlyard("demo", "--help").out.replace("│", " ").split())
    assert (
        "--data-dir DIR Data directory; default CRAWLYARD_DATA_DIR, or crawlyard-demo." in help_text
    )
    assert "--out FILE Export the pages to FILE; default pages.jsonl in --data-dir." in help_text
    assert "crawlyard-data" not in help_text


def test_an_empty_id_means_no_job_and_no_token(crawlyard: Crawlyard) -> None:
    crawlyard("crawl", "-d", "https://docs.example.org/", "-q")
    crawlyard("tokens", "create", "report", "-q")

    for words in (("jobs", "delete", "", "--yes"), ("jobs", "show", ""), ("tokens", "revoke", "")):
        run = crawlyard(*words)
        assert (run.code, run.out) == (2, "")
        assert "expected an id, got ''" in run.err
    assert len(crawlyard("jobs", "list", "-q").out.splitlines()) == 1
    assert "revoked" not in crawlyard("tokens", "list").out


def test_a_check_of_a_database_fails_where_its_schema_is_older(
    crawlyard: Crawlyard, tmp_path: Path
) -> None:
    crawlyard("work", "--drain", "--data-dir", "yard")
    sound = crawlyard("db", "check", "--data-dir", "yard")
    with closing(sqlite3.connect(tmp_path / "yard" / "crawlyard.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = '0001'")
        database.commit()

    older = crawlyard("db", "check", "--data-dir", "yard")

    assert (sound.code, older.code) == (0, 6)
    assert "schema 0001" in older.err
    assert "before the first release" in older.err


def test_a_grant_that_is_changed_leaves_the_others_as_they_are(crawlyard: Crawlyard) -> None:
    crawlyard("settings", "grants", "--private", "--ignore-robots")
    crawlyard("settings", "grants", "--no-private", "--addresses")
    run = crawlyard("settings", "grants", "-o", "json")
    assert json.loads(run.out)["effective"] == {
        "addresses": True,
        "private": False,
        "ignore_robots": True,
    }


def test_a_path_is_below_the_api_with_and_without_its_slash() -> None:
    for argument, path in [
        ("jobs", "jobs"),
        ("/jobs", "jobs"),
        ("/api/v1/jobs", "jobs"),
        ("/settings/grants", "settings/grants"),
        ("/healthz", "/healthz"),
        ("/metrics", "/metrics"),
        ("/api/v2/jobs", "/api/v2/jobs"),
    ]:
        assert Request.of("GET", argument, (), "").path == path, argument


def test_the_path_of_a_request_may_carry_parameters() -> None:
    request = Request.of("GET", "jobs?state=failed&tag=a&tag=b&q=", ["limit=5", "q=docs"], "")
    assert request.path == "jobs"
    assert request.params == {"state": "failed", "tag": ["a", "b"], "q": "docs", "limit": 5}
    assert request.arguments(cursor="c")["params"] == {**request.params, "cursor": "c"}
    request = Request.of("POST", "jobs?dry_run=true&note=", ["name=raw"], "")
    assert (request.path, request.params) == ("jobs", {"dry_run": "true", "note": ""})
    assert request.body == {"name": "raw"}


OURS = "crawlyard.services.workers.run"
OTHERS = ("alembic.runtime.migration", "uvicorn.error", "httpx")
DEBUG, INFO, WARNING, ERROR = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Restore the configuration of logging."""
    loggers = [logging.getLogger(name) for name in (None, "crawlyard")]
    levels, handlers = [logger.level for logger in loggers], loggers[0].handlers[:]
    yield
    loggers[0].handlers[:] = handlers
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.mark.parametrize(
    ("level", "ours", "library_levels"),
    [
        ("debug", {DEBUG, INFO, WARNING, ERROR}, {DEBUG, INFO, WARNING, ERROR}),
        ("info", {INFO, WARNING, ERROR}, {WARNING, ERROR}),
        ("WARNING", {WARNING, ERROR}, {WARNING, ERROR}),
        ("error", {ERROR}, {ERROR}),
    ],
)
def test_libraries_are_heard_from_warnings_on(
    capsys: pytest.CaptureFixture[str], level: str, ours: set[int], library_levels: set[int]
) -> None:
    log_to_stderr(level)

    for name in (OURS, *OTHERS):
        for each in (DEBUG, INFO, WARNING, ERROR):
            logging.getLogger(name).log(each, "%s says %d", name, each)

    stderr = capsys.readouterr().err
    assert {
        each for each in (DEBUG, INFO, WARNING, ERROR) if f"{OURS} says {each}" in stderr
    } == ours
    for name in OTHERS:
        logged = {each for each in (DEBUG, INFO, WARNING, ERROR) if f"{name} says {each}" in stderr}
        assert logged == library_levels, name


def test_a_log_in_json_has_an_object_on_each_line(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("info", LogFormat.JSON)
    logger = logging.getLogger(OURS)

    logger.info("a title: %s", "Ü\n\x1b[31m")
    try:
        int("no more")
    except ValueError:
        logger.exception("it failed")

    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert first.pop("timestamp").endswith("Z")
    assert first == {"event": "a title: Ü\n\x1b[31m", "level": "info", "logger": OURS}
    assert second["exception"].endswith("with base 10: 'no more'")


def test_a_level_that_is_none_is_refused() -> None:
    with pytest.raises(Invalid, match="expected one of debug, info, warning, error, got 'loud'"):
        log_to_stderr("loud")


PROGRAM = """
import atexit, sys, threading
from crawlyard.__main__ import run
from crawlyard.cli.main import main

class Loaded:
    def __del__(self):
        print("taken down")

def work():
    threading.main_thread().join()
    print("worked")

def command():
    atexit.register(print, "called")
    threading.Thread(target=work).start()
    {first}
    main()

loaded = Loaded()
sys.argv = ["crawlyard", *{words!r}]
run(command)
"""


def ended(*words: str, first: str = "pass") -> "subprocess.CompletedProcess[str]":
    program = PROGRAM.format(words=words, first=first)
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )


def test_what_was_loaded_is_not_taken_down() -> None:
    for words, code in [(["version"], 0), (["nope"], 2)]:
        done = ended(*words)
        assert done.returncode == code, words
        assert "taken down" not in done.stdout, words


def test_threads_are_waited_for_and_whoever_asked_for_it_is_called() -> None:
    done = ended("version")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("crawlyard ")
    assert lines[1:] == ["worked", "called"]


def test_an_error_that_nobody_caught_is_told_by_python() -> None:
    done = ended("version", first="raise MemoryError")
    assert done.returncode == 1
    assert "MemoryError" in done.stderr
    assert "taken down" in done.stdout
