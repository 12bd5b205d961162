"""What commands write of whole databases."""

import asyncio
import sys
from collections.abc import Sequence

from msgspec import Struct

from crawlyard.cli.options import OBJECTS, Common
from crawlyard.cli.render import output, words
from crawlyard.cli.render.output import Column, M, View


class TableCopied(Struct, frozen=True, kw_only=True):
    """One table that is the same on both sides."""

    table: str
    rows: int
    digest: str  # of all rows, in whatever order


class Saved(Struct, frozen=True, kw_only=True):
    """A backup that was made or put back."""

    file: str
    bytes: int
    database: str
    schema_version: str
    seconds: float


class Upgraded(Struct, frozen=True, kw_only=True):
    """The tables, before and after."""

    database: str
    before: str | None  # null: there were none
    after: str


class TableTaken(Struct, frozen=True, kw_only=True):
    """How much one table takes."""

    table: str
    rows: int
    bytes: int | None  # with its indexes; null: nobody counts


class Checked(Struct, frozen=True, kw_only=True):
    """What a database is like."""

    database: str
    schema_version: str | None  # null: it has no tables
    current: bool  # it is that of this program
    bytes: int
    damage: list[str]
    tables: list[TableTaken]


class Vacuumed(Struct, frozen=True, kw_only=True):
    """How much room a database took, and takes."""

    database: str
    bytes_before: int
    bytes: int


def write(items: Sequence[M], view: View[M], common: Common) -> None:
    """Write a list as it was asked for.

    Raises:
        Invalid: they have not all of the fields that are asked for.
    """
    style = common.style_on(terminal=sys.stdout.isatty())
    found, out = output.each(items), output.console_on(sys.stdout)
    asyncio.run(output.write_all(found, view, style, out, quiet=common.quiet, fields=common.fields))


def write_one(item: M, view: View[M], common: Common) -> None:
    """Write one thing where that was asked for: stderr has said it already.

    Raises:
        Invalid: it has not all of the fields that are asked for.
    """
    if not common.asked:
        return
    style = common.style_on(terminal=sys.stdout.isatty())
    if style in OBJECTS and not common.quiet:
        output.write_one(item, style, common.fields)
    else:
        write([item], view, common)


COPIED: View[TableCopied] = View(
    key=lambda t: t.table,
    columns=[
        Column(name="TABLE", value=lambda t: t.table),
        Column(
            name="ROWS", value=lambda t: t.rows, shown=lambda t: words.number(t.rows), right=True
        ),
        Column(name="DIGEST", value=lambda t: t.digest, least=70),
    ],
)
TAKEN: View[TableTaken] = View(
    key=lambda t: t.table,
    columns=[
        Column(name="TABLE", value=lambda t: t.table),
        Column(
            name="ROWS", value=lambda t: t.rows, shown=lambda t: words.number(t.rows), right=True
        ),
        Column(
            name="BYTES",
            value=lambda t: t.bytes,
            shown=lambda t: "" if t.bytes is None else words.amount(t.bytes),
            right=True,
        ),
    ],
)
SAVED: View[Saved] = View(
    key=lambda s: s.file,
    columns=[
        Column(name="FILE", value=lambda s: s.file, wide=True),
        Column(name="BYTES", value=lambda s: s.bytes, right=True),
        Column(name="SCHEMA", value=lambda s: s.schema_version),
        Column(name="SECONDS", value=lambda s: s.seconds, right=True),
    ],
)
UPGRADED: View[Upgraded] = View(
    key=lambda u: u.after,
    columns=[
        Column(name="DATABASE", value=lambda u: u.database, wide=True),
        Column(name="BEFORE", value=lambda u: u.before),
        Column(name="AFTER", value=lambda u: u.after),
    ],
)
VACUUMED: View[Vacuumed] = View(
    key=lambda v: str(v.bytes),
    columns=[
        Column(name="DATABASE", value=lambda v: v.database, wide=True),
        Column(name="BYTES BEFORE", value=lambda v: v.bytes_before, right=True),
        Column(name="BYTES", value=lambda v: v.bytes, right=True),
    ],
)
