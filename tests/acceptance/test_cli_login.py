"""Signing in to a server: which server and token commands use, and what takes precedence."""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import Somewhere
from tests.acceptance.shell import Shell

THERE, HERE = '["https://there.example/"]', "no jobs yet"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, somewhere: Somewhere) -> Iterator[Shell]:
    """A server that has one job and no worker."""
    with somewhere(tmp_path_factory.mktemp("server"), "http", "--no-worker") as shell:
        assert shell.run("crawl", "-d", "https://there.example/").returncode == 0
        yield shell


@pytest.fixture
def url(server: Shell) -> str:
    return server.env["CRAWLYARD_SERVER"]


@pytest.fixture
def token(server: Shell) -> str:
    return server.env["CRAWLYARD_TOKEN"]


@pytest.fixture
def signed_in(url: str, token: str, tmp_path: Path) -> Shell:
    """A shell in another folder, signed in to the server."""
    shell = Shell(tmp_path)
    ran = shell.run("login", url, stdin=f"{token}\n")
    assert ran.returncode == 0, ran.stderr
    return shell


def login_file(shell: Shell) -> Path:
    """Return the path of the file that a login writes."""
    return shell.folder / ".config" / "crawlyard" / "config.toml"


def write_login_file(shell: Shell, text: str) -> Path:
    file = login_file(shell)
    file.parent.mkdir(parents=True)
    file.write_text(text)
    return file


def start_urls(shell: Shell, *words: str, **env: str) -> str:
    """Return the start URLs of the jobs that a command lists, or its error."""
    ran = shell.run("jobs", "list", "--fields", "spec.urls", "-o", "plain", *words, env=env)
    return ran.stdout.strip() or ran.stderr.strip()


def test_commands_use_the_server_from_login_to_logout(shell: Shell, url: str, token: str) -> None:
    before = start_urls(shell)
    ran = shell.run("login", f"{url}/", stdin=f"{token}\n")
    between = start_urls(shell)
    mode = stat.S_IMODE(login_file(shell).stat().st_mode)
    out = shell.run("logout")

    assert (before, between, start_urls(shell)) == (HERE, THERE, HERE)
    assert (ran.returncode, ran.stdout, token in ran.stderr) == (0, "", False)
    assert "commands use it until: crawlyard logout" in ran.stderr
    assert mode == 0o600
    assert (out.returncode, out.stdout, url in out.stderr) == (0, "", True)
    assert [file.name for file in login_file(shell).parent.iterdir()] == []


def test_a_token_is_sent_to_its_server_only(signed_in: Shell, url: str) -> None:
    whoami = signed_in.run("whoami", "--server", "http://127.0.0.1:9")
    out = signed_in.run("logout", "--server", "http://127.0.0.1:9")

    assert (whoami.returncode, "crawlyard login http://127.0.0.1:9" in whoami.stderr) == (4, True)
    assert (out.returncode, "not signed in to http://127.0.0.1:9" in out.stderr) == (4, True)
    assert start_urls(signed_in, "--server", url) == THERE


def test_a_login_that_fails_changes_nothing(signed_in: Shell, url: str) -> None:
    before = login_file(signed_in).read_text()

    wrong = signed_in.run("login", url, stdin="cyt_wrong\n")
    away = signed_in.run("login", "http://127.0.0.1:9", stdin="cyt_x\n")

    assert (wrong.returncode, away.returncode) == (4, 6)
    assert login_file(signed_in).read_text() == before


def test_a_login_replaces_the_one_before(shell: Shell, url: str, token: str) -> None:
    write_login_file(shell, 'server = "http://127.0.0.1:9"\ntoken = "cyt_x"\n')

    assert "http://127.0.0.1:9 cannot be reached" in start_urls(shell)
    assert shell.run("login", url, stdin=f"{token}\n").returncode == 0
    assert start_urls(shell) == THERE
    assert "127.0.0.1:9" not in login_file(shell).read_text()


