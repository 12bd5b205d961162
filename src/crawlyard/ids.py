"""Ids: unique without coordination, and sorted by creation time."""

from uuid_utils import uuid7


def new_id() -> str:
    """Return a new UUIDv7 in its usual form: 36 characters, lower case.

    Source: RFC 9562, section 5.7.
    """
    return str(uuid7())
