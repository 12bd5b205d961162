"""How much room was freed by deleting."""

from msgspec import Struct


class PurgeResult(Struct, frozen=True):
    """What was deleted, and the room that it took."""

    rows: int = 0
    bytes: int = 0  # given back to the disk: by which the file of SQLite shrank
    reusable: int = 0  # bytes, about, that stay in the database for what comes: Postgres

    def __bool__(self) -> bool:
        """Tell whether there was anything to free."""
        return self != _NOTHING

    def __add__(self, other: "PurgeResult") -> "PurgeResult":
        """Return both together."""
        return PurgeResult(
            self.rows + other.rows, self.bytes + other.bytes, self.reusable + other.reusable
        )


_NOTHING = PurgeResult()
