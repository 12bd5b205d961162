"""What all rows share."""

import json
from functools import partial
from typing import Any, Protocol

from crawlyard.store.text import clean, scrubbed

_DUMPS = partial(json.dumps, ensure_ascii=False, separators=(",", ":"))


class Row(Protocol):
    """What a query found: values by the names of their columns."""

    def __getitem__(self, name: str, /) -> Any:
        """Return the value of a column."""
        ...


def to_json(value: object) -> str:
    """Return *value*, of JSON values alone, as text that every database takes."""
    text = _DUMPS(value)
    # nearly always there is nothing to clean, and to look at each value took longer than to write
    if "\\u0000" not in text and clean(text) == text:
        return text
    return _DUMPS(scrubbed(value))
