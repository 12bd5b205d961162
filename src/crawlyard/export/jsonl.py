"""JSON Lines: one object per line, UTF-8, lossless."""

import json
import re

import msgspec

from crawlyard.export.base import Record

_RISKY = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Characters that are legal in JSON but not harmless.

Terminals execute C1 controls, some readers treat U+0085, U+2028 and U+2029 as line ends, and
unpaired surrogates have no UTF-8 encoding.
"""

_MAY_BE_RISKY = (b"\x7f", b"\xc2", b"\xe2\x80")
"""Bytes of which the UTF-8 of each risky character contains one. Searching them is 20 times faster
than searching the characters, and most text has none."""


class JsonLines:
    """Writes each record unchanged: numbers as numbers, lists as lists."""

    def head(self) -> bytes:
        """Return an empty header: JSON Lines has none."""
        return b""

    def record(self, record: Record) -> bytes:
        """Return a record as one line of JSON."""
        return _encode(record) + b"\n"


def dumps(value: object, indent: int | None = None) -> str:
    """Return *value* as JSON that is safe in files and on terminals; compact without *indent*.

    Non-finite numbers such as NaN become ``null``.
    """
    return _encode(value, indent).decode()


def _encode(value: object, indent: int | None = None) -> bytes:
    try:
        written = msgspec.json.encode(value)
        written = msgspec.json.format(written, indent=indent) if indent else written
    except UnicodeEncodeError:  # unpaired surrogate
        separators = None if indent else (",", ":")
        text = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators)
    else:
        if not any(byte in written for byte in _MAY_BE_RISKY):
            return written
        text = written.decode()
    return _RISKY.sub(_escape, text).encode()


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return "\ufffd" if 0xD800 <= code < 0xE000 else f"\\u{code:04x}"
