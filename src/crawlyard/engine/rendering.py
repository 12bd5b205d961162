"""Rendering of one job's pages: choice of pages and browser, and requests of rendered pages."""

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
from crawlyard.engine.hosts.rate_limiter import BrowserSlot, RateLimiter
from crawlyard.engine.http.fetch import FetchFailed, NotSent, Response, is_refusal, retry_after_s
from crawlyard.engine.render.base import (
    Purpose,
    RenderedPage,
    RenderFailed,
    SubRequest,
)
from crawlyard.engine.render.pool import BrowserPool, Renderers
from crawlyard.engine.scope import url_matcher
from crawlyard.engine.shared_files import SharedFiles
from crawlyard.engine.urls import canonical, host_of
from crawlyard.engine.visit.requests import RequestSender
from crawlyard.errors import Invalid

SHARED = frozenset({Purpose.SCRIPT, Purpose.STYLESHEET})
"""Files that the pages of a site share; see `SharedFiles`."""


class Permits(Protocol):
    """Permission for the requests of rendered pages, given by their crawl."""

    async def acquire(self, url: str, *, document: bool) -> BrowserSlot:
        """Wait for a slot at the host of *url*.

        Raises:
            FetchFailed: the host is blocked, or robots.txt forbids the *document*.
        """
        ...

    def may_continue(self) -> bool:
        """Return whether pages in flight may still send requests."""
        ...


_CHROMIUM_ONLY = (Browser.CHROMIUM,)


def _usual_browsers(spec: JobSpec) -> Sequence[Browser]:
    """Return the browsers for pages outside the `chromium` patterns, the best first."""
    if spec.renderer is not BrowserChoice.AUTO:
        return (Browser(spec.renderer),)
    return tuple(Browser) if spec.screenshot is ScreenshotChoice.OFF else _CHROMIUM_ONLY


def first_of(browsers: Sequence[Browser], renderers: Renderers | None) -> BrowserPool | str:
    """Return the first available browser, or how to install the preferred one."""
    if renderers is None:
        return "no browser"
    missing = {browser: renderers.missing(browser) for browser in browsers}
    available = next((browser for browser in browsers if not missing[browser]), None)
    return renderers.pool_for(available) if available is not None else missing[browsers[0]]


def lack_of(spec: JobSpec, renderers: Renderers | None) -> str:
    """Return why a worker with these *renderers* cannot run a job, empty if it can."""
    if spec.render in (RenderRule.NEVER, RenderRule.AUTO):
        return ""
    choices = (_usual_browsers(spec), _CHROMIUM_ONLY) if spec.chromium else (_usual_browsers(spec),)
    lacks = [lack for fit in choices if isinstance(lack := first_of(fit, renderers), str)]
    return f"render is {spec.render}, but: {lacks[0]}" if lacks else ""


class Rendering:
    """Renders the pages of one job that its spec selects."""

    def __init__(
        self,
        spec: JobSpec,
        renderers: Renderers | None,
        clock: Clock,
        rate_limiter: RateLimiter,
        *,
        permits: Permits,
        requests: RequestSender,
        draft: BatchDraft,
    ) -> None:
        self._renderers = renderers
        self._clock, self._rate_limiter = clock, rate_limiter
        self._permits = permits
        self._requests = requests
        self._draft = draft
        self._shared = SharedFiles(clock)
        self._spec, rule = spec, spec.render
        self._usual = first_of(_usual_browsers(spec), self._renderers)
        self._chromium = first_of(_CHROMIUM_ONLY, self._renderers)
        self._needs_chromium = url_matcher("chromium", *spec.chromium)
        self.decides_by_url = rule not in (RenderRule.NEVER, RenderRule.AUTO)
        self._matches = None if rule in frozenset(RenderRule) else url_matcher("render", rule)
        self._actions = actions_of(spec.actions)
        choice = spec.screenshot
        self._screenshot = None if choice is ScreenshotChoice.OFF else ScreenshotFormat(choice)

    def reason(self, url: str, *, needs_scripts: bool = False) -> RenderReason | None:
        """Return the reason to render a page, ``None`` if none; *needs_scripts*: by its HTML."""
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
        """Return whether to render a page whose record in an earlier run is *before*.

        A 304 for the document says nothing about the files and data that its scripts load.
        """
        if isinstance(self._renderer(before.final_url), str):
            return False
        reason = self.reason(before.final_url, needs_scripts=before.needs_scripts)
        return bool(before.rendered_by) or reason is not None

    async def render(self, url: str, response: Response) -> RenderedPage:
        """Return the page that *response* becomes once its scripts have run.

        Raises:
            FetchFailed: there is no whole page.
            NotSent: the crawl was stopped meanwhile; the page must be visited again.
        """
        renderer = self._renderer(url)
        if isinstance(renderer, str):
            raise FetchFailed(ErrorKind.RENDER, renderer)
        if not self._permits.may_continue():
            raise NotSent(f"{url} is not rendered: the crawl has stopped")
        began = self._clock.monotonic()
        try:
            page = await renderer.render(
                url,
                response,
                send=partial(self._send, renderer.measured),
                wait_for=self._spec.wait_for,
                actions=self._actions,
                screenshot=self._screenshot,
                full_page=self._spec.full_page,
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
            detail = f"its scripts navigated to {page.url[:200]!r}"
            raise FetchFailed(ErrorKind.RENDER, detail) from None

    def _renderer(self, url: str) -> BrowserPool | str:
        """Return the browsers that render a page, or how to install one."""
        return self._chromium if self._needs_chromium(url) else self._usual

    async def _send(self, measured: Renderings, sub: SubRequest) -> Response:
        """Send a request of a page; see `SendSubRequest`."""
        if not self._permits.may_continue():
            raise NotSent(f"{sub.url} is not requested: the crawl has stopped")
        is_shared = sub.purpose in SHARED and sub.method == "GET"
        if (
            is_shared
            and (cached := self._shared.get(sub.url, with_credentials=sub.same_site)) is not None
        ):
            return cached
        document = sub.purpose is Purpose.DOCUMENT
        slot = await self._permits.acquire(sub.url, document=document)
        try:
            response = await self._requests.send(
                sub.url,
                slot.wait_to_send,
                headers=sub.headers,
                head=sub.method == "HEAD",
                cookies=True,
                trusted=sub.same_site,
            )
        finally:
            slot.release()
        self._draft.tally.subrequests += 1
        measured.subrequests += 1
        if is_refusal(response):
            retry_s = retry_after_s(response.header("retry-after"), self._clock.now())
            self._rate_limiter.record_refusal(host_of(sub.url), retry_s)
        if is_shared:
            self._shared.add(sub.url, response, with_credentials=sub.same_site)
        return response
