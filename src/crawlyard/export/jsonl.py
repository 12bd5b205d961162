"""JSON Lines: one object a line, UTF-8, nothing lost."""

import json
import re

import msgspec

from crawlyard.export.base import Record

_RISKY = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Legal in JSON but not harmless: terminals obey C1 controls, some readers take U+0085,
U+2028 and U+2029 for the end of a line, and half characters have no UTF-8."""


class JsonLines:
    """Writes each record as it is, numbers as numbers, lists as lists."""

    def head(self) -> bytes:
        """Return nothing: JSON Lines has no header."""
        return b""

    def record(self, record: Record) -> bytes:
        """Return the record as one line."""
        return dumps(record).encode() + b"\n"


def dumps(value: object, indent: int | None = None) -> str:
    """Return *value* as JSON that is safe in a file and on a terminal; compact without *indent*.

    A number that is none, such as NaN, is ``null``.
    """
    try:
        written = msgspec.json.encode(value)
        text = (msgspec.json.format(written, indent=indent) if indent else written).decode()
    except UnicodeEncodeError:  # half of a character
        separators = None if indent else (",", ":")
        text = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators)
    # a look at the whole is 20 times faster than a search that finds nothing
    return text if text.isascii() and "\x7f" not in text else _RISKY.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return "\ufffd" if 0xD800 <= code < 0xE000 else f"\\u{code:04x}"
