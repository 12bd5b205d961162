"""One page in a browser: loads it in a context of its own, waits, acts and serialises it."""

import asyncio
import json
from base64 import b64decode
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

from msgspec import Struct

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.crawl.rendering import ActionKind, PageAction, ScreenshotFormat
from crawlyard.engine.extract.page import MAX_SHELL_TEXT, SHELL_ROOTS
from crawlyard.engine.http.fetch import FetchFailed, Response
from crawlyard.engine.render.base import SendSubRequest
from crawlyard.engine.render.cdp import CdpConnection, CommandFailed, Message
from crawlyard.engine.render.filling import Fill, NotFilled, login_script, set_cookie_value
from crawlyard.engine.render.interception import Interception
from crawlyard.engine.urls import hostname_of

QUIET_S = 0.5
"""Time without a request after which a page counts as complete."""

EMPTY_QUIET_S = 2.0
"""The same for a page that looks empty: on a busy machine, its scripts may not have begun to load
its content (1 of 78 pages at a load of 40)."""

MAX_HTML_CHARS = 16 * 1024 * 1024
"""Maximum characters of a document; larger ones come from scripts that add to it endlessly."""

_POLL_S = 0.1
_FORM_TIMEOUT_S = 8.0  # for a login form that appears after the page is quiet
_SUBMIT_TIMEOUT_S = 10.0  # for its scripts to submit it
_RESPONSE_TIMEOUT_S = 20.0  # for the site's response to it
_LOGIN_FAILED_S = 3.0  # after the response: if the form still exists then, the login has failed
_MAX_TRIES = 50
_MAX_SCREENSHOT_HEIGHT = 10_000  # pixels

_SERIALIZE = """(() => {
  for (const element of [...document.querySelectorAll('noscript')]) element.remove();
  const root = document.documentElement, type = document.doctype;
  const text = root ? root.outerHTML : '';
  if (text.length > %d) return false;
  return (type ? `<!DOCTYPE ${type.name}>` : '') + text;
})()"""
# the content of <noscript> is not shown where scripts run, but a parser of the text would read it

_NO_RTC = "delete globalThis.RTCPeerConnection; delete globalThis.webkitRTCPeerConnection;"
"""Its packets are not intercepted, and chromium-headless-shell has no policy that blocks them."""

_TURN = "new Promise((done) => setTimeout(done, 25))"
"""Resolves after a turn of the page's event loop, so that it has processed its last response."""

_LOOKS_EMPTY = (
    """((ids, limit) => {
  const length = (node) => node.textContent.replace(/\\s+/g, '').length;
  const shown = (node) => [...node.querySelectorAll('script,style,noscript,template')]
    .reduce((total, hidden) => total - length(hidden), length(node));
  const roots = ids.map((id) => document.getElementById(id)).filter(Boolean);
  return !document.body || [document.body, ...roots].some((node) => shown(node) <= limit);
})"""
    f"({json.dumps(sorted(SHELL_ROOTS))}, {MAX_SHELL_TEXT})"
)

_MATCHES = "document.querySelector(%s) !== null"
_CLICK = "document.querySelector(%s).click()"
_SCROLL = """(() => {
  const root = document.scrollingElement || document.documentElement || document.body;
  window.scrollTo(0, root.scrollHeight);
  window.dispatchEvent(new Event('scroll'));
  return root.scrollHeight + document.getElementsByTagName('*').length;
})()"""
# it counts elements too: without layout, a page that grows does not become higher


class RenderTask(Struct, frozen=True, kw_only=True):
    """Instructions for rendering one page."""

    url: str
    response: Response
    send: SendSubRequest
    wait_for: str
    actions: Sequence[PageAction]
    screenshot: ScreenshotFormat | None
    full_page: bool  # the screenshot; else it is of the window
    fill: Fill | None
    load_frames: bool
    deadline_s: float


class PageSnapshot(Struct, frozen=True, kw_only=True):
    """A page after rendering."""

    html: bytes
    url: str
    screenshot: bytes | None
    cookies: Sequence[str]
    form_remains: bool


