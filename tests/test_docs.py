"""Documentation: generated pages, commands, links and the example of the README."""

import asyncio
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import crawlyard
from crawlyard.cli.failures import EXIT_CODES
from crawlyard.config import Settings
from crawlyard.core.access.policy import RETENTIONS, SectionName
from crawlyard.core.access.user import Grant, Permit, Quota, Role
from crawlyard.core.crawl.page_answers import PageOut
from crawlyard.core.jobs.filter import FilterKey
from crawlyard.demo.server import SiteServer
from crawlyard.export.csv import COLUMNS
from crawlyard.store.tables.every import metadata
from tests.docs import PAGES, REFERENCE
from tests.program import PROGRAM
from tests.site import GraphSite

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)#]+)(?:#[^)]*)?\)")
_ROW = re.compile(r"^\| `?([\w.]+)`? \|", re.MULTILINE)
_EXAMPLE_URL = '"https://docs.example.org/", max_pages=100'


def blocks(text: str, language: str) -> list[str]:
    return [body for name, body in _BLOCK.findall(text) if name == language]


def named(marker: str) -> str:
    """Return the code block of the README behind a marker."""
    return blocks(README.partition(f"<!-- {marker} -->\n")[2], "sh")[0].strip()


# --- pages that are made of the code


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_the_reference_is_what_the_code_makes_of_it(name: str) -> None:
    page = PAGES[name]()

    written = (REFERENCE / name).read_text("utf-8")

    assert written == page, f"write it by: python -m tests.docs\n\n{page}"


def test_the_page_record_is_described_field_by_field() -> None:
    page = (REFERENCE / "page-record.md").read_text("utf-8")

    assert _ROW.findall(page)[1:] == list(PageOut.__struct_fields__)


def test_the_filter_of_jobs_is_described_key_by_key() -> None:
    page = (REFERENCE / "job-filter.md").read_text("utf-8")

    assert _ROW.findall(page)[1:] == [key.value for key in FilterKey]


def test_csv_has_the_fields_of_the_page_record() -> None:
    split = {"error": ("error_kind", "error_detail"), "text": (), "extracted": ()}
    split |= {"html": (), "headers": ()}  # in JSON Lines alone

    flat = [column for name in PageOut.__struct_fields__ for column in split.get(name, (name,))]

    assert list(COLUMNS) == flat


def test_the_page_on_the_command_line_lists_every_exit_code() -> None:
    page = (ROOT / "docs" / "howto" / "command-line.md").read_text("utf-8")
    listed = {int(code) for code in _ROW.findall(page.partition("## Exit codes")[2])[1:]}

    assert listed >= {code for _, code in EXIT_CODES} | {0, 1, 8, 10, 11, 12, 124, 130}


def test_the_page_on_retention_says_of_every_table_how_long_it_is_kept() -> None:
    page = (ROOT / "docs" / "howto" / "retention.md").read_text("utf-8")
    tables = page.partition("## Retention of each table")[2]

    rows = re.findall(r"^\| (`.*?`) \|", tables, re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]

    assert sorted(named) == sorted(metadata.tables)


def test_the_page_on_retention_says_what_each_setting_is_by_default() -> None:
    page = (ROOT / "docs" / "howto" / "retention.md").read_text("utf-8")
    defaults = re.findall(r"^\| .*? \| (\d+) days.* \| `(\w+)` \|$", page, re.MULTILINE)

    settings = Settings()

    days_of = {name: float(days) for days, name in defaults}
    assert days_of == {name: getattr(settings, name) for name in RETENTIONS}


@pytest.mark.parametrize(
    ("column", "names"),
    [
        ("role", [role.value for role in Role]),
        ("scope", [permit.value for permit in Permit]),
        ("field of `quota`", list(Quota.__struct_fields__)),
        ("section", [name.value for name in SectionName]),
        ("field of `grants`", [grant.value for grant in Grant]),
    ],
)
def test_the_page_on_users_names_all_there_are(column: str, names: list[str]) -> None:
    page = (ROOT / "docs" / "howto" / "users-and-quotas.md").read_text("utf-8")
    table = page.partition(f"\n| {column} |")[2].partition("\n\n")[0]

    scopes = [re.findall(r"`([\w:]+)`", row.split("|")[1]) for row in table.splitlines()[2:]]

    assert [name for row in scopes for name in row] == names


