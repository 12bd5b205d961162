"""Names of headers and parameters that probably carry credentials."""

import re

_SECRET = re.compile(
    r"auth|cookie|token|secret|key|passw|pwd|session|credential|jwt|bearer|signature",
    re.IGNORECASE,
)


def is_secret(name: str) -> bool:
    """Return whether a header or parameter of this name probably carries credentials."""
    return _SECRET.search(name) is not None
