"""The page on starting crawls from other programs, run as written."""

import json
import re
import shlex
import subprocess
from pathlib import Path

from tests.acceptance.shell import Shell, serving

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "triggers.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_commands_and_requests_of_the_page_work(shell: Shell) -> None:
    _output(
        shell, "schedules", "create", "nightly", "--when", "@daily", "https://docs.example.org/"
    )
    token = _output(shell, "tokens", "create", "tests").strip()
    with serving(shell, token) as served:
        create, of_template, manage = (block.splitlines() for block in blocks("sh"))
        schedule_token = _output(served, *shlex.split(create[0])[1:]).strip()
        _output(served, *shlex.split(of_template[0])[1:])
        template_token = _output(served, *shlex.split(of_template[1])[1:]).strip()
        tokens = {"TRIGGER_TOKEN": schedule_token, "TEMPLATE_TOKEN": template_token}
        submitted, started, mapped = (
            json.loads(_bash(served, block, tokens)) for block in blocks("bash")
        )
        new = json.loads(_output(served, "jobs", "show", mapped["job_id"], "--json"))
        listed = _output(served, *shlex.split(manage[0])[1:])
        trigger_id = _output(served, "triggers", "list", "-q").split()[0]
        _output(served, *shlex.split(manage[1])[1:-1], trigger_id)
        refused = served.run("triggers", "revoke", trigger_id)

    assert submitted["spec"]["unique_key"] == "docs-build-42"
    assert started["job_id"] not in (submitted["id"], mapped["job_id"])
    assert new["spec"]["urls"] == ["https://docs.example.org/new"]
    assert schedule_token not in listed
    assert refused.returncode != 0


def _output(shell: Shell, *words: str) -> str:
    ran = shell.run(*words)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def _bash(shell: Shell, script: str, more: dict[str, str]) -> str:
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env=shell.environment | more,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
