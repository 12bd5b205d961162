"""The way back from an upgrade, by the older version itself: ``python -m tests.way_back``.

The code of commit dea59534 comes from the history of a checkout, here or at a path. It backs up a
database of its own, this version upgrades it, and the commit restores the backup, as
`docs/howto/upgrade.md` says: on SQLite over the upgraded database, on Postgres to an empty one.
"""

import os
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import psycopg

from crawlyard.store.tables import SCHEMA
from tests.conformance.test_schema import content, in_order, on
from tests.postgres import a_server

COMMIT, OLD_SCHEMA = "dea59534", "0121"
DROPPED = ("pydantic>=2.12", "pydantic-settings>=2.12")  # dependencies of the commit alone
DUMPS = Path(__file__).parent / "conformance" / "old_schemas"


def export_commit(checkout: Path, folder: Path) -> None:
    """Write the source of the commit to *folder*."""
    folder.mkdir()
    git = ("git", "-c", "safe.directory=*", "-C", str(checkout), "archive", COMMIT, "src")
    archive = subprocess.run(git, check=True, capture_output=True)
    subprocess.run(("tar", "-x", "-C", str(folder)), check=True, input=archive.stdout)
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder / "src"))
    subprocess.run((*pip, *DROPPED), check=True)


def crawlyard(source: Path, folder: Path, url: str, *words: str) -> None:
    """Run a command of the version in *source*."""
    places = {"CRAWLYARD_DATA_DIR": str(folder), "CRAWLYARD_DATABASE_URL": url}
    subprocess.run(
        (sys.executable, "-m", "crawlyard", *words, "--quiet"),
        env=os.environ | places | {"PYTHONPATH": str(source)},
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def sorted_content(where: str) -> dict[str, list[dict[str, object]]]:
    """Return the rows of each table, in any order that is always the same."""
    return {name: sorted(rows, key=in_order) for name, rows in on(where, content).items()}


def there_and_back(old: Path, folder: Path, url: str) -> None:
    """Back up, upgrade and restore the database at *url*, or in *folder* if it is empty."""
    new = Path(__file__).parents[1] / "src"
    where = url or f"sqlite:///{folder / 'crawlyard.db'}"
    before = sorted_content(where)
    crawlyard(old, folder, url, "db", "backup", "before-upgrade.backup")
    crawlyard(new, folder, url, "db", "upgrade")
    upgraded = sorted_content(where)
    if url:
        with psycopg.connect(url, autocommit=True) as server:
            server.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    force = () if url else ("--force",)
    crawlyard(old, folder, url, "db", "restore", "before-upgrade.backup", *force)
    crawlyard(old, folder, url, "db", "check")
    assert upgraded != before
    after = sorted_content(where)
    # a search index is no part of a backup: workers build it again
    changed = [name for name in before if before[name] != after[name]]
    assert [name for name in changed if not name.startswith("page_search")] == []


def main(checkout: Path) -> None:
    """Check both stores."""
    with tempfile.TemporaryDirectory(prefix="crawlyard-back-") as name, a_server() as server:
        folder = Path(name)
        export_commit(checkout, folder / "old")
        for store in ("sqlite", "postgres"):
            place, dump = folder / store, (DUMPS / f"{OLD_SCHEMA}-{store}.sql").read_text("utf-8")
            place.mkdir()
            url = server.url() if store == "postgres" else ""
            if url:
                with psycopg.connect(url) as connection:
                    connection.execute(dump.encode())
            else:
                with closing(sqlite3.connect(place / "crawlyard.db")) as database:
                    database.executescript(f"BEGIN; {dump} COMMIT;")
            there_and_back(folder / "old" / "src", place, url)
            print(f"{store}: {OLD_SCHEMA} to {SCHEMA} and back")  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
