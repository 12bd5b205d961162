"""Job limits and usage."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from msgspec import Struct, field
from msgspec.structs import replace

from crawlyard.core.fields import (
    HIDDEN,
    Bytes,
    Count,
    OptionRecord,
    Panel,
    Seconds,
    about,
    round_to,
)
from crawlyard.core.jobs.lifecycle import StateReason
from crawlyard.core.quantity import LARGEST, count_noun

_CEILING: Mapping[str, Any] = {
    "panel": Panel.LIMITS,
    "null": "no limit",
    "editable": True,
    "above": 0,
    "most": LARGEST,
}


class Limits(OptionRecord, frozen=True, kw_only=True):
    """Limits of one job; ``None`` means no limit.

    Raises:
        Invalid: a limit has the wrong type, or is not above zero.
    """

    _group: ClassVar[str] = "limits."

    pages: Annotated[
        Count | None,
        about(
            "URLs with a final HTTP response of any status",
            help="Stop after exactly N pages.",
            flag="--max-pages",
            **_CEILING,
        ),
    ] = None
    bytes: Annotated[
        Bytes | None,
        about(
            "bytes of response bodies, on the wire",
            label="Data",
            help="Stop after SIZE of response bodies, such as 500MB.",
            flag="--max-bytes",
            **_CEILING,
        ),
    ] = None
    duration_s: Annotated[
        Seconds | None,
        about(
            "running time, without pauses",
            label="Running time",
            help="Stop after TIME, such as 90s or 2h.",
            flag="--max-duration",
            **_CEILING,
        ),
    ] = None
    errors: Annotated[
        Count | None,
        about(
            "URLs given up after their last retry",
            label="Failed URLs",
            help="Stop after N failed URLs.",
            flag="--max-errors",
            **_CEILING,
        ),
    ] = None

    render_s: Annotated[
        Seconds | None,
        about(
            "CPU time of the browsers that render pages",
            label="Rendering time",
            help="Stop after TIME of browser CPU.",
            flag="--max-render",
            **_CEILING,
        ),
    ] = None


LIMIT_NAMES = Limits.__struct_fields__

LIMITS: Mapping[str, str] = {name.removesuffix("_s"): name for name in LIMIT_NAMES}
"""Limit fields by the words used in reasons and events."""


class Counters(Struct, kw_only=True):
    """Counters of a job: a `Usage`, or the live counters of a crawl."""

    pages: int = 0  # targets with a final HTTP response
    bytes: int = 0  # of response bodies, on the wire
    duration_s: Annotated[float, round_to(3)] = 0.0  # running time
    errors: int = 0  # targets that were given up
    discovered: int = 0  # distinct URLs in scope
    done: int = 0  # of these, how many need no further request, with any outcome
    skipped: int = 0  # URLs that a rule excluded: scope, patterns, depth, robots, duplicates
    redirects: int = 0  # responses that were redirects, to any URL
    # of those, how many are errors: no usable Location, loops, long chains
    bad_redirects: Annotated[int, HIDDEN] = 0
    needs_scripts: int = 0  # pages whose text is empty or partial without scripts
    unchanged: int = 0  # pages that were not downloaded again because they had not changed
    requests_saved: int = 0  # of these, how many were not even requested
    bytes_saved: int = 0  # size of their bodies, on the wire
    rendered: int = 0  # pages whose record was made from the rendered document
    subrequests: int = 0  # made by pages during rendering; their bytes are among `bytes`
    render_s: Annotated[float, round_to(3)] = 0.0  # processor time of rendering
    # its duration, summed over pages: several render at once
    render_took_s: Annotated[float, round_to(3)] = 0.0

    @property
    def waiting(self) -> int:
        """Number of discovered URLs that are still to be fetched; never negative."""
        return max(0, self.discovered - self.done)

    @property
    def fruitless(self) -> bool:
        """True if there were no results except errors and redirects."""
        return not self.pages or self.done == self.errors + self.redirects - self.bad_redirects


class Usage(Counters, frozen=True, kw_only=True):  # type: ignore[misc] # only a dataclass may not
    """Usage of a job. Each field only grows, except when failures are retried."""

    def plus(self, other: "Usage") -> "Usage":
        """Return the sum, field by field."""
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in USAGE_NAMES})

    def minus(self, other: "Usage") -> "Usage":
        """Return the difference, field by field."""
        return Usage(**{name: getattr(self, name) - getattr(other, name) for name in USAGE_NAMES})


USAGE_NAMES = Usage.__struct_fields__


def subtract_failed(usage: Usage, *, targets: int, pages: int, errors: int) -> Usage:
    """Return *usage* without that of failed targets, before they are retried."""
    return replace(
        usage,
        pages=max(0, usage.pages - pages),
        errors=max(0, usage.errors - errors),
        done=max(0, usage.done - targets),
    )


def breach(limits: Limits, usage: Counters) -> str | None:
    """Return the word for the first limit that is used up; ``None`` if none is."""
    for word, name in LIMITS.items():
        ceiling = getattr(limits, name)
        if ceiling is not None and getattr(usage, name) >= ceiling:
            return word
    return None


def clamp_limits(limits: Limits, *ceilings: Limits) -> Limits:
    """Return *limits* lowered to the smallest of *ceilings*; ``None`` counts as the highest."""

    def smallest(name: str) -> Any:
        values = (getattr(each, name) for each in (limits, *ceilings))
        return min((value for value in values if value is not None), default=None)

    return Limits(**{name: smallest(name) for name in LIMIT_NAMES})


class Decision(Struct, frozen=True, kw_only=True):
    """Decision on whether one more fetch may start and, if not, why."""

    allowed: bool
    limit: str | None = None  # the limit that prevents it
    used_up: bool = False  # nothing in flight can free it again: the job ends
    detail: str = ""


_ALLOWED = Decision(allowed=True)


class ResourceLimiter(Struct, frozen=True):
    """Decides whether a job may fetch one more target.

    Exact for pages: fetches in flight are counted as if they had succeeded, so that
    recorded + in flight never exceeds the limit. All others are known only
    afterwards: they overshoot by at most what was in flight.
    """

    limits: Limits = field(default_factory=Limits)

    def decide(self, usage: Counters, in_flight: int = 0) -> Decision:
        """Return whether a fetch may start while *in_flight* others are under way."""
        name = breach(self.limits, usage)
        if name is not None:
            return Decision(
                allowed=False, limit=name, used_up=True, detail=self.describe(name, usage)
            )
        ceiling = self.limits.pages
        if ceiling is not None and usage.pages + in_flight >= ceiling:
            return Decision(
                allowed=False,
                limit="pages",
                detail=f"the last pages of {ceiling:,} are in flight: {in_flight:,}",
            )
        return _ALLOWED

    def describe(self, name: str, usage: Counters) -> str:
        """Return a sentence about the limit *name*: its value, and by how much it was exceeded."""
        ceiling, used = getattr(self.limits, LIMITS[name]), getattr(usage, LIMITS[name])
        over = used - ceiling
        sentence = f"the limit of {_amount(name, ceiling)} was reached"
        return f"{sentence} and passed by {_amount(name, over)}" if over else sentence


def _amount(name: str, value: float) -> str:
    if name in ("duration", "render"):
        return f"{value:.1f} s" + (" of rendering" if name == "render" else "")
    return count_noun(int(value), name.removesuffix("s"))


def reason_of(limit: str) -> StateReason:
    """Return the state reason of a job that *limit* ended."""
    return StateReason(f"limit_{limit}")
