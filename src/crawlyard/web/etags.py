"""Versions of things as entity tags, and what a request makes depend on them.

Source: RFC 9110, sections 8.8.3 (ETag), 13.1.1 (If-Match) and 13.1.2 (If-None-Match).
"""

import re

from starlette.requests import Request

from crawlyard.errors import Version
from crawlyard.web.problems import Problem

_TAG = re.compile(r'(?:W/)?"([^"]*)"')
_VERSION = re.compile(r"v(\d{1,18})(?:\.\d+)?")


def tag_of(version: int, beat: int | None = None) -> str:
    """Return the tag of a thing: ``"v17"``; *beat* rises with what changes beside its version."""
    return f'"v{version}"' if beat is None else f'"v{version}.{beat}"'


def is_known(request: Request, tag: str) -> bool:
    """Return whether the asker has what is at *tag* already."""
    asked = request.headers.get("if-none-match")
    return asked is not None and (asked.strip() == "*" or _opaque(tag) in _TAG.findall(asked))


def expected(request: Request, *, required: bool = False) -> Version:
    """Return the versions that a change may be made to; ``None``: to any.

    A tag that is of no version is -1: nothing has it.

    Raises:
        Problem: If-Match is missing though *required*.
    """
    asked = request.headers.get("if-match")
    if asked is None and required:
        detail = 'send If-Match with the ETag of what you saw, or "*" to change it anyway'
        raise Problem("precondition_required", detail)
    if asked is None or asked.strip() == "*":
        return None
    found = (_VERSION.fullmatch(word) for word in _TAG.findall(asked))
    versions = {int(one[1]) for one in found if one is not None}
    return versions.pop() if len(versions) == 1 else tuple(versions) or -1


def _opaque(tag: str) -> str:
    return tag.strip('"')
