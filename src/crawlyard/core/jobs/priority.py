"""Job priorities."""

from enum import IntEnum

from crawlyard.errors import Invalid


class Priority(IntEnum):
    """Higher goes first. Outside the database, the words are used everywhere."""

    LOW = 0
    NORMAL = 1
    HIGH = 2
    URGENT = 3

    def __str__(self) -> str:
        return self.name.lower()

    @classmethod
    def of(cls, word: str) -> "Priority":
        """Return the priority named *word*.

        Raises:
            Invalid: there is no priority of that name.
        """
        try:
            return cls[word.upper()]
        except KeyError:
            known = ", ".join(str(p) for p in reversed(cls))
            raise Invalid("priority", f"expected one of {known}, got {word!r}") from None
