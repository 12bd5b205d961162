"""`crawlyard crawl --since` and scheduled runs: pages that a site does not send again."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from warcio.archiveiterator import (  # type: ignore[import-untyped]  # it ships no types
    ArchiveIterator,
)

from tests.acceptance.shell import FAST, PAGES, Shell


def usage(shell: Shell, job: str = "last") -> dict[str, Any]:
    job_json = shell.json("jobs", "show", job)
    assert isinstance(job_json, dict)
    return dict(job_json["usage"])


def records(shell: Shell, *words: str) -> dict[str, dict[str, Any]]:
    """Return the records of an export as JSON Lines, by their URL."""
    ran = shell.run("jobs", "export", *words, "--format", "jsonl")
    assert ran.returncode == 0, ran.stderr
    return {record["url"]: record for record in map(json.loads, ran.stdout.splitlines())}


def kinds(file: Path) -> list[tuple[str, str]]:
    with gzip.open(file) as opened:
        archive = ArchiveIterator(opened, check_digests="raise")
        return [(r.rec_type, r.rec_headers.get_header("WARC-Target-URI")) for r in archive][1:]


def test_a_crawl_since_another_is_complete_by_itself(either: Shell, site: str) -> None:
    either.run("crawl", site, *FAST, "--keep", "html")
    before = records(either, "last")
    first = either.run("jobs", "list", "-q").stdout.strip()

    ran = either.run("crawl", site, *FAST, "--keep", "html", "--since", "last")

    assert ran.returncode == 0, ran.stderr
    assert f"{PAGES} pages, " in ran.stderr
    assert f", {PAGES} unchanged" in ran.stderr
    spent = usage(either)
    assert (spent["pages"], spent["unchanged"]) == (len(before), PAGES)
    assert spent["bytes_saved"] == sum(r["bytes"] for r in before.values() if r["etag"])
    text = either.run("jobs", "show", "last").stdout
    assert f"{PAGES} pages, " in text
    assert " not downloaded again" in text
    assert first in text
    after = records(either, "last")
    assert after.keys() == before.keys()
    for url, record in after.items():
        assert record["unchanged_since"] == before[url]["fetched_at"]
        timely = ("fetched_at", "elapsed_ms", "unchanged_since", "parent", "depth")
        assert record | dict.fromkeys(timely) == before[url] | dict.fromkeys(timely)
        assert record["text"]
        assert record["html"]
    either.run("jobs", "export", "last", "--out", "site.warc.gz")
    records_of_warc = kinds(either.folder / "site.warc.gz")
    assert sorted(records_of_warc) == sorted(
        (kind, u) for u in after for kind in ("response", "revisit")
    )

    other = either.run("crawl", site, *FAST, "--since", first[:-5], "--text", "text")
    assert other.returncode == 0, other.stderr
    assert usage(either)["unchanged"] == 0
    events = either.run("jobs", "events", "last", "-o", "jsonl").stdout
    assert f"every page is fetched: job {first} had another setting of text" in events


def test_an_unknown_base_job_is_refused(either: Shell, site: str) -> None:
    for word, code, message in (
        ("last", 3, "no jobs yet"),
        ("nightly@last", 3, "nightly"),
        ("00000000", 3, "there is no job 00000000"),
        ("01900000-0000-7000-8000-000000000000", 3, "no job"),
    ):
        ran = either.run("crawl", site, *FAST, "--since", word)
        assert ran.returncode == code, (word, ran.stderr)
        assert message in ran.stderr
    for word, message in (("0", "1 to 1,000"), ("often", "--full-every")):
        ran = either.run("crawl", site, "--full-every", word)
        assert ran.returncode == 2
        assert message in ran.stderr
    assert either.run("jobs", "list", "-q").stdout == ""


@pytest.mark.slow
def test_runs_of_a_schedule_fetch_only_changes(shell: Shell, site: str) -> None:
    for name, every in (("nightly", "3"), ("whole", "1")):
        options = ("--when", "@yearly", site, *FAST, "--full-every", every)
        assert shell.run("schedules", "create", name, *options).returncode == 0
    expected = {"nightly": [0, PAGES, PAGES, 0], "whole": [0, 0]}

    for name, runs in expected.items():
        for unchanged in runs:
            shell.run("schedules", "run", name)
            assert shell.run("work", "--drain").returncode == 0
            spent = usage(shell, f"{name}@last")
            assert (spent["pages"], spent["unchanged"]) == (PAGES, unchanged), name

    shell.run("crawl", site, *FAST, "--since", "nightly@last")
    assert usage(shell)["unchanged"] == PAGES
