"""How much room was freed, as the API writes it."""

from crawlyard.core.answers.base import Wire
from crawlyard.core.purge_result import PurgeResult


class FreedOut(Wire, frozen=True, kw_only=True):
    """The room that deleted things took."""

    bytes: int  # given back to the disk
    reusable: int  # bytes, about, that stay in the database for what comes

    @classmethod
    def of(cls, freed: PurgeResult) -> "FreedOut":
        """Return the shape of *freed*."""
        return cls.filled(freed)
