"""Rendering rig: sites of scripts, whose pages are rendered in a real browser."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from crawlyard.clock import SystemClock
from crawlyard.core.crawl.rendering import Browser
from crawlyard.demo.server import SiteServer
from crawlyard.demo.site import HTML, Answer
from crawlyard.engine.http.fetch import Fetcher, FetchFailed, Response
from crawlyard.engine.http.guard import Guard
from crawlyard.engine.render.base import RenderedPage, SubRequest
from crawlyard.engine.render.pool import Renderers
from tests.engine.clients import CAP, HEADERS, Make
from tests.site import Serve

TYPES = {"js": "text/javascript", "json": "application/json"}


@dataclass
class ScriptSite:
    """A site of the given bodies by path; ``.js`` and ``.json`` have their types."""

    bodies: dict[str, str | Answer]
    otherwise: str = "nothing"

    def answer(self, method: str, path: str, host: str) -> Answer:
        body = self.bodies.get(path.partition("?")[0], self.otherwise)
        if isinstance(body, Answer):
            return body
        kind = TYPES.get(path.partition("?")[0].rpartition(".")[2], HTML)
        return Answer(200, (("Content-Type", kind),), body.encode())


def scripted(script: str, body: str = "<p id=out>shell</p>") -> str:
    """Return a page with *body* and a script after it."""
    return f"<!doctype html><title>Shell</title><body>{body}<script>{script}</script>"


@dataclass
class RenderRig:
    """A site, the fetcher of a job that may ask it and nothing else, and its renderers."""

    site: ScriptSite
    server: SiteServer
    fetcher: Fetcher
    renderers: Renderers
    asked: list[SubRequest] = field(default_factory=list)
    refused: list[FetchFailed] = field(default_factory=list)

    async def send(self, request: SubRequest) -> Response:
        self.asked.append(request)
        try:
            headers = {**HEADERS, **request.headers}
            return await self.fetcher.fetch(
                request.url, headers, CAP, head=request.method == "HEAD"
            )
        except FetchFailed as failure:
            self.refused.append(failure)
            raise

    async def render(self, browser: Browser, path: str, **options: Any) -> RenderedPage:
        """Render a page of the site, which is fetched first."""
        url = f"{self.server.url}{path}"
        response = await self.fetcher.fetch(url, HEADERS, CAP)
        options.setdefault("deadline_s", 20.0)
        options.setdefault("send", self.send)
        return await self.renderers.pool_for(browser).render(url, response, **options)

    @property
    def bodies(self) -> dict[str, str | Answer]:
        """Bodies of the site by path; tests may change them."""
        return self.site.bodies

    def paths(self) -> list[str]:
        """Return what the page asked for, in order."""
        return [request.url.removeprefix(self.server.url) for request in self.asked]


MakeRig = Callable[[Mapping[str, str | Answer]], Awaitable[RenderRig]]


@pytest.fixture
async def rig(make: Make, site_server: Serve) -> AsyncIterator[MakeRig]:
    """Factory of sites whose pages can be rendered; its browsers end with the test."""
    renderers = Renderers(SystemClock(), most=2)

    async def make_rig(bodies: Mapping[str, str | Answer]) -> RenderRig:
        site = ScriptSite(dict(bodies))
        server = await site_server(site)
        guard = Guard((server.authority,))
        return RenderRig(site, server, make(guard=guard), renderers)

    yield make_rig
    await renderers.close()
