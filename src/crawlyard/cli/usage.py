"""Usage errors: all values of a command line that cannot be read are named at once."""

from collections.abc import Iterator, Mapping
from typing import Any

import typer
from typer.core import TyperCommand


class UnreadableValues(typer.BadParameter):
    """More than one value cannot be read; *faults* has an error for each."""

    def __init__(self, faults: list[typer.BadParameter]) -> None:
        super().__init__("; ".join(fault.format_message() for fault in faults), faults[0].ctx)
        self.faults = faults


class Command(TyperCommand):
    """A command that reads all its values before it reports those that cannot be read."""

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
            for part in parts:  # each alone, so that one fault does not hide the next
                try:
                    parameter.handle_parse_result(ctx, {**values, name: part}, [])
                except typer.BadParameter as fault:
                    yield fault


def with_all_faults(app: typer.Typer) -> typer.Typer:
    """Let the commands of *app* and of its groups name all values that cannot be read."""
    for command in app.registered_commands:
        command.cls = Command
    for group in app.registered_groups:
        if group.typer_instance is not None:
            with_all_faults(group.typer_instance)
    return app
