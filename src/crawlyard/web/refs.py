"""Ids and names in paths, where a name may be an owner's: ``OWNER%2FNAME``."""

import re
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request

_SLASH = re.compile(rb"%(2f|25)", re.IGNORECASE)
_MARK = "crawlyard.undivided"  # of a request whose path still has its encoded slashes


def undivided(scope: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Return *scope* with a path that no encoded slash divides; it is decoded by `Ref`.

    Source: RFC 3986, section 2.2: ``%2F`` is data, ``/`` parts segments.
    """
    raw: bytes = scope.get("raw_path") or b""
    if b"%2f" not in raw.lower():
        return scope
    path = unquote(_SLASH.sub(rb"%25\1", raw).decode("ascii", "replace"))
    return {**scope, "path": path, _MARK: True}


def was_undivided(request: Request) -> bool:
    """Return whether the path of a request still has its encoded slashes."""
    return bool(request.scope.get(_MARK))