class BrowserPage:
    """A page during rendering. Its requests are tasks of *group*, and end with it.

    If it fails, its browser must be ended: the context is disposed of only on success.
    """

    def __init__(
        self, connection: CdpConnection, group: asyncio.TaskGroup, task: RenderTask
    ) -> None:
        self._connection = connection
        self._group = group
        self._tasks: set[asyncio.Task[None]] = set()
        self._task = task
        self._session = ""
        self._loaded = False
        self._changed = asyncio.Event()
        self._interception: Interception
        self._expectation = "to load"
        self._quiet_deadline = 0.0
        self._form_remains = False

    async def render(self) -> PageSnapshot:
        """Render the page, and dispose of its context.

        Raises:
            FetchFailed: there is no whole page.
        """
        self._quiet_deadline = asyncio.get_running_loop().time() + self._task.deadline_s / 2
        try:
            async with asyncio.timeout(self._task.deadline_s):
                result = await self._render_in_context()
        except TimeoutError:
            within = f"within {self._task.deadline_s:g} s"
            raise _render_error(
                f"not rendered {within}: waited for it {self._expectation}"
            ) from None
        for task in tuple(self._tasks):  # the browser does not respond to them any more
            task.cancel()
        return result

    async def _render_in_context(self) -> PageSnapshot:
        context = (await self._connection.call("Target.createBrowserContext"))["browserContextId"]
        target = await self._connection.call(
            "Target.createTarget", url="about:blank", browserContextId=context
        )
        session = await self._connection.call(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        self._session = session["sessionId"]
        self._connection.subscribe(self._session, self._on_event)
        result = await self._load(target["targetId"], context)
        self._connection.subscribe(self._session, None)
        await self._connection.call("Target.disposeBrowserContext", browserContextId=context)
        return result

    async def _load(self, frame: str, context: str) -> PageSnapshot:
        task = self._task
        self._interception = Interception(
            task.url,
            task.response,
            task.send,
            self._call,
            draws=task.screenshot is not None,
            frames=task.load_frames,
            frame=frame,
            script_cookies=task.fill.script_cookies if task.fill is not None else None,
        )
        with suppress(CommandFailed):  # Lightpanda has no downloads
            await self._connection.call(
                "Browser.setDownloadBehavior", behavior="deny", browserContextId=context
            )
        await self._call("Fetch.enable", patterns=[{"urlPattern": "*"}])
        await self._call("Page.enable")
        await self._call("Page.addScriptToEvaluateOnNewDocument", source=_NO_RTC)
        navigation = await self._call("Page.navigate", url=task.url)
        if navigation.get("errorText"):
            raise _render_error(f"the page did not load: {navigation['errorText']}")
        await self._wait_ready()
        for action in task.actions:
            await self._perform(action)
        if task.fill is not None:
            await self._log_in(task.fill)
        return await self._capture(context)

    async def _wait_ready(self) -> None:
        """Wait until the page is complete, or the selector matches."""
        selector = self._task.wait_for
        if selector:
            await self._wait_for(selector)
            return
        await self._wait_until(self._is_loaded)
        await self._wait_quiet()
        if await self._evaluate(_LOOKS_EMPTY):
            await self._wait_quiet(EMPTY_QUIET_S)

    def _is_loaded(self) -> bool:
        return self._loaded or self._interception.stays

    async def _wait_for(self, selector: str) -> None:
        self._expectation = f"to contain {selector}"
        while not await self._evaluate(_MATCHES % _quote(selector)):
            await self._pause(_POLL_S)

    async def _wait_quiet(self, quiet_s: float = QUIET_S) -> None:
        """Wait until no request was made for a while, or half of the deadline has passed."""
        self._expectation = "to become quiet"
        earliest_end = asyncio.get_running_loop().time() + quiet_s
        with suppress(TimeoutError):
            async with asyncio.timeout_at(max(earliest_end, self._quiet_deadline)):
                while True:
                    await self._wait_until(
                        lambda: self._is_loaded() and not self._interception.in_flight
                    )
                    if await self._pause(quiet_s):
                        await self._evaluate(_TURN)
                        if not self._changed.is_set():
                            return

    async def _perform(self, action: PageAction) -> None:
        if action.kind is ActionKind.WAIT:
            if action.selector:
                await self._wait_for(action.selector)
            else:
                await self._sleep(action.seconds)
            return
        if action.kind is ActionKind.CLICK:
            await self._wait_for(action.selector)
            await self._evaluate(_CLICK % _quote(action.selector))
            await self._wait_quiet()
            return
        height = -1
        for _ in range(action.times):
            previous, height = height, await self._evaluate(_SCROLL)
            if height == previous:  # the page does not grow any more
                return
            await self._wait_quiet()

    async def _log_in(self, fill: Fill) -> None:
        """Fill in the login form, submit it, and wait for the site's response."""
        await self._run_form_script(login_script(fill))
        self._interception.filled = True
        await self._run_form_script(login_script(fill, fills=True))
        await self._evaluate(_TURN)
        await self._run_form_script(login_script(fill, submits=True))
        self._quiet_deadline = asyncio.get_running_loop().time() + _RESPONSE_TIMEOUT_S
        with suppress(TimeoutError):
            async with asyncio.timeout(_SUBMIT_TIMEOUT_S):
                await self._wait_until(lambda: self._interception.submitted)
        await self._wait_quiet()
        deadline = asyncio.get_running_loop().time() + _LOGIN_FAILED_S
        while not await self._evaluate(login_script(fill)):  # a page may wait before it navigates
            if asyncio.get_running_loop().time() > deadline:
                self._form_remains = True
                return
            await self._pause(_POLL_S)
        await self._wait_quiet()

    async def _run_form_script(self, script: str) -> None:
        """Run a script of a login form (see `filling.step`) again and again until it succeeds.

        Raises:
            NotFilled: it did not succeed in time.
        """
        deadline = asyncio.get_running_loop().time() + _FORM_TIMEOUT_S
        while missing := await self._evaluate(script):
            if asyncio.get_running_loop().time() > deadline:
                raise NotFilled(missing)
            await self._pause(_POLL_S)

    async def _sleep(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wait_until(lambda: False)

    async def _capture(self, context: str) -> PageSnapshot:
        self._expectation = "to be read"
        screenshot = await self._screenshot()
        url = str(await self._evaluate("location.href"))
        html = await self._evaluate(_SERIALIZE % MAX_HTML_CHARS)
        if html is False:
            raise _render_error(f"its document has more than {MAX_HTML_CHARS:,} characters")
        if not url.startswith(("http:", "https:")):
            raise _render_error(f"its scripts navigated to {url[:100]}")
        if not html:
            raise _render_error("no document is left after its scripts")
        text = str(html).encode("utf-8", "replace")
        return PageSnapshot(
            html=text,
            url=url,
            screenshot=screenshot,
            cookies=await self._cookies(context) if self._task.fill is not None else (),
            form_remains=self._form_remains,
        )

    async def _cookies(self, context: str) -> Sequence[str]:
        response = await self._connection.call("Storage.getCookies", browserContextId=context)
        host = hostname_of(self._task.url)
        return tuple(set_cookie_value(cookie, host) for cookie in response["cookies"])

    async def _screenshot(self) -> bytes | None:
        if self._task.screenshot is None:
            return None
        area: Message = {}
        if self._task.full_page:
            size = (await self._call("Page.getLayoutMetrics"))["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": size["width"], "scale": 1}
            clip["height"] = min(size["height"], _MAX_SCREENSHOT_HEIGHT)
            area = {"captureBeyondViewport": True, "clip": clip}
        screenshot = await self._call(
            "Page.captureScreenshot", format=self._task.screenshot, **area
        )
        return b64decode(screenshot["data"])

    # --- events of the browser

    def _on_event(self, method: str, params: Message) -> None:
        match method:
            case "Fetch.requestPaused":
                self._spawn(self._handle_request(params))
            case "Page.loadEventFired":
                self._loaded = True
            case "Page.frameNavigated" if not params["frame"].get("parentId"):
                self._loaded = False
            case "Page.javascriptDialogOpening":
                self._spawn(self._dismiss_dialog())
            case "Inspector.targetCrashed":
                self._spawn(_fail(_render_error("the page crashed the browser")))
        self._changed.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _handle_request(self, event: Message) -> None:
        try:
            await self._interception.handle(event)
        finally:
            self._changed.set()

    async def _dismiss_dialog(self) -> None:
        with suppress(CommandFailed):
            await self._call("Page.handleJavaScriptDialog", accept=False)

    # --- commands

    async def _call(self, method: str, **params: Any) -> Message:
        return await self._connection.call(method, self._session, **params)

    async def _evaluate(self, expression: str) -> Any:
        """Return the value of *expression* in the page, after pending navigations.

        Raises:
            FetchFailed: it throws, as an invalid selector does.
        """
        for _ in range(_MAX_TRIES):
            try:
                response = await self._call(
                    "Runtime.evaluate",
                    expression=expression,
                    returnByValue=True,
                    awaitPromise=True,
                    userGesture=True,
                )
            except CommandFailed:
                await self._pause(_POLL_S)
                continue
            exception = response.get("exceptionDetails")
            if exception is None:
                return response["result"].get("value")
            message = response["result"].get("description") or exception.get("text", "")
            raise _render_error(
                f"a script failed in the page: {str(message).partition(chr(10))[0][:200]}"
            )
        raise _render_error("its scripts kept it from being read")

    async def _wait_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def _pause(self, seconds: float) -> bool:
        """Wait for *seconds* or the next event; return whether there was none."""
        self._changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()
            return False
        return True


def _render_error(detail: str) -> FetchFailed:
    return FetchFailed(ErrorKind.RENDER, detail)


async def _fail(error: Exception) -> None:
    raise error


def _quote(selector: str) -> str:
    return json.dumps(selector)
