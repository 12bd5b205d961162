"""Reserve: a file beside a SQLite database, whose space lets rows be deleted on a full disk.

Even a deletion is written to the write-ahead log first. The log can only be reused once its pages
are in the database file, for which that file may have to grow by as much as the log has.
"""

import os
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

RESERVE_BYTES = 8 * 2**20
"""The write-ahead log has up to 5 MB, by which the file may have to grow; the rest is a margin."""

_BUSY_S = 1.0  # readers may keep the log from being shortened; its pages are copied all the same


class Reserve:
    """The reserve of one database; its methods may take long."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = database.with_name(f"{database.name}.reserve")

    def make(self) -> None:
        """Create the file if it is missing and the disk has enough free space."""
        with suppress(OSError):
            if self._path.exists() and self._path.stat().st_size == RESERVE_BYTES:
                return
            if shutil.disk_usage(self._path.parent).free < 1.25 * RESERVE_BYTES:
                return
        try:
            # random, so that it also takes this much on a file system that compresses
            self._path.write_bytes(os.urandom(RESERVE_BYTES))
        except OSError:
            self._remove()

    def release(self) -> None:
        """Remove the file, and write the log to the database so that its space can be used again.

        If the database would have to grow by more than the reserve, the log gets this space
        instead.
        """
        self._remove()
        with suppress(sqlite3.Error):
            connection = sqlite3.connect(self._database, timeout=_BUSY_S)
            with closing(connection):
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _remove(self) -> None:
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
