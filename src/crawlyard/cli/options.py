"""Options that several commands share, written once: names, parsers and help."""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum, auto
from hashlib import blake2s
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

import typer
from msgspec import NODEFAULT, Struct
from msgspec.structs import fields
from typer.models import ArgumentInfo, OptionInfo

from crawlyard.cli.render.fields import Fields
from crawlyard.cli.stdin_args import read_ids
from crawlyard.cli.stdout import write_line
from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.quantity import count
from crawlyard.errors import Invalid
from crawlyard.export.base import Format

T = TypeVar("T")
Command: TypeAlias = Callable[..., None]


class Style(StrEnum):
    """Output formats."""

    TABLE = auto()  # for people: default on a terminal
    PLAIN = auto()  # tab-separated, no header: default in a pipe
    JSON = auto()
    JSONL = auto()
    CSV = auto()
    YAML = auto()


OBJECTS = frozenset({Style.JSON, Style.JSONL, Style.YAML})
"""Formats that have the structure of the API."""


def option(
    parser: Callable[[str], Any], name: str, metavar: str, text: str, panel: str | None = None
) -> Any:
    """Return a Typer option whose value *parser* reads; its `ValueError` is a usage error."""

    @functools.wraps(parser)
    def parse(word: Any) -> Any:
        if not isinstance(word, str):
            return word  # a default, already parsed
        try:
            return parser(word)
        except Invalid as error:
            raise typer.BadParameter(error.message) from error  # Typer adds the option
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    return typer.Option(
        name,
        parser=parse,
        metavar=metavar,
        help=text,
        rich_help_panel=panel,
        show_default=False,
    )


def argument(metavar: str, text: str, parser: Callable[[str], Any] | None = None) -> Any:
    """Return a Typer argument whose words *parser* reads."""
    return typer.Argument(metavar=metavar, help=text, parser=parser, show_default=False)


def choice(
    *names: str,
    of: type[StrEnum],
    text: str,
    panel: str | None = None,
    default: str = "",
    many: bool = False,
) -> Any:
    """Return a Typer option for the values of an enumeration, which its help lists."""
    *first, last = of
    words = f"{', '.join(first)} or {last}" if first else last
    words += f"; default {default}." if default else "."
    return typer.Option(
        *names,
        metavar="WORD",
        help=f"{text}: {words}{' Repeatable.' if many else ''}",
        rich_help_panel=panel,
        show_default=False,
    )


def flag(*names: str, text: str, panel: str | None = None) -> Any:
    """Return a Typer option without a value."""
    return typer.Option(*names, metavar="", help=text, rich_help_panel=panel)


class Basics(Struct, frozen=True, kw_only=True):
    """Options of every command."""

    data_dir: Annotated[
        Path | None,
        option(Path, "--data-dir", "DIR", "Data directory; default crawlyard-data."),
    ] = None
    server: Annotated[
        str,
        option(str, "--server", "URL", "Server URL; default CRAWLYARD_SERVER, or the last login."),
    ] = ""
    json: Annotated[bool, flag("--json", text="Write JSON to stdout.")] = False
    quiet: Annotated[bool, flag("--quiet", "-q", text="Show no progress; print only ids.")] = False
    debug: Annotated[bool, flag("--debug", text="Show the traceback of an error.")] = False


class Common(Basics, frozen=True, kw_only=True):
    """Options of commands that write records."""

    style: Annotated[Style | None, choice("--output", "-o", of=Style, text="Output format")] = None
    fields: Annotated[
        Fields | None,
        option(
            Fields.of, "--fields", "NAME,…", "Write only these JSON fields, in any output format."
        ),
    ] = None

    @property
    def writes_records(self) -> bool:
        """True if a command that changes records also writes them."""
        return self.json or self.quiet or self.style is not None or self.fields is not None

    def style_on(self, *, terminal: bool) -> Style:
        """Return the output format; *terminal*: stdout is a terminal.

        Raises:
            Invalid: two different formats were requested.
        """
        if self.quiet and self.fields is not None:
            raise Invalid("--fields", "excludes -q")
        if self.json and self.style not in (None, Style.JSON):
            raise Invalid("--json", f"expected one format, got -o {self.style} as well")
        if self.json:
            return Style.JSON
        return self.style or (Style.TABLE if terminal else Style.PLAIN)


