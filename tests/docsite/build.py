"""Builds the site: stages its Markdown, runs Zensical, and adds what is read by programs."""

import asyncio
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from tests.docsite.command_reference import command_pages
from tests.docsite.http_reference import http_pages
from tests.docsite.markdown import Pages
from tests.docsite.nav import expanded, toml
from tests.docsite.python_reference import python_pages
from tests.docsite.stage import ROOT, llms_txt, without_front_matter, written_pages
from tests.openapi import document_now

LOOK = ROOT / "docs" / "site"
_STATIC = ROOT / "src" / "crawlyard" / "web" / "static"


def all_pages() -> Pages:
    """Return all pages, written and generated, by their path on the site."""
    references = command_pages() | python_pages() | http_pages(asyncio.run(document_now()))
    return written_pages() | references


def build(folder: Path) -> None:
    """Build the site into *folder*, which is replaced.

    Raises:
        subprocess.CalledProcessError: Zensical failed, or found a broken link.
    """
    pages = all_pages()
    with tempfile.TemporaryDirectory() as staging:
        stage = Path(staging)
        _write(stage, pages)
        command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
        subprocess.run(command, cwd=stage, check=True, stdout=sys.stderr)
        site = stage / "site"
        for name, text in pages.items():
            if name.endswith(".md"):
                (site / name).write_text(without_front_matter(text), "utf-8")
        (site / "llms.txt").write_text(llms_txt(pages), "utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(site, folder)


def _write(stage: Path, pages: Pages) -> None:
    docs = stage / "docs"
    shutil.copytree(ROOT / "docs" / "img", docs / "img")
    shutil.copytree(LOOK / "overrides", stage / "overrides")
    shutil.copy(LOOK / "site.css", docs)
    shutil.copy(_STATIC / "icon.svg", docs)
    (docs / "tokens.css").write_text(colours(), "utf-8")
    for name, text in pages.items():
        path = docs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    config = tomllib.loads((LOOK / "zensical.toml").read_text("utf-8"))
    names = sorted(name for name in pages if name.endswith(".md"))
    config["project"]["nav"] = expanded(config["project"]["nav"], names)
    lines = [f"{name} = {toml(value)}\n" for name, value in config.items()]
    (stage / "zensical.toml").write_text("".join(lines), "utf-8")


def colours() -> str:
    """Return the tokens of the dashboard's stylesheet."""
    rules = (_STATIC / "app.css").read_text("utf-8").partition(":root {")[2].partition("}")[0]
    return ":root {\n" + "\n".join(f"  {token}" for token in tokens(rules)) + "\n}\n"


def tokens(rules: str) -> list[str]:
    """Return the declarations of colours, radii and shadows."""
    lines = [line.strip() for line in rules.splitlines() if line.strip().startswith("--")]
    return [line.partition(" /*")[0] for line in lines if "--t-" not in line and "font" not in line]
