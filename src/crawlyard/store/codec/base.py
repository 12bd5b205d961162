"""What all rows share."""

import json
from typing import Any, Protocol

from crawlyard.store.text import scrubbed


class Row(Protocol):
    """What a query found: values by the names of their columns."""

    def __getitem__(self, name: str, /) -> Any:
        """Return the value of a column."""
        ...


def to_json(value: object) -> str:
    """Return *value*, of JSON values alone, as text that every database takes."""
    return json.dumps(scrubbed(value), ensure_ascii=False, separators=(",", ":"))
