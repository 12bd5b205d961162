"""Browser pool: the browsers of a worker process, each with one page at a time."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta

from crawlyard.clock import Clock
from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.crawl.rendering import Action, Browser, ScreenshotFormat
from crawlyard.core.workers.measures import Measures, Renderings
from crawlyard.engine.http.fetch import FetchFailed, Response
from crawlyard.engine.render.base import Ask, RenderedPage, RenderFailed
from crawlyard.engine.render.cdp import BrowserLost, CommandFailed
from crawlyard.engine.render.filling import Fill
from crawlyard.engine.render.launch import Launch, RunningBrowser, launch_of
from crawlyard.engine.render.page import BrowserPage, Made, Task
from crawlyard.engine.render.process import Usage

MOST_PAGES = 200
"""Of one browser, before another takes its place."""

_LOOK_S = 0.5
_WORN = 0.5  # of the memory that a browser may have: after its page, it is replaced


class Renderers:
    """All browsers of a worker process, at most *most* at once; none runs before it is needed.

    *endpoint* is the CDP address of a Chromium that somebody else runs, used instead of ours.
    What they do is added to *measured*.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        most: int,
        endpoint: str = "",
        measured: Mapping[Browser, Renderings] | None = None,
    ) -> None:
        room = asyncio.Semaphore(most)
        measured = measured or Measures().renderings
        self._pools = {
            browser: BrowserPool(
                browser, launch_of(browser, endpoint), clock, room, measured[browser]
            )
            for browser in Browser
        }

    def of(self, browser: Browser) -> "BrowserPool":
        """Return the pool of *browser*."""
        return self._pools[browser]

    def missing(self, browser: Browser) -> str:
        """Return what must be installed before *browser* can be used; empty: nothing."""
        return self._pools[browser].launch.missing()

    def installed(self) -> tuple[Browser, ...]:
        """Return the browsers that can be used."""
        return tuple(browser for browser in Browser if not self.missing(browser))

    async def close(self) -> None:
        """End the idle browsers; others end with their page."""
        for pool in self._pools.values():
            await pool.close()


class _Seat:
    """A browser of the pool, how many pages it has rendered, and what it had used then."""

    def __init__(self, browser: RunningBrowser) -> None:
        self.browser = browser
        self.pages = 0
        self.used = _usage(browser)


class BrowserPool:
    """Renders pages with one kind of browser."""

    def __init__(
        self,
        kind: Browser,
        launch: Launch,
        clock: Clock,
        room: asyncio.Semaphore,
        measured: Renderings,
    ) -> None:
        self.launch = launch
        self.measured = measured
        self._kind = kind
        self._clock = clock
        self._room = room
        self._idle: list[_Seat] = []
        self._closed = False

    async def render(
        self,
        url: str,
        response: Response,
        *,
        ask: Ask,
        wait_for: str = "",
        actions: Sequence[Action] = (),
        screenshot: ScreenshotFormat | None = None,
        fill: Fill | None = None,
        deadline_s: float,
    ) -> RenderedPage:
        """Load *response*, which *url* was answered with, and return the page it becomes.

        It is ready when it is loaded and makes no requests any more, or as soon as the selector
        *wait_for* finds something; then the *actions* are taken, and its login form is *fill*ed in.

        Raises:
            NotFilled: it has no login form that can be sent.
            FetchFailed: there is no whole page, with the kind `RENDER` and the reason.
        """
        problem = self.launch.missing()
        if screenshot is not None and not self.launch.whole:
            problem = f"{self._kind} draws nothing: screenshots need chromium"
        if problem:
            raise FetchFailed(ErrorKind.RENDER, problem)
        task = Task(
            url=url,
            response=response,
            ask=ask,
            wait_for=wait_for,
            actions=actions,
            screenshot=screenshot,
            fill=fill,
            frames=self.launch.whole,
            deadline_s=deadline_s,
        )
        async with self._room:
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

    async def _page(self, task: Task) -> RenderedPage:
        seat = await self._seat()
        keep = False
        try:
            page = await self._rendered(seat, task)
            seat.pages += 1
            keep = task.fill is None and not self._closed and not self._is_worn(seat)
        finally:
            if keep:
                self._idle.append(seat)
            else:
                await asyncio.shield(self._end(seat))
        return page

    async def _seat(self) -> _Seat:
        while self._idle:
            seat = self._idle.pop()
            process = seat.browser.process
            if process is None or process.alive:
                return seat
            await self._end(seat)
        seat = _Seat(await self.launch.open())
        self.measured.running += 1
        return seat

    async def _end(self, seat: _Seat) -> None:
        self.measured.running -= 1
        await seat.browser.end()

    def _is_worn(self, seat: _Seat) -> bool:
        return (
            seat.browser.process is None  # a page gets a connection of its own
            or seat.pages >= MOST_PAGES
            or seat.used.rss_bytes > self.launch.most_rss * _WORN
        )

    async def _rendered(self, seat: _Seat, task: Task) -> RenderedPage:
        try:
            made = await self._made(seat.browser, task)
        except FetchFailed as failure:
            raise RenderFailed(failure, self._spent(seat)) from failure
        return RenderedPage(
            html=made.html,
            url=made.url,
            by=seat.browser.name,
            cpu_s=self._spent(seat),
            screenshot=made.screenshot,
            cookies=made.cookies,
            form_again=made.form_again,
        )

    def _spent(self, seat: _Seat) -> float:
        """Return the CPU time that the browser has used since it was last looked at."""
        before, seat.used = seat.used, _usage(seat.browser)
        cpu_s = max(0.0, seat.used.cpu_s - before.cpu_s)
        self.measured.cpu_s += cpu_s
        return cpu_s

    async def _made(self, browser: RunningBrowser, task: Task) -> Made:
        """Return what becomes of a page, while the browser is listened to and its memory watched.

        Raises:
            FetchFailed: there is no whole page.
        """
        try:
            async with asyncio.TaskGroup() as group:
                listening = group.create_task(browser.connection.listen())
                watching = group.create_task(self._watch(browser))
                made = await BrowserPage(browser.connection, group, task).make()
                listening.cancel()
                watching.cancel()
        except BaseExceptionGroup as errors:
            raise _reason(errors) from errors
        return made

    async def _watch(self, browser: RunningBrowser) -> None:
        """Fail the page if its browser takes more memory than it may have."""
        while browser.process is not None:
            await self._clock.sleep(timedelta(seconds=_LOOK_S))
            held = _usage(browser).rss_bytes
            if held > self.launch.most_rss:
                most = self.launch.most_rss // (1024 * 1024)
                detail = f"the page made the browser take more than {most} MiB of memory"
                raise FetchFailed(ErrorKind.RENDER, detail)


def _usage(browser: RunningBrowser) -> Usage:
    return browser.process.usage() if browser.process is not None else Usage()


def _reason(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error, as a failure of the page if the browser gave up on it."""
    first = errors.exceptions[0]
    if isinstance(first, BaseExceptionGroup):
        return _reason(first)
    match first:
        case BrowserLost():
            return FetchFailed(ErrorKind.RENDER, "the browser died of the page")
        case CommandFailed():
            return FetchFailed(ErrorKind.RENDER, f"the browser failed: {first}")
    return first
