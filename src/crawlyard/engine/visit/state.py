"""State of one visit, which its steps fill in."""

from collections.abc import Callable
from typing import TypeAlias

from msgspec import Struct

from crawlyard.core.crawl.page import Outcome, PageError, Target
from crawlyard.engine.conditional import Prior
from crawlyard.engine.extract.page import Extracted
from crawlyard.engine.extract.record import Rendered
from crawlyard.engine.hosts.gate import Slot
from crawlyard.engine.http.fetch import Response


class Visit(Struct):
    """A target on the way to its outcome.

    Features that the job does not use leave their fields as they are.
    """

    target: Target
    slot: Slot
    extracted: Extracted | None = None  # None also if the response is neither HTML nor PDF
    rendered: Rendered | None = None
    error: PageError | None = None  # why its scripts were not run
    # recrawl
    prior: Prior | None = None  # the page of an earlier run, if its content can be used again
    baseline: Prior | None = None  # the page of an earlier run with which this one is compared
    conditional: bool = False  # the request asks for the page only if it has changed


Step: TypeAlias = Callable[[Visit, Response], Outcome | None]
"""Looks at the response to a visit; returns its outcome, ``None`` to pass it to the next step."""


class VisitAgain(Exception):
    """The target is requested once more, before others of its host; nothing else has changed."""
