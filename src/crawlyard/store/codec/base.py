"""What all rows share."""

from typing import Any, Protocol

import msgspec

from crawlyard.store.text import scrubbed

_NUL = b"\\u0000"  # as JSON has it


class Row(Protocol):
    """What a query found: values by the names of their columns."""

    def __getitem__(self, name: str, /) -> Any:
        """Return the value of a column."""
        ...


def to_json(value: object) -> str:
    """Return *value*, a record or JSON values, as text that every database takes."""
    try:
        text = msgspec.json.encode(value)
    except UnicodeEncodeError:  # a lone surrogate
        text = _NUL
    # nearly always there is nothing to clean, and to look at each value took longer than to write
    return (msgspec.json.encode(scrubbed(value)) if _NUL in text else text).decode()
