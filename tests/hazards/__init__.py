"""A site with everything that can go wrong for a crawler, and what must come of it.

    async with SiteServer(HazardSite(World(canary=…, other=…))) as server: …

/ links to the groups (/redir/, /body/, …), each group to its hazards, so that a crawl
of one page can be judged as well as one of all. `EXPECTED` says what may become of a
URL, `FOUND` what a crawl of it must ask for, `TITLES` how a title must be read;
`trespasses` names the hits that must not have been.
"""

from collections.abc import Iterable

from crawlyard.demo.hits import Hit
from crawlyard.demo.request import HttpRequest
from crawlyard.demo.server import Raw
from crawlyard.demo.site import Answer
from tests.hazards import (
    bodies,
    bombs,
    duplicates,
    encodings,
    errors,
    growth,
    links,
    redirects,
    sitemaps,
    ssrf,
    traps,
)
from tests.hazards.common import Hazard, HazardRequest, World, location, page
from tests.hazards.robots import VERDICTS, RobotsKind, RobotsSite

__all__ = [
    "EXPECTED",
    "FOUND",
    "GROUPS",
    "HAZARDS",
    "TITLES",
    "VERDICTS",
    "HazardSite",
    "RobotsKind",
    "RobotsSite",
    "World",
    "trespasses",
]

HAZARDS: tuple[Hazard, ...] = (
    *traps.HAZARDS,
    *redirects.HAZARDS,
    *bodies.HAZARDS,
    *bombs.HAZARDS,
    *encodings.HAZARDS,
    *links.HAZARDS,
    *duplicates.HAZARDS,
    *sitemaps.HAZARDS,
    *errors.HAZARDS,
    *growth.HAZARDS,
    *ssrf.HAZARDS,
)

EXPECTED: dict[str, tuple[str, ...]] = {h.url: h.expected for h in HAZARDS if h.expected}
"""What may become of a URL, its redirects followed; the first is the one to aim at.

It takes a cap of bodies between 4 and 64 MiB, and a time-out of less than a minute.
"""

FOUND: dict[str, tuple[str, ...]] = {h.url: h.found for h in HAZARDS if h.found}
"""The paths that a crawl from each path must ask for, each once."""

TITLES: dict[str, str] = {h.url: h.title for h in HAZARDS if h.title is not None}
"""How the title of each page must be read."""

GROUPS: dict[str, tuple[str, ...]] = {}
"""The URLs of each group, by its first part: redir, body, head, …"""
for _hazard in HAZARDS:
    _group = _hazard.path.split("/")[1]
    GROUPS[_group] = (*GROUPS.get(_group, ()), _hazard.url)

ROBOTS = "User-agent: *\nDisallow: /private/\n"


class HazardSite:
    """Serves all hazards. One instance per test: some answers depend on what was asked before."""

    def __init__(self, world: World | None = None) -> None:
        self.world = world or World()
        self._exact = {h.path: h for h in HAZARDS if not h.path.endswith("*")}
        self._prefixes = [h for h in HAZARDS if h.path.endswith("*")]

    def answer(self, method: str, path: str, host: str) -> Answer | Raw:
        """Return the answer to a request without further headers."""
        return self.answer_request(
            HttpRequest(method, path, host, headers={}, keep_alive=True, has_body=False)
        )

    def answer_request(self, request: HttpRequest) -> Answer | Raw:
        """Return the answer to *request*; anything under /found/, /never/, … is a page."""
        path, _, query = request.path.partition("?")
        self.world.requests[path] += 1
        call = HazardRequest(path, query, request.host, request.headers, self.world)
        hazard = self._exact.get(path) or self._by_prefix(path)
        if hazard is not None:
            return hazard.make(call)
        if path == "/robots.txt":
            return Answer(200, (("Content-Type", "text/plain"),), ROBOTS.encode())
        if path == "/hop":
            return location(query.removeprefix("to="))
        return self._plain(path)

    def _plain(self, path: str) -> Answer:
        if path == "/":
            return page(*(f"/{group}/" for group in GROUPS), title="Hazards")
        group = path.strip("/")
        if group in GROUPS and path == f"/{group}/":
            return page(*GROUPS[group], f"/ok/{group}", title=group)
        first = path.split("/")[1]
        if first in {"found", "never", "maybe", "private", "ok"}:
            return page(title=path)
        return Answer(404)

    def _by_prefix(self, path: str) -> Hazard | None:
        return next((h for h in self._prefixes if path.startswith(h.path[:-1])), None)


def trespasses(hits: Iterable[Hit]) -> list[Hit]:
    """Return the hits that must not have been: forbidden paths, what is no link, sent forms."""
    bad = ("/never/", "/private/", "/canary/")
    return [h for h in hits if h.path.startswith(bad) or h.method not in {"GET", "HEAD"}]
