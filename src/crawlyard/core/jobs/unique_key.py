"""Unique key of a job: its owner has at most one job with it."""

from typing import Annotated, TypeAlias

from crawlyard.core.fields import Panel, about
from crawlyard.errors import Invalid

MAX_UNIQUE_KEY = 200

UniqueKey: TypeAlias = Annotated[
    str | None,
    about(
        "while you have a job with this key, it is returned instead of a new one",
        label="Unique key",
        help="Return your job with this key, if it exists, instead of creating one.",
        panel=Panel.JOB,
        metavar="KEY",
        null="each request creates a new job",
        longest=MAX_UNIQUE_KEY,
    ),
]


def check_unique_key(key: str) -> None:
    """Check that a key can be stored and compared as it is.

    Raises:
        Invalid: it is empty, or has a character that databases refuse.
    """
    if key == "":
        raise Invalid("unique_key", f"expected 1 to {MAX_UNIQUE_KEY} characters, got none")
    if any(char == "\0" or "\ud800" <= char <= "\udfff" for char in key):
        raise Invalid("unique_key", f"expected text without NUL or surrogates, got {key!r}")
