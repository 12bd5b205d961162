"""The page on share links, run as written."""

import json
import re
import shlex
import subprocess
from pathlib import Path
from urllib.request import urlopen

from tests.acceptance.shell import Shell, serving

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "share.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_commands_and_requests_of_the_page_work(shell: Shell) -> None:
    token = _output(shell, "tokens", "create", "tests").strip()
    here = Shell(
        shell.folder, dict(shell.env) | {"CRAWLYARD_PUBLIC_URL": "https://crawls.example.org"}
    )
    with serving(here, token) as served:
        job = _output(served, "crawl", "https://docs.example.org/", "--detach", "-q").strip()
        create, manage, turn_off = (block.splitlines() for block in blocks("sh"))
        urls = [_output(served, *shlex.split(line)[1:]).strip() for line in create]
        [request] = blocks("bash")
        urls.append(json.loads(_bash(served, request, {"JOB": job}))["share_url"])
        opened = [_open(served, url) for url in urls]
        listed = _output(served, *shlex.split(manage[0])[1:])
        first = _output(served, "shares", "list", "-q").split()[-1]
        _output(served, *shlex.split(manage[1])[1:-1], first)
        revoked = _open(served, urls[0])
        _output(served, *shlex.split(turn_off[0])[1:])
        off = [_open(served, url) for url in urls]

    assert all(url.startswith("https://crawls.example.org/shared/cyv_") for url in urls)
    assert all("https://docs.example.org/" in page for page in opened)
    assert "the editors" in listed
    assert urls[1].rpartition("/")[2] not in listed
    assert (revoked, off) == ("", ["", "", ""])


def _open(served: Shell, url: str) -> str:
    """Return the page of a link on the server; empty if it has none."""
    path = url.removeprefix("https://crawls.example.org")
    try:
        with urlopen(served.env["CRAWLYARD_SERVER"] + path, timeout=30) as answer:
            text: str = answer.read().decode()
            return text
    except OSError:
        return ""


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
