"""Job priorities."""

from enum import StrEnum, auto

from crawlyard.errors import Invalid


class Priority(StrEnum):
    """Words outside, ordered by rank: ``LOW < NORMAL < HIGH < URGENT``."""

    LOW = auto()
    NORMAL = auto()
    HIGH = auto()
    URGENT = auto()

    @property
    def rank(self) -> int:
        """Return its number in the database: 0 for low to 3 for urgent."""
        return _RANKS[self]

    @staticmethod
    def ranked(rank: int) -> "Priority":
        """Return the priority of a rank.

        Raises:
            ValueError: there is none.
        """
        if rank not in _BY_RANK:
            raise ValueError(f"{rank} is not the rank of a priority")
        return _BY_RANK[rank]

    def __lt__(self, other: str) -> bool:
        return self.rank < _rank(other)

    def __le__(self, other: str) -> bool:
        return self.rank <= _rank(other)

    def __gt__(self, other: str) -> bool:
        return self.rank > _rank(other)

    def __ge__(self, other: str) -> bool:
        return self.rank >= _rank(other)

    @classmethod
    def of(cls, word: str) -> "Priority":
        """Return the priority named *word*.

        Raises:
            Invalid: there is no priority of that name.
        """
        try:
            return cls(word.lower())
        except ValueError:
            known = ", ".join(reversed(cls))
            raise Invalid("priority", f"expected one of {known}, got {word!r}") from None


_BY_RANK = dict(enumerate(Priority))
_RANKS = {priority: rank for rank, priority in _BY_RANK.items()}


def _rank(other: object) -> int:
    if not isinstance(other, Priority):
        raise TypeError(f"a priority has no order with {other!r}")
    return other.rank
