"""Rendering of one job's pages: which ones, with what, and how their own requests are sent."""

from collections.abc import Sequence
from functools import partial
from typing import Protocol

from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.crawl.page import ErrorKind, Page
from crawlyard.core.crawl.render_options import BrowserChoice, RenderRule, ScreenshotChoice
from crawlyard.core.crawl.rendering import Browser, RenderReason, ScreenshotFormat, actions_of
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.core.workers.measures import Renderings
from crawlyard.engine.batch import BatchDraft
from crawlyard.engine.hosts.gate import HostGate, Seat
from crawlyard.engine.http.fetch import FetchFailed, NotSent, Response, is_refusal, retry_after_s
from crawlyard.engine.render.base import (
    Purpose,
    RenderedPage,
    RenderFailed,
    SubRequest,
)
from crawlyard.engine.render.pool import BrowserPool, Renderers
from crawlyard.engine.scope import url_pattern
from crawlyard.engine.shared_files import SharedFiles
from crawlyard.engine.urls import canonical, host_of
from crawlyard.engine.visit.requests import RequestSender
from crawlyard.errors import Invalid

SHARED = frozenset({Purpose.SCRIPT, Purpose.STYLESHEET})
"""What pages of one site have in common: see `SharedFiles`."""


class Permits(Protocol):
    """What a crawl says about the requests of its rendered pages."""

    async def join(self, url: str, *, document: bool) -> Seat:
        """Return a seat at the host of *url*, once there is one.

        Raises:
            FetchFailed: it may not be asked, or robots.txt forbids the *document*.
        """
        ...

    def goes_on(self) -> bool:
        """Return whether pages in flight may still send requests."""
        ...


_WHOLE = (Browser.CHROMIUM,)


def _usual(spec: JobSpec) -> Sequence[Browser]:
    """Return what can render the pages of a job that it gives to no browser, the best first."""
    if spec.renderer is not BrowserChoice.AUTO:
        return (Browser(spec.renderer),)
    return tuple(Browser) if spec.screenshot is ScreenshotChoice.OFF else _WHOLE


def first_of(fit: Sequence[Browser], renderers: Renderers | None) -> BrowserPool | str:
    """Return the first of these browsers that there is, or what to do to have the first."""
    if renderers is None:
        return "no browser"
    lacks = {browser: renderers.missing(browser) for browser in fit}
    found = next((browser for browser in fit if not lacks[browser]), None)
    return renderers.of(found) if found is not None else lacks[fit[0]]


def lack_of(spec: JobSpec, renderers: Renderers | None) -> str:
    """Return why a worker with these *renderers* cannot run a job at all; empty: it can."""
    if spec.render in (RenderRule.NEVER, RenderRule.AUTO):
        return ""
    wanted = (_usual(spec), _WHOLE) if spec.chromium else (_usual(spec),)
    lacks = [lack for fit in wanted if isinstance(lack := first_of(fit, renderers), str)]
    return f"render is {spec.render}, but: {lacks[0]}" if lacks else ""


class Rendering:
    """Renders the pages of one job for which its spec says so."""

    def __init__(
        self,
        spec: JobSpec,
        renderers: Renderers | None,
        clock: Clock,
        gate: HostGate,
        *,
        permits: Permits,
        requests: RequestSender,
        draft: BatchDraft,
    ) -> None:
        self._renderers = renderers
        self._clock, self._gate = clock, gate
        self._permits = permits
        self._requests = requests
        self._draft = draft
        self._shared = SharedFiles(clock)
        self._spec, rule = spec, spec.render
        self._usual = first_of(_usual(spec), self._renderers)
        self._whole = first_of(_WHOLE, self._renderers)
        self._is_whole = url_pattern("chromium", *spec.chromium)
        self.decides_by_url = rule not in (RenderRule.NEVER, RenderRule.AUTO)
        self._matches = None if rule in frozenset(RenderRule) else url_pattern("render", rule)
        self._actions = actions_of(spec.actions)
        drawn = spec.screenshot
        self._drawn = None if drawn is ScreenshotChoice.OFF else ScreenshotFormat(drawn)

    def reason(self, url: str, *, needs_scripts: bool = False) -> RenderReason | None:
        """Return why a page is rendered, ``None`` if it is not; *needs_scripts*: by its HTML."""
        if self._matches is not None:
            return RenderReason.PATTERN if self._matches(url) else None
        if self._spec.render == RenderRule.ALWAYS:
            return RenderReason.ALWAYS
        if not needs_scripts or self._spec.render == RenderRule.NEVER:
            return None
        if isinstance(lack := self._renderer(url), str):
            self._draft.unrendered += 1
            self._draft.lack = lack
            return None
        return RenderReason.NEEDS_SCRIPTS

    def renders_again(self, before: Page) -> bool:
        """Return whether a page is rendered whose record was *before* in an earlier run.

        What its server says about the document tells nothing about what its scripts would load.
        """
        if isinstance(self._renderer(before.final_url), str):
            return False
        reason = self.reason(before.final_url, needs_scripts=before.needs_scripts)
        return bool(before.rendered_by) or reason is not None

    async def render(self, url: str, response: Response) -> RenderedPage:
        """Return the page that *response* becomes once its scripts have run.

        Raises:
            FetchFailed: there is no whole page.
            NotSent: the crawl was stopped meanwhile; the page is to be visited again.
        """
        renderer = self._renderer(url)
        if isinstance(renderer, str):
            raise FetchFailed(ErrorKind.RENDER, renderer)
        if not self._permits.goes_on():
            raise NotSent(f"{url} is not rendered any more")
        began = self._clock.monotonic()
        try:
            page = await renderer.render(
                url,
                response,
                ask=partial(self._ask, renderer.measured),
                wait_for=self._spec.wait_for,
                actions=self._actions,
                screenshot=self._drawn,
                deadline_s=self._spec.timeout_s,
            )
        except RenderFailed as failure:
            self._draft.tally.render_s += failure.cpu_s
            raise
        finally:
            self._draft.tally.render_took_s += self._clock.monotonic() - began
        self._draft.tally.render_s += page.cpu_s
        try:
            return replace(page, url=canonical(page.url))
        except Invalid:
            left = f"its scripts left it for {page.url[:200]!r}"
            raise FetchFailed(ErrorKind.RENDER, left) from None

    def _renderer(self, url: str) -> BrowserPool | str:
        """Return what a page is rendered with, or what is missing for that."""
        return self._whole if self._is_whole(url) else self._usual

    async def _ask(self, measured: Renderings, sub: SubRequest) -> Response:
        """Send a request of a page; see `Ask`."""
        if not self._permits.goes_on():
            raise NotSent(f"{sub.url} is not asked for any more")
        is_shared = sub.purpose in SHARED and sub.method == "GET"
        if is_shared and (known := self._shared.get(sub.url, trusted=sub.same_site)) is not None:
            return known
        document = sub.purpose is Purpose.DOCUMENT
        seat = await self._permits.join(sub.url, document=document)
        try:
            answer = await self._requests.send(
                sub.url,
                seat.go,
                headers=sub.headers,
                head=sub.method == "HEAD",
                cookies=True,
                trusted=sub.same_site,
            )
        finally:
            seat.give()
        self._draft.tally.subrequests += 1
        measured.subrequests += 1
        if is_refusal(answer):
            asked_s = retry_after_s(answer.header("retry-after"), self._clock.now())
            self._gate.refused(host_of(sub.url), asked_s)
        if is_shared:
            self._shared.put(sub.url, answer, trusted=sub.same_site)
        return answer
