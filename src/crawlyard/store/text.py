"""Text from the web, made fit for every database.

Postgres refuses NUL, and no UTF-8 has lone surrogates; pages have both.
"""

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

T = TypeVar("T")

_UNFIT = re.compile("[\x00\ud800-\udfff]")


def clean(text: str) -> str:
    """Return *text* with U+FFFD for every character that a database may refuse."""
    # isascii is a flag of the string: nearly all URLs end here, in 60 ns
    if text.isascii() and "\x00" not in text:
        return text
    return _UNFIT.sub("\ufffd", text)


def scrubbed(value: T) -> T:
    """Return *value* with all text in it cleaned: in mappings, sequences and records."""
    fresh: Any = _scrubbed(value)
    return fresh  # type: ignore[no-any-return]  # the same type as came in


def _scrubbed(value: Any) -> Any:
    if type(value) is str:  # an enum's words are ours
        return clean(value)
    if isinstance(value, Mapping):
        return {_scrubbed(k): _scrubbed(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_scrubbed(v) for v in value)
    if is_dataclass(value) and not isinstance(value, type):
        before = {f.name: getattr(value, f.name) for f in fields(value)}
        after = {name: _scrubbed(v) for name, v in before.items()}
        # records check themselves when they are made: only those that change are made anew
        return replace(value, **after) if after != before else value
    return value
