"""One thing, shown: as JSON, or as its names and values."""

from collections.abc import Sequence

from pydantic import BaseModel
from rich.table import Table
from rich.text import Text

from crawlyard.cli import output
from crawlyard.cli.options import Common, Style
from crawlyard.cli.session import Session
from crawlyard.cli.stdout import write, write_line
from crawlyard.cli.words import printable
from crawlyard.export.csv import cell, row

Facts = Sequence[tuple[str, object]]


async def show(
    session: Session, found: BaseModel, facts: Facts, common: Common, *, key: str = ""
) -> int:
    """Write one thing; *key* is what ``--quiet`` writes, *facts* what people read."""
    style = common.style_on(terminal=session.out.is_terminal)
    told = [(name, value) for name, value in facts if value not in (None, "", ())]
    if common.quiet:
        write_line(printable(key))
    elif style in (Style.JSON, Style.JSONL):
        output.write_one(found, style)
    elif style is Style.TABLE:
        sheet = Table.grid(padding=(0, 2))
        for name, value in told:
            sheet.add_row(Text(name, style="bold"), Text(printable(str(value)), overflow="fold"))
        session.out.print(sheet)
    elif style is Style.CSV:
        write(row([name for name, _ in told]) + row([cell(value) for _, value in told]))
    else:
        for name, value in told:
            write_line(output.plain((name, value)))
    return 0