# --- commands


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield each line of each document that runs crawlyard, with its words."""
    for document in DOCUMENTS:
        for block in blocks(document.read_text("utf-8"), "sh"):
            for line in block.splitlines():
                if line.startswith("crawlyard "):
                    words = shlex.split(line.partition(" | ")[0])
                    yield f"{document.relative_to(ROOT)}: {line}", words[1:]


GROUPS = {name for name, group in PROGRAM.commands.items() if hasattr(group, "commands")}
PLAIN = {"COLUMNS": "200", "TERM": "dumb"}


@pytest.mark.parametrize(
    "words", [pytest.param(words, id=command_text) for command_text, words in commands()]
)
def test_a_command_of_the_documents_exists_with_its_options(words: list[str]) -> None:
    command = words[: 2 if words[0] in GROUPS else 1]
    options = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}

    help_page = CliRunner().invoke(PROGRAM, [*command, "--help-all"], env=PLAIN)

    assert help_page.exit_code == 0, help_page.output
    assert options <= set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", help_page.output))


def test_a_command_within_a_sentence_exists_and_has_its_arguments() -> None:
    for document in DOCUMENTS:
        if document.name == "CHANGELOG.md":  # of versions that are past
            continue
        for line in re.findall(r"(?<!`)`crawlyard ([^`]+)`", document.read_text("utf-8")):
            words = shlex.split(line.partition(" | ")[0])
            command, rest = PROGRAM, words
            while rest and rest[0] in getattr(command, "commands", {}):
                command, rest = command.commands[rest[0]], rest[1:]
            place = f"{document.relative_to(ROOT)}: crawlyard {line}"
            assert command is not PROGRAM or rest[0].startswith("-"), place
            group = hasattr(command, "commands") and command is not PROGRAM
            assert not (group and rest), place
            needed = [p for p in command.params if p.param_type_name == "argument" and p.required]
            bare = re.match(r"[a-z]+( [a-z]+)?$", line)  # a command by its name alone
            assert bare or len([w for w in rest if not w.startswith("-")]) >= len(needed), place


def test_the_readme_opens_with_a_definition_and_a_command_to_try() -> None:
    title, sentence, *_ = README.split("\n\n")

    assert title == "# Crawlyard"
    assert sentence.startswith("Crawlyard is a self-hosted crawl job manager")
    first, second = named("try it"), named("test it")
    assert README.index(first) < README.index("\n## ") < README.index(second)
    assert first.endswith("/crawlyard demo")
    assert second.endswith("/python -m pytest -n auto")


def test_the_whole_check_runs_the_two_commands_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")

    assert all(f"command_for '{marker}'" in script for marker in ("try it", "test it"))


# --- links and names


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    links = _LINK.findall(document.read_text("utf-8"))

    broken = [link for link in links if "://" not in link and not (document.parent / link).exists()]

    assert broken == []


def test_every_page_of_the_documentation_can_be_reached_from_the_readme() -> None:
    reached, todo = set[Path](), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        for link in _LINK.findall(page.read_text("utf-8")):
            to = (page.parent / link).resolve()
            todo += sorted(to.glob("*.md")) if to.is_dir() else [to] if to.exists() else []

    assert set(DOCUMENTS) <= reached


# --- the example


async def test_the_example_of_the_readme_runs(tmp_path: Path) -> None:
    example = blocks(README, "python")[0]
    assert _EXAMPLE_URL in example

    async with SiteServer(GraphSite({"/": ["/a", "/b"], "/a": ["/"], "/b": []})) as server:
        ours = f'"{server.url}/", max_pages=100, allow_addresses=["{server.authority}"]'
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", example.replace(_EXAMPLE_URL, ours)),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        stdout, stderr = await process.communicate()

    assert (process.returncode, stderr.decode()) == (0, "")
    assert sorted(stdout.decode().splitlines()) == [
        f"200 {server.url}/ /",
        f"200 {server.url}/a /a",
        f"200 {server.url}/b /b",
    ]
    assert (tmp_path / "crawlyard-data" / "crawlyard.db").exists()


def test_the_package_shows_the_same_example() -> None:
    _, _, shown_code = (crawlyard.__doc__ or "").partition("\n\n")
    example = blocks(README, "python")[0]

    lines = [line.strip() for line in shown_code.splitlines() if line.strip()]

    assert [line for line in lines if line not in example] == []
