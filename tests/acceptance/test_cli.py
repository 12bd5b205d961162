"""Output and error messages of the installed command."""

import csv
import io
import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from crawlyard.cli.options import Style
from crawlyard.demo.site import DemoSite
from tests.acceptance.shell import FAST, MINUTE, PAGES, SLOW, Shell, demo_site, on_terminal, records
from tests.conformance.copying import copy_job


def test_a_crawl_writes_its_pages_and_says_how_it_ended(either: Shell, site: str) -> None:
    ran = either.run("crawl", site, *FAST, "--out", "pages.jsonl")

    assert (ran.returncode, ran.stdout) == (0, "")
    assert re.search(
        rf"^completed in .* · {PAGES} pages, .* · pages.jsonl ",
        ran.stderr,
        re.MULTILINE,
    )
    exported = records(either.folder / "pages.jsonl")
    reachable = DemoSite(PAGES, faults=False).reachable()
    assert sorted(record["url"] for record in exported) == sorted(site + path for path in reachable)
    assert all(record["text"] and record["error"] is None for record in exported)


def test_json_on_stdout_is_the_job_and_nothing_else(either: Shell, site: str) -> None:
    ran = either.run("crawl", site, *FAST, "--max-pages", "5", "--json")

    job = json.loads(ran.stdout)
    assert (job["object"], job["state"], job["state_reason"]) == ("job", "completed", "limit_pages")
    assert job["usage"]["pages"] == 5
    assert "limits.pages=10" in ran.stderr


def test_pages_on_stdout_are_nothing_but_pages(either: Shell, site: str) -> None:
    ran = either.run("crawl", site, *FAST, "--max-pages", "5", "--json", "--out", "-", "--quiet")

    assert [json.loads(line)["status"] for line in ran.stdout.splitlines()] == [200] * 5
    assert ran.stderr == ""


def test_extracted_values_reach_a_spreadsheet(either: Shell, site: str) -> None:
    ran = either.run(
        "crawl", site, *FAST, "--max-pages", "1", "--extract", "head=h1", "--out", "pages.csv"
    )

    assert ran.returncode == 0, ran.stderr
    header, row = (either.folder / "pages.csv").read_text().splitlines()[:2]
    assert header.endswith(",error_kind,error_detail,extracted.head,text")
    assert row.startswith(f"{site}/,{site}/,200,text/html,The harbour handbook,")


def test_a_crawl_of_an_app_shell_reports_that_it_needs_scripts(either: Shell) -> None:
    site = either.folder / "site"
    site.mkdir()
    (site / "index.html").write_text(
        '<!doctype html><title>Shop</title><div id="root"></div><script src="/app.js"></script>'
    )
    with demo_site("--folder", str(site)) as url:
        ran = either.run("crawl", url, *FAST, "--render", "never")

    assert ran.returncode == 0, ran.stderr
    [line] = [line for line in ran.stderr.splitlines() if "scripts" in line]
    assert line.startswith("  1 page needs scripts; its text is empty ")
    command = line.partition(": crawlyard ")[2].split()
    assert command[:2] == ["jobs", "pages"]
    [page] = json.loads(either.run(*command, "--json").stdout)
    assert (page["url"], page["needs_scripts"]) == (f"{url}/", True)
    usage = either.job()["usage"]
    assert isinstance(usage, dict)
    assert usage["needs_scripts"] == 1
    everywhere = either.run("pages", "--needs-scripts", "-o", "plain")
    assert url in everywhere.stdout


@pytest.mark.slow
def test_a_screenshot_is_kept_and_saved(either: Shell, site: str) -> None:
    rendering = ("--render", "always", "--screenshot", "webp", "--max-pages", "1")
    ran = either.run("crawl", site, *FAST, *rendering)
    assert ran.returncode == 0, ran.stderr
    assert "1 rendered" in ran.stderr

    saved = either.run("jobs", "screenshot", "last", f"{site}/", "--out", "home.webp")
    missing = either.run("jobs", "screenshot", "last", f"{site}/none", "--out", "none.webp")

    assert saved.returncode == 0, saved.stderr
    picture = (either.folder / "home.webp").read_bytes()
    assert (picture[:4], picture[8:12]) == (b"RIFF", b"WEBP")
    assert missing.returncode == 3
    assert not (either.folder / "none.webp").exists()


def normal(text: str) -> str:
    """Replace what differs between runs: ids, instants and hosts."""
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", text)
    text = re.sub(r"20\d\d-\d\d-\d\dT[\d:.]+Z", "INSTANT", text)
    return re.sub(r"127\.0\.0\.1:\d+", "HOST", text)


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


