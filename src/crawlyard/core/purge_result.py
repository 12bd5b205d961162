"""Purge result: the space freed by deleting."""

from msgspec import Struct


class PurgeResult(Struct, frozen=True):
    """Deleted jobs, and the space that they occupied."""

    rows: int = 0
    bytes: int = 0  # returned to the disk: how much the SQLite file shrank
    reusable: int = 0  # bytes, estimated, that stay in the database for reuse: Postgres

    def __bool__(self) -> bool:
        """Return whether anything was freed."""
        return self != _NOTHING

    def __add__(self, other: "PurgeResult") -> "PurgeResult":
        """Return the sum of both."""
        return PurgeResult(
            self.rows + other.rows, self.bytes + other.bytes, self.reusable + other.reusable
        )


_NOTHING = PurgeResult()
