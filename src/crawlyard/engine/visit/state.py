"""State of one visit, which its steps fill in."""

from collections.abc import Callable
from typing import TypeAlias

from msgspec import Struct

from crawlyard.core.crawl.page import Outcome, PageError, Target
from crawlyard.engine.conditional import Prior
from crawlyard.engine.extract.page import Extracted
from crawlyard.engine.extract.record import RenderedDocument
from crawlyard.engine.hosts.rate_limiter import Slot
from crawlyard.engine.http.fetch import Response


class Visit(Struct):
    """A target on the way to its outcome.

    Fields of features that the job does not use keep their defaults.
    """

    target: Target
    slot: Slot
    extracted: Extracted | None = None  # None also if the response is neither HTML nor PDF
    rendered: RenderedDocument | None = None
    error: PageError | None = None  # why rendering failed
    # recrawl
    prior: Prior | None = None  # the page of an earlier run, if its content can be reused
    baseline: Prior | None = None  # the page of an earlier run with which this one is compared
    conditional: bool = False  # the request is conditional: 304 if the page has not changed


Step: TypeAlias = Callable[[Visit, Response], Outcome | None]
"""Handler of a response; returns its outcome, ``None`` to pass it to the next step."""


class VisitAgain(Exception):
    """The target must be requested once more, before others of its host."""
