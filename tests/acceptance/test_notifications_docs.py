"""The page on notifications, run as written."""

import re
import shlex
from pathlib import Path

import pytest

from tests.acceptance.shell import Shell

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "notifications.md").read_text("utf-8")
HOSTS = ("hooks.slack.com", "discord.com")


@pytest.mark.slow  # fourteen commands
def test_the_commands_of_the_page_work(shell: Shell) -> None:
    [settings] = re.findall(r"^```ini\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    env = dict(line.split("=", 1) for line in settings.splitlines())
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    outputs = {}
    for line in "".join(blocks).splitlines():
        # no name is looked up in tests
        command = line
        for host in HOSTS:
            command = command.replace(host, "192.0.43.8")
        ran = shell.run(*shlex.split(command)[1:], env=env)
        assert ran.returncode == 0, (line, ran.stderr)
        outputs[line] = ran.stdout

    listed = outputs["crawlyard notifications list"]
    assert [name in listed for name in ("ops", "docs", "team@example.org")] == [True] * 3
    assert "…cret" in listed
    assert "secret" not in "".join(outputs.values())


def test_a_channel_is_created_changed_and_deleted(either: Shell) -> None:
    url = "https://192.0.43.8/crawls"
    created = either.json("notifications", "create", "night", "--ntfy", url, "--on", "failed")
    edited = either.json("notifications", "edit", "night", "--quiet-hours", "22:00-07:00")
    none = either.json("notifications", "edit", "night", "--quiet-hours", "none")
    tested = either.run("notifications", "test", "night")
    two = either.run("notifications", "create", "x", "--ntfy", url, "--slack", url)
    wrong = either.run("notifications", "create", "x", "--ntfy", url, "--on", "failed,fine")
    typo = either.run("crawl", "-d", "https://docs.example.org/", "--notify", "nihgt")
    deleted = either.run("notifications", "delete", "night", "--yes")

    assert isinstance(created, dict)
    assert isinstance(edited, dict)
    assert isinstance(none, dict)
    assert (created["kind"], created["on"]) == ("ntfy", ["failed"])
    assert created["to"] == "https://192.0.43.8/…awls"
    assert (edited["quiet_hours"], none["quiet_hours"]) == ("22:00-07:00", "")
    assert "notifications deliveries night" in tested.stderr
    assert (two.returncode, "got 2" in two.stderr) == (2, True)
    assert (wrong.returncode, "'fine' is not one of failed, stopped" in wrong.stderr) == (2, True)
    assert typo.returncode == 2
    assert "--notify: local has no notification channel nihgt" in typo.stderr
    assert deleted.returncode == 0
