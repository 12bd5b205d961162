"""Commands write in each format what the files say, of a yard here and over HTTP."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import typer.main

from crawlyard.cli.commands import tree
from tests.acceptance.conftest import BOTH
from tests.golden import CHANGES, FOLDER, LOOKS, built, parts, texts

APP = typer.main.get_command(tree())
FILES = sorted(file.name for file in FOLDER.glob("*.txt"))


@pytest.fixture(scope="module", params=BOTH)
def written(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, str]]:
    """What the commands write; over HTTP not in each format: these are made of the same."""
    yard = built(tmp_path_factory.mktemp("golden"))
    if request.param == "local":
        yield texts(yard, yard.shell)
    else:
        with yard.served() as shell:
            yield texts(yard, shell, ("-o table", "-o json", "-q"))


def test_every_file_is_of_a_command() -> None:
    assert sorted(f"{name.replace(' ', '-')}.txt" for name in (*LOOKS, "changes")) == FILES


def test_every_command_that_writes_something_has_a_place() -> None:
    # whole databases are looked at by test_db.py: no server answers for them; what a check
    # writes depends on a site, and test_check.py looks at it; a screenshot is no text
    every = {
        name: command
        for name, command in every_command()
        if not name.startswith("db ") and name not in ("check", "jobs screenshot")
    }
    writing = {name for name, command in every.items() if "style" in names_of(command)}
    changing = {name for name in writing for line in CHANGES if line.startswith(f"{name} ")}

    assert {*LOOKS} | changing == writing


def every_command(of: Any = APP, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield each command as one types it."""
    for name, inside in getattr(of, "commands", {}).items():
        yield " ".join((*path, name)), inside
        yield from every_command(inside, (*path, name))


def names_of(command: Any) -> set[str]:
    return {parameter.name for parameter in command.params}


@pytest.mark.parametrize("name", FILES)
def test_a_command_writes_what_its_file_says(written: Mapping[str, str], name: str) -> None:
    """If it is to write something else: ``python -m tests.golden``."""
    given, told = (FOLDER / name).read_text("utf-8"), parts(written[name])

    assert told == {line: out for line, out in parts(given).items() if line in told}
    if len(told) == len(parts(given)):
        assert written[name] == given