def test_pages_can_be_filtered_and_limited(crawled: Shell) -> None:
    failed = crawled.run("jobs", "pages", "last", "--only", "failed", "-q")
    two = crawled.run("jobs", "pages", "last", "--limit", "2")
    skipped = crawled.run("jobs", "pages", "last", "--skipped")

    assert len(failed.stdout.splitlines()) == 2
    assert len(two.stdout.splitlines()) == 2
    assert "the first 2 are shown" in two.stderr
    rules = {line.split("\t")[0] for line in skipped.stdout.splitlines()}
    assert rules >= {"robots: Disallow: /private/", "scope: other host"}


def test_events_list_the_life_of_a_job(crawled: Shell) -> None:
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


@pytest.mark.parametrize(
    "words", [("jobs", "export", "last"), ("jobs", "pages", "last"), ("version",)]
)
def test_a_closed_pipe_is_not_an_error(crawled: Shell, words: tuple[str, ...]) -> None:
    with crawled.fresh.started(*words) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.wait(timeout=MINUTE)

        assert process.stderr is not None
        assert (process.returncode, "rror" in process.stderr.read()) == (0, False)


@pytest.mark.parametrize(
    "words", [("jobs", "export", "last"), ("jobs", "list", "--json"), ("version",)]
)
def test_a_full_disk_behind_stdout_is_an_error(crawled: Shell, words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        ran = crawled.fresh.run(*words, stdout=full.fileno())

    assert ran.returncode == 1
    assert "error: cannot write stdout: No space left on device\n" in ran.stderr


COLOUR = re.compile(r"\x1b\[[0-9;]*?(3[0-7]|9[0-7]|38;5;\d+)[0-9;]*m")


def test_colours_are_for_terminals_that_want_them(shell: Shell, slow_site: str) -> None:
    words = ("crawl", slow_site, *SLOW, "--max-pages", "60")

    assert COLOUR.search(on_terminal(shell, *words)[1])
    plain = on_terminal(shell, *words, NO_COLOR="1")[1]
    assert not COLOUR.search(plain)
    assert "60 pages" in plain
    assert "\x1b[?25h" in plain  # the cursor is back


def test_a_dumb_terminal_and_one_without_colours_get_none(crawled: Shell) -> None:
    for words in (("jobs", "list"), ("jobs", "show", "last"), ("jobs", "errors", "last")):
        _, dumb = on_terminal(crawled, *words, TERM="dumb")
        _, plain = on_terminal(crawled, *words, NO_COLOR="1")

        assert "\x1b" not in dumb
        assert not COLOUR.search(plain)
        assert dumb.split() == re.sub(r"\x1b\[\d*m", "", plain).split()


def test_a_pipe_gets_no_colour_even_if_forced(crawled: Shell) -> None:
    words, forced = ("jobs", "errors", "last"), {"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"}
    piped, insisted = crawled.run(*words), crawled.run(*words, env=forced)

    assert insisted.stdout == piped.stdout
    assert insisted.stderr == piped.stderr
    assert "\t" in piped.stdout
    assert "\x1b" not in piped.stdout + piped.stderr


def test_a_table_on_a_terminal_fits_it(crawled: Shell) -> None:
    code, screen = on_terminal(crawled, "jobs", "pages", "last", NO_COLOR="1")

    lines = [re.sub(r"\x1b\[\d*m", "", line) for line in screen.splitlines()]
    assert code == 0
    assert lines[0].split() == ["STATUS", "ERROR", "DEPTH", "BYTES", "URL"]
    assert all(len(line) <= 80 for line in lines)


def test_control_sequences_of_a_site_never_reach_the_terminal(shell: Shell, site: str) -> None:
    evil = f"{site}/?\x1b[31m\x07\x9b2J"
    options = ("--text", "none", "--max-depth", "0", "--name", "\u202eevil \x9b31m", "-q")
    assert shell.run("crawl", evil, *FAST, *options).returncode == 0

    for style in Style:
        _, listed = on_terminal(shell, "jobs", "list", "-o", style, NO_COLOR="1")

        assert "evil" in listed or style == Style.TABLE, style
        assert not re.search("[\x07\x9b\u202e]|\x1b(?!\\[[0-9;]*m)", listed), style


def test_deleting_asks_for_confirmation(crawled: Shell) -> None:
    code, screen = on_terminal(crawled, "jobs", "delete", "last", typed="no\n")

    assert code == 8
    assert "Delete this job and all pages?" in screen
    assert "nothing was deleted" in screen
    assert crawled.job()["state"] == "completed"


def test_help_and_completion_do_not_wait_for_the_engine() -> None:
    heavy = [
        "httptools",
        "sqlalchemy",
        "turbohtml",
        "structlog",
        "uvloop",
    ]
    program = f"import sys, crawlyard.cli.main; print([m for m in {heavy} if m in sys.modules])"

    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=MINUTE
    )

    assert ran.stdout == "[]\n"


