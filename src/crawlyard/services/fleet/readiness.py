"""What a yard that can work says of what it works with."""

from collections.abc import Mapping
from typing import Literal

from crawlyard.bus.base import BusReach
from crawlyard.core.answers.fleet.health import ReadyOut

_REDIS: Mapping[BusReach, Literal["well", "away"] | None] = {
    BusReach.PROCESS: None,
    BusReach.YARD: "well",
    BusReach.AWAY: "away",
}


def ready(reach: BusReach) -> ReadyOut:
    """Return that it can work, with a bus of such a *reach*."""
    return ReadyOut(redis=_REDIS[reach])