def test_a_login_without_a_url_reuses_the_last_server(shell: Shell, url: str, token: str) -> None:
    write_login_file(shell, f'server = "{url}"\ntoken = "cyt_revoked"\n')
    refused = shell.run("jobs", "list")

    assert refused.returncode == 4
    assert shell.run("login", stdin=f"{token}\n").returncode == 0
    assert start_urls(shell) == THERE


def test_a_local_data_directory_takes_precedence_over_a_login(signed_in: Shell, url: str) -> None:
    assert start_urls(signed_in, "--data-dir", "data") == HERE
    assert start_urls(signed_in, CRAWLYARD_DATA_DIR="data") == HERE
    (signed_in.folder / "crawlyard.toml").write_text('data_dir = "data"\n')
    assert start_urls(signed_in) == HERE
    assert start_urls(signed_in, "--server", url) == THERE


def test_options_take_precedence_over_the_environment_and_that_over_a_login(
    signed_in: Shell, url: str, token: str
) -> None:
    away = {"CRAWLYARD_SERVER": "http://127.0.0.1:9", "CRAWLYARD_TOKEN": token}
    again = signed_in.run("login", url, stdin=f"{token}\n", env=away)

    assert "http://127.0.0.1:9 cannot be reached" in start_urls(signed_in, **away)
    assert start_urls(signed_in, "--server", url, **away) == THERE
    assert start_urls(signed_in, "--data-dir", "data", **away) == HERE
    assert "CRAWLYARD_SERVER is set and takes precedence" in again.stderr


def test_a_token_of_the_environment_takes_precedence(signed_in: Shell) -> None:
    ran = signed_in.run("whoami", env={"CRAWLYARD_TOKEN": "cyt_wrong"})

    assert ran.returncode == 4


def test_a_hint_repeats_the_server_where_an_option_named_it(signed_in: Shell, url: str) -> None:
    named = signed_in.run("crawl", "-d", "https://there.example/", "--server", url)
    unnamed = signed_in.run("crawl", "-d", "https://there.example/")
    for _ in range(2):
        for words in (("cancel",), ("delete", "--yes")):
            assert signed_in.run("jobs", *words, "last").returncode == 0

    assert f"--server {url}" in named.stderr
    assert "--server" not in unnamed.stderr


def test_a_worker_ignores_the_login(signed_in: Shell, url: str) -> None:
    here = signed_in.run("work", "--drain")
    over_http = signed_in.run("work", "--drain", "--server", url)

    assert here.returncode == 0
    assert (over_http.returncode, "--server" in over_http.stderr) == (2, True)


def test_logout_without_a_login_fails(shell: Shell) -> None:
    ran = shell.run("logout")

    assert (ran.returncode, ran.stdout) == (4, "")
    assert "not signed in" in ran.stderr


def test_the_server_in_use_of_an_earlier_version_is_used(
    shell: Shell, url: str, token: str
) -> None:
    servers = f'[servers."http://a.example"]\ntoken = "a"\n[servers."{url}"]\ntoken = "{token}"\n'
    contexts = f'[contexts."a"]\nserver = "http://a.example"\n[contexts."lab"]\nserver = "{url}"\n'
    write_login_file(shell, f'context = "lab"\n{contexts}{servers}')

    assert start_urls(shell) == THERE
    assert shell.run("login", stdin=f"{token}\n").returncode == 0
    assert "a.example" not in login_file(shell).read_text()
    assert start_urls(shell) == THERE


def test_tokens_of_an_earlier_version_with_no_server_in_use_are_forgotten_by_logout(
    shell: Shell,
) -> None:
    file = write_login_file(shell, '[servers."http://a.example"]\ntoken = "a"\n')

    assert start_urls(shell) == HERE
    assert shell.run("logout").returncode == 0
    assert not file.exists()


@pytest.mark.parametrize("text", ["[", 'colour = "red"', "servers = 3\n", "context = [1]\n"])
def test_an_invalid_login_file_is_left_alone(shell: Shell, text: str) -> None:
    file = write_login_file(shell, text)

    for words in (("login", "http://127.0.0.1:9"), ("logout",), ("jobs", "list")):
        ran = shell.run(*words)
        assert (ran.returncode, ran.stdout) == (2, "")
        assert str(file) in ran.stderr
    assert file.read_text() == text
