"""What all rows share."""

import json
from typing import Any, Protocol

from pydantic import TypeAdapter

from crawlyard.store.text import clean, scrubbed

_ROWS = TypeAdapter(list[dict[str, Any]])
_DUMPS = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


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


def rows_to_json(rows: list[dict[str, Any]]) -> str:
    """Return rows whose text is clean as JSON: in a third of the time that `to_json` takes."""
    return _ROWS.dump_json(rows).decode()
