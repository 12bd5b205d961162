"""What pages over all jobs are asked for by."""

from collections.abc import Iterable
from datetime import datetime
from typing import TypedDict

Several = str | Iterable[str] | None
"""One value, or several of which any will do."""


class PageFilters(TypedDict, total=False):
    """Each narrows the pages that are found; left out or ``None``, it does not."""

    job: Several  # whole ids
    template: Several  # of the job: an id, a name, or OWNER/NAME
    schedule: Several
    tag: Several
    owner: Several
    status: Several  # of HTTP, or a class: 4xx
    kind: Several  # of an error
    failed: bool | None
    needs_scripts: bool | None
    content_type: Several
    depth: Several
    min_depth: int | None
    max_depth: int | None
    host: Several
    since: datetime | None  # fetched at this instant, or after it
    until: datetime | None  # fetched before this instant
