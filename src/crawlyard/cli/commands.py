"""Commands of `crawlyard`, loaded all at once or only the one that runs.

Loading every command and its options takes 0.1 s: as long as 300 pages.
"""

import platform
from collections.abc import Callable, Mapping
from copy import copy
from typing import Annotated, Any

import typer
from typer.main import get_command_name

import crawlyard
from crawlyard.cli.stdout import write_line
from crawlyard.cli.usage import report_all_faults
from crawlyard.export.jsonl import dumps
from crawlyard.lazy import lazily

# a command line uses one of them
with lazily():
    from crawlyard.cli import (
        accounts,
        api,
        db,
        events,
        hosts,
        login,
        overview,
        search,
        workers,
    )
    from crawlyard.cli.jobs import check, crawl, diff, groups, jobs, shares
    from crawlyard.cli.schedules import schedules, triggers
    from crawlyard.cli.server import agents, audit, demo, serve, service, work
    from crawlyard.cli.sites import sessions
    from crawlyard.cli.templates import templates
    from crawlyard.cli.webhooks import notifications, webhooks

PANELS: Mapping[str, Mapping[str, Callable[[], "typer.Typer | Callable[..., Any]"]]] = {
    "Crawl": {
        "demo": lambda: demo.demo,
        "crawl": lambda: crawl.crawl,
        "check": lambda: check.check,
        "jobs": lambda: jobs.app,
        "groups": lambda: groups.app,
        "shares": lambda: shares.app,
        "pages": lambda: search.pages,
        "diff": lambda: diff.diff,
        "templates": lambda: templates.app,
        "schedules": lambda: schedules.app,
        "triggers": lambda: triggers.app,
        "sessions": lambda: sessions.app,
    },
    "Operate": {
        "serve": lambda: serve.serve,
        "work": lambda: work.work,
        "service": lambda: service.app,
        "workers": lambda: workers.app,
        "hosts": lambda: hosts.app,
        "attention": lambda: search.attention,
        "stats": lambda: overview.stats,
        "events": lambda: events.events,
        "ops": lambda: overview.ops_app,
        "health": lambda: overview.health,
        "db": lambda: db.app,
    },
    "Connect and administer": {
        "login": lambda: login.login,
        "logout": lambda: login.logout,
        "whoami": lambda: accounts.whoami,
        "users": lambda: accounts.users_app,
        "tokens": lambda: accounts.tokens_app,
        "settings": lambda: accounts.settings_app,
        "audit": lambda: audit.app,
        "webhooks": lambda: webhooks.app,
        "notifications": lambda: notifications.app,
        "mcp": lambda: agents.mcp,
        "skill": lambda: agents.skill,
        "api": lambda: api.api,
        "version": lambda: version_,
    },
}
"""First word of each command, in the panels of the help; groups have subcommands."""

BRANCHES = {name: branch for panel in PANELS.values() for name, branch in panel.items()}


def tree(first: str = "", second: str = "") -> typer.Typer:
    """Return the commands: all of them, or only *first* if it is one.

    If *first* is a group that has a command *second*, it has only that one.
    """
    app = typer.Typer(
        epilog="Start here: crawlyard demo",
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,  # an error is a sentence; --debug shows more
    )
    app.callback(invoke_without_command=True)(root)
    for panel, branches in PANELS.items():
        for name in branches.keys() & {first} if first in BRANCHES else branches:
            branch = branches[name]()
            if isinstance(branch, typer.Typer):
                app.add_typer(_cut(branch, second), name=name, rich_help_panel=panel)
            else:
                app.command(name, rich_help_panel=panel)(branch)
    return report_all_faults(app)


def _cut(group: typer.Typer, name: str) -> typer.Typer:
    """Return *group* with the command *name* alone if it has one: all take 15 ms to build."""
    alone = copy(group)
    alone.registered_commands = [
        command
        for command in group.registered_commands
        if name == (command.name or get_command_name(getattr(command.callback, "__name__", "")))
    ]
    return alone if alone.registered_commands else group


def root(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Submit, limit, watch and pause crawls without losing results.

    crawlyard demo
    crawlyard crawl https://docs.example.org --max-pages 500 --out docs.jsonl
    crawlyard jobs list
    """
    if version:
        write_line(f"crawlyard {crawlyard.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        write_line(context.get_help())


def version_(
    *, json: Annotated[bool, typer.Option("--json", help="Write JSON to stdout.")] = False
) -> None:
    """Print the version.

    crawlyard version
    crawlyard version --json
    """
    versions = {"crawlyard": crawlyard.__version__, "python": platform.python_version()}
    write_line(dumps(versions) if json else f"crawlyard {versions['crawlyard']}")
