"""Options of `crawlyard crawl`, derived from the fields of a spec.

An option that was not given is ``None`` or empty, so that it does not override a
template. A template's value is removed with ``--no-…``, or with "none"
for a limit or a list.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from enum import Enum, StrEnum, auto
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Struct, defstruct

from crawlyard.cli import values
from crawlyard.cli.options import Together, argument, choice, flag, option
from crawlyard.cli.stdin_args import read_seeds
from crawlyard.core.fields import Field, Panel, fields_of
from crawlyard.core.jobs.spec import JobSpec, Priority
from crawlyard.core.jobs.spec_json import FIELDS
from crawlyard.export.base import Format


class Keep(StrEnum):
    """Parts of a page that can be kept beside its record and its text."""

    HTML = auto()
    NONE = auto()


_READERS: Mapping[str, Callable[[str], Any]] = {
    "include": str,
    "exclude": str,
    "ignore_css": str,
    "ignore_text": str,
    "logged_out": str,
    "sitemaps": str,
    "allow_addresses": str,
    "headers": values.or_none(values.header),
    "extract": values.or_none(values.pair),
    "priority": Priority.of,
    "retention_s": values.retention,
    "spread": values.spread,
    "unique_key": str,
    "webhooks": values.webhook,
}
"""Readers of options whose type does not determine their syntax."""


def _option(field: Field) -> tuple[str, Any, Any]:
    """Return the name, the annotated type and the default of the option for a field."""
    kind, info = _typer_option(field)
    return _name(field), Annotated[kind, info], None


def _typer_option(field: Field) -> tuple[Any, Any]:
    about, kind = field.about, field.choices
    panel, text = about.panel or "", about.summary
    if field.path == "keep_html":
        return Keep | None, choice(field.flag, of=Keep, text=text, panel=panel, default=Keep.NONE)
    if kind is not None and issubclass(kind, StrEnum) and field.path not in _READERS:
        text, default = about.help or text, field.default
        return kind | None, choice(field.flag, of=kind, text=text, panel=panel, default=default)
    text = about.help or f"{text}."
    if field.kind is bool:
        return bool | None, flag(f"{field.flag}/--no-{field.flag[2:]}", text=text, panel=panel)
    text = text.format(default=_default(field)) if "{" in text else text
    annotation = option(_reader(field), field.flag, field.metavar, text, panel)
    return (list[Any] | None if field.many else Any), annotation


def _name(field: Field) -> str:
    return field.path.replace(".", "_")


def reader_of(field: Field) -> Callable[[str], Any]:
    """Return the reader of one value of *field*; it raises `ValueError` or `Invalid`."""
    if field.path in _READERS:
        return _READERS[field.path]
    if field.unit is None:
        return values.line
    return {"s": values.span_s, "bytes": values.size, "": values.count}[field.unit]


def _reader(field: Field) -> Callable[[str], Any]:
    reader = reader_of(field)
    takes_none = field.about.null and field.path not in _READERS
    return values.ceiling(reader) if takes_none else reader


def _default(field: Field) -> str:
    if field.unit == "s":
        return values.duration_text(timedelta(seconds=field.default))
    return values.size_text(field.default) if field.unit == "bytes" else str(field.default)


SHOWN: Sequence[Field] = sorted(
    (field for field in fields_of(JobSpec).values() if field.about.panel is not None),
    key=lambda field: list(Panel).index(field.about.panel or Panel.JOB),
)
"""The fields of a spec that have an option, in the order of the help."""

_NO_CHECK_PANELS = (Panel.OUTPUT, Panel.RECRAWL)
_NOT_OF_CHECKS = frozenset({"spread", "retention_s", "webhooks"})

if TYPE_CHECKING:

    class SpecOptions(Struct, frozen=True, kw_only=True):
        """Options of a spec that were given, one field for each of `SHOWN`."""

    class CheckOptions(SpecOptions, frozen=True, kw_only=True):
        """Spec options that apply to a link check."""
else:
    SpecOptions = defstruct(
        "SpecOptions", [_option(field) for field in SHOWN], frozen=True, kw_only=True
    )
    CheckOptions = defstruct(
        "CheckOptions",
        [
            _option(field)
            for field in SHOWN
            if field.about.panel not in _NO_CHECK_PANELS and field.path not in _NOT_OF_CHECKS
        ],
        frozen=True,
        kw_only=True,
    )


Urls = Annotated[
    list[str] | None,
    argument("URL", "Start URLs; '-' reads them from stdin, '@FILE' from a file."),
    Together(read_seeds),
]


class Output(Struct, frozen=True, kw_only=True):
    """Destination of the pages when the job ends."""

    out: Annotated[
        str,
        option(
            str,
            "--out",
            "FILE",
            "Export the pages to FILE when the job ends; '-' for stdout.",
            Panel.OUTPUT,
        ),
    ] = ""
    format: Annotated[
        Format | None,
        choice(
            "--format",
            of=Format,
            text="Format of --out",
            default="by suffix",
            panel=Panel.OUTPUT,
        ),
    ] = None


def form_of(urls: Sequence[str], options: SpecOptions) -> dict[str, object]:
    """Return the form of a spec with the given options only."""
    form: dict[str, Any] = {"urls": list(urls)} if urls else {}
    for field in SHOWN:
        value = getattr(options, _name(field), None)
        if value is None or value == []:
            continue
        place = form.setdefault(field.group, {}) if field.group else form
        place[field.name] = _json(field, value)
    return form


def form_over(old: Mapping[str, Any], form: Mapping[str, Any]) -> dict[str, Any]:
    """Return the form *old* updated with *form*; "none" there removes a field."""
    merged = dict(old)
    for name, value in form.items():
        before = merged.pop(name, None)
        merged.pop(name.removesuffix("_s"), None)  # its other spelling
        inner = form_over(before or {}, value) if isinstance(value, Mapping) else value
        if inner not in (None, [], {}):
            merged[name] = inner
    return merged


def _json(field: Field, value: Any) -> object:
    if isinstance(value, values.Ceiling):
        value = value.value
    if isinstance(value, Keep):
        return value is Keep.HTML
    if isinstance(value, list):
        if value in ([values.NONE], [values.NO_PAIR]):
            value = []
        return [list(item) if isinstance(item, values.Pair) else item for item in value]
    if field.unit == "s" and value is not None:
        return FIELDS[field.path].write(value)
    return str(value) if isinstance(value, Enum) else value
