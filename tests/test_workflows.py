"""GitHub workflows and the scripts they run."""

import re
import shutil
import subprocess
import sysconfig
from typing import Any

import yaml

from tests.dependencies import EXTRAS, ROOT

WORKFLOWS = ROOT / ".github" / "workflows"

_SCRIPT = re.compile(r"(?:^|\s)(\.ci/[\w/]+)")
_WRITE = {"id-token": "write"}


def workflow(name: str) -> dict[Any, Any]:
    definition: dict[Any, Any] = yaml.safe_load((WORKFLOWS / f"{name}.yml").read_text("utf-8"))
    return definition


def lint(tool: str, *options: str) -> str:
    """Run a tool of this environment on all workflows; return what it finds."""
    program = shutil.which(tool, path=sysconfig.get_path("scripts"))
    assert program, f"pip install {tool}"
    paths = sorted(WORKFLOWS.glob("*.yml"))
    result = subprocess.run(
        [program, *options, *paths], check=False, capture_output=True, text=True
    )
    return "" if result.returncode == 0 else result.stdout + result.stderr


def test_workflows_fit_the_schema_of_github() -> None:
    assert lint("check-jsonschema", "--builtin-schema", "vendor.github-workflows") == ""


def test_workflows_pin_their_actions_and_have_few_permissions() -> None:
    assert lint("zizmor", "--offline", "--strict-collection", "--no-config") == ""


def test_every_script_that_a_workflow_runs_is_an_executable_file() -> None:
    for path in WORKFLOWS.glob("*.yml"):
        for job in yaml.safe_load(path.read_text("utf-8"))["jobs"].values():
            commands = "\n".join(step.get("run", "") for step in job["steps"])
            for script in _SCRIPT.findall(commands):
                assert (ROOT / script).stat().st_mode & 0o111, f"{path.name}: {script}"


def test_a_release_is_built_then_attested_then_published_without_a_token() -> None:
    text = (WORKFLOWS / "release.yml").read_text("utf-8")
    jobs = workflow("release")["jobs"]

    order = {name: job.get("needs") for name, job in jobs.items()}

    assert order == {"build": None, "attest": "build", "publish": "attest"}
    assert jobs["publish"]["permissions"] == _WRITE
    assert jobs["publish"]["environment"]["name"] == "pypi"
    assert "secrets." not in text


def test_the_audit_is_scheduled_and_covers_every_extra() -> None:
    script = (ROOT / ".ci" / "audit").read_text("utf-8")
    [extras] = re.findall(r"^readonly extras=(.*)$", script, re.MULTILINE)

    assert set(extras.split(",")) == EXTRAS
    assert "schedule" in workflow("audit")[True]  # YAML reads "on" as a boolean


def test_the_whole_check_tries_the_wheel() -> None:
    assert '"$checkout/.ci/wheel"' in (ROOT / ".ci" / "run").read_text("utf-8")