def group(text: str) -> typer.Typer:
    """Return a group of commands; *text* is its help, which it prints without a subcommand."""
    app = typer.Typer()

    @app.callback(invoke_without_command=True, help=inspect.cleandoc(text))
    def root(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            write_line(context.get_help())

    return app


class Together(Struct, frozen=True):
    """In the annotation of a parameter: *read* takes all its values before anything is opened."""

    read: Callable[[Any], Any]


_KEYED = frozenset({"params", "parameters"})
"""Fields whose members the user names."""


class Labels(Struct, frozen=True):
    """Options of one command by API field, for its errors."""

    options: Mapping[str, str]  # by parameter of the command
    own: Mapping[str, str]  # by field, where the parameter has another name

    def option_of(self, path: str) -> str:
        """Return the option or argument that sets the field *path*, else *path* itself.

        The field may be one of a spec, within a template or a schedule. An element of a list
        or an object belongs to the option of the whole; a parameter of a template has a name too.
        """
        first, dot, rest = path.partition(".")
        if dot and first in _KEYED and first in self.own:
            return f"{self.own[first]} {rest}"
        if (whole := path.rstrip(".0123456789")) in self.own:
            return self.own[whole]
        whole = path.removeprefix("overrides.").removeprefix("spec.")
        member = whole.rpartition(".")[2]
        while whole:
            name = whole.replace(".", "_")
            for spelling in (name, f"{name}_s", name.removesuffix("_s")):
                if spelling in self.options:
                    return self.options[spelling]
            whole = whole.rpartition(".")[0]
        return self.options.get(member.removesuffix("_s"), path) if first == "quota" else path

    def translate(self, error: Invalid) -> Invalid:
        """Return *error* with options in place of fields."""
        return error.map(self._translate_fault)

    def _translate_fault(self, fault: Invalid) -> Invalid:
        option = self.option_of(fault.field)
        if option == fault.field:
            return fault
        return Invalid(option, fault.message, fault.position)


def flat(**own: str) -> Callable[[Command], Command]:
    """Flatten a command for Typer: parameters that are records become one option per field.

    Related options are declared once and passed as one value. *own*: names of API fields in
    errors, if no parameter has their name.
    """

    def decorate(command: Command) -> Command:
        parameters = inspect.signature(command).parameters.values()
        wrapped, _ = flatten(command, parameters, command, own)
        return wrapped

    return decorate


def flatten(
    command: Callable[..., Any],
    parameters: Iterable[inspect.Parameter],
    call: Command,
    own: Mapping[str, str],
) -> tuple[Command, Labels]:
    """Return a function for Typer with flat *parameters* of *command*, which makes *call*."""
    groups: dict[str, Any] = {}
    readers: dict[str, Callable[[Any], Any]] = {}
    signature: list[inspect.Parameter] = []
    for each in parameters:
        kind = each.annotation
        if isinstance(kind, type) and issubclass(kind, Struct):
            groups[each.name] = kind
            signature += _fields(kind)
        else:
            signature.append(each.replace(kind=each.KEYWORD_ONLY))
        for mark in getattr(kind, "__metadata__", ()):
            if isinstance(mark, Together):
                readers[each.name] = mark.read

    labels = Labels(
        {each.name.rstrip("_"): label for each in signature if (label := _label(each))}, own
    )

    @functools.wraps(command)
    def wrapper(**options: Any) -> None:
        for name, kind in groups.items():
            own = {field: options.pop(field) for field in kind.__struct_fields__}
            options[name] = kind(**own)
        try:
            call(**options | {name: read(options[name] or []) for name, read in readers.items()})
        except Invalid as error:
            raise labels.translate(error) from error

    wrapper.__signature__ = inspect.Signature(signature)  # type: ignore[attr-defined]  # what Typer reads
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in signature}
    return wrapper, labels


