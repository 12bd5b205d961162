"""What a command found, written as people or programs read it."""

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
from crawlyard.export.csv import cell, row
from crawlyard.export.jsonl import dumps
from crawlyard.lazy import lazily

# a crawl whose stderr is no terminal does without Rich, and takes 0.015 s of CPU less
with lazily():
    from rich import console as rich_console
    from rich import table as rich_table
    from rich import text as rich_text

    from crawlyard.services.templates import yaml

M = TypeVar("M", bound=Struct)
Facts: TypeAlias = Sequence[tuple[str, object]]

_GAP = 2  # blanks between two columns
_LEAST = 8  # columns for what is cut; a terminal too narrow for that gets no table


class Column(Struct, Generic[M], frozen=True, kw_only=True):
    """One column: *value* for programs, *shown* for people where that differs."""

    name: str
    value: Callable[[M], object]
    shown: Callable[[M], str] | None = None
    right: bool = False  # numbers
    wide: bool = False  # takes the room that is left, and is cut at its end
    least: int = 0  # the width of a terminal below which a table does without
    fact: Callable[[M], object] | None = None  # what a sheet says, where that is not `value`
    sheet: bool = True  # whether a sheet has it

    def text(self, item: M) -> "rich_text.Text":
        """Return what a person sees, safe on a terminal."""
        words = self.shown(item) if self.shown is not None else cell(self.value(item))
        return rich_text.Text(printable(words))


class View(Struct, Generic[M], frozen=True, kw_only=True):
    """How things of one kind are listed, and how one of them is shown: as a sheet of facts."""

    columns: Sequence[Column[M]]  # in the order of a sheet, if there is a table
    key: Callable[[M], str]  # what ``--quiet`` writes
    table: Sequence[str] = ()
    """The names of the columns of a list, in order; empty: all, and a sheet has none of them."""
    more: Callable[[M], Facts] | None = None  # facts beside those of the columns
    more_shown: Callable[[M], Facts] | None = None  # for people, where that differs from `more`

    @property
    def listed(self) -> Sequence[Column[M]]:
        """Return the columns of a list."""
        named = {column.name: column for column in self.columns}
        return [named[name] for name in self.table] or self.columns

    def facts(self, item: M, style: Style = Style.TABLE) -> Facts:
        """Return what there is to know of *item*, without what is empty."""
        rows = [
            (column.name.lower(), (column.fact or column.value)(item))
            for column in self.columns
            if self.table and column.sheet
        ]
        facts_of = (style is Style.TABLE and self.more_shown) or self.more
        more = facts_of(item) if facts_of is not None else ()
        return [(name, value) for name, value in (*rows, *more) if value not in (None, "", ())]


def fields_of(item: Struct, only: Collection[str] = (), without: Collection[str] = ()) -> Facts:
    """Return fields of *item* as facts, in the words of the API."""
    members = as_dict(item, only, {"object", "links", *without})
    return [(name.replace("_", " "), _joined(value)) for name, value in members.items()]


