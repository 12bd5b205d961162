"""Gets real sites to crawl, from packages of documentation: ``python -m bench.sites FOLDER``.

On Debian 13 or what is made of it: packages are downloaded and unpacked, not installed. Each page
is also compressed beside itself, as a server does that compresses only once (``gzip_static``).
What is there already is left as it is.
"""

import argparse
import gzip
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

ALL = "all"

_DOC = Path("usr/share/doc")
_LEVEL = 6  # gzip's default


@dataclass(frozen=True, slots=True)
class Tree:
    """Where the pages of a package are in it."""

    package: str
    root: Path
    start: str  # below the root


@dataclass(frozen=True, slots=True)
class DocsSite:
    """A folder to serve, and the path of its start page."""

    name: str
    folder: Path
    start: str


TREES: Mapping[str, Tree] = {
    "pg": Tree("postgresql-doc-17", _DOC / "postgresql-doc-17/html", "index.html"),
    "python": Tree("python3.13-doc", _DOC / "python3.13/html", "index.html"),
    "jdk": Tree("openjdk-21-doc", _DOC / "openjdk-21-jre-headless", "api/index.html"),
    "sqlite": Tree("sqlite3-doc", _DOC / "sqlite3", "index.html"),
    "cpp": Tree(
        "cppreference-doc-en-html", Path("usr/share/cppreference/doc/html"), "en/index.html"
    ),
    "libstdcxx": Tree("libstdc++-14-doc", _DOC / "gcc-14-base/libstdc++", "index.html"),
    "boost": Tree("libboost1.88-doc", _DOC / "libboost1.88-doc", "doc/html/index.html"),
}
"""The sites, by their names: those above the last are also parts of the one that is ``all``."""

_ALONE = "boost"


def names() -> Iterable[str]:
    """Return what a site may be called."""
    return (*TREES, ALL)


def site(folder: Path, name: str) -> DocsSite:
    """Return the site of that *name* in *folder*, where `lay_out` has put it.

    Raises:
        FileNotFoundError: it is not there.
    """
    root, start = folder / ALL, ""
    if name == _ALONE:
        root, start = folder / name, TREES[name].start
    elif name != ALL:
        root, start = folder / ALL / name, TREES[name].start
    if not (root / (start or "index.html")).is_file():
        raise FileNotFoundError(f"no {name} in {folder}: python -m bench.sites {folder}")
    return DocsSite(name, root, start)


def lay_out(folder: Path) -> None:
    """Get what is missing in *folder*: one folder a site, and the index of the one with all."""
    for name, tree in TREES.items():
        place = folder / name if name == _ALONE else folder / ALL / name
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            _fetch(tree, place)
            _compress(place)
        _log(f"{name}: {sum(1 for _ in place.rglob('*.html')):,} files in {place}")
    index = folder / ALL / "index.html"
    index.write_text(_index(), encoding="utf-8")
    _compress_page(index)


def _fetch(tree: Tree, place: Path) -> None:
    """Download and unpack a package, and leave its pages at *place*, without links of files."""
    apt, dpkg = _tool("apt-get"), _tool("dpkg")
    with tempfile.TemporaryDirectory(prefix="bench-", dir=place.parent) as work:
        # as the user who asks: apt's own may not write here
        _run([apt, "-q", "-o", "APT::Sandbox::User=root", "download", tree.package], Path(work))
        (archive,) = Path(work).glob("*.deb")
        _run([dpkg, "-x", str(archive), "x"], Path(work))
        # links that lead out of a package are not what a site would have
        root = Path(work) / "x" / tree.root
        for link in [path for path in root.rglob("*") if path.is_symlink()]:
            if not link.exists():
                link.unlink()
        shutil.copytree(root, f"{work}/site")  # copies the targets of links
        Path(f"{work}/site").rename(place)


def _compress(place: Path) -> None:
    for page in place.rglob("*.html"):
        _compress_page(page)


def _compress_page(page: Path) -> None:
    packed = page.with_name(f"{page.name}.gz")
    packed.write_bytes(gzip.compress(page.read_bytes(), _LEVEL, mtime=0))


def _index() -> str:
    """Return a page that leads to all parts."""
    parts = [(name, tree.start) for name, tree in TREES.items() if name != _ALONE]
    items = "".join(f'<li><a href="{name}/{start}">{name}</a></li>\n' for name, start in parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Manuals</title>'
        f"</head><body><h1>Manuals</h1><ul>\n{items}</ul></body></html>\n"
    )


def _tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise SystemExit(
            f"there is no {name}: this needs Debian 13, or its packages by other means"
        )
    return path


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own words


def _log(words: str) -> None:
    sys.stderr.write(f"{words}\n")


def main() -> None:
    """Get the sites, and say how large each is."""
    parser = argparse.ArgumentParser(prog="python -m bench.sites", description=__doc__)
    parser.add_argument("folder", type=Path, help="where they are put: about 1 GB")
    lay_out(parser.parse_args().folder)


if __name__ == "__main__":
    main()
