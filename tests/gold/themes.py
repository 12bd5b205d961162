"""The table of themes: which pages, and what in them is the main content."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

Half = Literal["read", "unread"]
HALVES: tuple[Half, ...] = get_args(Half)
HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Theme:
    """One theme of one generator, as the tables name it."""

    name: str
    half: Half
    pages: tuple[str, ...]
    content: tuple[str, ...]
    skip: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    why: str

    @property
    def packages(self) -> list[str]:
        """The Debian packages of its pages."""
        return list(dict.fromkeys(glob.split("/", 1)[0] for glob in self.pages))

    def files(self, root: Path) -> list[Path]:
        """Its pages below the folder of packages, sorted; links to other files are left out."""
        included = [_pattern(glob) for glob in self.pages]
        unwanted = [_pattern(glob) for glob in self.skip]
        paths = []
        for package in self.packages:
            for path in sorted((root / package).rglob("*.html")):
                name = path.relative_to(root).as_posix()
                if path.is_symlink() or not path.is_file():
                    continue
                if any(p.fullmatch(name) for p in included) and not any(
                    p.fullmatch(name) for p in unwanted
                ):
                    paths.append(path)
        return paths


def themes(half: Half | None = None) -> list[Theme]:
    """The themes of one half, or of both."""
    table = []
    for of in HALVES if half is None else (half,):
        rows: list[dict[str, Any]] = tomllib.loads((HERE / f"{of}.toml").read_text())["theme"]
        for row in rows:
            lists = {key: tuple(value) for key, value in row.items() if isinstance(value, list)}
            table.append(Theme(half=of, **(row | lists)))
    return table


def matcher(globs: list[str]) -> re.Pattern[str]:
    """Combine globs into one pattern."""
    return re.compile("|".join(_pattern(glob).pattern for glob in globs))


def _pattern(glob: str) -> re.Pattern[str]:
    """The glob as a pattern: `*` stays within a folder, `**/` crosses any number of them."""
    parts = re.split(r"(\*\*/|\*\*|\*)", glob)
    tokens = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}
    return re.compile("".join(tokens.get(part, re.escape(part)) for part in parts))
