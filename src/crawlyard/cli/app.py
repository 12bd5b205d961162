"""The command tree, and how a command ends: its exit code, and what an error says."""

import platform
import sys
from typing import Annotated

import typer

import crawlyard
from crawlyard.cli import (
    accounts,
    contexts,
    crawl,
    db,
    demo,
    events,
    hosts,
    jobs,
    login,
    overall,
    schedules,
    serve,
    templates,
    watching,
    webhooks,
    work,
    workers,
)
from crawlyard.cli.failures import exit_code_of, failure_lines
from crawlyard.cli.stdout import whole_stdout, write_line
from crawlyard.export.jsonl import dumps

app = typer.Typer(
    epilog="Start here: crawlyard demo",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,  # an error is a sentence; --debug shows more
)

INTERRUPTED = 130


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Submit crawls, bound them, watch them, pause them; lose nothing.

    crawlyard demo
    crawlyard crawl https://docs.example.org --max-pages 500 --out docs.jsonl
    crawlyard jobs list
    """
    if version:
        write_line(f"crawlyard {crawlyard.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        write_line(context.get_help())


@app.command("version")
def version_(
    *, json: Annotated[bool, typer.Option("--json", help="Write JSON to stdout.")] = False
) -> None:
    """Print the version.

    crawlyard version
    crawlyard version --json
    """
    found = {"crawlyard": crawlyard.__version__, "python": platform.python_version()}
    write_line(dumps(found) if json else f"crawlyard {found['crawlyard']}")


app.command("crawl")(crawl.crawl)
app.command("work")(work.work)
app.command("serve")(serve.serve)
app.add_typer(jobs.app, name="jobs")
app.add_typer(templates.app, name="templates")
app.add_typer(schedules.app, name="schedules")
app.add_typer(webhooks.app, name="webhooks")
app.command("events")(events.events)
app.command("pages")(overall.pages)
app.command("attention")(overall.attention)
app.add_typer(workers.app, name="workers")
app.add_typer(hosts.app, name="hosts")
app.add_typer(watching.ops_app, name="ops")
app.add_typer(accounts.tokens_app, name="tokens")
app.add_typer(accounts.users_app, name="users")
app.command("whoami")(accounts.whoami)
app.command("login")(login.login)
app.command("logout")(login.logout)
app.command("api")(login.api)
app.add_typer(contexts.app, name="context")
app.add_typer(db.app, name="db")
app.command("stats")(watching.stats)
app.command("health")(watching.health)
app.command("demo")(demo.demo)


def main() -> None:
    """Run the command that `sys.argv` names, and exit."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # what a terminal's encoding lacks is escaped rather than fatal
            stream.reconfigure(errors="backslashreplace")
    sys.exit(_run())


def _run() -> int:
    """Return the exit code of the command; whatever went wrong is told on stderr."""
    code = 0
    try:
        with whole_stdout():
            code = int(app(standalone_mode=False, prog_name="crawlyard") or 0)
    except KeyboardInterrupt:
        return INTERRUPTED
    except typer.Abort:
        return INTERRUPTED
    except typer.TyperException as error:
        _tell_usage(error)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - nothing reaches the user as a traceback
        for line in failure_lines(error):
            sys.stderr.write(f"{line}\n")
        return exit_code_of(error)
    return code


def _tell_usage(error: typer.TyperException) -> None:
    """Say what cannot be understood of the command line, and where its help is."""
    message = error.format_message().replace("Value error, ", "")  # Pydantic's prefix
    sys.stderr.write(f"error: {message[:1].lower()}{message[1:]}\n")
    context: typer.Context | None = getattr(error, "ctx", None)
    if context is not None:
        sys.stderr.write(f"  help: {context.command_path} --help\n")
