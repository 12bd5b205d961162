"""What a timetable means and when it is due next, told without opening a yard."""

import asyncio
import sys
from datetime import UTC, datetime, timedelta

from crawlyard.cli.options import Common, Style
from crawlyard.cli.render import output
from crawlyard.cli.render.output import Column, View
from crawlyard.cli.render.words import printable
from crawlyard.cli.when import instant_of
from crawlyard.clock import SystemClock
from crawlyard.core.answers.schedules import ComingOut, TimetableOut
from crawlyard.core.quantity import duration_text
from crawlyard.core.schedules.timetable import timetable, zone_of
from crawlyard.errors import Invalid

MOST = 1000
"""The most instants that are told at once."""

COMING: View[ComingOut] = View(
    key=lambda coming: coming.local,
    columns=(
        Column(
            name="LOCAL TIME",
            value=lambda c: c.local,
            shown=lambda c: _shown(datetime.fromisoformat(c.local)),
        ),
        Column(name="ZONE", value=lambda c: c.zone),
        Column(
            name="UTC",
            value=lambda c: f"{c.at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            shown=lambda c: f"{c.at.astimezone(UTC):%m-%d %H:%M}",
            least=100,
        ),
        Column(name="IN", value=lambda c: c.in_s, shown=lambda c: _in(c.in_s), right=True),
        Column(name="REMARK", value=lambda c: c.remark, wide=True),
    ),
)


def check_number(count: int) -> None:
    """Check how many instants are asked for.

    Raises:
        Invalid: they are more than `MOST`.
    """
    if count > MOST:
        raise Invalid("-n", f"expected at most {MOST:,}, got {count:,}")


def explain(when: str, zone: str, since: str, count: int, common: Common) -> None:
    """Write what *when* means in *zone*, and the next *count* instants behind *since*.

    *since*: an instant, local to the zone unless it has an offset; empty for now.

    Raises:
        Invalid: of *when*, *zone* or *since*; or *count* is above `MOST`.
    """
    check_number(count)
    style = common.style_on(terminal=sys.stdout.isatty())
    place = zone_of(zone)
    now = instant_of("--from", since, place) if since else SystemClock().wall()
    told = TimetableOut.of(timetable(when, zone, now), when, place, now, count)
    if style in (Style.JSON, Style.YAML) and not common.quiet:
        output.write_one(told, style)
        return
    if not common.quiet:
        sys.stderr.write(f"{printable(told.text)}\n")
    out = output.console_on(sys.stdout)
    # not by cli.session: that loads all of a yard, which takes longer than all else here
    asyncio.run(output.write_all(output.each(told.next), COMING, style, out, quiet=common.quiet))
    if count and not told.next and not common.quiet:
        sys.stderr.write(f"it is not due any more after {_shown(now.astimezone(place))}\n")


def _shown(local: datetime) -> str:
    return f"{local:%a %Y-%m-%d %H:%M:%S}" if local.second else f"{local:%a %Y-%m-%d %H:%M}"


def _in(seconds: float) -> str:
    """Return a duration to the second, the minute or the hour, the longer the rougher."""
    length = abs(seconds)
    grain_s = 1 if length < 60 else 60 if length < 86_400 else 3600
    told = duration_text(timedelta(seconds=length // grain_s * grain_s))
    return f"{told} ago" if seconds < 0 else told
