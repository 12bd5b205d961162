"""Figures for a dashboard."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from crawlyard.core.lifecycle import State
from crawlyard.core.limits import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What ended in one stretch of time."""

    at: datetime  # its beginning
    ended: Mapping[State, int]  # jobs, by the state that they have now


@dataclass(frozen=True, slots=True, kw_only=True)
class DayFigures:
    """What was fetched on one day, of UTC."""

    day: date
    usage: Usage  # pages, bytes and errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What there is now, and what was done from *since* until *until*."""

    since: datetime
    until: datetime
    step: timedelta
    states: Mapping[State, int]  # jobs now, zeros included
    workers: int  # alive now
    ended: Mapping[State, int]  # jobs that ended meanwhile
    today: Usage  # pages, bytes and errors
    steps: tuple[Step, ...]
    days: tuple[DayFigures, ...]
