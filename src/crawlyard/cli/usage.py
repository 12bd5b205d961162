"""Typer commands that report all usage errors at once, and have a short help."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperOption

C = TypeVar("C", bound=Callable[..., Any])

HELP_ALL = "--help-all"


def essential(options: str) -> Callable[[C], C]:
    """Declare the options of a command that ``--help`` shows; ``--help-all`` shows all of them."""

    def mark(command: C) -> C:
        command.essential = options.split()  # type: ignore[attr-defined]  # read by `Command`
        return command

    return mark


class UnreadableValues(typer.BadParameter):
    """Several values cannot be read; *faults* has an error for each."""

    def __init__(self, faults: list[typer.BadParameter]) -> None:
        super().__init__("; ".join(fault.format_message() for fault in faults), faults[0].ctx)
        self.faults = faults


class Command(TyperCommand):
    """A command that reads all its values before it reports those that cannot be read.

    A command with many options has a short help beside the full one: see `essential`.
    """

    _help_all: Any = None  # created once: Typer compares parameters by identity

    @property
    def _essential(self) -> Sequence[str]:
        options: Sequence[str] = getattr(self.callback, "essential", ())
        return options

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, including those that show help."""
        *parameters, help_option = super().get_params(ctx)
        help_option.metavar = ""
        if self._help_all is None:
            self._help_all = copy.copy(help_option)
            self._help_all.name, self._help_all.opts = "help_all", [HELP_ALL]
            self._help_all.help = "Show all options, grouped."
            self._help_all.hidden = not self._essential
            self._help_all.callback = _show_all
        return [*parameters, help_option, self._help_all]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help: the full one if the command is small, or if it was requested."""
        whole = not self._essential or HELP_ALL in ctx.meta
        command = copy.copy(self) if whole else self._shorten(ctx)
        command.help = _unwrap(command.help or "")
        TyperCommand.format_help(command, ctx, formatter)

    def _shorten(self, ctx: Any) -> "Command":
        """Return this command with its essential options and its first example."""
        command = copy.copy(self)
        options: dict[str, Any] = {name: each for each in self.params for name in each.opts}
        command.params = [each for each in self.params if not isinstance(each, TyperOption)]
        for name in self._essential:
            option = copy.copy(options[name])
            option.rich_help_panel = None
            command.params.append(option)
        summary, examples, *_ = (self.help or "").split("\n\n")
        command.help = f"{summary}\n\n{examples.splitlines()[0]}"
        hidden = len(self.params) - len(command.params)
        command.epilog = f"{hidden} more options: {ctx.command_path} {HELP_ALL}"
        return command

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the values of all parameters.

        Raises:
            typer.BadParameter: a value cannot be read.
        """
        words = [*args]
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter:
            values, _, _ = self.make_parser(ctx).parse_args(args=words)
            faults = list(self._faults(ctx, values))
            if len(faults) > 1:
                raise UnreadableValues(faults) from None
            raise

    def _faults(self, ctx: Any, values: Mapping[str, Any]) -> Iterator[typer.BadParameter]:
        for parameter in self.get_params(ctx):
            name, value = parameter.name, values.get(parameter.name or "")
            parts = [[part] for part in value] if isinstance(value, list) and value else [value]
            for part in parts:  # one by one, so that one fault does not hide the next
                try:
                    parameter.handle_parse_result(ctx, {**values, name: part}, [])
                except typer.BadParameter as fault:
                    yield fault


def _unwrap(text: str) -> str:
    """Return *text* with one line per paragraph, for Typer to wrap; examples stay as they are."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(
        each if each.startswith("crawlyard ") else each.replace("\n", " ") for each in paragraphs
    )


def _show_all(ctx: Any, _: object, value: bool) -> None:  # noqa: FBT001 - as Typer calls it
    if value and not ctx.resilient_parsing:
        ctx.meta[HELP_ALL] = True
        typer.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()


def report_all_faults(app: typer.Typer) -> typer.Typer:
    """Make the commands of *app* and of its groups report all values that cannot be read."""
    for command in app.registered_commands:
        command.cls = Command
    for group in app.registered_groups:
        if group.typer_instance is not None:
            report_all_faults(group.typer_instance)
    return app
