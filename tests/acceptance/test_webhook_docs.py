"""The receiver in the documentation: it runs and accepts only signed messages."""

import asyncio
import re
import socket
import sys
from pathlib import Path

from crawlyard.clock import SystemClock
from crawlyard.engine.http.guard import Guard
from crawlyard.engine.http.webhook_post import Poster
from crawlyard.services.webhooks.signing import new_secret, sign_body

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "webhooks.md").read_text("utf-8")
BODY = b'{"type":"job.completed","data":{"subject":"j1","seq":1}}'


async def test_the_receiver_of_the_documentation_accepts_a_signed_message_once() -> None:
    [example] = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    secret, port = new_secret(), free_port()
    assert "9000" in example

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", example.replace("9000", str(port))),
        env={"CRAWLYARD_WEBHOOK_SECRET": secret},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    await until_listening(port)
    statuses = [await send(port, key) for key in (new_secret(), secret, secret)]
    process.terminate()
    out, _ = await process.communicate()

    assert statuses == [400, 204, 204]
    assert out == b"job.completed j1\n"


async def send(port: int, secret: str) -> int:
    headers = sign_body("msg_1", SystemClock().wall(), BODY, [secret])
    guard = Guard(("127.0.0.1",))
    answer = await Poster("test").post(f"http://127.0.0.1:{port}/", headers, BODY, guard)
    return answer.status


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


async def until_listening(port: int) -> None:
    """Return once *port* accepts connections."""
    async with asyncio.timeout(60):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0)
                continue
            writer.close()
            return
