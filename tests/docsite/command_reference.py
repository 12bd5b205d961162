"""The reference of the command line, from the commands: a page for each top-level command."""

import inspect
from typing import Any

from tests.docsite.markdown import Pages, cell, page, prose, table
from tests.program import PROGRAM, Words, walk

FOLDER = "reference/commands"


def command_pages() -> Pages:
    """Return the pages of the command reference."""
    rows = [
        [f"[`crawlyard {name}`]({name}.md)", cell(_summary(command))]
        for name, command in PROGRAM.commands.items()
        if not command.hidden
    ]
    pages = {
        f"{FOLDER}/index.md": page(
            "# Commands",
            "All commands with all their options, generated from the program. `crawlyard "
            "COMMAND --help-all` prints the same. [Use the command "
            "line](../../howto/command-line.md) explains "
            "output formats, servers and exit codes.",
            table(["command", "purpose"], rows),
        )
    }
    for name, command in PROGRAM.commands.items():
        if not command.hidden:
            commands = [each for each in walk(command, (name,)) if not each[1].hidden]
            pages[f"{FOLDER}/{name}.md"] = page(
                f"# crawlyard {name}",
                *(_command(words, each) for words, each in commands),
            )
    return pages


def _summary(command: Any) -> str:
    return inspect.cleandoc(command.help or "").partition("\n\n")[0]


def _command(words: Words, command: Any) -> str:
    summary, _, rest = inspect.cleandoc(command.help or "").replace("\b\n", "").partition("\n\n")
    heading = f"## crawlyard {' '.join(words)}" if len(words) > 1 else ""
    if hasattr(command, "commands"):
        return page(heading, prose(summary), prose(rest))
    return page(heading, prose(summary), _usage(words, command), _details(rest), _options(command))


def _usage(words: Words, command: Any) -> str:
    arguments = [_argument(p) for p in command.params if p.param_type_name == "argument"]
    return f"```text\ncrawlyard {' '.join([*words, *arguments])} [OPTIONS]\n```"


def _argument(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    many = "…" if parameter.nargs == -1 else ""
    return f"{name}{many}" if parameter.required else f"[{name}{many}]"


def _details(text: str) -> str:
    """Return the paragraphs below the summary; examples become code blocks."""
    parts = []
    for block in filter(None, text.split("\n\n")):
        lines = [line for line in block.splitlines() if line.strip() != "\b"]
        code = all(line.startswith("crawlyard ") for line in lines)
        parts.append("```text\n" + "\n".join(lines) + "\n```" if code else prose("\n".join(lines)))
    return "\n\n".join(parts)


def _options(command: Any) -> str:
    rows = [
        [_names(parameter), cell(parameter.help or "")]
        for parameter in command.params
        if parameter.param_type_name == "option"
    ]
    return table(["option", "description"], rows)


def _names(option: Any) -> str:
    value = f" {option.metavar}" if option.metavar else ""
    names = ", ".join(f"`{name}{value}`" for name in (*option.opts, *option.secondary_opts))
    return names.replace("|", "\\|")
