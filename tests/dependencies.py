"""Distributions that Crawlyard and its extras need, and their licences, as installed here."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from itertools import chain, product
from pathlib import Path
from typing import Any, cast

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = "crawlyard"
METADATA: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = frozenset(METADATA["optional-dependencies"]) - {"bench", "docs", "test"}  # those of users

_SYSTEMS = (("linux", "Linux"), ("darwin", "Darwin"))
_ENVIRONMENTS: list[Mapping[str, str]] = [
    {
        **cast("dict[str, str]", default_environment()),
        "python_version": version,
        "python_full_version": f"{version}.0",
        "sys_platform": platform,
        "platform_system": system,
        "platform_machine": machine,
        "os_name": "posix",
    }
    for version, (platform, system), machine in product(
        ("3.11", "3.12", "3.13", "3.14"), _SYSTEMS, ("x86_64", "aarch64")
    )
]

ALLOWED_LICENCES = frozenset(
    {
        *("Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "MPL-2.0"),
        "PSF-2.0",
        # classifiers of distributions without an SPDX expression
        *("Apache Software License", "BSD License", "ISC License (ISCL)", "MIT License"),
        *("Mozilla Public License 2.0 (MPL 2.0)", "Python Software Foundation License"),
    }
)
REVIEWED_LICENCES = {
    ("lightpanda", "AGPL-3.0-only"): "optional; the unmodified browser runs as its own process",
    ("psycopg", "LGPL-3.0-only"): "optional; imported unmodified",
    ("psycopg-binary", "LGPL-3.0-only"): "optional; imported unmodified",
}
"""Licences that are fine for one distribution, and why."""

_UNDECLARED = {"lightpanda": "AGPL-3.0-only"}  # its README: the browser inside is not Apache-2.0


@dataclass
class Dependency:
    """A distribution that some supported environment needs, with its own dependencies."""

    name: str
    distribution: Distribution | None  # None: not needed on this Python
    optional: bool
    needs: set[str] = field(default_factory=set)

    @property
    def licences(self) -> Iterator[str]:
        """SPDX expressions, or classifiers if it has none."""
        if self.distribution is not None:
            metadata = self.distribution.metadata
            classifiers = metadata.get_all("Classifier") or []
            names = [name.split(" :: ")[-1] for name in classifiers if name[:7] == "License"]
            expressions = metadata.get_all("License-Expression")
            yield from expressions or names or metadata.get_all("License") or ["none"]
        if self.name in _UNDECLARED:
            yield _UNDECLARED[self.name]

    def refused_licences(self) -> list[str]:
        """Return the licences that are neither allowed nor reviewed."""
        return [
            licence
            for licence in self.licences
            if (self.name, licence) not in REVIEWED_LICENCES and not is_allowed(licence)
        ]


def is_allowed(expression: str) -> bool:
    """Return whether an SPDX expression without parentheses can be satisfied."""
    return any(
        all(licence in ALLOWED_LICENCES for licence in alternative.split(" AND "))
        for alternative in expression.split(" OR ")
    )


def dependencies() -> dict[str, Dependency]:
    """Return the closure over all supported environments, by name."""
    closure: dict[str, Dependency] = {}
    _add(closure, direct_requirements(), optional=False)
    _add(closure, direct_requirements(*EXTRAS), optional=True)
    return dict(sorted(closure.items()))


def direct_requirements(*extras: str) -> list[Requirement]:
    """Return the requirements of Crawlyard, with those of the extras."""
    lists = METADATA["dependencies"], *map(METADATA["optional-dependencies"].get, extras)
    return list(map(Requirement, chain(*lists)))


def _add(
    closure: dict[str, Dependency], requirements: list[Requirement], *, optional: bool
) -> None:
    visited: set[tuple[str, frozenset[str]]] = set()
    while requirements:
        requirement = requirements.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in visited:
            continue
        visited.add((name, extras))
        dependency = closure.setdefault(name, Dependency(name, _installed(name), optional))
        for needed in _requirements(dependency.distribution, extras):
            dependency.needs.add(canonicalize_name(needed.name))
            requirements.append(needed)


def _installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def _requirements(parent: Distribution | None, extras: frozenset[str]) -> Iterator[Requirement]:
    for requirement in map(Requirement, parent.requires or () if parent else ()):
        marker = requirement.marker
        if marker is None or any(
            marker.evaluate({**environment, "extra": extra})
            for environment, extra in product(_ENVIRONMENTS, extras | {""})
        ):
            yield requirement
