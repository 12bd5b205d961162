"""What was found, written as the user asked for it: one thing, or a list of them."""

import asyncio
import sys
from collections.abc import AsyncIterable, Iterable, Sequence

from rich.table import Table
from rich.text import Text

from crawlyard.cli.options import OBJECTS, Common, Style
from crawlyard.cli.render import output
from crawlyard.cli.render.fields import pairs
from crawlyard.cli.render.output import M, View
from crawlyard.cli.render.words import printable
from crawlyard.cli.session import Session
from crawlyard.cli.stdout import write, write_line
from crawlyard.export.csv import cell, row

Facts = Sequence[tuple[str, object]]


async def listed(
    session: Session, items: AsyncIterable[M] | Iterable[M], view: View[M], common: Common
) -> int:
    """Write *items* as a list, and return how many there were.

    Raises:
        Invalid: they have not all of the fields that are asked for.
    """
    found = items if isinstance(items, AsyncIterable) else output.each(items)
    style = common.style_on(terminal=session.out.is_terminal)
    return await output.write_all(
        found, view, style, session.out, quiet=common.quiet, fields=common.fields
    )


def nothing(common: Common, view: View[M], sentence: str) -> int:
    """List what is in a data directory that does not exist: nothing; return the exit code."""
    style = common.style_on(terminal=sys.stdout.isatty())
    none, out = output.each(list[M]()), output.console_on(sys.stdout)
    asyncio.run(output.write_all(none, view, style, out, quiet=common.quiet, fields=common.fields))
    if not common.quiet:
        sys.stderr.write(f"{sentence}\n")
    return 0


def whole(session: Session, common: Common) -> bool:
    """Tell whether a thing is to be written as the API writes it, or fields of that."""
    if common.quiet:
        return False
    style = common.style_on(terminal=session.out.is_terminal)
    return style in OBJECTS or common.fields is not None


async def show(
    session: Session,
    found: M,
    facts: Facts,
    common: Common,
    *,
    key: str = "",
    view: View[M] | None = None,
) -> int:
    """Write one thing; *key* is what ``--quiet`` writes, *facts* what people read.

    As CSV it is a row of *view*, or else of its facts.

    Raises:
        Invalid: it has not all of the fields that are asked for.
    """
    style = common.style_on(terminal=session.out.is_terminal)
    told = [(name, value) for name, value in facts if value not in (None, "", ())]
    if common.quiet:
        write_line(printable(key))
    elif style in OBJECTS:
        output.write_one(found, style, common.fields)
    elif common.fields is not None:
        _write(session, list(pairs(common.fields, found)), style)
    elif style is Style.CSV and view is not None:
        await listed(session, [found], view, common)
    else:
        _write(session, told, style)
    return 0


def _write(session: Session, told: Facts, style: Style) -> None:
    if style is Style.TABLE:
        sheet = Table.grid(padding=(0, 2))
        for name, value in told:
            sheet.add_row(Text(name, style="bold"), Text(_printed(value), overflow="fold"))
        session.out.print(sheet)
    elif style is Style.CSV:
        write(row([name for name, _ in told]) + row([cell(value) for _, value in told]))
    else:
        for name, value in told:
            write_line(output.plain((name, value)))


def _printed(value: object) -> str:
    return printable(cell(value) if value is None or isinstance(value, bool) else str(value))
