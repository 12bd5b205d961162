"""The whole command line as one object: building it takes as long as one of its help pages."""

from collections.abc import Iterator
from typing import Any

import typer.main

from crawlyard.cli.commands import tree

Words = tuple[str, ...]

PROGRAM: Any = typer.main.get_command(tree())


def walk(command: Any = PROGRAM, words: Words = ()) -> Iterator[tuple[Words, Any]]:
    """Yield each command and group of commands with its words."""
    yield words, command
    for name, child in getattr(command, "commands", {}).items():
        yield from walk(child, (*words, name))


COMMANDS = {
    " ".join(words): command for words, command in walk() if not hasattr(command, "commands")
}
FORMATTED = {
    name
    for name, command in COMMANDS.items()
    if any(parameter.name == "style" for parameter in command.params)
}
"""Names of the commands that write tables, and other formats with ``-o``."""
