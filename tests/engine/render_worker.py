"""A process that renders pages until it is killed; says when the first is there."""

import asyncio
import sys

from crawlyard.clock import SystemClock
from crawlyard.core.crawl.rendering import Browser
from crawlyard.engine.http.fetch import Response
from crawlyard.engine.render.base import SubRequest
from crawlyard.engine.render.pool import Renderers

PAGE = (
    b"<!doctype html><p id=out><script>fetch('/data.json').then(() => out.textContent = 1)</script>"
)


def answer(kind: str, body: bytes) -> Response:
    return Response(200, [("Content-Type", kind)], body, len(body), "", 1)


async def send(request: SubRequest) -> Response:
    return answer("application/json", b"{}")


async def main(browser: Browser, early: bool) -> None:
    renderers = Renderers(SystemClock(), most=2)
    if early:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
    while True:
        pages = (
            renderers.pool_for(browser).render(
                f"http://site.test/{n}", answer("text/html", PAGE), send=send, deadline_s=60.0
            )
            for n in range(2)
        )
        await asyncio.gather(*pages)
        if not early:
            sys.stdout.write("ready\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(Browser(sys.argv[1]), sys.argv[2] == "early"))
