"""The pages of the site as Markdown: those of `docs/` and of the root, and the files they link to.

On GitHub, links lead to any file of the repository. The site has a page for each such file, below
`source/`, and its links lead there.
"""

import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.docsite.markdown import Pages, first_sentence, page

ROOT = Path(__file__).parents[2]
HOME = "index.md"

_LANGUAGES = {".py": "python", ".json": "json", ".yml": "yaml", ".yaml": "yaml", ".toml": "toml"}
_UNINDEXED = "---\nsearch:\n  exclude: true\n---"
_ABOUT = "A part of the repository that the documentation links to."
_LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")
_FENCE = re.compile(r"^(```+.*?^```+)$", re.MULTILINE | re.DOTALL)
_MERMAID = re.compile(r"^```mermaid\n.*?^```\n", re.MULTILINE | re.DOTALL)
_NESTED = re.compile(r"^((?:  )+)(?=[-*] )", re.MULTILINE)


def written_pages() -> Pages:
    """Return the pages that people wrote, with links that hold on the site."""
    sources = {path.relative_to(ROOT).as_posix(): path for path in (ROOT / "docs").rglob("*.md")}
    sources |= {path.name: path for path in ROOT.glob("*.md") if path.name != "README.md"}
    linked = set[str]()
    pages = {
        site_path(name): relinked(path.read_text("utf-8"), name, linked)
        for name, path in sorted(sources.items())
    }
    pages["decisions/index.md"] = _decisions(pages)
    pages[HOME] = "---\nhide: [navigation, toc]\n---\n\n" + pages[HOME]
    return pages | _sources({name for name in linked if site_path(name).startswith("source/")})


def site_path(name: str) -> str:
    """Return the path on the site of a file or folder of the repository."""
    if name == "README.md":
        return HOME
    if "/" not in name and name.endswith(".md"):
        return name.lower()
    # Zensical leaves out hidden folders
    plain = re.sub(r"(^|/)\.", r"\1", name)
    path = name.removeprefix("docs/") if name.startswith("docs/") else f"source/{plain}"
    if (ROOT / name).is_dir():
        return f"{path}/index.md"
    return path if name.startswith("docs/") else f"{path}.md"


def relinked(text: str, name: str, linked: set[str]) -> str:
    """Return the Markdown of a file with links of the site; add the linked files to *linked*."""

    def link(match: re.Match[str]) -> str:
        path, hash_mark, fragment = match[1].partition("#")
        if not path or re.match(r"[a-z]+:|/", path):
            return match[1]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(name), path))
        linked.add(target)
        to = posixpath.relpath(site_path(target), posixpath.dirname(site_path(name)) or ".")
        return f"{to}{hash_mark}{fragment}"

    def prose(part: str) -> str:
        # nested lists have four spaces in Python-Markdown
        return _LINK.sub(link, _NESTED.sub(lambda match: match[1] * 2, part))

    # Mermaid would be loaded from a CDN; the tables beside the drawing say the same
    return "".join(_outside_fences(_MERMAID.sub("", text), prose))


def _outside_fences(text: str, change: Callable[[str], str]) -> Iterator[str]:
    for index, part in enumerate(_FENCE.split(text)):
        yield part if index % 2 else change(part)


def title_of(text: str) -> str:
    """Return the first heading of a page."""
    heading = re.search(r"^# (.+)$", text, re.MULTILINE)
    return heading[1] if heading else ""


def _decisions(pages: Pages) -> str:
    names = [name for name in pages if name.startswith("decisions/")]
    lines = [f"- [{title_of(pages[name])}]({posixpath.basename(name)})" for name in sorted(names)]
    return page(
        "# Decisions", "Why Crawlyard is as it is: one page for each decision.", "\n".join(lines)
    )


def _sources(names: set[str]) -> Pages:
    """Return a page for each file, and for each folder one that lists its files."""
    pages = Pages()
    for name in sorted(names):
        if (ROOT / name).is_dir():
            paths = sorted(path for path in (ROOT / name).rglob("*") if path.is_file())
            files = [path.relative_to(ROOT).as_posix() for path in paths if _is_text(path)]
            folder = posixpath.dirname(site_path(name))
            to = {file: posixpath.relpath(site_path(file), folder) for file in files}
            lines = [f"- [{file}]({link})" for file, link in to.items()]
            pages[site_path(name)] = page(_UNINDEXED, f"# {name}", _ABOUT, "\n".join(lines))
            pages |= {site_path(file): _source(file) for file in files}
        elif _is_text(ROOT / name):
            pages[site_path(name)] = _source(name)
    return pages


def _source(name: str) -> str:
    text = (ROOT / name).read_text("utf-8").rstrip("\n")
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", text)), default=0))
    language = _LANGUAGES.get(Path(name).suffix, "text")
    return page(_UNINDEXED, f"# {name}", _ABOUT, f"{fence}{language}\n{text}\n{fence}")


def _is_text(path: Path) -> bool:
    return path.is_file() and b"\0" not in path.read_bytes()[:1000]


def without_front_matter(text: str) -> str:
    return re.sub(r"\A---\n.*?\n---\n\n?", "", text, flags=re.DOTALL)


def llms_txt(pages: Pages) -> str:
    """Return llms.txt: each page with its address and first sentence, by folder."""
    home = without_front_matter(pages[HOME])
    sections: dict[str, list[str]] = {}
    for name, text in pages.items():
        if name.endswith(".md"):
            folder = name.rpartition("/")[0]
            heading = (
                "Optional" if folder.startswith(("source", "decisions")) else folder or "start"
            )
            plain = without_front_matter(text)
            about = first_sentence(plain)
            line = f"- [{title_of(plain)}]({name})" + (f": {about}" if about else "")
            sections.setdefault(heading, []).append(line)
    order = sorted(
        sections, key=lambda heading: (heading == "Optional", heading != "start", heading)
    )
    lists = [f"## {heading}\n\n" + "\n".join(sections[heading]) for heading in order]
    note = "Each page has Markdown beside its HTML: `.md` instead of `.html`."
    return page(f"# {title_of(home)}", f"> {first_sentence(home)}", note, *lists)
