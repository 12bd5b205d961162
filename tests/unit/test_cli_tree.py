"""A branch of the command tree, loaded alone and with all others."""

import inspect
import shlex
import subprocess
import sys
from functools import cache

import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner

from crawlyard.cli import accounts, hosts, overview, search, workers
from crawlyard.cli.commands import BRANCHES, tree
from crawlyard.cli.invoke import PlainCommands
from crawlyard.cli.sites import sessions
from crawlyard.cli.webhooks import notifications, webhooks
from crawlyard.core.attention.trouble import Trouble
from crawlyard.core.endpoints.endpoint import endpoints_of
from crawlyard.services.surface import nouns
from tests.program import PROGRAM

PLAIN = {"COLUMNS": "100", "TERM": "dumb"}


def test_a_branch_alone_is_as_among_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def help_of(app: typer.Typer, name: str) -> str:
        return CliRunner().invoke(app, [name, "--help"], prog_name="crawlyard", env=PLAIN).output

    whole, alone = tree(), {name: tree(name) for name in BRANCHES}
    # to make the commands of all branches takes as long as all the rest
    monkeypatch.setattr(typer.testing, "_get_command", cache(typer.main.get_command))
    for name in BRANCHES:
        assert help_of(alone[name], name) == help_of(whole, name), name
        assert f"crawlyard {name}" in help_of(alone[name], name), name


def test_what_names_no_branch_gets_them_all() -> None:
    for first in ["", "--help", "craw", "-h"]:
        root = typer.main.get_command(tree(first))
        assert isinstance(root, TyperGroup), first
        assert sorted(root.commands) == sorted(BRANCHES), first


def test_a_command_loads_no_other() -> None:
    names = ("jobs.jobs", "schedules.schedules", "accounts", "search")
    modules = [f"crawlyard.cli.{name}" for name in names]
    program = (
        "import sys, types\n"
        "from crawlyard.cli import main\n"
        "sys.argv = ['crawlyard', 'crawl', '--help']\n"
        "try: main.main()\n"
        "except SystemExit: pass\n"
        f"names = [n for n in {modules!r} if type(sys.modules.get(n)) is types.ModuleType]\n"
        "print(names, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stderr.decode() == "[]\n"
    assert b"Crawl a site" in done.stdout


def test_what_helps_with_a_notice_is_a_command_that_exists() -> None:
    assert set(search.HELP_COMMANDS) <= set(Trouble)
    for line in search.HELP_COMMANDS.values():
        words = shlex.split(line.format(job="j1", id="x"))
        command = PROGRAM
        while words and words[0] in getattr(command, "commands", {}):
            command, words = command.commands[words[0]], words[1:]
        assert not hasattr(command, "commands"), line
        command.make_context("crawlyard", words)


def test_a_plain_command_has_an_endpoint_that_takes_its_options() -> None:
    number = 0
    for module in (accounts, hosts, overview, notifications, webhooks, workers, sessions):
        for plain in vars(module).values():
            if not isinstance(plain, PlainCommands):
                continue
            endpoints = endpoints_of(nouns()[plain.noun])
            for command in plain.app.registered_commands:
                declared = inspect.unwrap(command.callback or print)
                if inspect.iscoroutinefunction(declared) or command.name is None:
                    continue  # it has code of its own
                endpoint = endpoints["get" if command.name == "show" else command.name]
                number += 1
                options = inspect.signature(declared).parameters.values()
                names = {option.name for option in options if option.kind is option.KEYWORD_ONLY}
                assert names <= {each.name for each in endpoint.parameters}, command.name
    assert number > 15
