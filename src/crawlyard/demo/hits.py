"""Request log of a site server, in memory and as JSON lines."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct, field


class Hit(Struct):
    """One request, recorded when it arrives; the last three fields are set later.

    *at* and the fields ending in *_at* are readings of the monotonic clock, which all
    processes of a machine share; *epoch* is from the wall clock.
    """

    seq: int  # from 1, in the order of arrival
    at: float
    epoch: float
    method: str
    path: str  # with its query, as it was sent
    host: str  # the Host header
    user_agent: str
    connection: int  # from 1; requests on the same connection share the number
    headers: Mapping[str, str] = field(default_factory=dict)  # names in lower case; not logged
    answered_at: float | None = None  # None: not yet, or never
    status: int | None = None  # None: no response, or one of raw bytes, which are not parsed
    gone_at: float | None = None  # when the server noticed that the client had left


_LOGGED = ("seq", "at", "epoch", "method", "path", "host", "user_agent", "connection")


class Journal:
    """The hits of one server, each written to *log* at once if there is one.

    A line is one `write` to a file opened for appending: other processes can read it before
    the answer is sent, even if this process is killed afterwards.
    """

    def __init__(self, log: Path | None = None) -> None:
        self.hits: list[Hit] = []
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self._file = None if log is None else os.open(log, flags, 0o644)

    def record_request(
        self, method: str, path: str, host: str, headers: Mapping[str, str], connection: int
    ) -> Hit:
        """Record a request that has just arrived, and return its hit."""
        hit = Hit(
            seq=len(self.hits) + 1,
            at=time.monotonic(),
            epoch=time.time(),
            method=method,
            path=path,
            host=host,
            user_agent=headers.get("user-agent", ""),
            connection=connection,
            headers=headers,
        )
        self.hits.append(hit)
        if self._file is not None:
            self._write(event="asked", **{name: getattr(hit, name) for name in _LOGGED})
        return hit

    def record_response(self, hit: Hit, status: int | None) -> None:
        """Record that the answer to *hit* has been written completely."""
        hit.answered_at = time.monotonic()
        hit.status = status
        self._write(event="answered", seq=hit.seq, at=hit.answered_at, status=status)

    def record_disconnect(self, hit: Hit) -> None:
        """Record that the client of *hit* left before its answer was written."""
        hit.gone_at = time.monotonic()
        self._write(event="gone", seq=hit.seq, at=hit.gone_at)

    def close(self) -> None:
        """Close the log; the hits in memory stay available."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _write(self, **line: object) -> None:
        if self._file is not None:
            os.write(self._file, json.dumps(line).encode() + b"\n")


def read_log(log: Path) -> list[Hit]:
    """Return the hits that a server has logged so far, in order of arrival.

    An incomplete last line is left for the next call. The log may come from several servers that
    wrote one after the other.
    """
    hits: list[Hit] = []
    by_seq: dict[int, Hit] = {}
    whole, _, _ = log.read_bytes().rpartition(b"\n")
    for line in whole.splitlines():
        entry = json.loads(line)
        event = entry.pop("event")
        if event == "asked":
            hit = Hit(**entry)
            hits.append(hit)
            by_seq[hit.seq] = hit
        elif event == "answered":
            by_seq[entry["seq"]].answered_at = entry["at"]
            by_seq[entry["seq"]].status = entry["status"]
        else:
            by_seq[entry["seq"]].gone_at = entry["at"]
    return hits
