"""Dry runs: requests that say what they would do, are refused as real ones, and do nothing.

One of them needs no If-Match, as nothing can be overwritten; one that it has is heeded.
"""

from typing import Annotated

from fastapi import Query, Response

from crawlyard.core.answers.base import Wire, encoded
from crawlyard.web.documenting import Responses

DryRun = Annotated[bool, Query(description="Only say what would be done, or what refuses it.")]


def would(shape: type[Wire]) -> Responses:
    """Return the answer to a dry run, for the document of its route."""
    return {200: {"model": shape, "description": "What would be done (`dry_run`)"}}


def told(shape: Wire) -> Response:
    """Return the answer to a dry run, whatever the route answers else."""
    return Response(encoded(shape), 200, media_type="application/json")
