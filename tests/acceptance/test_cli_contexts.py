"""Names of servers, which of them commands ask, and what goes before that."""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import Somewhere
from tests.acceptance.shell import Shell

TOKEN = "CRAWLYARD_TOKEN"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, somewhere: Somewhere) -> Iterator[Shell]:
    """A server with one job."""
    with somewhere(tmp_path_factory.mktemp("server"), "http", "--no-worker") as shell:
        assert shell.run("crawl", "-d", "https://there.example/").returncode == 0
        yield shell


@pytest.fixture
def named(server: Shell, tmp_path: Path) -> Shell:
    """Another folder, whose user calls that server "lab" and has a token for it."""
    shell = Shell(tmp_path, {TOKEN: server.env[TOKEN]})
    added = shell.run("context", "add", "lab", server.env["CRAWLYARD_SERVER"])
    assert added.returncode == 0, added.stderr
    return shell


def urls(shell: Shell, *words: str, **env: str) -> str:
    """Return where the jobs start that a command lists, or its error."""
    ran = shell.run("jobs", "list", "--fields", "spec.urls", "-o", "plain", *words, env=env)
    return ran.stdout.strip() or ran.stderr.strip()


THERE, HERE = '["https://there.example/"]', "there is no job yet"


def test_commands_ask_the_context_in_use(named: Shell) -> None:
    before = urls(named)
    used = named.run("context", "use", "lab")
    after = urls(named)
    named.run("context", "use", "local")

    assert (before, after, urls(named)) == (HERE, THERE, HERE)
    assert used.returncode == 0
    assert "commands ask http://127.0.0.1" in used.stderr


def test_one_command_may_ask_another(named: Shell) -> None:
    assert urls(named, "--context", "lab") == THERE
    assert urls(named, CRAWLYARD_CONTEXT="lab") == THERE
    named.run("context", "use", "lab")

    assert urls(named, "--context", "local") == HERE
    assert urls(named, CRAWLYARD_CONTEXT="local") == HERE


def test_what_says_that_the_yard_is_here_goes_before_the_context_in_use(named: Shell) -> None:
    named.run("context", "use", "lab")

    assert urls(named, "--data-dir", "data") == HERE
    assert urls(named, CRAWLYARD_DATA_DIR="data") == HERE
    (named.folder / "crawlyard.toml").write_text('data_dir = "data"\n')
    assert urls(named) == HERE
    assert urls(named, "--context", "lab") == THERE


def test_what_a_user_says_now_goes_before_the_environment(named: Shell) -> None:
    nobody = {"CRAWLYARD_SERVER": "http://127.0.0.1:9"}

    assert "cannot be reached" in urls(named, **nobody)
    assert urls(named, "--context", "lab", **nobody) == THERE
    assert urls(named, "--data-dir", "data", **nobody) == HERE


def test_a_hint_names_the_context_again(named: Shell) -> None:
    ran = named.run("jobs", "resume", "last", "--context", "lab")
    submitted = named.run("crawl", "-d", "https://there.example/", "--context", "lab")
    for words in (("cancel",), ("delete", "--yes")):
        assert named.run("jobs", *words, "last", "--context", "lab").returncode == 0

    assert ran.returncode == 5
    assert "--context lab" in submitted.stderr


def test_a_server_is_served_here_whatever_context_is_in_use(named: Shell) -> None:
    named.run("context", "use", "lab")

    here = named.run("work", "--drain")
    asked = named.run("work", "--drain", "--context", "lab")

    assert here.returncode == 0
    assert (asked.returncode, "--context" in asked.stderr) == (2, True)


def test_contexts_are_listed_with_the_one_in_use(named: Shell, server: Shell) -> None:
    url = server.env["CRAWLYARD_SERVER"]
    named.run("login", url, stdin=server.env[TOKEN])
    named.run("context", "use", "lab")
    kept = named.folder / ".config" / "crawlyard" / "config.toml"

    assert named.json("context", "list") == [
        {"name": "local", "server": None, "current": False, "signed_in": False},
        {"name": "lab", "server": url, "current": True, "signed_in": True},
    ]
    assert named.run("context", "list", "-q").stdout == "local\nlab\n"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_a_login_and_a_context_do_not_know_of_each_other(named: Shell, server: Shell) -> None:
    url = server.env["CRAWLYARD_SERVER"]
    named.run("login", "--context", "lab", stdin=server.env[TOKEN])
    alone = Shell(named.folder)
    signed_in = urls(alone, "--context", "lab")
    named.run("context", "remove", "lab")

    gone = alone.run("jobs", "list", "--context", "lab")
    assert signed_in == THERE
    assert (gone.returncode, "there are: local" in gone.stderr) == (2, True)
    assert urls(alone, "--server", url) == THERE
    assert alone.run("logout", url).returncode == 0
    assert alone.run("jobs", "list", "--server", url).returncode == 4


def test_one_that_is_removed_is_not_in_use(named: Shell) -> None:
    named.run("context", "use", "lab")

    removed = named.run("context", "remove", "lab")

    assert (removed.returncode, "the yard is on this machine" in removed.stderr) == (0, True)
    assert urls(named) == HERE


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add", "local", "http://a.example"), "and not local"),
        (("add", "a b", "http://a.example"), "expected letters"),
        (("add", "prod", "a.example"), "is not the URL of a server"),
        (("add", "lab", "http://other.example"), "remove it first"),
    ],
)
def test_what_is_no_context_is_refused(named: Shell, words: tuple[str, ...], said: str) -> None:
    ran = named.run("context", *words)

    assert (ran.returncode, ran.stdout) == (2, "")
    assert said in ran.stderr


@pytest.mark.parametrize(
    "text", ["[", 'colour = "red"', "[contexts.lab]\n", "servers = 3\n", "[servers.x]\n"]
)
def test_a_file_that_is_not_ours_is_left_alone(shell: Shell, text: str) -> None:
    kept = shell.folder / ".config" / "crawlyard" / "config.toml"
    kept.parent.mkdir(parents=True)
    kept.write_text(text)

    ran = shell.run("context", "add", "lab", "http://a.example")

    assert (ran.returncode, ran.stdout) == (2, "")
    assert str(kept) in ran.stderr
    assert kept.read_text() == text
