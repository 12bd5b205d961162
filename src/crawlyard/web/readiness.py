"""What a yard that can work says of what it works with."""

from collections.abc import Mapping
from typing import Literal

from crawlyard.bus.base import Reach
from crawlyard.web.wire.health import ReadyOut

_REDIS: Mapping[Reach, Literal["well", "away"] | None] = {
    Reach.PROCESS: None,
    Reach.YARD: "well",
    Reach.AWAY: "away",
}


def ready(reach: Reach) -> ReadyOut:
    """Return that it can work, with a bus of such a *reach*."""
    return ReadyOut(redis=_REDIS[reach])
