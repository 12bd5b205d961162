"""The built documentation site: links, search, pictures, and what programs read."""

import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.acceptance.shell import SLOW, Shell, demo_site
from tests.docsite.build import LOOK, all_pages, build, colours
from tests.docsite.nav import expanded, toml
from tests.docsite.stage import ROOT, relinked

WHY_NOT = "Zensical is not installed. Install it: pip install -e '.[docs]'"
_IMAGE = re.compile(r"<img [^>]*>")
_LOADED = re.compile(
    r"<(?:script|img|iframe)[^>]* src=\"([^\"]+)\"|<link rel=\"stylesheet\" href=\"([^\"]+)\""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built in strict mode: Zensical finds no broken link and no missing anchor."""
    if find_spec("zensical") is None:
        pytest.skip(WHY_NOT)
    folder = tmp_path_factory.mktemp("docsite") / "site"
    build(folder)
    return folder


@pytest.fixture(scope="module")
def names(site: Path) -> list[str]:
    """The pages by their Markdown files."""
    return sorted(path.relative_to(site).as_posix() for path in site.rglob("*.md"))


@pytest.fixture(scope="module")
def html_pages(site: Path, names: list[str]) -> dict[str, str]:
    """HTML of the pages, by name."""
    paths = {name: site / name.removesuffix(".md") for name in names}
    return {
        name: path.with_name(f"{path.name}.html").read_text("utf-8") for name, path in paths.items()
    }


@pytest.mark.slow
def test_each_page_is_there_as_html_and_as_markdown(
    names: list[str], html_pages: dict[str, str]
) -> None:
    documents = {
        path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")
    }

    assert documents <= set(names)
    assert {"changelog.md", "decisions/index.md", "reference/http/jobs.md"} <= set(names)
    assert {"reference/commands/crawl.md", "reference/python-api/jobs.md"} <= set(names)
    beside = {name: f'href="./{Path(name).name}"' for name in names}
    assert [name for name, html in html_pages.items() if beside[name] not in html] == []


@pytest.mark.slow
def test_no_link_of_the_site_is_broken(site: Path, tmp_path: Path) -> None:
    options = ("--per-host", "16", "--concurrency", "16", "--fail-on", "none")
    with demo_site("--folder", str(site)) as url:
        ran = Shell(tmp_path).run("check", url, *SLOW, *options, "--json")

    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    wrong = {"broken_link", "missing_fragment", "redirect"}
    assert report["pages"] > 200
    assert [finding for finding in report["items"] if finding["kind"] in wrong] == []


@pytest.mark.slow
def test_the_search_has_the_pages(site: Path, names: list[str]) -> None:
    index = json.loads((site / "search.json").read_text("utf-8"))
    indexed = {item["location"].partition("#")[0] for item in index["items"]}

    pages = {name.removesuffix(".md") + ".html" for name in names if not name.startswith("source/")}
    assert pages <= {location or "index.html" for location in indexed}


@pytest.mark.slow
def test_llms_txt_names_every_page(site: Path, names: list[str]) -> None:
    text = (site / "llms.txt").read_text("utf-8")

    assert sorted(re.findall(r"^- \[.+\]\((\S+\.md)\)", text, re.MULTILINE)) == names
    assert text.startswith("# Crawlyard\n\n> Crawlyard is a self-hosted crawl job manager")


@pytest.mark.slow
def test_every_picture_has_a_text_alternative(html_pages: dict[str, str]) -> None:
    pictures = {(name, tag) for name, html in html_pages.items() for tag in _IMAGE.findall(html)}

    assert len(pictures) > len(html_pages)  # the logo, and those of the pages
    assert [each for each in pictures if not re.search(r'alt="[^"]+"', each[1])] == []


@pytest.mark.slow
def test_nothing_is_loaded_from_another_site(html_pages: dict[str, str], site: Path) -> None:
    pages = html_pages | {"404": (site / "404.html").read_text("utf-8")}
    loaded = {
        name: ["".join(each) for each in _LOADED.findall(html)] for name, html in pages.items()
    }

    assert all(loaded.values())
    assert [
        each for urls in loaded.values() for each in urls if re.match(r"(https?:)?//", each)
    ] == []
    assert "mermaid" not in "".join(
        html for name, html in html_pages.items() if "lifecycle" in name
    )


@pytest.mark.slow
def test_navigation_names_pages_that_exist() -> None:
    pages = all_pages()
    text = (LOOK / "zensical.toml").read_text("utf-8")

    named = set(re.findall(r'"([a-z/-]+\.md)"', text))

    assert named - pages.keys() == set()


def test_a_pattern_of_the_navigation_stands_for_the_pages_that_are_not_named() -> None:
    nav = [{"A": "a.md"}, {"More": "how/*"}, {"None": "no/*"}, "*"]

    entries = expanded(nav, ["a.md", "b.md", "how/c.md", "how/deep/d.md"])

    assert entries == [{"A": "a.md"}, {"More": ["how/c.md"]}, "b.md"]
    assert toml(entries) == '[{"A" = "a.md"}, {"More" = ["how/c.md"]}, "b.md"]'


def test_links_to_files_of_the_repository_lead_to_pages_of_the_site() -> None:
    linked = set[str]()
    text = "[a](../README.md) [b](../tests/site.py) [c](decisions/) [d](howto/text.md#pdf)\n"

    changed = relinked(text + "```\n[g](../README.md)\n```\n", "docs/index.md", linked)

    assert changed.startswith(
        "[a](index.md) [b](source/tests/site.py.md) [c](decisions/index.md) [d](howto/text.md#pdf)"
    )
    assert "[g](../README.md)" in changed
    assert "tests/site.py" in linked


def test_the_site_has_the_colours_of_the_dashboard() -> None:
    style = (LOOK / "site.css").read_text("utf-8")

    used = set(re.findall(r"var\((--[a-z0-9-]+)\)", style))

    assert used - set(re.findall(r"(--[a-z0-9-]+):", colours())) == set()
    assert re.findall(r"#[0-9a-f]{3,8}\b", style) == []
