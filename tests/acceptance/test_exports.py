"""Binary exports by the command, locally and over HTTP, read back."""

import csv
import gzip
import io
import json
import os
import pty
import re
import shlex
import subprocess
import sys
import zipfile
from ast import literal_eval
from pathlib import Path

import duckdb
import pandas as pd  # type: ignore[import-untyped]  # it ships no types
import pytest
from warcio.archiveiterator import (  # type: ignore[import-untyped]  # it ships no types
    ArchiveIterator,
)

from crawlyard.demo.site import DemoSite
from tests.acceptance.shell import FAST, MINUTE, PAGES, Run, Shell
from tests.redis_server import RedisServer

KEEPS = ("--keep", "html")


def urls_of(file: Path) -> list[str]:
    """Return the URLs of the responses in a WARC after checking their digests."""
    with file.open("rb") as opened:
        return [
            record.rec_headers.get_header("WARC-Target-URI")
            for record in ArchiveIterator(opened, check_digests="raise")
            if record.content_stream().read() and record.rec_type == "response"
        ]


def without(package: str, shell: Shell, *words: str, **env: str) -> Run:
    """Run a command as if *package* were not installed."""
    script = (
        f"import sys; sys.modules[{package!r}] = None; from crawlyard.cli.main import main; main()"
    )
    return subprocess.run(
        [sys.executable, "-c", script, *words],
        cwd=shell.folder,
        env=shell.environment | env,
        capture_output=True,
        text=True,
        check=False,
        timeout=MINUTE,
    )


def test_text_is_written_in_chunks(either: Shell, site: str) -> None:
    assert either.run("crawl", site, *FAST).returncode == 0
    ran = either.run("jobs", "export", "last", "--chunks", "50", "--out", "chunks.jsonl")
    assert ran.returncode == 0, ran.stderr
    lines = (either.folder / "chunks.jsonl").read_text().splitlines()
    chunks = [json.loads(line) for line in lines]
    assert len({chunk["id"] for chunk in chunks}) == len(chunks) > PAGES
    assert all(0 < chunk["words"] <= 50 for chunk in chunks)
    assert all(chunk["headings"] for chunk in chunks)
    ran = either.run("jobs", "export", "last", "--chunks", "50", "--out", "chunks.csv")
    rows = csv.DictReader((either.folder / "chunks.csv").read_text().splitlines(keepends=True))
    assert [row["id"] for row in rows] == [chunk["id"] for chunk in chunks], ran.stderr

    few = either.run("jobs", "export", "last", "--chunks", "20")
    assert (few.returncode, "expected 50 to 100,000 words, got 20" in few.stderr) == (2, True)


