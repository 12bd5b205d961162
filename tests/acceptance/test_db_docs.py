"""The commands of the pages on moving, backing up and upgrading a yard, run as written."""

import re
import shlex
from pathlib import Path

import pytest

from tests.acceptance.shell import FAST, Shell
from tests.conformance.whole import content

HOWTO = Path(__file__).parents[2] / "docs" / "howto"
DATABASE = "postgresql://crawlyard:secret@db.example.org/crawlyard"
_SHOWN = re.compile(r"\[(test_\w+)\]\((\S+)\)")


def typed(page: str) -> list[str]:
    """Return the lines of a page that run crawlyard or set its database URL."""
    text = (HOWTO / page).read_text("utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith(("crawlyard ", "export "))]


def follow(shell: Shell, page: str, url: str = "") -> Shell:
    """Run the lines of a page with *url* as its database; return the resulting shell."""
    for line in typed(page):
        words = shlex.split(line.replace(DATABASE, url))
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            shell = Shell(shell.folder, {**shell.env, name: value})
            continue
        ran = shell.run(*words[1:], *(["--drain"] if words[1] == "work" else ()))
        assert ran.returncode == 0, f"{line}: {ran.stderr}"
    return shell


@pytest.fixture
def crawled(shell: Shell, site: str) -> Shell:
    """A yard with a completed job and a queued one."""
    assert shell.run("crawl", site, *FAST).returncode == 0
    assert shell.run("crawl", "-d", site, *FAST).returncode == 0
    return shell


@pytest.mark.slow
@pytest.mark.postgres
def test_a_yard_moves_to_postgres_and_back_as_the_page_says(
    crawled: Shell, empty_postgres_url: str
) -> None:
    there = follow(crawled, "sqlite-to-postgres.md", empty_postgres_url)

    jobs = there.json("jobs", "list", "--fields", "id,state")
    assert isinstance(jobs, list)
    assert [job["state"] for job in jobs] == ["completed", "completed"]
    moved = content(crawled.folder / "yard-on-sqlite" / "crawlyard.db")
    assert moved == content(empty_postgres_url)
    assert len(content(crawled.folder / "before-postgres.backup")["jobs"]) == 2


def test_a_yard_is_saved_and_restored_as_the_page_says(crawled: Shell) -> None:
    follow(crawled, "backup-and-restore.md")

    folder = crawled.folder
    assert len(content(folder / "restored" / "crawlyard.db")["jobs"]) == 2
    assert content(folder / "crawlyard-data" / "crawlyard.db") == content(folder / "yard.backup")


def test_a_yard_is_upgraded_and_put_back_as_the_page_says(crawled: Shell) -> None:
    # except the lines for versions before the first release
    lines = [line for line in typed("upgrade.md") if "news" not in line]
    assert lines.count("crawlyard db backup before-upgrade.backup") == 2

    first = True
    for line in lines:
        # the page shows the backup twice, for two cases; a reader follows one of them
        again = ["--force"] if "backup before" in line and not first else []
        first = first and "backup before" not in line
        ran = crawled.run(*shlex.split(line)[1:], *again)
        assert ran.returncode == 0, f"{line}: {ran.stderr}"


def test_every_failure_links_to_an_existing_test() -> None:
    page = (HOWTO / "failures.md").read_text("utf-8")
    rows = [row for row in page.splitlines() if re.match(r"\| (?!failure \||---)", row)]

    tests_by_row = {row: _SHOWN.findall(row) for row in rows}

    assert len(rows) > 20
    assert [row for row, tests in tests_by_row.items() if not tests] == []
    named = [pair for tests in tests_by_row.values() for pair in tests]
    assert [name for name, path in named if Path(path).stem != name] == []
    assert [path for _, path in named if not (HOWTO / path).is_file()] == []
