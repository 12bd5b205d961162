"""What was found in a SQLite file is found again, as long as nobody has written to it.

A server at rest asks a dozen questions a second, each to hear that nothing has happened. One by
way of a thread and a transaction takes 0.5 ms; to ask the file whether it has changed, 3 µs.
"""

import os
import sqlite3
import threading
from collections.abc import Hashable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

Stamp: TypeAlias = int
"""Another one after each commit, of whichever process."""


class Unchanged:
    """Answers that hold until somebody commits; for the questions of polls, of which few differ."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opening = threading.Lock()
        self._connection: sqlite3.Connection | None = None  # it only looks: all commits are others'
        self._stamp: Stamp | None = None  # of what is kept
        self._kept: dict[Hashable, Any] = {}

    @property
    def is_open(self) -> bool:
        """Tell whether it can tell one state of the file from another."""
        return self._connection is not None

    def open(self) -> None:
        """Begin to look at the file, which is there already; to be called from a thread.

        Raises:
            sqlite3.Error: it cannot be opened.
        """
        uri = f"file:{quote(os.fspath(self._path.absolute()))}?mode=rw"
        with self._opening:
            if self._connection is None:
                # without patience: the event loop never waits for somebody who locks the file
                self._connection = sqlite3.connect(
                    uri, uri=True, timeout=0, isolation_level=None, check_same_thread=False
                )

    def stamp(self) -> Stamp | None:
        """Return which state the file is in, ``None`` if that cannot be told.

        What is read after this call is of that state, or of a later one.

        Source: SQLite's documentation, "PRAGMA data_version".
        """
        if self._connection is None:
            return None
        with suppress(sqlite3.Error):
            found: Stamp = self._connection.execute("PRAGMA data_version").fetchone()[0]
            if found != self._stamp:
                self._stamp = found
                self._kept.clear()
            return found
        return None

    def kept(self, question: Hashable) -> list[Any]:
        """Return the answer in the state of the last `stamp`, alone, or nothing."""
        return [self._kept[question]] if question in self._kept else []

    def keep(self, question: Hashable, answer: object, stamp: Stamp | None) -> None:
        """Remember an answer that was read after *stamp* was returned."""
        if stamp is not None and stamp == self._stamp:
            self._kept[question] = answer

    def close(self) -> None:
        """Look no more."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
