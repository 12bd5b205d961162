"""Limit of the server, measured by wrk: no crawler is faster."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

_SECONDS = 5
_RATE = re.compile(r"Requests/sec:\s+([\d.]+)")
_SCRIPT = """\
local paths = {{}}
for path in io.lines("{paths}") do paths[#paths + 1] = path end
local headers = {{ ["Accept-Encoding"] = "gzip" }}
local n = 0
request = function()
  n = n % #paths + 1
  return wrk.format("GET", paths[n], headers)
end
"""


def requests_per_s(
    url: str, paths: Path, at_once: int, pin: Sequence[str], work: Path
) -> float | None:
    """Return how many of *paths* the server answers in a second, ``None`` without wrk."""
    wrk = shutil.which("wrk")
    if wrk is None:
        return None
    script = work / "wrk.lua"
    script.write_text(_SCRIPT.format(paths=paths), encoding="utf-8")
    command = [*pin, wrk, "-t1", f"-c{at_once}", f"-d{_SECONDS}s", "-s", str(script), url]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own words
    match = _RATE.search(output)
    return float(match[1]) if match else None