def test_the_version_is_printed_in_three_ways(shell: Shell) -> None:
    text = shell.fresh.run("version").stdout

    assert re.fullmatch(r"crawlyard \d+\.\d+\.\d+\S*\n", text)
    assert shell.fresh.run("--version").stdout == text
    versions = shell.json("version")
    assert isinstance(versions, dict)
    assert f"crawlyard {versions['crawlyard']}\n" == text


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("jobs", "show", "no-such-id"), 3, "there is no job no-such-id"),
        (("jobs", "pause", "last"), 5, "cannot pause a job that is completed"),
        (("jobs", "resume", "last"), 5, "nothing left to fetch"),
        (("jobs", "set", "last", "colour=red"), 2, "expected FIELD=VALUE"),
        (("jobs", "set", "last", "limits.pages=many"), 2, "got 'many'"),
        (("jobs", "delete", "last"), 2, "pass --yes"),
        (("jobs", "list", "--state", "asleep"), 2, "'asleep' is not one of 'pending'"),
        (("jobs", "list", "--json", "-o", "csv"), 2, "expected one format"),
        (("jobs", "lst"), 2, "Did you mean 'list'"),
        (("crwl",), 2, "Did you mean 'crawl'"),
        (("jobs", "retry", "last", "--kind", "tls"), 5, "no URL of job"),
        (("jobs", "resume", "last", "--out", "x.csv"), 2, "requires --watch"),
        (("jobs", "export", "last", "--out", "x.txt"), 2, "got 'x.txt'"),
        (("jobs", "export", "last", "--out", "no/x.csv"), 1, "folder no does not exist"),
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
        (("crawl", "http://x/", "--header", "Host: y"), 2, "cannot be changed"),
        (("crawl", "http://x/", "--extract", "price"), 2, "expected name=CSS"),
        (("crawl", "http://x/", "--priority", "asap"), 2, "got 'asap'"),
        (("crawl", "http://x/", "-d", "--out", "x.csv"), 2, "jobs export"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_an_error_is_one_sentence_and_a_code(
    crawled: Shell, words: tuple[str, ...], code: int, message: str
) -> None:
    ran = crawled.run(*words)

    assert (ran.returncode, ran.stdout) == (code, "")
    assert ran.stderr.startswith("error: ")
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr


def test_every_invalid_option_of_a_job_gets_a_line(crawled: Shell) -> None:
    for words, faults in (
        (
            ("crawl", "x", "--max-pages", "7", "--include", "re:(", "--spread", "999", "-d"),
            ("--spread: ", "URL: ", "--include: "),
        ),
        (
            ("jobs", "set", "last", "limits.pages=many", "colour=red", "delay=soon"),
            ("colour: ", "limits.pages: ", "delay: "),
        ),
        (
            ("jobs", "set", "last", "per_host=0", "include=re:(", "limits.pages=0"),
            ("limits.pages: ", "per_host: ", "include: "),
        ),
        (
            ("crawl", "https://a.example/", "--since", "nope", "--include", "re:(", "-d"),
            ("--include: ", "--since: there is no job nope"),
        ),
    ):
        ran = crawled.run(*words)
        assert (ran.returncode, ran.stdout) == (2, ""), words
        lines = ran.stderr.splitlines()
        assert len(lines) == len(faults), ran.stderr
        assert all(fault in line for fault, line in zip(faults, lines, strict=True)), ran.stderr


def test_every_unparsable_value_gets_a_line(crawled: Shell) -> None:
    headers = ("--header", "Host: x", "--header", "no colon")

    ran = crawled.run("crawl", "https://a.example/", "--delay", "-1", *headers, "--scope", "all")

    *lines, hint = ran.stderr.splitlines()
    assert ran.returncode == 2
    assert hint == "  help: crawlyard crawl --help"
    options = ("'--scope': 'all'", "'--delay': ", "'--header': Host", "'--header': expected")
    assert len(lines) == len(options), ran.stderr
    assert all(option in line for option, line in zip(options, lines, strict=True)), ran.stderr


def test_debug_prints_a_traceback(crawled: Shell) -> None:
    ran = crawled.fresh.run("jobs", "show", "no-such-id", "--debug")

    assert ran.returncode == 3
    assert "Traceback" in ran.stderr
    assert ran.stderr.splitlines()[-1] == "error: there is no job no-such-id"


def test_reading_commands_create_no_data_directory(shell: Shell) -> None:
    listed = shell.run("jobs", "list", "--json")
    show = shell.run("jobs", "show", "last")

    assert (listed.returncode, listed.stdout) == (0, "[]\n")
    assert (show.returncode, show.stdout) == (3, "")
    assert "crawlyard-data does not exist" in show.stderr
    assert list(shell.folder.iterdir()) == []


@pytest.mark.parametrize("place", ["/proc/crawlyard", "a-file"])
def test_an_unwritable_data_directory_is_reported(shell: Shell, place: str) -> None:
    (shell.folder / "a-file").write_text("")

    ran = shell.run("crawl", "https://example.org", "--data-dir", place)

    assert (ran.returncode, ran.stdout) == (6, "")
    assert f"{place}/crawlyard.db" in ran.stderr


def test_invalid_settings_name_their_source(shell: Shell) -> None:
    (shell.folder / "crawlyard.toml").write_text("lease = 3\n")

    by_file = shell.run("jobs", "list")
    (shell.folder / "crawlyard.toml").write_text("lease_s = [\n")
    no_toml = shell.run("jobs", "list")
    (shell.folder / "crawlyard.toml").unlink()
    by_environment = shell.run("jobs", "list", env={"CRAWLYARD_JOBS": "many"})

    assert {by_file.returncode, no_toml.returncode, by_environment.returncode} == {2}
    assert "lease: there is no such setting; did you mean lease_s?" in by_file.stderr
    assert "crawlyard.toml" in no_toml.stderr
    assert "CRAWLYARD_JOBS" in by_environment.stderr


def test_a_port_that_refuses_fails_the_job_and_says_why(either: Shell) -> None:
    ran = either.run("crawl", "http://127.0.0.1:9/", "--allow-private", "--json")

    assert ran.returncode == 10
    assert "failed (no start URL could be fetched)" in ran.stderr
    assert "127.0.0.1" in json.loads(ran.stdout)["detail"]


def test_a_second_crawl_with_a_unique_key_reports_the_first_and_its_exit_code(
    either: Shell,
) -> None:
    words = ("crawl", "http://127.0.0.1:9/", "--allow-private", "--unique-key", "dead")
    first = either.run(*words, "--json")
    job = json.loads(first.stdout)["id"]
    exists = (
        f"a job with this unique key already exists (failed (no start URL could be fetched)): {job}"
    )

    again = either.run(*words, "--max-pages", "5", "--json")
    detached = either.run(*words, "-d")

    assert "already exists" not in first.stderr
    assert exists in again.stderr
    assert exists in detached.stderr
    assert (first.returncode, again.returncode, detached.returncode) == (10, 10, 0)
    assert (json.loads(again.stdout)["id"], detached.stdout) == (job, f"{job}\n")
    assert "queued" not in detached.stderr


def test_too_many_errors_have_a_code_of_their_own(either: Shell) -> None:
    with demo_site("--pages", "60") as url:
        ran = either.run("crawl", url, *FAST, "--max-errors", "1")

    assert ran.returncode == 12
    assert "stopped at its error limit: " in ran.stderr


def test_a_job_waits_for_its_next_attempt_until_retry_now(shell: Shell) -> None:
    words = ("--attempts", "3", "--retry-wait", "2h", "--max-errors", "1", "--ignore-robots")
    secret = ("--header", "Authorization: pw123")
    shell.run("crawl", "-d", "http://127.0.0.1:9/", "--allow-private", *words, *secret)
    with shell.started("work"):
        while (waiting := shell.job())["state_reason"] != "waiting_retry":
            assert waiting["state"] != "failed"

    hurried = shell.run("jobs", "retry", "last", "--now")

    due, spec = shell.job(), waiting["spec"]
    assert hurried.returncode == 0
    assert isinstance(spec, dict)
    retry = spec["retry"]
    assert (retry["attempts"], retry["first_s"]) == (3, 7200)
    assert (waiting["state"], waiting["state_reason"]) == ("pending", "waiting_retry")
    assert 5000 < float(str(waiting["due_in_s"])) <= 7200  # two hours, less its jitter
    assert (due["state_reason"], due["due_in_s"], due["failures"]) == ("waiting_slot", 0, 1)
    assert "pw123" not in json.dumps(waiting)
    refused = shell.run("jobs", "retry", "last", "--failed")
    assert (refused.returncode, "you can: " in refused.stderr) == (5, True)
    assert "retry --now" in refused.stderr


def test_counts_by_a_tag_stop_at_ten_thousand(shell: Shell) -> None:
    submitted = shell.run("crawl", "https://docs.example.org/", "--detach", "--tag", "mass", "-q")
    engine = create_engine(f"sqlite:///{shell.folder / 'crawlyard-data' / 'crawlyard.db'}")
    with engine.begin() as connection:
        copy_job(connection, submitted.stdout.strip(), 10_010)
    engine.dispose()

    counts = ("jobs", "counts", "--tag", "mass", "-o")
    table = [line.split() for line in shell.run(*counts, "table").stdout.splitlines()]
    plain = shell.run(*counts, "plain").stdout.splitlines()

    assert [table[0], table[1], table[-1]] == [
        ["waiting", "10,000+"], ["running", "0+"], ["total", "10,000+"],
    ]  # fmt: skip
    assert plain[-1] == "total\t10000"


def test_a_worker_runs_one_job_at_least(shell: Shell) -> None:
    ran = shell.run("work", "--jobs", "0")

    assert (ran.returncode, ran.stdout) == (2, "")
    assert "expected 1 to 256, got 0" in ran.stderr


def test_a_damaged_page_breaks_no_list_search_or_export_and_is_deleted_with_its_job(
    shell: Shell, site: str
) -> None:
    assert shell.run("crawl", site, *FAST, "--max-pages", "5").returncode == 0
    with closing(sqlite3.connect(shell.folder / "crawlyard-data" / "crawlyard.db")) as database:
        database.execute("UPDATE pages SET extracted = '{' WHERE id = 2")
        database.execute("UPDATE bodies SET data = x'00' WHERE page_id = 3")
        database.commit()

    listed = shell.run("jobs", "pages", "last", "--json")
    searched = shell.run("pages", "--json")
    words = shell.run("pages", site)
    exports = [
        shell.run("jobs", "export", "last", "--out", f"pages.{suffix}")
        for suffix in ("jsonl", "csv", "parquet", "zip")
    ]

    error = {"kind": "internal", "detail": "damaged: its row cannot be read (extracted)"}
    for command in (listed, searched):
        pages = [page for page in json.loads(command.stdout) if page["error"]]
        assert [(page["id"], page["error"]) for page in pages] == [(2, error)]
    assert [ran.returncode for ran in (listed, searched, words, *exports)] == [0] * 7, exports
    exported = records(shell.folder / "pages.jsonl")
    assert [page["error"] for page in exported] == [None, error, None, None, None]
    assert [bool(page["text"]) for page in exported] == [True, True, False, True, True]
    assert shell.run("jobs", "delete", "last", "--yes").returncode == 0
    assert shell.run("pages", "-q").stdout == ""


def test_a_job_whose_row_is_damaged_stops_no_command_and_can_be_deleted(shell: Shell) -> None:
    urls = ("http://127.0.0.1:9/a", "http://127.0.0.1:9/b")
    ids = [shell.run("crawl", "-d", "-q", url, *FAST).stdout.strip() for url in urls]
    with closing(sqlite3.connect(shell.folder / "crawlyard-data" / "crawlyard.db")) as database:
        broken = """UPDATE jobs SET spec = '{"urls": "docs"}' WHERE id = ?"""
        database.execute(broken, ids[:1])
        database.commit()

    before = shell.run("jobs", "list")
    detail = shell.run("jobs", "show", ids[0])
    worked = shell.run("work", "--drain")
    after = shell.run("jobs", "list")
    health = shell.run("health")
    deleted = shell.run("jobs", "delete", ids[0], "--yes")

    notice = (
        f"job {ids[0]} is damaged and cannot run; delete it with: crawlyard jobs delete {ids[0]}"
    )
    assert [line.split("\t")[:2] for line in before.stdout.splitlines()] == [
        ["pending", ids[1]],
        ["damaged", ids[0]],
    ]
    assert "spec: urls: Expected `array`, got `str`" in detail.stdout
    assert worked.returncode == 0, worked.stderr
    assert [line.split("\t")[0] for line in after.stdout.splitlines()] == ["failed", "damaged"]
    assert (notice in before.stderr, notice in health.stderr, health.returncode) == (True, True, 0)
    assert deleted.returncode == 0, deleted.stderr
    assert ids[0] not in shell.run("jobs", "list").stdout
