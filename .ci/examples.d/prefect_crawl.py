"""Serve the flows, start one, and wait for the run that reads the pages."""

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
from harness import an_unreliable_yard, free_port, until

port = free_port()
os.environ |= {
    "PREFECT_HOME": str(Path("prefect").absolute()),
    "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
}


def answers() -> bool:
    """Return whether Prefect's server answers."""
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{os.environ['PREFECT_API_URL']}/health").is_success
    return False


def succeeds(*arguments: str) -> bool:
    """Return whether a command of Prefect succeeds."""
    command = [sys.executable, "-m", "prefect", *arguments]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


with an_unreliable_yard() as (yard, _):
    options = ("server", "start", "--port", str(port), "--no-services")
    yard.start("-m", "prefect", *options, log="prefect.log")
    script = yard.copy(
        "workflow_engines/prefect_crawl.py",
        yard.serve_site(),
        LOOK_EVERY="timedelta(seconds=5)",
    )
    until(answers, "no Prefect")
    yard.start(str(script), log="served.log")
    start = ("deployment", "run", "start-crawl/start-crawl")
    until(lambda: succeeds(*start), "the flows are not served")
    until(lambda: re.search(r"job \S+: \d\d pages", Path("served.log").read_text()), "no pages")
