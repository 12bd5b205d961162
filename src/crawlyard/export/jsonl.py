"""JSON Lines: one object per line, UTF-8, lossless."""

import json
import re

import msgspec

from crawlyard.export.base import Record

_RISKY = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Characters that are legal in JSON but not harmless.

Terminals obey C1 controls, some readers treat U+0085, U+2028 and U+2029 as line ends, and unpaired
surrogates have no UTF-8 encoding.
"""


class JsonLines:
    """Writes each record unchanged: numbers as numbers, lists as lists."""

    def head(self) -> bytes:
        """Return an empty header: JSON Lines has none."""
        return b""

    def record(self, record: Record) -> bytes:
        """Return the record as one line."""
        return dumps(record).encode() + b"\n"


def dumps(value: object, indent: int | None = None) -> str:
    """Return *value* as JSON that is safe in files and on terminals; compact without *indent*.

    Non-finite numbers such as NaN become ``null``.
    """
    try:
        written = msgspec.json.encode(value)
        text = (msgspec.json.format(written, indent=indent) if indent else written).decode()
    except UnicodeEncodeError:  # unpaired surrogate
        separators = None if indent else (",", ":")
        text = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators)
    # checking the whole text first is 20 times faster than a search without matches
    return text if text.isascii() and "\x7f" not in text else _RISKY.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return "\ufffd" if 0xD800 <= code < 0xE000 else f"\\u{code:04x}"
