"""The manifests of `deploy/kubernetes` fit each other, the program and its documentation.

`.ci/kubernetes` checks them by the schemas of Kubernetes, after Kustomize has built them.
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from crawlyard.cli.server.deadline import GRACE_S
from crawlyard.config import PREFIX, Settings, settings_fields
from crawlyard.services.instance.metrics import format_metrics
from tests.docs_metrics import all_values, families
from tests.kustomize import (
    FOLDER,
    KUSTOMIZATION,
    Manifest,
    build,
    documents,
    key_of,
    pod_template,
    read,
)
from tests.program import PROGRAM
from tests.test_docs import GROUPS, PLAIN, blocks

ROOT = FOLDER.parents[1]
PAGE = (ROOT / "docs" / "howto" / "kubernetes.md").read_text("utf-8")
OVERLAYS = sorted(path.parent for path in FOLDER.glob(f"*/{KUSTOMIZATION}"))
BASE = FOLDER / "base"
ADAPTER = FOLDER / "hpa" / "prometheus-adapter.yaml"
MARGIN_S = 5
ENDPOINTS = {"server": {"/healthz", "/readyz"}, "worker": {"/healthz", "/livez"}}
QUERY = "max(crawlyard_slots_used + crawlyard_slots_wanted)"

each_overlay = pytest.mark.parametrize("folder", OVERLAYS, ids=lambda folder: folder.name)


def pods(folder: Path) -> Iterator[tuple[str, Manifest, Manifest]]:
    """Yield the name, the metadata and the spec of each kind of pod."""
    for manifest in build(folder):
        if template := pod_template(manifest):
            yield manifest["metadata"]["name"], template["metadata"], template["spec"]


def of_kind(folder: Path, *kinds: str) -> list[Manifest]:
    return [manifest for manifest in build(folder) if manifest["kind"] in kinds]


def container_of(pod: Manifest) -> Manifest:
    [container] = pod["containers"]
    return dict(container)


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Return whether a selector of labels matches *labels*."""
    for rule in selector.get("matchExpressions", ()):
        assert rule["operator"] == "In"
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    return bool(selector.get("matchLabels", {}).items() <= labels.items())


# --- files and names


def test_every_file_is_named_by_a_kustomization_and_exists() -> None:
    named = {ADAPTER}
    for folder in OVERLAYS:
        kustomization = read(folder)
        files = [*kustomization["resources"], *kustomization.get("configurations", ())]
        named |= {(folder / name).resolve() for name in (KUSTOMIZATION, *files)}
        assert kustomization["namespace"] == "crawlyard"

    assert {path for path in named if path.is_file()} == set(FOLDER.glob("*/*"))
    assert {path for path in named if path.is_dir()} == {BASE}


@each_overlay
def test_names_are_unique_and_references_lead_to_objects(folder: Path) -> None:
    manifests = build(folder)
    keys = [key_of(manifest) for manifest in manifests]
    assert len({tuple(key.values()) for key in keys}) == len(keys)
    secrets = set(re.findall(r"create secret generic (\w+)", PAGE))

    for _, _, pod in pods(folder):
        for source in container_of(pod)["envFrom"]:
            if secret := source.get("secretRef"):
                assert {secret["name"]} == secrets
            else:
                assert {"kind": "ConfigMap", "name": source["configMapRef"]["name"]} in keys
    for scaler in of_kind(folder, "ScaledObject", "HorizontalPodAutoscaler"):
        [target] = (m for m in manifests if key_of(m) == {"kind": "Deployment", **_target(scaler)})
        assert "replicas" not in target["spec"], "each apply would undo what the scaler did"


def _target(scaler: Manifest) -> dict[str, str]:
    return {"name": scaler["spec"]["scaleTargetRef"]["name"]}


@each_overlay
def test_selectors_match_the_pods_that_they_mean(folder: Path) -> None:
    labels = {name: metadata["labels"] for name, metadata, _ in pods(folder)}
    ports = {
        name: {port["name"] for port in container_of(pod).get("ports", ())}
        for name, _, pod in pods(folder)
    }
    matched: dict[str, set[str]] = {}
    for manifest in build(folder):
        spec, (kind, name) = manifest.get("spec", {}), key_of(manifest).values()
        selector: Any = spec.get("podSelector", spec.get("selector"))
        if selector is None:
            continue
        if kind == "Service":
            selector = {"matchLabels": selector}
        pods_of_it = {pod for pod, its in labels.items() if selects(selector, its)}
        matched[f"{kind} {name}"] = pods_of_it
        for rule in (*spec.get("ports", ()), *_ingress_ports(spec)):
            port = rule.get("targetPort", rule["port"])
            assert all(port in ports[pod] for pod in pods_of_it), f"{kind} {name}: {port}"

    server, worker, upgrade = "crawlyard-server", "crawlyard-worker", "crawlyard-upgrade"
    expected = {
        f"{kind} {name}": {name}
        for kind in ("Deployment", "PodDisruptionBudget", "NetworkPolicy")
        for name in (server, worker)
        if kind == "NetworkPolicy" or not (folder.name == "keda-jobs" and name == worker)
    }
    assert matched == expected | {
        "Service crawlyard": {server},
        "NetworkPolicy crawlyard": {server, worker, upgrade},
        "NetworkPolicy crawlyard-world": {server, worker},
    }


