"""Check manifests by the schemas of Kubernetes.

python check.py manifests FILE…   # that Kustomize has built
python check.py example < PAGE    # print the kustomization of the documentation
"""

import re
import sys
from pathlib import Path
from typing import Any

import yaml

VERSIONS = ("1.30", "1.37")
"""The oldest version of Kubernetes that the manifests need, and the newest with schemas."""

_SETTINGS = "crawlyard-settings"


def main(command: str, *files: str) -> int:
    """Run one of the two commands; return the exit code."""
    if command == "example":
        [first, *_] = re.findall(
            r"^```yaml\n(.*?)^```$", sys.stdin.read(), re.MULTILINE | re.DOTALL
        )
        sys.stdout.write(first)
        return 0
    errors = [error for file in files for error in check(Path(file))]
    sys.stdout.write("".join(f"{error}\n" for error in errors))
    sys.stdout.write(f"{len(files)} kustomizations, {len(errors)} errors\n")
    return bool(errors)


def check(file: Path) -> list[str]:
    """Return the errors in a file of manifests."""
    manifests = list(yaml.safe_load_all(file.read_text("utf-8")))
    errors = []
    for manifest in manifests:
        place = f"{file.stem}: {manifest['kind']} {manifest['metadata']['name']}"
        for version in VERSIONS:
            errors += [f"{place}: {version}: {error}" for error in errors_of(manifest, version)]
        if manifest["kind"] != "Namespace" and manifest["metadata"]["namespace"] != "crawlyard":
            errors.append(f"{place}: not in the namespace")
    text = file.read_text("utf-8")
    [settings] = (m["metadata"]["name"] for m in manifests if m["kind"] == "ConfigMap")
    names = set(re.findall(rf"{_SETTINGS}[\w-]*", text))
    if names != {settings} or settings == _SETTINGS:
        errors.append(f"{file.stem}: a pod names another ConfigMap: {sorted(names)}")
    images = set(re.findall(r"image: (\S+)", text))
    expected = "registry.example.org/crawlyard:0.1.0" if file.stem == "own" else "crawlyard"
    if images != {expected}:
        errors.append(f"{file.stem}: images {sorted(images)}")
    return errors


def errors_of(manifest: dict[str, Any], version: str) -> list[str]:
    """Return the errors in a manifest, by the schemas of a version of Kubernetes."""
    # only this script is run where the package is installed
    import kubernetes_validate  # type: ignore[import-not-found]  # noqa: PLC0415

    if manifest["apiVersion"].startswith("keda.sh/"):
        if manifest["kind"] != "ScaledJob":
            return []
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": manifest["metadata"]}
        manifest = job | {"spec": manifest["spec"]["jobTargetRef"]}
    try:
        kubernetes_validate.validate(manifest, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [str(error)]
    return []


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
