"""The commands of the page on users, quotas and grants, run as written."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.shell import Shell, serving

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "users-and-quotas.md").read_text("utf-8")
SERVER = "http://127.0.0.1:8700"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def served(shell: Shell) -> Iterator[Shell]:
    """A shell of the admin of a served yard that grants nothing."""
    token = shell.run("tokens", "create", "tests").stdout.strip()
    with serving(shell, token) as shell_of_admin:
        yield shell_of_admin


def test_the_requests_of_the_users_page_work(served: Shell) -> None:
    typed = "set -euo pipefail\n" + "\n".join(blocks("bash"))

    ran = subprocess.run(
        ["bash", "-c", typed.replace(SERVER, served.env["CRAWLYARD_SERVER"])],
        cwd=served.folder,
        env=served.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    assert "/problems/" not in ran.stdout
    assert '"scopes":["jobs:read","jobs:write"]' in ran.stdout
    assert '"effective":{"addresses":true' in ran.stdout
    assert '"effective":{"addresses":false' in ran.stdout


@pytest.mark.slow
def test_the_commands_of_the_users_page_work(served: Shell) -> None:
    shell = Shell(served.folder)
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    commands = [line.replace(SERVER, served.env["CRAWLYARD_SERVER"]) for line in lines]

    for line in commands:
        words = shlex.split(line)[1:]
        if words[0] in {"users", "tokens", "api", "login", "whoami"}:
            ran = shell.run(*words, stdin=served.env["CRAWLYARD_TOKEN"])
            assert ran.returncode == 0, f"{line}: {ran.stderr}"
