"""Databases in one file: saved from one that is in use, looked over, and put back."""

import os
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

from crawlyard.errors import Invalid, NotFound, SchemaMismatch, StoreUnavailable
from crawlyard.store.admin.copy import CopyProgress, Tell
from crawlyard.store.admin.place import BUSY_S, telling
from crawlyard.store.db.database import create_file
from crawlyard.store.db.schema import is_upgradable, mismatch
from crawlyard.store.tables import SCHEMA, metadata

_AT_ONCE = 2048  # pages: 8 MiB

_FROM_THE_FIRST = {"users", "jobs", "shards", "frontier", "pages", "events"}
"""Tables of every schema that there was."""

_BESIDE = ("", "-journal", "-wal", "-shm", ".lock")
"""Ends of the files that there may be for one database."""


@contextmanager
def published(file: Path, *, replace: bool) -> Iterator[Path]:
    """Yield the path of an empty file, which becomes *file* once the block has come to its end.

    Whatever happens before, there is nothing new under the name of *file*.

    Raises:
        Invalid: there is such a file, and it is not to be replaced; or what there is of
            that name is none.
        OSError: it cannot be written; its name is that of the file.
    """
    if (file.exists() or file.is_symlink()) and not replace:
        raise Invalid(
            "FILE", f"expected a new file, got {file}, which exists (--force replaces it)"
        )
    if file.exists() and not file.is_file():  # a folder, or a device: it would be gone
        raise Invalid("FILE", f"expected a file, got {file}, which is something else")
    here = f".{file.name}.{socket.gethostname()}."
    _sweep(file.parent, here)
    part = file.with_name(f"{here}{os.getpid()}.part")
    try:
        # nobody else's to read: digests of tokens and secrets of webhooks are in it
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        yield part
        _synced(part)
        part.replace(file)
        _synced(file.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from error
    finally:
        _remove(part)


def snapshot(source: Path, part: Path, tell: Tell) -> None:
    """Copy a SQLite database as it is at this moment; those who write it go on meanwhile.

    Raises:
        StoreUnavailable: one of them cannot be read or written.
    """
    with closing(_connected(source, "rw")) as here, closing(sqlite3.connect(part)) as there:
        with telling(f"the database {source}"):
            here.execute("BEGIN")
            # from this look on nothing is seen of what others write: without it, each
            # of their transactions would let the copy begin anew
            here.execute("SELECT count(*) FROM sqlite_master").fetchone()
        with telling(f"the backup {part}"):
            there.execute("PRAGMA synchronous=OFF")  # it counts once it is complete
            here.backup(there, pages=_AT_ONCE, progress=_told("saving", tell))


def settled(part: Path) -> None:
    """Fold the log of a saved database into its file, so that one file has all.

    Raises:
        StoreUnavailable: it cannot be written.
    """
    with telling(f"the backup {part}"), closing(sqlite3.connect(part)) as saved:
        saved.execute("PRAGMA journal_mode=DELETE").fetchone()


def looked_over(file: Path, name: str) -> str:
    """Return the schema of a backup that is whole and that this program can use or upgrade.

    Messages call it *name*.

    Raises:
        NotFound: there is no such file.
        StoreUnavailable: it is damaged, or something else.
        SchemaMismatch: a Crawlyard of another schema wrote it, or another program.
    """
    if not file.is_file():
        raise NotFound(f"there is no file {file}")
    with telling(name), closing(_connected(file, "ro")) as saved:
        [said] = saved.execute("PRAGMA quick_check(1)").fetchone()
        if said != "ok":
            raise StoreUnavailable(f"{name} is damaged: {said}")
        try:
            [version] = saved.execute("SELECT version_num FROM alembic_version").fetchone()
        except (sqlite3.OperationalError, TypeError):
            raise SchemaMismatch(f"{name} has no tables of Crawlyard") from None
        there = {str(row[0]) for row in saved.execute("SELECT name FROM sqlite_master")}
    needed = metadata.tables.keys() if version == SCHEMA else _FROM_THE_FIRST
    if version <= SCHEMA and not needed <= there:  # Alembic serves other programs as well
        raise SchemaMismatch(f"{name} has no tables of Crawlyard, but those of something else")
    if not is_upgradable(version):
        raise SchemaMismatch(mismatch(name, version))
    return str(version)


def put_back(file: Path, target: Path, tell: Tell) -> None:
    """Make the database *target* what a backup is, in one transaction: all of it or nothing.

    Who has it open sees the one, then the other.

    Raises:
        StoreUnavailable: one of them cannot be read or written.
    """
    with telling(f"the database {target}"):
        create_file(target, timedelta(seconds=BUSY_S))
        with closing(_connected(file, "ro")) as here, closing(_connected(target, "rw")) as there:
            here.backup(there, pages=_AT_ONCE, progress=_told("restoring", tell))
        # the mode of a log is part of what was put back
        create_file(target, timedelta(seconds=BUSY_S))


def _connected(file: Path, mode: str) -> sqlite3.Connection:
    url = f"file:{quote(os.fspath(file.resolve()))}?mode={mode}"
    return sqlite3.connect(url, uri=True, timeout=BUSY_S, isolation_level=None)


def _told(doing: str, tell: Tell) -> Callable[[int, int, int], None]:
    def told(_status: int, left: int, total: int) -> None:
        tell(CopyProgress(doing=doing, share=1 - left / total if total else 1.0, rows=0))

    return told


def _sweep(folder: Path, here: str) -> None:
    """Remove what backups to the same file left that were killed on this machine."""
    for left in folder.glob(f"{here}*.part"):
        pid = left.name.removeprefix(here).removesuffix(".part")
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            _remove(left)


def _remove(part: Path) -> None:
    for end in _BESIDE:
        with suppress(OSError):
            part.with_name(f"{part.name}{end}").unlink()


def _synced(path: Path) -> None:
    """See to it that a file, or the names in a folder, outlive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