def _ingress_ports(spec: Manifest) -> Iterator[Manifest]:
    for rule in spec.get("ingress", ()):
        yield from rule["ports"]


# --- pods


@each_overlay
def test_pods_run_commands_that_exist_with_settings_that_exist(folder: Path) -> None:
    names = {f"{PREFIX}{name}".upper() for name in settings_fields()}
    [config] = of_kind(folder, "ConfigMap")

    assert set(config["data"]) <= names
    assert set(re.findall(r"--from-literal=(\w+)", PAGE)) <= names
    for _, _, pod in pods(folder):
        assert_command(container_of(pod)["args"])


def assert_command(words: list[str]) -> None:
    """Assert that ``crawlyard …`` is a command and has these options."""
    command = words[: 2 if words[0] in GROUPS else 1]
    options = {word.partition("=")[0] for word in words if word.startswith("--")}
    text = CliRunner().invoke(PROGRAM, [*command, "--help-all"], env=PLAIN).output
    assert options <= set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)), words


@each_overlay
def test_pods_have_no_rights_and_no_disk(folder: Path) -> None:
    for name, _, pod in pods(folder):
        container = container_of(pod)
        assert container["image"] == "crawlyard", "the name in deploy/compose.yaml"
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        profile = {"type": "RuntimeDefault"}
        assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": profile}
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
        assert all(volume["emptyDir"] == {} for volume in pod["volumes"])
        assert "memory" in container["resources"]["limits"]


@each_overlay
def test_a_stop_fits_into_the_grace_period_and_probes_ask_what_there_is(folder: Path) -> None:
    for name, _, pod in pods(folder):
        role, container = name.removeprefix("crawlyard-"), container_of(pod)
        if role == "upgrade":
            continue
        before_s = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {})
        stop_s = before_s.get("seconds", 0) + Settings().shutdown_s + GRACE_S
        assert pod["terminationGracePeriodSeconds"] >= stop_s + MARGIN_S

        probes = {key: probe for key, probe in container.items() if key.endswith("Probe")}
        assert {"startupProbe", "livenessProbe"} <= set(probes)
        [port] = container["ports"]
        options = dict(word.split("=", 1) for word in container["args"] if "=" in word)
        assert port["containerPort"] == int(options.get("--metrics-port", 8700))
        for probe in probes.values():
            request = probe["httpGet"]
            assert request["path"] in ENDPOINTS[role]
            assert request["port"] == port["name"]
            hosts = [header["value"] for header in request.get("httpHeaders", ())]
            # a server refuses the address of the pod, which is sent otherwise
            assert hosts == (["crawlyard"] if role == "server" else [])
        assert probes["livenessProbe"]["httpGet"]["path"] == (
            "/healthz" if role == "server" else "/livez"
        ), "no restart because the database is away"


# --- network and scaling


def test_pods_reach_public_addresses_alone() -> None:
    [world] = (
        manifest
        for manifest in of_kind(BASE, "NetworkPolicy")
        if manifest["metadata"]["name"] == "crawlyard-world"
    )
    [rule] = world["spec"]["egress"]
    assert set(rule) == {"to"}, "any port"

    def reaches(address: str) -> bool:
        return any(
            ip_address(address) in ip_network(block["ipBlock"]["cidr"])
            and not any(ip_address(address) in ip_network(x) for x in block["ipBlock"]["except"])
            for block in rule["to"]
        )

    private = [
        *("10.96.0.1", "10.244.3.4", "100.64.1.1", "169.254.169.254", "172.20.0.10"),
        *("192.168.49.2", "fd00:10:96::1", "fe80::1", "fd00:ec2::254"),
    ]
    assert [address for address in private if reaches(address)] == []
    assert reaches("93.184.216.34")
    assert reaches("2606:2800:220:1::1")


