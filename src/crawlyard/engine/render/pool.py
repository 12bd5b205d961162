"""Browser pool: the browsers of a worker process, each with one page at a time."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta

from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.crawl.rendering import Browser, PageAction, ScreenshotFormat
from crawlyard.core.workers.measures import Measures, Renderings
from crawlyard.engine.http.fetch import FetchFailed, Response
from crawlyard.engine.render.base import RenderedPage, RenderFailed, SendSubRequest
from crawlyard.engine.render.cdp import BrowserLost, CommandFailed
from crawlyard.engine.render.filling import Fill
from crawlyard.engine.render.launch import Launch, RunningBrowser, launch_of
from crawlyard.engine.render.page import BrowserPage, PageSnapshot, RenderTask
from crawlyard.engine.render.process import ProcessUsage

MOST_PAGES = 200
"""Pages rendered by one browser before it is replaced."""

_OFF = "this worker renders no pages (CRAWLYARD_BROWSERS=0)"
_CHECK_S = 0.5
_WORN = 0.5  # share of its memory limit from which a browser is replaced after its page


class Renderers:
    """Browsers of a worker process, at most *most* at once, started when needed; 0: none.

    *endpoint* is the CDP address of an external Chromium, used instead of ours. Work is counted in
    *measured*.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        most: int,
        endpoint: str = "",
        measured: Mapping[Browser, Renderings] | None = None,
    ) -> None:
        slots = asyncio.Semaphore(most)
        measured = measured or Measures().renderings
        launches = {browser: launch_of(browser, endpoint) for browser in Browser}
        if not most:
            launches = {b: replace(each, missing=lambda: _OFF) for b, each in launches.items()}
        self._pools = {
            browser: BrowserPool(browser, launches[browser], clock, slots, measured[browser])
            for browser in Browser
        }

    def pool_for(self, browser: Browser) -> "BrowserPool":
        """Return the pool that renders with *browser*."""
        return self._pools[browser]

    def missing(self, browser: Browser) -> str:
        """Return what to install before *browser* can be used, empty if it can."""
        return self._pools[browser].launch.missing()

    def installed(self) -> tuple[Browser, ...]:
        """Return the browsers that can be used."""
        return tuple(browser for browser in Browser if not self.missing(browser))

    async def close(self) -> None:
        """End the idle browsers; others end with their page."""
        for pool in self._pools.values():
            await pool.close()


class _PooledBrowser:
    """A browser of the pool, with its number of pages and its last measured usage."""

    def __init__(self, browser: RunningBrowser) -> None:
        self.browser = browser
        self.pages = 0
        self.usage = _usage(browser)


