"""Output of records, for people or programs."""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Iterable, Sequence
from datetime import datetime
from functools import cached_property
from typing import IO, Any, Generic, TypeAlias, TypeVar

from msgspec import Struct

from crawlyard.cli.options import OBJECTS, Common, Style
from crawlyard.cli.render.fields import Fields
from crawlyard.cli.render.words import clock, number, printable, short
from crawlyard.cli.stdout import write
from crawlyard.core.answer import as_dict
from crawlyard.export.csv import format_cell, format_row
from crawlyard.export.jsonl import dumps
from crawlyard.lazy import lazily

# without Rich, a crawl whose stderr is no terminal takes 0.015 s of CPU less
with lazily():
    from rich import console as rich_console
    from rich import table as rich_table
    from rich import text as rich_text

    from crawlyard.services.templates import yaml

M = TypeVar("M", bound=Struct)
Facts: TypeAlias = Sequence[tuple[str, object]]

_GAP = 2  # blanks between two columns
_LEAST = 8  # minimum width of a truncated column; a narrower terminal gets no table


class Column(Struct, Generic[M], frozen=True, kw_only=True):
    """One column: *value* for programs, *shown* for people where that differs."""

    name: str
    value: Callable[[M], object]
    shown: Callable[[M], str] | None = None
    right: bool = False  # numbers
    wide: bool = False  # takes the remaining width, and is truncated at its end
    least: int = 0  # minimum width of a terminal for this column
    fact: Callable[[M], object] | None = None  # its value in a sheet, if that is not `value`
    sheet: bool = True  # part of a sheet

    def text(self, item: M) -> "rich_text.Text":
        """Return the text for people, safe on a terminal."""
        words = self.shown(item) if self.shown is not None else format_cell(self.value(item))
        return rich_text.Text(printable(words))


class View(Struct, Generic[M], frozen=True, kw_only=True):
    """Views of records of one kind: the columns of a list, and the facts of a single record."""

    columns: Sequence[Column[M]]  # in the order of a sheet, if there is a table
    key: Callable[[M], str]  # output of ``--quiet``
    table: Sequence[str] = ()
    """Names of the columns of a list, in order; empty: all, and a sheet has none of them."""
    more: Callable[[M], Facts] | None = None  # facts beside those of the columns
    more_shown: Callable[[M], Facts] | None = None  # for people, if that differs from `more`

    @property
    def list_columns(self) -> Sequence[Column[M]]:
        """Columns of a list: those named in `table`, or all."""
        named = {column.name: column for column in self.columns}
        return [named[name] for name in self.table] or self.columns

    def facts(self, item: M, style: Style = Style.TABLE) -> Facts:
        """Return the nonempty facts about *item*."""
        rows = [
            (column.name.lower(), (column.fact or column.value)(item))
            for column in self.columns
            if self.table and column.sheet
        ]
        facts_of = (style is Style.TABLE and self.more_shown) or self.more
        more = facts_of(item) if facts_of is not None else ()
        return [(name, value) for name, value in (*rows, *more) if value not in (None, "", ())]


def fields_of(item: Struct, only: Collection[str] = (), without: Collection[str] = ()) -> Facts:
    """Return fields of *item* as facts, with the names of the API."""
    members = as_dict(item, only, {"object", "links", *without})
    return [(name.replace("_", " "), _join(value)) for name, value in members.items()]