def _joined(value: object) -> object:
    if isinstance(value, list):
        return ", ".join(dumps(item) if isinstance(item, dict) else str(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {inner}" for name, inner in value.items())
    return value


def instant(item: Struct, field: str) -> str | None:
    """Return an instant of *item* as the API writes it."""
    text: str | None = as_dict(item, {field})[field]
    return text


def column(name: str, field: str = "", **options: Any) -> Column[Any]:
    """Return a column of a field, which is called as the column unless it is named.

    Instants are written as the API does, the items of a list with commas.
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


def counted(name: str, value: Callable[[M], float], *, sheet: bool = True) -> Column[M]:
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
    """stdout or stderr: sentences are written at once, for more there is Rich."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    @property
    def is_terminal(self) -> bool:
        """Tell whether a person may be looking."""
        return self._stream.isatty()

    @cached_property
    def console(self) -> "rich_console.Console":
        """Return what writes for people if it is a terminal, whatever FORCE_COLOR says.

        Colours are left out where NO_COLOR or TERM=dumb asks for that.
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


async def each(items: Iterable[M]) -> AsyncIterator[M]:
    """Yield *items*: what is at hand, for those who wait for each."""
    for item in items:
        yield item


async def write_all(
    items: AsyncIterable[M] | Iterable[M],
    view: View[M],
    style: Style,
    out: Screen,
    common: Common,
) -> int:
    """Write *items* to stdout and return how many there were; only a table waits for the last.

    Of *common*, ``quiet`` and the fields to write count.

    Raises:
        Invalid: they have not all of these fields.
    """
    stream = items if isinstance(items, AsyncIterable) else each(items)
    if common.quiet:
        return await _lines(stream, lambda item: printable(view.key(item)))
    if style in OBJECTS:
        return await _objects(stream, style, common.fields)
    if common.fields is not None:
        picked, fields = _picked(stream, common.fields), common.fields
        return await write_all(picked, _view_of(fields), style, out, Common())
    columns = view.listed
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
            text = cell(value) if value is None or isinstance(value, bool) else str(value)
            sheet.add_row(
                rich_text.Text(name, style="bold"), rich_text.Text(printable(text), overflow="fold")
            )
        out.console.print(sheet)
    elif style is Style.CSV:
        write(row([name for name, _ in facts]) + row([cell(value) for _, value in facts]))
    else:
        write("".join(f"{plain(fact)}\n" for fact in facts).encode(errors="backslashreplace"))


def write_one(item: Struct, style: Style, fields: Fields | None = None) -> None:
    """Write one thing as JSON or YAML: indented, or on one line for ``-o jsonl``.

    Raises:
        Invalid: it has not all of *fields*.
    """
    record = _record(item, fields)
    if style is Style.YAML:
        write(b"---\n" + yaml.dumped(record).encode())  # another may follow
    else:
        write(dumps(record, indent=None if style is Style.JSONL else 2).encode() + b"\n")


def _record(item: Struct, fields: Fields | None) -> dict[str, Any]:
    """Return a thing as the API writes it, or what of it is wanted."""
    record = as_dict(item)
    if fields is None:
        return record
    fields.check(item)
    return fields.only(record)


def plain(values: Iterable[object]) -> str:
    """Return *values* separated by tabs; nothing in them can be taken for a tab or a new line."""
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
    """Write rows and, before the first or instead of it, their header: an error has none."""
    header = row([column.name.lower() for column in columns])
    count = 0
    async for item in items:
        cells = row([cell(column.value(item)) for column in columns])
        write(cells if count else header + cells)
        count += 1
    if not count:
        write(header)
    return count


async def _objects(items: AsyncIterable[M], style: Style, fields: Fields | None) -> int:
    if style is Style.JSONL:
        return await _lines(items, lambda item: dumps(_record(item, fields)))
    if style is Style.YAML:
        count = await _bytes(items, lambda i: yaml.dumped([_record(i, fields)]).encode())
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


async def _picked(items: AsyncIterable[M], fields: Fields) -> AsyncIterator[Any]:
    """Yield the values of *fields* of each of *items*."""
    first = True
    async for item in items:
        if first:
            fields.check(item)
        first = False
        yield fields.values(as_dict(item))


def _view_of(fields: Fields) -> View[Any]:
    """Return the view of what `_picked` yields."""

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
    widths = iter(_shared(wide, room))
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
    """Write each row as lines of a name and a value, which is wrapped and never cut."""
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


def _shared(needs: Sequence[int], room: int) -> list[int]:
    """Return a width for each of *needs*, together at most *room*; small needs are met in full."""
    widths = [0] * len(needs)
    for place, (need, index) in enumerate(sorted((need, i) for i, need in enumerate(needs))):
        widths[index] = min(need, room // (len(needs) - place))
        room -= widths[index]
    return widths