def test_workers_are_scaled_by_public_metrics_to_the_slots_that_have_work() -> None:
    [settings] = of_kind(BASE, "ConfigMap")
    slots = settings["data"]["CRAWLYARD_JOBS"]
    [scaled] = of_kind(FOLDER / "keda", "ScaledObject")
    [scaled_job] = of_kind(FOLDER / "keda-jobs", "ScaledJob")
    [hpa] = of_kind(FOLDER / "hpa", "HorizontalPodAutoscaler")
    [adapter] = documents(ADAPTER)
    [rule] = adapter["rules"]["external"]
    [metric] = hpa["spec"]["metrics"]

    triggers = [m["spec"]["triggers"][0]["metadata"] for m in (scaled, scaled_job)]
    assert [trigger["threshold"] for trigger in triggers] == [slots, slots]
    assert [trigger["query"] for trigger in triggers] == [QUERY, "max(crawlyard_slots_wanted)"]
    assert rule["metricsQuery"] == QUERY
    assert metric["external"]["metric"]["name"] == rule["name"]["as"]
    assert metric["external"]["target"] == {"type": "AverageValue", "averageValue": slots}
    metrics = families(format_metrics(all_values()))
    assert {*re.findall(r"crawlyard_\w+", QUERY), rule["seriesQuery"]} <= set(metrics)
    assert not metrics[rule["seriesQuery"]].samples[0].labels


_SCALED_OBJECT = {
    *("scaleTargetRef", "pollingInterval", "cooldownPeriod", "minReplicaCount"),
    *("maxReplicaCount", "advanced", "triggers", "fallback"),
}
_SCALED_JOB = {
    *("jobTargetRef", "pollingInterval", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"),
    *("rollout", "minReplicaCount", "maxReplicaCount", "scalingStrategy", "triggers"),
}


def test_scalers_use_fields_that_keda_has() -> None:
    """Its schemas are in no package; `.ci/kubernetes` checks the pods of the ScaledJob."""
    [scaled] = of_kind(FOLDER / "keda", "ScaledObject")
    [scaled_job] = of_kind(FOLDER / "keda-jobs", "ScaledJob")

    assert scaled["apiVersion"] == scaled_job["apiVersion"] == "keda.sh/v1alpha1"
    assert set(scaled["spec"]) <= _SCALED_OBJECT
    assert set(scaled["spec"]["fallback"]) == {"failureThreshold", "replicas"}
    assert set(scaled["spec"]["advanced"]) == {"horizontalPodAutoscalerConfig"}
    assert set(scaled_job["spec"]) <= _SCALED_JOB
    assert scaled_job["spec"]["rollout"] == {"strategy": "gradual"}
    assert scaled_job["spec"]["scalingStrategy"] == {"strategy": "accurate"}
    for manifest in (scaled, scaled_job):
        [trigger] = manifest["spec"]["triggers"]
        assert trigger["type"] == "prometheus"
        fields = {"serverAddress", "query", "threshold", "ignoreNullValues"}
        assert set(trigger["metadata"]) == fields
        assert all(isinstance(value, str) for value in trigger["metadata"].values())


# --- documentation


def test_the_page_names_objects_folders_and_commands_that_exist() -> None:
    kustomization, scraped = blocks(PAGE, "yaml")
    own = yaml.safe_load(kustomization)
    [settings] = of_kind(BASE, "ConfigMap")
    [service] = of_kind(BASE, "Service")
    names = {f"{kind.lower()}/{name}" for kind, name in (key_of(m).values() for m in build(BASE))}

    assert set(re.findall(r"^\| `([\w-]+)` \|", PAGE, re.MULTILINE)) == {f.name for f in OVERLAYS}
    assert [ROOT / path for path in own["resources"]] == [BASE]
    assert own["configMapGenerator"][0]["name"] == settings["metadata"]["name"]
    assert own["images"][0]["name"] == "crawlyard"
    [job] = yaml.safe_load(scraped)["scrape_configs"]
    host, port = job["static_configs"][0]["targets"][0].split(":")
    assert host == f"{service['metadata']['name']}.{own['namespace']}.svc"
    assert int(port) == service["spec"]["ports"][0]["port"]
    [server] = (container_of(pod) for name, _, pod in pods(BASE) if name == "crawlyard-server")
    assert f"--allow-host={host}" in server["args"]
    lines = [line for block in blocks(PAGE, "sh") for line in block.splitlines()]
    for line in lines:
        assert set(re.findall(r"\b(?:job|deployment|service)/[\w-]+", line)) <= names, line
        if " -- crawlyard " in line:
            assert_command(shlex.split(line.partition(" -- crawlyard ")[2]))
    assert any("delete job crawlyard-upgrade" in line for line in lines)


def test_workers_and_servers_leave_postgres_some_of_its_connections() -> None:
    [scaled] = of_kind(FOLDER / "keda", "ScaledObject")
    [hpa] = of_kind(FOLDER / "hpa", "HorizontalPodAutoscaler")
    [server] = (m for m in of_kind(BASE, "Deployment") if m["metadata"]["name"].endswith("server"))

    assert scaled["spec"]["maxReplicaCount"] == hpa["spec"]["maxReplicas"] == 16
    need = 16 * 4 + server["spec"]["replicas"] * Settings().database_connections
    assert f"need up to {need}" in PAGE.replace("\n", " ")
    assert need + Settings().database_connections < 97, "Postgres has 100, three for superusers"