class BrowserPool:
    """Renders pages with one kind of browser."""

    def __init__(
        self,
        kind: Browser,
        launch: Launch,
        clock: Clock,
        slots: asyncio.Semaphore,
        measured: Renderings,
    ) -> None:
        self.launch = launch
        self.measured = measured
        self._kind = kind
        self._clock = clock
        self._slots = slots
        self._idle: list[_PooledBrowser] = []
        self._closed = False

    async def render(
        self,
        url: str,
        response: Response,
        *,
        send: SendSubRequest,
        wait_for: str = "",
        actions: Sequence[PageAction] = (),
        screenshot: ScreenshotFormat | None = None,
        full_page: bool = True,
        fill: Fill | None = None,
        deadline_s: float,
    ) -> RenderedPage:
        """Load *response*, the response of *url*, and return the rendered page.

        It is complete when it is loaded and makes no more requests, or as soon as the selector
        *wait_for* matches; then the *actions* are performed, and its login form is *fill*ed in.

        Raises:
            NotFilled: it has no login form that can be submitted.
            FetchFailed: there is no whole page, with the kind `RENDER` and the reason.
        """
        problem = self.launch.missing()
        if screenshot is not None and not self.launch.is_full:
            problem = f"{self._kind} has no screenshots; they need chromium"
        if problem:
            raise FetchFailed(ErrorKind.RENDER, problem)
        task = RenderTask(
            url=url,
            response=response,
            send=send,
            wait_for=wait_for,
            actions=actions,
            screenshot=screenshot,
            full_page=full_page,
            fill=fill,
            load_frames=self.launch.is_full,
            deadline_s=deadline_s,
        )
        async with self._slots:
            began = self._clock.monotonic()
            try:
                page = await self._page(task)
            except FetchFailed:
                self.measured.failures += 1
                raise
            self.measured.took.add(self._clock.monotonic() - began)
        return page

    async def close(self) -> None:
        """End the idle browsers; others end with their page."""
        self._closed = True
        while self._idle:
            await self._end(self._idle.pop())

    async def _page(self, task: RenderTask) -> RenderedPage:
        pooled = await self._take_browser()
        keep = False
        try:
            page = await self._render_in(pooled, task)
            pooled.pages += 1
            keep = task.fill is None and not self._closed and not self._is_worn(pooled)
        finally:
            if keep:
                self._idle.append(pooled)
            else:
                await asyncio.shield(self._end(pooled))
        return page

    async def _take_browser(self) -> _PooledBrowser:
        while self._idle:
            pooled = self._idle.pop()
            process = pooled.browser.process
            if process is None or process.alive:
                return pooled
            await self._end(pooled)
        pooled = _PooledBrowser(await self.launch.open())
        self.measured.running += 1
        return pooled

    async def _end(self, pooled: _PooledBrowser) -> None:
        self.measured.running -= 1
        await pooled.browser.end()

    def _is_worn(self, pooled: _PooledBrowser) -> bool:
        return (
            pooled.browser.process is None  # a page gets a connection of its own
            or pooled.pages >= MOST_PAGES
            or pooled.usage.rss_bytes > self.launch.most_rss * _WORN
        )

    async def _render_in(self, pooled: _PooledBrowser, task: RenderTask) -> RenderedPage:
        try:
            snapshot = await self._snapshot(pooled.browser, task)
        except FetchFailed as failure:
            raise RenderFailed(failure, self._measure_cpu(pooled)) from failure
        return RenderedPage(
            html=snapshot.html,
            url=snapshot.url,
            by=pooled.browser.name,
            cpu_s=self._measure_cpu(pooled),
            screenshot=snapshot.screenshot,
            cookies=snapshot.cookies,
            form_remains=snapshot.form_remains,
        )

    def _measure_cpu(self, pooled: _PooledBrowser) -> float:
        """Return the CPU time of the browser since its last measurement."""
        before, pooled.usage = pooled.usage, _usage(pooled.browser)
        cpu_s = max(0.0, pooled.usage.cpu_s - before.cpu_s)
        self.measured.cpu_s += cpu_s
        return cpu_s

    async def _snapshot(self, browser: RunningBrowser, task: RenderTask) -> PageSnapshot:
        """Render a page while receiving the browser's messages and watching its memory.

        Raises:
            FetchFailed: there is no whole page.
        """
        try:
            async with asyncio.TaskGroup() as group:
                listening = group.create_task(browser.connection.listen())
                watching = group.create_task(self._watch(browser))
                snapshot = await BrowserPage(browser.connection, group, task).render()
                listening.cancel()
                watching.cancel()
        except BaseExceptionGroup as errors:
            raise _reason(errors) from errors
        return snapshot

    async def _watch(self, browser: RunningBrowser) -> None:
        """Fail the page if its browser exceeds its memory limit."""
        while browser.process is not None:
            await self._clock.sleep(timedelta(seconds=_CHECK_S))
            rss_bytes = _usage(browser).rss_bytes
            if rss_bytes > self.launch.most_rss:
                most = self.launch.most_rss // (1024 * 1024)
                detail = f"the page used more than {most} MiB of memory in the browser"
                raise FetchFailed(ErrorKind.RENDER, detail)


def _usage(browser: RunningBrowser) -> ProcessUsage:
    return browser.process.usage() if browser.process is not None else ProcessUsage()


def _reason(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error, as a failure of the page if the browser failed."""
    first = errors.exceptions[0]
    if isinstance(first, BaseExceptionGroup):
        return _reason(first)
    match first:
        case BrowserLost():
            return FetchFailed(ErrorKind.RENDER, "the page crashed the browser")
        case CommandFailed():
            return FetchFailed(ErrorKind.RENDER, f"the browser failed: {first}")
    return first
