"""The page on clients of Firecrawl: its requests and its receiver, run as written."""

import asyncio
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

from tests.acceptance.shell import GRANTS, Shell, demo_site, serving
from tests.receiver import Receiver

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "firecrawl-clients.md").read_text("utf-8")

ALLOW = f"""
grants=${{api%v2}}api/v1/settings/grants
curl -fsS -X PUT -H 'If-Match: *' -H "$auth" -H "$json" -d '{GRANTS}' $grants
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


async def test_the_requests_of_the_page_work(tmp_path: Path) -> None:
    export, create, serve = blocks("sh")[0].splitlines()
    name, value = export.removeprefix("export ").split("=")
    bridged = Shell(tmp_path, {name: value})
    token = bridged.run(*shlex.split(create)[1:], "-q").stdout.strip()
    (requests,) = blocks("bash")
    receiver_code: dict[str, Any] = {}
    exec(blocks("python")[-1], receiver_code)

    async with Receiver() as receiver:
        with demo_site("--pages", "5", "--plain") as site, serving(bridged, token) as served:
            script = requests.replace("http://127.0.0.1:8700", served.env["CRAWLYARD_SERVER"])
            crawl = f'{site}", "delay": 0, "webhook": "{receiver.url}'
            script = script.replace("https://docs.example.org", crawl)
            script = script.replace("job=", f"{ALLOW}\njob=", 1)
            done = await run(script, served)
            async with asyncio.timeout(60):
                while len(receiver.messages) < 7:  # noqa: ASYNC110 - it has no event for that
                    await asyncio.sleep(0.05)
    assert serve == "crawlyard serve"
    assert '"status":"completed"' in done
    assert done.count('"markdown":') == 5
    types = []
    for message in receiver.messages:
        signature = message.headers["x-firecrawl-signature"]
        assert receiver_code["is_genuine"](token, message.body, signature)
        assert not receiver_code["is_genuine"]("cyt_other", message.body, signature)
        types.append(re.findall(rb'"type":"([a-z.]+)"', message.body)[0])
    assert sorted(types) == [b"crawl.completed", *[b"crawl.page"] * 5, b"crawl.started"]


async def run(script: str, served: Shell) -> str:
    """Return what a script prints, while the receiver of this process answers."""
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-euo",
        "pipefail",
        "-c",
        script,
        env=served.environment,
        stdout=subprocess.PIPE,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    return output.decode()
