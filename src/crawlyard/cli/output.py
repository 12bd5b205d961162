"""What a command found, written as people or programs read it."""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

from crawlyard.cli.options import Style
from crawlyard.cli.stdout import write
from crawlyard.cli.words import printable
from crawlyard.export.csv import cell, row
from crawlyard.export.jsonl import dumps

M = TypeVar("M", bound=BaseModel)

_GAP = 2  # blanks between two columns
_LEAST = 8  # columns for what is cut; a terminal too narrow for that wraps


@dataclass(frozen=True, slots=True, kw_only=True)
class Column(Generic[M]):
    """One column: *value* for programs, *shown* for people where that differs."""

    name: str
    value: Callable[[M], object]
    shown: Callable[[M], str] | None = None
    right: bool = False  # numbers
    wide: bool = False  # takes the room that is left, and is cut at its end
    least: int = 0  # the width of a terminal below which a table does without

    def text(self, item: M) -> Text:
        """Return what a person sees, safe on a terminal."""
        words = self.shown(item) if self.shown is not None else cell(self.value(item))
        return Text(printable(words))


@dataclass(frozen=True, slots=True, kw_only=True)
class View(Generic[M]):
    """How things of one kind are listed; *key* is what ``--quiet`` writes."""

    columns: Sequence[Column[M]]
    key: Callable[[M], str]


async def each(items: Iterable[M]) -> AsyncIterator[M]:
    """Yield *items*: what is at hand, for those who wait for each."""
    for item in items:
        yield item


async def write_all(
    items: AsyncIterable[M], view: View[M], style: Style, out: Console, *, quiet: bool
) -> int:
    """Write *items* to stdout and return how many there were; only a table waits for the last."""
    if quiet:
        return await _lines(items, lambda item: printable(view.key(item)))
    if style is Style.TABLE:
        return await _table(items, view, out)
    if style is Style.JSON:
        return await _json_array(items)
    if style is Style.JSONL:
        return await _lines(items, _json)
    if style is Style.CSV:
        write(row([column.name.lower() for column in view.columns]))
        return await _bytes(items, lambda i: row([cell(c.value(i)) for c in view.columns]))
    return await _lines(items, lambda item: plain(column.value(item) for column in view.columns))


def write_one(item: BaseModel, style: Style) -> None:
    """Write one thing as JSON: indented, or on one line for ``-o jsonl``."""
    record = item.model_dump(mode="json")
    write(dumps(record, indent=None if style is Style.JSONL else 2).encode() + b"\n")


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


async def _json_array(items: AsyncIterable[M]) -> int:
    count = 0
    async for item in items:
        body = dumps(item.model_dump(mode="json"), indent=2).replace("\n", "\n  ")
        write(f"{',' if count else '['}\n  {body}".encode())
        count += 1
    write(b"\n]\n" if count else b"[]\n")
    return count


def _json(item: BaseModel) -> str:
    return dumps(item.model_dump(mode="json"))


async def _table(items: AsyncIterable[M], view: View[M], out: Console) -> int:
    columns = [column for column in view.columns if out.width >= column.least]
    rows = [[column.text(item) for column in columns] async for item in items]
    if not rows:
        return 0
    needs = [max(len(c.name), *(row[n].cell_len for row in rows)) for n, c in enumerate(columns)]
    taken = sum(need for need, c in zip(needs, columns, strict=True) if not c.wide)
    room = out.width - taken - _GAP * (len(columns) - 1)
    wide = [need for need, column in zip(needs, columns, strict=True) if column.wide]
    widths = iter(_shared(wide, room))
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, _GAP, 0, 0))
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


def _shared(needs: Sequence[int], room: int) -> list[int]:
    """Return a width for each of *needs*, together at most *room*: who needs little gets all."""
    widths = [0] * len(needs)
    for place, (need, index) in enumerate(sorted((need, i) for i, need in enumerate(needs))):
        share = max(_LEAST, room) // (len(needs) - place)
        widths[index] = max(1, min(need, share))
        room -= widths[index]
    return widths
