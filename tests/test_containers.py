"""The files of `deploy/` for containers are valid, and fit the program.

`tests/acceptance/test_compose.py` runs the processes of `compose.yaml`, `.ci/container` its images.
"""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from crawlyard.cli.server.deadline import GRACE_S
from crawlyard.config import settings_fields
from tests.program import COMMANDS

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
CONTAINERFILE = DEPLOY / "Containerfile"
COMPOSE = DEPLOY / "compose.yaml"
CHROMIUM = DEPLOY / "compose.chromium.yaml"


def stages() -> Mapping[str, list[tuple[str, str]]]:
    """Return the instructions of each stage of the Containerfile, by its name."""
    text = re.sub(r"^#.*\n", "", CONTAINERFILE.read_text("utf-8"), flags=re.MULTILINE)
    by_name: dict[str, list[tuple[str, str]]] = {"": []}
    name = ""
    for line in filter(None, text.replace("\\\n", " ").splitlines()):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            name = rest.rpartition(" AS ")[2]
            by_name[name] = []
        by_name[name].append((word, rest.strip()))
    return by_name


def values(stage: str, word: str) -> list[str]:
    return [rest for name, rest in stages()[stage] if name == word]


def image_environment() -> dict[str, str]:
    [variables] = values("crawlyard", "ENV")
    pairs = [pair.partition("=") for pair in shlex.split(variables)]
    return {name: value for name, _, value in pairs}


def services() -> Mapping[str, Any]:
    """Return the services of compose.yaml, with the defaults of its variables."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", COMPOSE.read_text("utf-8"))
    by_name: Mapping[str, Any] = yaml.safe_load(text)["services"]
    return by_name


def own_services() -> Mapping[str, Any]:
    return {n: s for n, s in services().items() if s["image"].startswith("crawlyard:")}


def test_the_compose_files_follow_the_specification() -> None:
    checker = (sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec")

    ran = subprocess.run([*checker, COMPOSE, CHROMIUM], capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_images_run_as_another_user_than_root_and_keep_one_volume() -> None:
    assert list(stages()) == ["", "build", "crawlyard", "chromium"]
    for stage in ("crawlyard", "chromium"):
        user, _, group = values(stage, "USER")[-1].partition(":")
        assert min(int(user), int(group)) >= 10_000
    assert values("crawlyard", "VOLUME") == [image_environment()["CRAWLYARD_DATA_DIR"]]
    assert values("chromium", "VOLUME") == []
    assert values("", "ARG")[0].startswith("PYTHON=docker.io/library/python:")
    assert values("crawlyard", "FROM") == ["${PYTHON} AS crawlyard"]


def test_no_file_turns_off_the_sandbox_of_browsers() -> None:
    files = [file for file in DEPLOY.rglob("*") if file.is_file()]

    assert [file for file in files if b"--no-sandbox" in file.read_bytes()] == []


def test_the_image_has_the_extras_and_all_files_that_the_wheel_is_built_from() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    [build] = values("build", "RUN")
    [extras] = re.findall(r"\.\[([\w,]+)\]", build)
    copied = [pattern for line in values("build", "COPY") for pattern in line.split()[:-1]]
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = [project["project"]["readme"], *project["project"]["license-files"]]
    needed += ["pyproject.toml", "src", *wheel.get("sbom-files", ())]

    assert set(extras.split(",")) == {"postgres", "redis", "render", "parquet", "firecrawl", "mcp"}
    assert set(extras.split(",")) <= set(project["project"]["optional-dependencies"])
    assert [n for n in needed if not any(Path(n).match(pattern) for pattern in copied)] == []


def test_commands_of_images_and_services_exist() -> None:
    commands = [json.loads(values("crawlyard", "CMD")[0])]
    commands += [service["command"] for service in own_services().values()]
    checks = [json.loads(values("crawlyard", "HEALTHCHECK")[0].partition("CMD ")[2])]
    checks += [s["healthcheck"]["test"][1:] for s in own_services().values() if "healthcheck" in s]

    assert json.loads(values("crawlyard", "ENTRYPOINT")[0]) == ["tini", "--", "crawlyard"]
    assert {program for program, *_ in checks} == {"crawlyard"}
    for words in [*commands, *(check[1:] for check in checks)]:
        name = next(" ".join(words[:n]) for n in (1, 2) if " ".join(words[:n]) in COMMANDS)
        options = {option for p in COMMANDS[name].params for option in p.opts}
        assert {word for word in words if word.startswith("-")} <= options, name


def test_variables_are_settings() -> None:
    names = {f"CRAWLYARD_{name.upper()}" for name in settings_fields()}
    variables = {*image_environment()} | {
        v for s in own_services().values() for v in s["environment"]
    }

    assert {name for name in variables if name.startswith("CRAWLYARD_")} <= names


def test_only_the_migration_changes_the_schema_and_the_rest_waits_for_it() -> None:
    by_name = own_services()

    assert image_environment()["CRAWLYARD_AUTO_UPGRADE"] == "off"
    assert [n for n, s in by_name.items() if s["command"] == ["db", "upgrade"]] == ["migrate"]
    for name in ("server", "worker"):
        condition = by_name[name]["depends_on"]["migrate"]["condition"]
        assert condition == "service_completed_successfully"


def test_services_have_no_more_rights_than_they_need() -> None:
    for name, service in services().items():
        if name == "postgres":  # its image starts as root and changes the owner of its volume
            continue
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
    assert [n for n, s in services().items() if "ports" in s] == ["server"]
    assert all(port.startswith("127.0.0.1:") for port in services()["server"]["ports"])
    assert services()["worker"]["scale"] == 2


def test_a_service_has_more_time_to_stop_than_its_process_takes() -> None:
    for service in own_services().values():
        assert float(service["stop_grace_period"].removesuffix("s")) > GRACE_S + 4


def test_the_profile_for_chromium_allows_its_sandbox_and_no_mounts() -> None:
    profile = json.loads((DEPLOY / "chromium-seccomp.json").read_text("utf-8"))
    allowed = {name for rule in profile["syscalls"] for name in rule["names"]}

    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert {"clone", "clone3", "unshare", "chroot"} <= allowed
    assert not allowed & {"mount", "umount2", "pivot_root", "setns", "bpf", "keyctl"}