def blocks(page: str, language: str) -> list[str]:
    """Return the code blocks of a page of the documentation."""
    text = (Path(__file__).parents[2] / "docs" / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def test_runs_of_schedules_are_read_as_one_table(shell: Shell, site: str) -> None:
    names = ("nightly", "docs: old & new")
    for name in names:
        shell.run("schedules", "create", name, site, "--when", "@weekly", *FAST).check_returncode()
        for _ in range(2):
            shell.run("schedules", "run", name).check_returncode()
            shell.run("work", "--drain").check_returncode()
    [command] = blocks("howto/duckdb.md", "sh")[0].splitlines()

    ran = shell.run(*shlex.split(command)[1:])
    counted = [f"2 runs of {name}" in ran.stderr for name in names]
    assert (ran.returncode, counted) == (0, [True, True]), ran.stderr

    [sql] = blocks("howto/duckdb.md", "sql")
    output = run_script(shell, f"import duckdb; print(duckdb.sql({sql!r}).fetchall())")
    assert sum(output.count(f"('{name}', '") for name in names) == 20
    assert output.count(", 1, 2)") == 20, output  # no page has changed between the two runs
    for line in blocks("howto/duckdb.md", "sh")[1].splitlines():
        if line.startswith("mkdir"):
            (shell.folder / "current").mkdir()
        else:
            shell.run(*shlex.split(line)[1:]).check_returncode()
    [script] = blocks("howto/duckdb.md", "python")
    lines = [line.rsplit(maxsplit=2) for line in run_script(shell, script).splitlines()]
    reachable = len(DemoSite(PAGES, faults=False).reachable())
    files = [f"current/{name}.parquet" for name in ("docs", "nightly")]
    assert [line[:2] for line in lines] == [[file, str(reachable)] for file in files]

    chunks = ("jobs", "export", "--schedule", "nightly", "--current", "--chunks", "50")
    assert shell.run(*chunks, "--out", "chunks.parquet").returncode == 0
    assert shell.run(*chunks, "--out", "chunks.csv").returncode == 0
    sql = "SELECT count(*), count(DISTINCT url) FROM 'chunks.parquet'"
    [(rows, urls)] = literal_eval(
        run_script(shell, f"import duckdb; print(duckdb.sql({sql!r}).fetchall())")
    )
    assert (rows, urls) == (len(rows_of(shell, "chunks.csv")), reachable)
    unchanged = shell.run("jobs", "export", "--schedule", "nightly", "--changed")
    assert (unchanged.returncode, unchanged.stdout) == (0, ""), unchanged.stderr
    union = ("jobs", "export", "--schedule", "nightly", "--last", "2", "--chunks", "50")
    assert shell.run(*union, "--out", "union.csv").returncode == 0
    assert rows_of(shell, "union.csv") == rows_of(shell, "chunks.csv") != []

    for wrong_options, message in (
        (("--current",), "--schedule: expected either a job or --schedule"),
        (("--schedule", "a", "--schedule", "b", "--current"), "expected one --schedule, got 2"),
        (("--schedule", "nightly", "--current", "--last", "2"), "--last: excludes --current"),
        (("--schedule", "nightly", "--changed", "--only", "ok"), "--only: excludes --changed"),
        (("--schedule", "nightly", "--current", "--changed"), "--current: excludes --changed"),
    ):
        wrong = shell.run("jobs", "export", *wrong_options)
        assert (wrong.returncode, message in wrong.stderr) == (2, True), wrong.stderr
    options = ("--schedule", "nightly", "--schedule", names[1], "--out", "x.jsonl")
    wrong = shell.run("jobs", "export", *options)
    assert (wrong.returncode, "expected a folder" in wrong.stderr) == (2, True)
    missing = shell.run("jobs", "export", *options[:3], "nothing", "--out", "x/")
    assert (missing.returncode, (shell.folder / "x").exists()) == (3, False), missing.stderr
    wrong = shell.run("jobs", "export", "--schedule", "nightly", "--out", "x/", "--format", "csv")
    assert (wrong.returncode, "expected parquet in a folder, got csv" in wrong.stderr) == (2, True)


def rows_of(shell: Shell, file: str) -> list[tuple[str, ...]]:
    """Return the ids and texts of the chunks in a CSV file, sorted."""
    rows = csv.DictReader((shell.folder / file).read_text().splitlines(keepends=True))
    return sorted((row["id"], row["text"]) for row in rows)


def run_script(shell: Shell, script: str) -> str:
    """Run a Python script in the shell's folder and return its output."""
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=shell.folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=MINUTE,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_a_crawl_is_written_as_parquet_and_as_warc(either: Shell, site: str) -> None:
    ran = either.run("crawl", site, *FAST, *KEEPS, "--out", "pages.parquet")
    archived = either.run("jobs", "export", "last", "--out", "site.warc.gz")
    plain = either.run("jobs", "export", "last", "--out", "site.warc")

    for done in (ran, archived, plain):
        assert done.returncode == 0, done.stderr
    reachable = {site + path for path in DemoSite(PAGES, faults=False).reachable()}
    frame = pd.read_parquet(either.folder / "pages.parquet")
    assert set(frame["url"]) == reachable
    assert len(frame) == len(reachable)
    file = either.folder / "pages.parquet"
    query = f"SELECT count(*), count(DISTINCT sha256), min(status) FROM '{file}'"
    (row,) = duckdb.connect().execute(query).fetchall()
    assert (row[0], row[2]) == (len(reachable), 200)
    html = frame[frame["html"].notna()]
    assert sorted(urls_of(either.folder / "site.warc.gz")) == sorted(html["url"])
    assert "written to site.warc.gz" in archived.stderr
    assert (either.folder / "site.warc").read_bytes().startswith(b"WARC/1.1\r\n")
    assert urls_of(either.folder / "site.warc") == urls_of(either.folder / "site.warc.gz")


def test_pages_are_written_as_markdown_in_a_zip_and_text_is_compressed(
    either: Shell, site: str
) -> None:
    ran = either.run("crawl", site, *FAST, "--max-pages", "5", "--out", "pages.zip")
    packed = either.run("jobs", "export", "last", "--out", "pages.jsonl.gz")
    links = either.run("jobs", "export", "last", "--links", "--out", "links.csv.gz")
    refused = either.run("crawl", site, *FAST, "--text", "none", "--out", "pages.zip")

    for done in (ran, packed, links):
        assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(either.folder / "pages.zip") as archive:
        assert archive.testzip() is None
        texts = [archive.read(name).decode() for name in archive.namelist()]
    lines = gzip.decompress((either.folder / "pages.jsonl.gz").read_bytes()).splitlines()
    pages = [json.loads(line) for line in lines]
    assert len(pages) == len(texts) == 5
    for page in pages:
        [text] = [text for text in texts if f'\nurl: "{page["url"]}"\n' in text]
        assert text.endswith(f"---\n\n{page['text'].strip()}\n")
    assert gzip.decompress((either.folder / "links.csv.gz").read_bytes()).startswith(b"source,")
    assert refused.returncode == 2
    assert "expected a job that keeps text" in refused.stderr


def test_binary_formats_are_piped_unchanged(either: Shell, site: str) -> None:
    either.run("crawl", site, *FAST, "--max-pages", "5")

    with either.started("jobs", "export", "last", "--format", "parquet") as process:
        assert isinstance(process.stdout, io.TextIOWrapper)
        written = process.stdout.buffer.read()

    assert process.returncode == 0
    assert len(pd.read_parquet(io.BytesIO(written))) == 5


def test_a_job_without_html_is_refused_before_anything_is_written(either: Shell, site: str) -> None:
    before = either.run("crawl", site, *FAST, "--max-pages", "1", "--out", "site.warc.gz")
    either.run("crawl", site, *FAST, "--max-pages", "1")
    after = either.run("jobs", "export", "last", "--out", "site.warc.gz")

    for ran in (before, after):
        assert ran.returncode == 2
        assert "expected a job that keeps HTML (--keep html)" in ran.stderr
    assert not (either.folder / "site.warc.gz").exists()
    listed = either.run("jobs", "list", "-o", "jsonl").stdout.splitlines()
    assert len(listed) == 1


@pytest.mark.parametrize(("form", "package"), [("parquet", "pyarrow"), ("warc", "warcio")])
def test_a_missing_package_is_named_with_its_install_command(
    shell: Shell, site: str, form: str, package: str
) -> None:
    shell.run("crawl", site, *FAST, *KEEPS, "--max-pages", "1")

    ran = without(package, shell, "jobs", "export", "last", "--format", form)

    assert ran.returncode == 2
    assert f"pip install '{package}" in ran.stderr


def test_missing_redis_is_named_with_its_install_command(shell: Shell) -> None:
    redis = {"CRAWLYARD_REDIS_URL": "redis://127.0.0.1:1"}

    ran = without("redis", shell, "work", "--drain", **redis)

    assert ran.returncode != 0
    assert "pip install 'redis[hiredis]" in ran.stderr


@pytest.mark.redis
def test_health_reports_redis_and_is_ok_without_it(shell: Shell, redis_server: RedisServer) -> None:
    shell.run("users", "create", "ada")  # creates the yard
    env = {"CRAWLYARD_REDIS_URL": redis_server.url}
    well = shell.run("health", env=env)
    redis_server.kill()
    away = shell.run("health", env=env)

    assert (well.returncode, well.stderr) == (0, "ok, with Redis\n")
    assert away.returncode == 0
    assert "ok, but Redis is away: live progress is slower" in away.stderr


def test_a_terminal_gets_no_parquet(shell: Shell, site: str) -> None:
    shell.run("crawl", site, *FAST, "--max-pages", "1")
    leader, follower = pty.openpty()

    ran = shell.run("jobs", "export", "last", "--format", "parquet", stdout=follower)
    os.close(follower)
    os.close(leader)

    assert ran.returncode == 2
    assert "expected a file or a pipe: parquet is not for a terminal" in ran.stderr
