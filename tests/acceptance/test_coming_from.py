"""The commands of the start page, *What it runs on* and *Coming from …*, run as written."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.shell import FAST, GRANTS, Shell, serving

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(path.stem for path in (DOCS / "coming-from").glob("*.md"))
EXAMPLE = "https://docs.example.org"
DATABASE = "postgresql://crawlyard:secret@db.example.org/crawlyard"
_CRAWLS = ("crawl", "templates create")


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def typed(page: str) -> list[str]:
    return [line for block in blocks(page, "sh") for line in block.splitlines()]


def test_each_peer_has_a_page_with_the_same_sections() -> None:
    assert PAGES == ["browsertrix", "crawlee", "firecrawl", "scrapyd"]
    for name in PAGES:
        heads = re.findall(
            r"^## (.+)$", (DOCS / "coming-from" / f"{name}.md").read_text(), re.MULTILINE
        )
        own = ["Words", "Common tasks", "What Crawlyard does not have", "What changes for you"]
        assert heads == own


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_the_commands_of_a_page_for_newcomers_work(shell: Shell, site: str, name: str) -> None:
    lines = [line.replace(EXAMPLE, site) for line in typed(f"coming-from/{name}.md")]
    assert lines

    for line in lines:
        options = FAST if line.removeprefix("crawlyard ").startswith(_CRAWLS) else ()
        ran = shell.run(*shlex.split(line)[1:], *options)
        assert ran.returncode == 0, f"{line}: {ran.stderr}"

    assert shell.run("jobs", "export", "last").stdout


@pytest.mark.slow
def test_the_requests_for_users_of_firecrawl_work(shell: Shell, site: str) -> None:
    token = shell.run("tokens", "create", "tests").stdout.strip()
    with serving(shell, token) as served:
        grants = ("api", "PUT", "settings/grants", "--input", "-")
        assert served.run(*grants, stdin=GRANTS).returncode == 0
        script = "set -euo pipefail\n" + "\n".join(blocks("coming-from/firecrawl.md", "bash"))
        script = script.replace("http://127.0.0.1:8700", served.env["CRAWLYARD_SERVER"])
        ran = subprocess.run(
            [
                "bash",
                "-c",
                script.replace(
                    f'"{EXAMPLE}"]', f'"{site}"], "allow_addresses": ["127.0.0.1"], "delay_s": 0'
                ),
            ],
            cwd=served.folder,
            env=served.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert ran.returncode == 0, ran.stderr
    assert '"state":"completed"' in ran.stdout, ran.stdout
    assert '"text":' in ran.stdout


@pytest.mark.slow
def test_the_program_for_users_of_crawlee_works(shell: Shell, site: str) -> None:
    [program] = blocks("coming-from/crawlee.md", "python")
    address = site.removeprefix("http://")
    options = f'"{site}/", allow_addresses=["{address}"], delay=0, '
    program = program.replace(f'"{EXAMPLE}/", ', options)

    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=shell.folder,
        env=shell.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    assert f"200 {site}/ " in ran.stdout


@pytest.mark.slow
def test_the_first_command_prints_what_the_start_page_shows(shell: Shell) -> None:
    [command], [sample] = typed("index.md"), blocks("index.md", "text")

    ran = shell.run(*shlex.split(command)[1:])

    def shape(text: str) -> str:
        return re.sub(r"[0-9a-f]{8}-[0-9a-f-]+|\d+(\.\d+)?", "N", text)

    lines = shape(ran.stderr + ran.stdout).splitlines()  # on a slow machine, progress as well
    assert [line for line in shape(sample).splitlines() if line not in lines] == []


@pytest.mark.postgres
@pytest.mark.slow
def test_the_commands_of_what_it_runs_on_work(shell: Shell, empty_postgres_url: str) -> None:
    for line in typed("runs-on.md"):
        words = shlex.split(line.replace(DATABASE, empty_postgres_url))
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            shell = Shell(shell.folder, {**shell.env, name: value})
        elif words[1] == "work":
            assert shell.run(*words[1:], "--drain").returncode == 0
        else:
            with serving(shell, "none", *words[2:]) as served:
                assert served.env["CRAWLYARD_SERVER"].startswith("http://127.0.0.1:")
