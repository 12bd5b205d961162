"""Crawl form: groups of controls, made from the fields that a spec declares.

New crawl, templates and schedules show the same form. The declaration of a field has its label,
help, choices and default; fields without a panel are under Advanced.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import get_origin

from msgspec import Struct

from crawlyard.core.fields import Field, Panel
from crawlyard.core.jobs.spec_json import FIELDS, FormField
from crawlyard.core.quantity import duration_text, size_text

ADVANCED = "Advanced"
_BOOLEAN = (("true", "Yes"), ("false", "No"))
_MANY = 1000  # a higher bound is not worth showing
_SPELLED = {"keep_html": ("--keep=html", "--keep=none")}  # booleans without --x/--no-x


class Choice(Struct, frozen=True):
    """One value that a control offers."""

    value: str
    text: str
    flag: str  # its command-line option; empty: none


class Control(Struct, frozen=True, kw_only=True):
    """One field of the form."""

    path: str  # "limits.pages"
    also: str  # another path of it in a spec; empty: none
    label: str
    help: str
    read_as: str  # name of its parser: PARSERS in core/form.js
    rows: int  # of a text area; 0: one line
    default: str  # in words; empty: nothing
    choices: tuple[Choice, ...] = ()
    offers: tuple[str, ...] = ()  # suggestions for a text
    flag: str = ""  # its command-line option; empty: none


class Group(Struct, frozen=True, kw_only=True):
    """Controls that are folded together."""

    title: str
    controls: tuple[Control, ...]


def _control(of: FormField) -> Control:
    field = of.field
    read_as, rows = _reading(field)
    return Control(
        path=of.path,
        also=of.also,
        label=field.label,
        help=" ".join(_help(field, rows)),
        read_as=read_as,
        rows=rows,
        default=_default(field),
        choices=tuple(_choices(field)),
        offers=tuple(field.about.words) if field.kind is str else (),
        flag=field.flag,
    )


def _reading(field: Field) -> tuple[str, int]:
    """Return the parser of a field's text and the rows of its text area; 0: one line."""
    if field.path == "webhooks":
        return "hooks", 2
    if get_origin(field.kind) is tuple:
        return "headers" if ":" in field.metavar else "pairs", 2
    if field.many:
        if field.about.of == "texts" or field.choices is not None:
            return "words", 0
        return ("urls", 2) if field.about.of.startswith("URLs") else ("lines", 2)
    if field.kind is bool:
        return "number", 0  # parses true and false as well
    units = {"s": "span", "bytes": "size", "": "quantity"}
    plain = "text" if field.kind is str or field.choices is not None else "quantity"
    return units.get(field.unit or "", plain) if field.unit is not None else plain, 0


def _help(field: Field, rows: int) -> Iterator[str]:
    summary = field.about.summary
    if summary != field.label:
        yield f"{summary}."
    if field.path == "webhooks":
        yield "A URL, then its events (by default all that end a job) and metadata as JSON."
    elif field.many and field.choices is not None:
        yield f"Of {', '.join(field.choices)}."
    if rows:
        yield "One per line."
    least, most = field.about.least, field.about.most
    if least is not None and most is not None and most <= _MANY and field.unit != "s":
        yield f"{least:,} to {most:,}."


def _default(field: Field) -> str:
    value = field.default
    if value is None:
        return field.about.null
    if field.kind is bool:
        return dict(_BOOLEAN)[str(value).lower()]
    if field.choices is not None and not field.many:
        return field.about.words.get(str(value), _in_words(str(value)))
    if field.many:
        return ", ".join(sorted(map(str, value)))
    if field.unit == "s":
        return duration_text(timedelta(seconds=value))
    return size_text(value) if field.unit == "bytes" else str(value)


def _choices(field: Field) -> Iterator[Choice]:
    if field.kind is bool:
        no = f"--no-{field.flag[2:]}"
        flags = _SPELLED.get(field.path, (field.flag, no)) if field.flag else ("", "")
        for (value, text), flag in zip(_BOOLEAN, flags, strict=True):
            yield Choice(value, text, flag)
    elif field.choices is not None and not field.many:
        for word in map(str, field.choices):
            text = field.about.words.get(word, _in_words(word))
            yield Choice(word, text, f"{field.flag} {word}" if field.flag else "")


def _in_words(word: str) -> str:
    return word.replace("_", " ").replace("-", " ").capitalize()


def _groups() -> Iterator[Group]:
    fields = [field for path, field in FIELDS.items() if path != "urls"]  # shown above the groups
    for panel in (*Panel, None):
        own = [_control(field) for field in fields if field.field.about.panel is panel]
        # one-line controls first, so that they share rows
        controls = tuple(sorted(own, key=lambda control: control.rows > 0))
        if controls:
            yield Group(title=panel or ADVANCED, controls=controls)


GROUPS = tuple(_groups())
"""All groups of the form, in the order of `Panel`."""

STARTS = _control(FIELDS["urls"])
"""The start URLs, which each page shows above the groups."""
