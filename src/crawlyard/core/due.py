"""Work that has become due, or will: what those who queue jobs tell those who run them."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, order=True)
class Due:
    """That some job waits from *at* on. It names none: who comes takes what is first by then."""

    at: datetime
    needs: str = ""  # the tags that a worker must have: sorted, one a line
