"""What `crawlyard bench` writes of its figures."""

import json

import pytest

from crawlyard.cli.bench_reports import BenchOut, CrawlOut, about, figures, write
from crawlyard.cli.options import Common, Style

FOUND = BenchOut(
    crawlyard="1.2.3",
    python="3.13.5",
    machine="Linux x86_64",
    cores=4,
    http_client="own",
    pages=2_000,
    rounds=3,
    jobs=500,
    stored=CrawlOut(pages_per_s=1_900.5, cpu_s_per_1000_pages=0.5, peak_mb=90.0),
    in_memory=CrawlOut(pages_per_s=2_000.0, cpu_s_per_1000_pages=0.45, peak_mb=85.0),
    stored_cpu_ratio=1.111,
    submits_per_s=1_500.0,
    claim_p50_ms=0.8,
    claim_p99_ms=2.5,
    took_s=31.5,
)


def test_it_is_said_what_was_measured_and_on_what() -> None:
    assert about(FOUND) == (
        "Crawlyard 1.2.3, Python 3.13.5, Linux x86_64, 4 cores; "
        "a site of 2,000 pages on loopback, 3 rounds, 500 jobs, in 31.5 s"
    )


def test_every_figure_has_a_row_with_its_unit() -> None:
    rows = [(row.what, row.figure, row.unit) for row in figures(FOUND)]

    assert rows == [
        ("crawl, on SQLite", 1_900.5, "pages/s"),
        ("crawl, on SQLite", 0.5, "s of CPU per 1,000 pages"),
        ("crawl, on SQLite", 90.0, "MB at most"),
        ("crawl, nothing stored", 2_000.0, "pages/s"),
        ("crawl, nothing stored", 0.45, "s of CPU per 1,000 pages"),
        ("crawl, nothing stored", 85.0, "MB at most"),
        ("what storing costs", 11.1, "% more CPU"),
        ("submitting, one by one", 1_500.0, "jobs/s"),
        ("claiming, median", 0.8, "ms"),
        ("claiming, 99 of 100", 2.5, "ms"),
    ]


@pytest.mark.parametrize(
    ("common", "first"),
    [
        (Common(style=Style.PLAIN), "crawl, on SQLite\t1900.5\tpages/s"),
        (Common(style=Style.CSV), "what,figure,unit"),
        (Common(style=Style.TABLE), "Crawlyard 1.2.3, Python 3.13.5,"),
        (Common(quiet=True), "1900.5"),
    ],
)
def test_figures_are_written_as_is_asked_for(
    capfd: pytest.CaptureFixture[str], common: Common, first: str
) -> None:
    write(FOUND, common)

    assert capfd.readouterr().out.startswith(first)


@pytest.mark.parametrize("common", [Common(json=True), Common(style=Style.JSONL)])
def test_json_has_them_all(capfd: pytest.CaptureFixture[str], common: Common) -> None:
    write(FOUND, common)

    assert json.loads(capfd.readouterr().out) == FOUND.model_dump()
