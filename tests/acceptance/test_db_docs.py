"""The commands of the pages on moving, saving and upgrading a yard, as a reader types them."""

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
    """Return the lines of a page that run crawlyard, or say where its database is."""
    text = (HOWTO / page).read_text("utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith(("crawlyard ", "export "))]


def follow(shell: Shell, page: str, url: str = "") -> Shell:
    """Type the lines of a page, with *url* for its database; return the shell as it is then."""
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
    """A yard with a job that is done, and one that waits."""
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
    # but for what is typed in an older version, for one from before the first release
    lines = [line for line in typed("upgrade.md") if "news" not in line]
    assert lines.count("crawlyard db backup before-upgrade.backup") == 2

    first = True
    for line in lines:
        # the page shows the backup in two places, of which a reader follows one
        again = ["--force"] if "backup before" in line and not first else []
        first = first and "backup before" not in line
        ran = crawled.run(*shlex.split(line)[1:], *again)
        assert ran.returncode == 0, f"{line}: {ran.stderr}"


def test_every_failure_names_a_test_that_is_there() -> None:
    page = (HOWTO / "failures.md").read_text("utf-8")
    rows = [row for row in page.splitlines() if re.match(r"\| (?!what fails|---)", row)]

    shown = {row: _SHOWN.findall(row) for row in rows}

    assert len(rows) > 20
    assert [row for row, tests in shown.items() if not tests] == []
    named = [pair for tests in shown.values() for pair in tests]
    assert [name for name, path in named if Path(path).stem != name] == []
    assert [path for _, path in named if not (HOWTO / path).is_file()] == []
