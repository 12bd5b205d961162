"""The commands of the page about the HTTP API, run as written."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.shell import Shell, demo_site, environment, until, wait_for_exit

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "http-api.md").read_text("utf-8")
OPENED = '"allow_addresses": ["127.0.0.1"], '


def script(server: str, code: str, site: str) -> str:
    """Return the commands of the page with the addresses of a running server and site."""
    blocks = re.findall(r"^```bash\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    *steps, granting = blocks
    sign_in, *commands = steps
    for program in re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        own = f"CRAWLYARD_SERVER=$server CRAWLYARD_TOKEN=$token {sys.executable}"
        commands.append(f"{own} - <<'END'\n{program}END")
    # the page's last command, run first, allows a site on loopback
    text = "\n".join((sign_in, granting, *commands))
    text = text.replace("http://127.0.0.1:8700", server).replace("cyl_BJSx…", code)
    text = text.replace('{"urls"', "{" + OPENED + '"urls"')
    text = text.replace("max_pages=20", 'max_pages=20, allow_addresses="127.0.0.1"')
    return "set -euo pipefail\n" + text.replace("https://docs.example.org", site)


@pytest.mark.slow
def test_the_commands_of_the_http_api_page_work(shell: Shell) -> None:
    with (
        demo_site("--pages", "24", "--plain", "--latency-ms", "40") as site,
        shell.started("serve", "--port", "0") as server,
    ):
        line = until(server, "sign in (once")
        link = re.search(r"(http://\S+)/signin#(cyl_\S+)", line)
        assert link is not None

        typed = subprocess.run(
            ["bash", "-c", script(link[1], link[2], site)],
            cwd=shell.folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        server.terminate()
        code, _, _ = wait_for_exit(server)

    assert typed.returncode == 0, typed.stderr
    assert code == 0
    assert '"state":"paused"' in typed.stdout
    assert '"detail":"lunch"' in typed.stdout
    assert '"pointer":"/limits/pages"' in typed.stdout
    assert '"object":"job_plan"' in typed.stdout
    assert '"expanded":{"template":null,"schedule":null}' in typed.stdout
    assert typed.stdout.count('"code":"precondition_failed"') == 1
    assert '"object":"schedule_deletion"' in typed.stdout
    assert "event: hello" in typed.stdout
    assert "event: job.created" in typed.stdout
    assert "event: job.log" in typed.stdout
    assert '"state":"completed"' in typed.stdout
    records = [json.loads(line) for line in (shell.folder / "docs.jsonl").read_text().splitlines()]
    urls = [record["url"] for record in records]
    assert len(urls) == len(set(urls)) > 20
    assert typed.stdout.count('"zone":"CE') == 3
    assert '"code":"internal"' not in typed.stdout
    assert f"200 {site}" in typed.stdout
    assert re.search(r"^[0-9a-f-]{36} [1-9]", typed.stdout, re.MULTILINE)
