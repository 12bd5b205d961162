"""The page on the audit log, run as written."""

import json
import re
import shlex
from pathlib import Path

import httpx

from tests.acceptance.shell import Shell, serving

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "audit.md").read_text("utf-8")


def test_the_commands_of_the_page_work(shell: Shell) -> None:
    token = shell.run("tokens", "create", "admin").stdout.strip()
    with serving(shell, token) as served:
        server = served.env["CRAWLYARD_SERVER"]
        wrong = {"Authorization": "Bearer cyt_wrong"}
        assert httpx.get(f"{server}/api/v1/jobs", headers=wrong).status_code == 401
        assert served.run("users", "create", "ada").returncode == 0
        outputs = {}
        for line in "".join(
            re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
        ).splitlines():
            command, _, target = line.partition(" > ")
            ran = served.run(*shlex.split(command)[1:])
            assert ran.returncode == 0, ran.stderr
            outputs[target or command] = ran.stdout

    listed = outputs["crawlyard audit list"].splitlines()
    local = next(line for line in listed if "token.created" in line).split("\t")
    over_http = next(line for line in listed if "user.created" in line).split("\t")
    assert ("127.0.0.1" in over_http, "127.0.0.1" in local) == (True, False)
    refused = outputs["crawlyard audit list --action user.refused --since 24h"]
    assert refused.count("unknown") >= 1
    exported = (shell.folder / "audit.jsonl").read_text("utf-8").splitlines()
    assert {json.loads(line)["action"] for line in exported} >= {"user.created", "token.created"}
    assert outputs["month.csv"].splitlines()[0].startswith("seq,at,actor,action,")
