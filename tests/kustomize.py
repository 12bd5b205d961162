"""Build of the folders of `deploy/kubernetes`, by those rules of Kustomize that they use."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]

FOLDER = Path(__file__).parents[1] / "deploy" / "kubernetes"
KUSTOMIZATION = "kustomization.yaml"

_KNOWN = {
    *("apiVersion", "kind", "namespace", "resources", "configMapGenerator"),
    *("patches", "configurations"),
}


def build(folder: Path) -> list[Manifest]:
    """Return the objects of a kustomization; names of generated ones have no suffix."""
    kustomization = read(folder)
    manifests: list[Manifest] = []
    for name in kustomization["resources"]:
        path = (folder / name).resolve()
        if path.is_dir():
            # Kustomize refuses a base that contains its overlay
            assert path not in folder.resolve().parents, f"{folder.name}: {name} is above it"
        manifests += build(path) if path.is_dir() else documents(path)
    for generator in kustomization.get("configMapGenerator", ()):
        data = dict(literal.split("=", 1) for literal in generator["literals"])
        name = {"name": generator["name"]}
        manifests.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": name, "data": data})
    for patch in kustomization.get("patches", ()):
        manifests = list(_patched(manifests, patch))
    return manifests


def read(folder: Path) -> Mapping[str, Any]:
    """Return the kustomization of a folder, which uses nothing that `build` does not know."""
    kustomization: Mapping[str, Any] = yaml.safe_load((folder / KUSTOMIZATION).read_text("utf-8"))
    assert set(kustomization) <= _KNOWN, folder
    return kustomization


def documents(file: Path) -> list[Manifest]:
    return list(yaml.safe_load_all(file.read_text("utf-8")))


def _patched(manifests: list[Manifest], patch: Mapping[str, Any]) -> Iterator[Manifest]:
    """Yield *manifests* after a patch that deletes an object or removes a field of one."""
    changes = yaml.safe_load(patch["patch"])
    target = patch.get("target") or key_of(changes)
    matching = [m for m in manifests if key_of(m) == dict(target)]
    assert len(matching) == 1, f"{target} is not there once"
    for manifest in manifests:
        if manifest is not matching[0]:
            yield manifest
        elif isinstance(changes, list):
            for change in changes:
                assert change["op"] == "remove", change
                *parents, last = change["path"].strip("/").split("/")
                at = manifest
                for parent in parents:
                    at = at[parent]
                del at[last]
            yield manifest
        else:
            assert changes["$patch"] == "delete", changes


def key_of(manifest: Mapping[str, Any]) -> dict[str, str]:
    return {"kind": manifest["kind"], "name": manifest["metadata"]["name"]}


def pod_template(manifest: Manifest) -> Manifest | None:
    """Return the template of the pods that an object creates, if it creates any."""
    spec = manifest.get("spec", {})
    template: Manifest | None = spec.get("jobTargetRef", spec).get("template")
    return template