def _label(parameter: inspect.Parameter) -> str:
    """Return the name of a parameter on the command line."""
    for mark in getattr(parameter.annotation, "__metadata__", ()):
        if isinstance(mark, ArgumentInfo):
            return (mark.metavar or parameter.name).strip("[].")
        if isinstance(mark, OptionInfo):
            # within `Annotated`, Typer stores the first name as the default
            names = [mark.default, *(mark.param_decls or ()), parameter.name.replace("_", "-")]
            named = next(name for name in names if isinstance(name, str))
            return (named if named.startswith("-") else f"--{named}").partition("/")[0]
    return ""


def _fields(kind: Any) -> list[inspect.Parameter]:
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=[] if field.default is NODEFAULT else field.default,
            annotation=field.type,
        )
        for field in fields(kind)
    ]


def an_id(word: str) -> str:
    """Return *word*, part of an id, unless it is empty: an empty word matches every id.

    Raises:
        typer.BadParameter: it is empty, as an unset variable of a script is.
    """
    if not word.strip():
        raise typer.BadParameter(f"expected an id, got {word!r}")
    return word


Ids = Annotated[
    list[str],
    argument(
        "ID",
        "Job ids, unique starts or ends of them, last or SCHEDULE@last; '-' reads from stdin.",
        an_id,
    ),
    Together(read_ids),
]
_ONE_ID = "Job id, a unique start or end of one, last, or SCHEDULE@last."
Id = Annotated[str, argument("ID", _ONE_ID, an_id)]
MaybeId = Annotated[str | None, argument("[ID]", _ONE_ID, an_id)]


Limit = Annotated[
    int | None,
    option(
        count,
        "--limit",
        "N",
        "Maximum number of items; 0: all; default 50 in a table on a terminal.",
    ),
]
IdempotencyKey = Annotated[
    str | None,
    option(
        str, "--idempotency-key", "KEY", "A repeated command with the same KEY changes nothing."
    ),
]


def key_for(idempotency_key: str | None, name: str) -> str | None:
    """Return the key of one of several calls of a command: the call for the record *name*."""
    if not idempotency_key:
        return idempotency_key
    # a name may be longer than a key, and have characters that headers forbid
    return f"{idempotency_key} {blake2s(name.encode(), digest_size=8).hexdigest()}"


Yes = Annotated[bool, flag("--yes", "-y", text="Skip the confirmation.")]


class Only(StrEnum):
    """Subsets of page records."""

    OK = auto()  # without an error
    FAILED = auto()


OutFormat = Annotated[
    Format | None, choice("--format", of=Format, text="Format of --out", default="by suffix")
]
OnlyRecords = Annotated[Only | None, choice("--only", of=Only, text="Only pages with this outcome")]
Kinds = Annotated[
    list[ErrorKind] | None,
    choice("--kind", of=ErrorKind, text="Only errors of this kind", many=True),
]
NeedsScripts = Annotated[
    bool, flag("--needs-scripts", text="Only pages whose text is incomplete without scripts.")
]


LinksTo = Annotated[str, option(str, "--links-to", "URL", "Only pages with a link to this URL.")]


class Watch(Struct, frozen=True, kw_only=True):
    """Options to run and watch a queued job in this process."""

    watch: Annotated[
        bool, flag("--watch", text="Run and watch the job in this process, as `crawl` does.")
    ] = False
    out: Annotated[
        str,
        option(
            str,
            "--out",
            "FILE",
            "With --watch: export the pages to FILE at the end; '-' for stdout.",
        ),
    ] = ""
    format: OutFormat = None
