"""Wheel, sdist, SBOM and licences: what users get when they install Crawlyard."""

import json
import subprocess
import sys
import tarfile
from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

import crawlyard
from tests import sbom
from tests.dependencies import METADATA, ROOT, Dependency, dependencies, is_allowed

MAX_BYTES = 1_750_000

_INFO = f"crawlyard-{METADATA['version']}.dist-info"


def build(kind: str, source: Path, to: Path) -> Path:
    """Build a wheel or an sdist, with the hatchling of this environment."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(to)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    [built] = to.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


def metadata_of(wheel: Path) -> Message:
    with ZipFile(wheel) as archive:
        return Parser().parsestr(archive.read(f"{_INFO}/METADATA").decode())


def test_the_wheel_is_small_and_contains_the_package_alone(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = archive.namelist()

    assert wheel.stat().st_size <= MAX_BYTES
    assert {name.partition("/")[0] for name in names} == {"crawlyard", _INFO}
    assert [name for name in names if "/tests/" in name or "/bench/" in name] == []


def test_every_file_of_the_package_is_in_the_wheel(wheel: Path) -> None:
    source = ROOT / "src"
    paths = {path for path in source.rglob("*") if path.is_file() and path.suffix != ".pyc"}

    with ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if name.startswith("crawlyard/")}

    assert names == {path.relative_to(source).as_posix() for path in paths}
    assert "crawlyard/py.typed" in names


def test_the_wheel_brings_its_licence_and_its_sbom(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        licence = archive.read(f"{_INFO}/licenses/LICENSE")
        bill = archive.read(f"{_INFO}/sboms/{sbom.SBOM.name}")

    assert licence == (ROOT / "LICENSE").read_bytes()
    assert bill == sbom.SBOM.read_bytes()
    assert metadata_of(wheel)["License-Expression"] == "MIT"


def test_the_version_stands_in_one_place_and_the_changelog_has_a_section_for_it(
    wheel: Path,
) -> None:
    version = METADATA["version"]

    assert metadata_of(wheel)["Version"] == version == crawlyard.__version__
    assert f"\n## {version} (" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_it_is_a_beta(wheel: Path) -> None:
    classifiers = metadata_of(wheel).get_all("Classifier") or []

    statuses = [name for name in classifiers if name.startswith("Development Status")]
    assert statuses == ["Development Status :: 4 - Beta"]


@pytest.mark.slow
def test_the_sdist_builds_the_same_wheel_and_brings_the_tests(wheel: Path, tmp_path: Path) -> None:
    sdist = build("sdist", ROOT, tmp_path)
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    source = tmp_path / sdist.name.removesuffix(".tar.gz")

    rebuilt = build("wheel", source, tmp_path / "rebuilt")

    assert rebuilt.read_bytes() == wheel.read_bytes()
    assert (source / "tests" / Path(__file__).name).exists()


# --- SBOM


def test_the_sbom_is_the_one_of_the_installed_dependencies() -> None:
    assert sbom.SBOM.read_text("utf-8") == sbom.document(), "write it by: python -m tests.sbom"


def test_the_sbom_has_a_component_for_each_end_of_its_graph() -> None:
    bill = json.loads(sbom.SBOM.read_text("utf-8"))
    refs = {component["bom-ref"] for component in bill["components"]}

    needed = {name for each in bill["dependencies"] for name in each["dependsOn"]}

    assert len(refs) == len(bill["components"])
    assert refs == needed


# --- licences


def test_the_licence_of_every_dependency_is_allowed() -> None:
    refused = {
        each.name: licences
        for each in dependencies().values()
        if (licences := each.refused_licences())
    }

    assert refused == {}


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("MIT AND PSF-2.0", True),
        ("Apache-2.0 OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("AGPL-3.0-only", False),
        ("none", False),
        ("Other/Proprietary License", False),
    ],
)
def test_a_licence_is_allowed_if_one_alternative_is(expression: str, allowed: bool) -> None:
    assert is_allowed(expression) is allowed


def test_a_reviewed_licence_is_fine_for_its_distribution_alone() -> None:
    installed = dependencies()
    browser, library = installed["lightpanda"].distribution, installed["psycopg"].distribution

    refused = [
        Dependency("lightpanda", browser, optional=True).refused_licences(),
        Dependency("another-library", library, optional=True).refused_licences(),
    ]

    assert refused == [[], ["LGPL-3.0-only"]]
