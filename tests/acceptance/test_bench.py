"""`crawlyard bench` measures this machine, and leaves nothing behind."""

import json

import pytest

from tests.acceptance.shell import Shell

TINY = ("--pages", "20", "--rounds", "1", "--jobs", "3")


@pytest.mark.slow
def test_it_measures_crawls_and_the_queue_and_leaves_nothing(shell: Shell) -> None:
    ran = shell.run("bench", *TINY, "-o", "json")

    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert (told["pages"], told["rounds"], told["jobs"]) == (20, 1, 3)
    for crawl in (told["stored"], told["in_memory"]):
        assert all(figure > 0 for figure in crawl.values()), crawl
        assert 20 < crawl["peak_mb"] < 1_000  # the interpreter alone takes 10 MB
    assert told["submits_per_s"] > 0
    assert 0 < told["claim_p50_ms"] <= told["claim_p99_ms"]
    assert "crawling 20 pages" in ran.stderr
    assert list(shell.folder.iterdir()) == []


@pytest.mark.slow
def test_it_says_only_the_speed_when_quiet(shell: Shell) -> None:
    ran = shell.run("bench", *TINY, "-q")

    assert (ran.returncode, ran.stderr) == (0, "")
    assert float(ran.stdout) > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--folder", "absent"), "expected a folder in which files can be made, got absent"),
        (("--pages", "0"), "--pages: expected at least 1, got 0"),
        (("-o", "csv", "--json"), "expected one format, got -o csv as well"),
    ],
)
def test_it_refuses_what_it_cannot_do_at_once(
    shell: Shell, words: tuple[str, ...], said: str
) -> None:
    ran = shell.run("bench", *words)

    assert ran.returncode == 2
    assert said in ran.stderr
    assert "crawling" not in ran.stderr
