"""Entry point of the command line: exit codes and error messages."""

import sys

import typer

from crawlyard.cli.commands import tree
from crawlyard.cli.failures import exit_code_of, failure_lines
from crawlyard.cli.stdout import whole_stdout
from crawlyard.cli.usage import UnreadableValues

INTERRUPTED = 130


def main() -> None:
    """Run the command that `sys.argv` names, and exit."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # characters that a terminal's encoding lacks are escaped
            stream.reconfigure(errors="backslashreplace")
    sys.exit(_run())


def _run() -> int:
    """Return the exit code of the command; errors are reported on stderr."""
    code = 0
    try:
        with whole_stdout():
            app = tree(*sys.argv[1:3])
            code = int(app(standalone_mode=False, prog_name="crawlyard") or 0)
    except KeyboardInterrupt:
        return INTERRUPTED
    except typer.Abort:
        return INTERRUPTED
    except typer.TyperException as error:
        _tell_usage(error)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - users never see a traceback
        for line in failure_lines(error):
            sys.stderr.write(f"{line}\n")
        return exit_code_of(error)
    return code


def _tell_usage(error: typer.TyperException) -> None:
    """Report a usage error, and where to find help."""
    for fault in error.faults if isinstance(error, UnreadableValues) else [error]:
        message = fault.format_message()
        sys.stderr.write(f"error: {message[:1].lower()}{message[1:]}\n")
    context: typer.Context | None = getattr(error, "ctx", None)
    if context is not None:
        sys.stderr.write(f"  help: {context.command_path} --help\n")
