"""CycloneDX SBOM of the wheel; ``python -m tests.sbom`` writes it.

The wheel contains Crawlyard alone: its dependencies are external components with the version
ranges that it declares. Which versions are used is decided where it is installed.
"""

import json
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.dependencies import (
    EXTRAS,
    METADATA,
    PROJECT,
    ROOT,
    Dependency,
    dependencies,
    direct_requirements,
)

SBOM = ROOT / "deploy" / "crawlyard.cdx.json"

_OPERATORS = frozenset({">=", ">", "<", "<="})  # of vers; it has no "~="


def document() -> str:
    """Return the SBOM as text, with a component or dependency per line."""
    closure = dependencies()
    direct: dict[str, SpecifierSet] = {
        canonicalize_name(each.name): each.specifier for each in direct_requirements(*EXTRAS)
    }
    graph = {PROJECT: direct, **{each.name: each.needs for each in closure.values()}}
    components = [_component(each, direct.get(each.name)) for each in closure.values()]
    edges = [{"ref": name, "dependsOn": sorted(needs)} for name, needs in graph.items() if needs]
    head = {
        "$schema": "http://cyclonedx.org/schema/bom-1.7.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.7",
        "version": 1,
        "metadata": {"lifecycles": [{"phase": "pre-build"}], "component": _subject()},
    }
    return (
        json.dumps(head, indent=1).removesuffix("\n}")
        + f',\n "components": [\n{_lines(components)}\n ],'
        + f'\n "dependencies": [\n{_lines(edges)}\n ]\n}}\n'
    )


def _subject() -> dict[str, Any]:
    return {
        "type": "application",
        "bom-ref": PROJECT,
        "name": PROJECT,
        "version": METADATA["version"],
        "licenses": [{"license": {"id": METADATA["license"]}}],
        "purl": f"pkg:pypi/{PROJECT}@{METADATA['version']}",
    }


def _component(dependency: Dependency, versions: SpecifierSet | None) -> dict[str, Any]:
    component = {
        "type": "library",
        "bom-ref": dependency.name,
        "name": dependency.name,
        "isExternal": True,
        "scope": "optional" if dependency.optional else "required",
        "purl": f"pkg:pypi/{dependency.name}",
    }
    if versions is not None:
        component["versionRange"] = _version_range(versions)
    return component


def _version_range(specifiers: SpecifierSet) -> str:
    """Return a range as vers writes it: bounds in ascending order.

    Raises:
        ValueError: vers has no such operator.
    """
    if unknown := {each.operator for each in specifiers} - _OPERATORS:
        raise ValueError(f"{specifiers}: write {unknown} with >= and <")
    bounds = sorted(specifiers, key=lambda each: each.operator[0] == "<")
    return "vers:pypi/" + "|".join(map(str, bounds))


def _lines(items: list[dict[str, Any]]) -> str:
    return ",\n".join(f"  {json.dumps(item)}" for item in items)


if __name__ == "__main__":
    SBOM.write_text(document(), encoding="utf-8")
