"""Fetch the packages whose pages the gold is about: `python -m tests.gold.fetch DIR`.

It needs Debian's apt-get and dpkg-deb, and no root. Of each package only the pages that the
tables name are kept.
"""

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tests.gold.themes import matcher, themes


def fetch(root: Path) -> tuple[int, dict[str, str]]:
    """Bring each package that is not there; the bytes downloaded, and why some could not be had."""
    globs: dict[str, list[str]] = {}
    for theme in themes():
        for glob in theme.pages:
            globs.setdefault(glob.split("/", 1)[0], []).append(glob)
    root.mkdir(parents=True, exist_ok=True)
    missing = [
        package for package, of in sorted(globs.items()) if _noted_globs(root, package) != of
    ]
    total = 0
    with tempfile.TemporaryDirectory(dir=root) as name:
        folder = Path(name)
        failed = _download(missing, folder)
        for package in missing:
            for archive in folder.glob(f"{package}_*.deb"):
                pages = _unpack(archive, package, globs[package], root)
                total += archive.stat().st_size
                archive.unlink()
                if pages:
                    (root / f"{package}.json").write_text(json.dumps(globs[package]))
                else:
                    failed[package] = f"has no file {' or '.join(globs[package])}"
    return total, failed


def _noted_globs(root: Path, package: str) -> object:
    """The globs a package was unpacked with, if it was."""
    note = root / f"{package}.json"
    return json.loads(note.read_text()) if note.exists() else None


def _download(packages: list[str], folder: Path) -> dict[str, str]:
    """Download the packages, at once if that goes; why some could not be had."""
    failed: dict[str, str] = {}
    command = ["apt-get", "download", "-q"]
    if not packages:
        return failed
    if subprocess.run([*command, *packages], cwd=folder, check=False).returncode:
        for package in packages:
            if any(folder.glob(f"{package}_*.deb")):
                continue
            run = subprocess.run([*command, package], cwd=folder, check=False, capture_output=True)
            if run.returncode:
                lines = run.stderr.decode(errors="replace").strip().splitlines()
                failed[package] = lines[-1] if lines else f"apt-get says {run.returncode}"
    return failed


def _unpack(archive: Path, package: str, globs: list[str], root: Path) -> int:
    """Unpack the pages of one package that are wanted: how many."""
    pattern = matcher(globs)
    pages = 0
    plain = archive.with_suffix(".tar")
    with plain.open("wb") as file:
        subprocess.run(["dpkg-deb", "--fsys-tarfile", archive], stdout=file, check=True)
    with tarfile.open(plain) as files:
        for member in files:
            member.name = f"{package}/{member.name.removeprefix('./')}"
            if member.isreg() and pattern.fullmatch(member.name):
                files.extract(member, root, filter="data")
                pages += 1
    plain.unlink()
    size = archive.stat().st_size / 1e6
    sys.stdout.write(f"{package}: {size:.1f} MB, {pages} pages\n")
    return pages


def main() -> int:
    """Fetch what is not there; 1 where a package could not be had."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, help="where to unpack, one folder for each package")
    total, failed = fetch(parser.parse_args().root.resolve())
    for package, reason in failed.items():
        sys.stdout.write(f"could not be had: {package}: {reason}\n")
    sys.stdout.write(f"downloaded {total / 1e6:.1f} MB\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
