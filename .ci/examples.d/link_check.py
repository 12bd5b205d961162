"""Run the steps of the action as a runner does: with inputs, and `RUNNER_TEMP`."""

import os
import re
import subprocess
from pathlib import Path

import yaml
from harness import EXAMPLES, a_yard

ACTION = yaml.safe_load((EXAMPLES / "link-check" / "action.yml").read_text())


def check(**inputs: str) -> int:
    """Return the exit code of the action."""
    values = {name: value.get("default", "") for name, value in ACTION["inputs"].items()}
    values |= {name.replace("_", "-"): value for name, value in inputs.items()}
    context = {f"inputs.{name}": value for name, value in values.items()}
    context["runner.temp"] = os.environ["RUNNER_TEMP"]
    for step in ACTION["runs"]["steps"]:
        env = {
            name: re.sub(r"\$\{\{ (\S+) \}\}", lambda match: context[match[1]], value)
            for name, value in step["env"].items()
        }
        code = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", step["run"]], env=os.environ | env, check=False
        ).returncode
        if code:
            return code
    return 0


with a_yard() as yard:
    os.environ["RUNNER_TEMP"] = str(Path("runner").absolute())
    del os.environ["CRAWLYARD_SERVER"], os.environ["CRAWLYARD_TOKEN"]
    common = {"package": os.environ["WHEEL"], "options": "--allow-private --delay 0"}
    site = Path("site")
    site.mkdir()
    (site / "index.html").write_text('<title>One</title><a href="two.html#end">two</a>')
    (site / "two.html").write_text('<title>Two</title><p id="end">the end')
    assert check(url=yard.serve_site("--folder", str(site)), **common) == 0
    assert "<failure" not in Path("links.xml").read_text()
    faulty = yard.serve_site("--pages", "40")
    assert check(url=faulty, junit="faulty.xml", **common) == 13
    assert "<failure" in Path("faulty.xml").read_text()