def _join(value: object) -> object:
    if isinstance(value, list):
        return ", ".join(dumps(item) if isinstance(item, dict) else str(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {inner}" for name, inner in value.items())
    return value


def instant(item: Struct, field: str) -> str | None:
    """Return an instant of *item* in the format of the API."""
    text: str | None = as_dict(item, {field})[field]
    return text


def column(name: str, field: str = "", **options: Any) -> Column[Any]:
    """Return the column of a field, by default the field named like the column.

    Instants are in the format of the API; items of a list are separated by commas.
    """
    path = field or name.lower().replace(" ", "_")

    def value(item: Any) -> object:
        content = getattr(item, path)
        if isinstance(content, datetime):
            return instant(item, path)
        return ", ".join(content) if isinstance(content, list | tuple) else content

    return Column(name=name, value=value, **options)


def at(
    name: str, field: str, now: datetime, *, right: bool = False, least: int = 0, sheet: bool = True
) -> Column[Any]:
    """Return a column of instants; people see the time of day, or the date as well."""

    def format_instant(item: Any) -> str:
        moment = getattr(item, field)
        return "" if moment is None else clock(moment, now)

    return Column(
        name=name,
        value=lambda item: instant(item, field),
        shown=format_instant,
        right=right,
        least=least,
        sheet=sheet,
    )


def count_column(name: str, value: Callable[[M], float], *, sheet: bool = True) -> Column[M]:
    """Return a column of numbers; people see thousands set apart."""
    return Column(
        name=name, value=value, shown=lambda item: number(value(item)), right=True, sheet=sheet
    )


def id_of(value: Callable[[M], str | None], name: str = "ID", *, least: int = 0) -> Column[M]:
    """Return a column of ids; people see their ends."""

    def format_id(item: M) -> str:
        return short(value(item) or "")

    return Column(name=name, value=value, shown=format_id, least=least)


class Screen:
    """stdout or stderr: sentences are written directly; Rich does the rest."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    @property
    def is_terminal(self) -> bool:
        """True if it is a terminal."""
        return self._stream.isatty()

    @cached_property
    def console(self) -> "rich_console.Console":
        """Rich console for people, if this is a terminal; FORCE_COLOR is ignored.

        Colours are left out if NO_COLOR or TERM=dumb is set.
        """
        terminal = self.is_terminal
        return rich_console.Console(file=self._stream, force_terminal=terminal, highlight=False)

    def say(self, sentence: str) -> None:
        """Write a sentence on a line of its own, however long, as it is."""
        if self.is_terminal:
            self.console.print(sentence, markup=False, highlight=False, soft_wrap=True)
        else:
            self._stream.write(f"{sentence}\n")
            self._stream.flush()


async def iterate(items: Iterable[M]) -> AsyncIterator[M]:
    """Yield *items* asynchronously."""
    for item in items:
        yield item


async def write_all(
    items: AsyncIterable[M] | Iterable[M],
    view: View[M],
    style: Style,
    out: Screen,
    common: Common,
) -> int:
    """Write *items* to stdout and return their number; only a table waits for the last one.

    *common* has the ``quiet`` option and the fields to write.

    Raises:
        Invalid: they have not all of these fields.
    """
    stream = items if isinstance(items, AsyncIterable) else iterate(items)
    if common.quiet:
        return await _lines(stream, lambda item: printable(view.key(item)))
    if style in OBJECTS:
        return await _objects(stream, style, common.fields)
    if common.fields is not None:
        picked, fields = _pick_values(stream, common.fields), common.fields
        return await write_all(picked, _view_of(fields), style, out, Common())
    columns = view.list_columns
    if style is Style.TABLE:
        return await _table(stream, columns, out.console)
    if style is Style.CSV:
        return await _csv(stream, columns)
    return await _lines(stream, lambda item: plain(column.value(item) for column in columns))


def write_facts(facts: Facts, style: Style, out: Screen) -> None:
    """Write names and values: for people, as CSV, or separated by tabs."""
    if style is Style.TABLE:
        sheet = rich_table.Table.grid(padding=(0, _GAP))
        for name, value in facts:
            text = format_cell(value) if value is None or isinstance(value, bool) else str(value)
            sheet.add_row(
                rich_text.Text(name, style="bold"), rich_text.Text(printable(text), overflow="fold")
            )
        out.console.print(sheet)
    elif style is Style.CSV:
        write(
            format_row([name for name, _ in facts])
            + format_row([format_cell(value) for _, value in facts])
        )
    else:
        write("".join(f"{plain(fact)}\n" for fact in facts).encode(errors="backslashreplace"))


def write_one(item: Struct, style: Style, fields: Fields | None = None) -> None:
    """Write one thing as JSON or YAML: indented, or on one line for ``-o jsonl``.

    Raises:
        Invalid: it has not all of *fields*.
    """
    record = _record(item, fields)
    if style is Style.YAML:
        write(b"---\n" + yaml.dump_yaml(record).encode())  # another document may follow
    else:
        write(dumps(record, indent=None if style is Style.JSONL else 2).encode() + b"\n")


def _record(item: Struct, fields: Fields | None) -> dict[str, Any]:
    """Return a record in the format of the API, or its requested fields."""
    record = as_dict(item)
    if fields is None:
        return record
    fields.check(item)
    return fields.only(record)


def plain(values: Iterable[object]) -> str:
    """Return *values* separated by tabs, with tabs and line breaks in them escaped."""
    return "\t".join(printable(_word(value)) for value in values)


def _word(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


async def _lines(items: AsyncIterable[M], line: Callable[[M], str]) -> int:
    return await _bytes(items, lambda item: line(item).encode() + b"\n")


async def _bytes(items: AsyncIterable[M], encoded: Callable[[M], bytes]) -> int:
    count = 0
    async for item in items:
        write(encoded(item))
        count += 1
    return count


async def _csv(items: AsyncIterable[M], columns: Sequence[Column[M]]) -> int:
    """Write a header and rows; nothing if an error comes before the first row."""
    header = format_row([column.name.lower() for column in columns])
    count = 0
    async for item in items:
        cells = format_row([format_cell(column.value(item)) for column in columns])
        write(cells if count else header + cells)
        count += 1
    if not count:
        write(header)
    return count


async def _objects(items: AsyncIterable[M], style: Style, fields: Fields | None) -> int:
    if style is Style.JSONL:
        return await _lines(items, lambda item: dumps(_record(item, fields)))
    if style is Style.YAML:
        count = await _bytes(items, lambda i: yaml.dump_yaml([_record(i, fields)]).encode())
        if not count:
            write(b"[]\n")
        return count
    count = 0
    async for item in items:
        body = dumps(_record(item, fields), indent=2).replace("\n", "\n  ")
        write(f"{',' if count else '['}\n  {body}".encode())
        count += 1
    write(b"\n]\n" if count else b"[]\n")
    return count


async def _pick_values(items: AsyncIterable[M], fields: Fields) -> AsyncIterator[Any]:
    """Yield the values of *fields* of each of *items*."""
    first = True
    async for item in items:
        if first:
            fields.check(item)
        first = False
        yield fields.values(as_dict(item))


def _view_of(fields: Fields) -> View[Any]:
    """Return the view of the rows that `_pick_values` yields."""

    def value(place: int) -> Callable[[Any], object]:
        return lambda values: values[place]

    return View(
        key=str,
        columns=[
            Column(name=path.upper(), value=value(place), wide=True)
            for place, path in enumerate(fields.paths)
        ],
    )


async def _table(
    items: AsyncIterable[M], listed: Sequence[Column[M]], out: "rich_console.Console"
) -> int:
    columns = [column for column in listed if out.width >= column.least]
    rows = [[column.text(item) for column in columns] async for item in items]
    if not rows:
        return 0
    needs = [max(len(c.name), *(row[n].cell_len for row in rows)) for n, c in enumerate(columns)]
    used = sum(need for need, c in zip(needs, columns, strict=True) if not c.wide)
    room = out.width - used - _GAP * (len(columns) - 1)
    wide = [need for need, column in zip(needs, columns, strict=True) if column.wide]
    if room < sum(min(need, _LEAST) for need in wide):
        _stack(columns, rows, out)
        return len(rows)
    widths = iter(_share_width(wide, room))
    table = rich_table.Table(box=None, pad_edge=False, header_style="bold", padding=(0, _GAP, 0, 0))
    for need, column in zip(needs, columns, strict=True):
        table.add_column(
            column.name,
            justify="right" if column.right else "left",
            width=next(widths) if column.wide else need,
            no_wrap=True,
            overflow="ellipsis",
        )
    for cells in rows:
        table.add_row(*cells)
    out.print(table)
    return len(rows)


def _stack(
    columns: Sequence[Column[M]],
    rows: Sequence[Sequence["rich_text.Text"]],
    out: "rich_console.Console",
) -> None:
    """Write each row as lines of a name and a value, which wraps and is never truncated."""
    for place, cells in enumerate(rows):
        if place:
            out.print()
        sheet = rich_table.Table.grid(padding=(0, _GAP, 0, 0))
        sheet.add_column(style="bold", no_wrap=True)
        sheet.add_column(overflow="fold")
        for column, text in zip(columns, cells, strict=True):
            if text:
                sheet.add_row(column.name, text)
        out.print(sheet)


def _share_width(needs: Sequence[int], room: int) -> list[int]:
    """Return a width for each of *needs*, together at most *room*; small needs are met in full."""
    widths = [0] * len(needs)
    for place, (need, index) in enumerate(sorted((need, i) for i, need in enumerate(needs))):
        widths[index] = min(need, room // (len(needs) - place))
        room -= widths[index]
    return widths
