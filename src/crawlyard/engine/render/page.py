"""One page in a browser: loaded in a context of its own, waited for, acted on and serialised."""

import asyncio
import json
from base64 import b64decode
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

from msgspec import Struct

from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.crawl.rendering import Action, ActionKind, ScreenshotFormat
from crawlyard.engine.extract.page import MAX_SHELL_TEXT, SHELL_ROOTS
from crawlyard.engine.http.fetch import FetchFailed, Response
from crawlyard.engine.render.base import Ask
from crawlyard.engine.render.cdp import CommandFailed, Connection, Message
from crawlyard.engine.render.filling import Fill, NotFilled, as_set, step
from crawlyard.engine.render.interception import Interception
from crawlyard.engine.urls import hostname_of

QUIET_S = 0.5
"""Without a request, after which a page is taken to be complete."""

EMPTY_QUIET_S = 2.0
"""The same for a page that looks empty: on a busy machine, its scripts may not have begun to load
what it shows (1 of 78 pages at a load of 40)."""

MOST_HTML = 16 * 1024 * 1024
"""Characters of a document. More come of scripts that add to it without end."""

_LOOK_S = 0.1
_FORM_S = 8.0  # for a login form that comes after the page is quiet
_SENT_S = 10.0  # for its scripts to send it
_ANSWER_S = 20.0  # for what a site answers to it
_STAYS_S = 3.0  # that the form is there after the answer, for the login to have failed
_TRIES = 50
_MOST_SHOWN = 10_000  # pixels of the height of a screenshot

_HTML = """(() => {
  for (const one of [...document.querySelectorAll('noscript')]) one.remove();
  const root = document.documentElement, type = document.doctype;
  const text = root ? root.outerHTML : '';
  if (text.length > %d) return false;
  return (type ? `<!DOCTYPE ${type.name}>` : '') + text;
})()"""
# what is between <noscript> is not shown where scripts run, but read by whoever parses the text

_NO_RTC = "delete globalThis.RTCPeerConnection; delete globalThis.webkitRTCPeerConnection;"
"""Its packets are no requests, and chromium-headless-shell has no policy that keeps them in."""

_TURN = "new Promise((done) => setTimeout(done, 25))"
"""Ends once the page has had a turn: on a busy machine, it may not have seen its last answer."""

_LOOKS_EMPTY = (
    """((ids, most) => {
  const length = (node) => node.textContent.replace(/\\s+/g, '').length;
  const shown = (node) => [...node.querySelectorAll('script,style,noscript,template')]
    .reduce((total, hidden) => total - length(hidden), length(node));
  const roots = ids.map((id) => document.getElementById(id)).filter(Boolean);
  return !document.body || [document.body, ...roots].some((node) => shown(node) <= most);
})"""
    f"({json.dumps(sorted(SHELL_ROOTS))}, {MAX_SHELL_TEXT})"
)

_FOUND = "document.querySelector(%s) !== null"
_CLICK = "document.querySelector(%s).click()"
_SCROLL = """(() => {
  const root = document.scrollingElement || document.documentElement || document.body;
  window.scrollTo(0, root.scrollHeight);
  window.dispatchEvent(new Event('scroll'));
  return root.scrollHeight + document.getElementsByTagName('*').length;
})()"""
# where nothing is drawn, a page that has grown is no higher


class Task(Struct, frozen=True, kw_only=True):
    """What is to be made of one page."""

    url: str
    response: Response
    ask: Ask
    wait_for: str
    actions: Sequence[Action]
    screenshot: ScreenshotFormat | None
    fill: Fill | None
    frames: bool  # are loaded
    deadline_s: float


class Made(Struct, frozen=True, kw_only=True):
    """What became of it."""

    html: bytes
    url: str
    screenshot: bytes | None
    cookies: Sequence[str]
    form_again: bool


class BrowserPage:
    """A page that is being rendered. Its requests are tasks of *group*, and end with it.

    If it fails, its browser has to be ended: the context is disposed of only if all went well.
    """

    def __init__(self, connection: Connection, group: asyncio.TaskGroup, task: Task) -> None:
        self._connection = connection
        self._group = group
        self._tasks: set[asyncio.Task[None]] = set()
        self._task = task
        self._session = ""
        self._loaded = False
        self._changed = asyncio.Event()
        self._requests: Interception
        self._waits_for = "to load"
        self._patient_until = 0.0
        self._form_again = False

    async def make(self) -> Made:
        """Return what becomes of the page; its context is gone then.

        Raises:
            FetchFailed: there is no whole page.
        """
        self._patient_until = asyncio.get_running_loop().time() + self._task.deadline_s / 2
        try:
            async with asyncio.timeout(self._task.deadline_s):
                made = await self._in_context()
        except TimeoutError:
            within = f"within {self._task.deadline_s:g} s"
            raise _failed(f"not rendered {within}: it still had {self._waits_for}") from None
        for task in tuple(self._tasks):  # the browser answers none of them any more
            task.cancel()
        return made

    async def _in_context(self) -> Made:
        context = (await self._connection.call("Target.createBrowserContext"))["browserContextId"]
        target = await self._connection.call(
            "Target.createTarget", url="about:blank", browserContextId=context
        )
        attached = await self._connection.call(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        self._session = attached["sessionId"]
        self._connection.hear(self._session, self._hear)
        made = await self._made(target["targetId"], context)
        self._connection.hear(self._session, None)
        await self._connection.call("Target.disposeBrowserContext", browserContextId=context)
        return made

    async def _made(self, frame: str, context: str) -> Made:
        task = self._task
        self._requests = Interception(
            task.url,
            task.response,
            task.ask,
            self._call,
            draws=task.screenshot is not None,
            frames=task.frames,
            frame=frame,
            shown=task.fill.shown if task.fill is not None else None,
        )
        with suppress(CommandFailed):  # Lightpanda has no downloads
            await self._connection.call(
                "Browser.setDownloadBehavior", behavior="deny", browserContextId=context
            )
        await self._call("Fetch.enable", patterns=[{"urlPattern": "*"}])
        await self._call("Page.enable")
        await self._call("Page.addScriptToEvaluateOnNewDocument", source=_NO_RTC)
        navigated = await self._call("Page.navigate", url=task.url)
        if navigated.get("errorText"):
            raise _failed(f"the page did not load: {navigated['errorText']}")
        await self._ready()
        for action in task.actions:
            await self._act(action)
        if task.fill is not None:
            await self._log_in(task.fill)
        return await self._taken(context)

    async def _ready(self) -> None:
        """Wait until the page is complete, or there is what it is waited for."""
        selector = self._task.wait_for
        if selector:
            await self._find(selector)
            return
        await self._until(self._is_loaded)
        await self._quiet()
        if await self._evaluate(_LOOKS_EMPTY):
            await self._quiet(EMPTY_QUIET_S)

    def _is_loaded(self) -> bool:
        return self._loaded or self._requests.stays

    async def _find(self, selector: str) -> None:
        self._waits_for = f"to contain {selector}"
        while not await self._evaluate(_FOUND % _quoted(selector)):
            await self._pause(_LOOK_S)

    async def _quiet(self, quiet_s: float = QUIET_S) -> None:
        """Wait until nothing has been asked for a while, or half of the page's time is over."""
        self._waits_for = "to become quiet"
        least = asyncio.get_running_loop().time() + quiet_s
        with suppress(TimeoutError):
            async with asyncio.timeout_at(max(least, self._patient_until)):
                while True:
                    await self._until(lambda: self._is_loaded() and not self._requests.in_flight)
                    if await self._pause(quiet_s):
                        await self._evaluate(_TURN)
                        if not self._changed.is_set():
                            return

    async def _act(self, action: Action) -> None:
        if action.kind is ActionKind.WAIT:
            if action.selector:
                await self._find(action.selector)
            else:
                await self._rest(action.seconds)
            return
        if action.kind is ActionKind.CLICK:
            await self._find(action.selector)
            await self._evaluate(_CLICK % _quoted(action.selector))
            await self._quiet()
            return
        height = -1
        for _ in range(action.times):
            before, height = height, await self._evaluate(_SCROLL)
            if height == before:  # there is nothing more
                return
            await self._quiet()

    async def _log_in(self, fill: Fill) -> None:
        """Fill in the login form, send it, and wait until the site has answered."""
        await self._step(step(fill))
        self._requests.filled = True
        await self._step(step(fill, fills=True))
        await self._evaluate(_TURN)
        await self._step(step(fill, sends=True))
        self._patient_until = asyncio.get_running_loop().time() + _ANSWER_S
        with suppress(TimeoutError):
            async with asyncio.timeout(_SENT_S):
                await self._until(lambda: self._requests.submitted)
        await self._quiet()
        until = asyncio.get_running_loop().time() + _STAYS_S
        while not await self._evaluate(step(fill)):  # a page may wait before it goes on
            if asyncio.get_running_loop().time() > until:
                self._form_again = True
                return
            await self._pause(_LOOK_S)
        await self._quiet()

    async def _step(self, script: str) -> None:
        """Take a step in a form as soon as it can be taken.

        Raises:
            NotFilled: it cannot be taken.
        """
        until = asyncio.get_running_loop().time() + _FORM_S
        while lacks := await self._evaluate(script):
            if asyncio.get_running_loop().time() > until:
                raise NotFilled(lacks)
            await self._pause(_LOOK_S)

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._until(lambda: False)

    async def _taken(self, context: str) -> Made:
        self._waits_for = "to be read"
        shot = await self._shot()
        url = str(await self._evaluate("location.href"))
        html = await self._evaluate(_HTML % MOST_HTML)
        if html is False:
            raise _failed(f"its document has more than {MOST_HTML:,} characters")
        if not url.startswith(("http:", "https:")):
            raise _failed(f"its scripts left it for {url[:100]}")
        if not html:
            raise _failed("its scripts left no document")
        text = str(html).encode("utf-8", "replace")
        return Made(
            html=text,
            url=url,
            screenshot=shot,
            cookies=await self._cookies(context) if self._task.fill is not None else (),
            form_again=self._form_again,
        )

    async def _cookies(self, context: str) -> Sequence[str]:
        found = await self._connection.call("Storage.getCookies", browserContextId=context)
        host = hostname_of(self._task.url)
        return tuple(as_set(cookie, host) for cookie in found["cookies"])

    async def _shot(self) -> bytes | None:
        if self._task.screenshot is None:
            return None
        sizes = await self._call("Page.getLayoutMetrics")
        size = sizes["cssContentSize"]
        whole = {"x": 0, "y": 0, "width": size["width"], "scale": 1}
        picture = await self._call(
            "Page.captureScreenshot",
            format=self._task.screenshot,
            captureBeyondViewport=True,
            clip=whole | {"height": min(size["height"], _MOST_SHOWN)},
        )
        return b64decode(picture["data"])

    # --- what the browser says

    def _hear(self, method: str, params: Message) -> None:
        match method:
            case "Fetch.requestPaused":
                self._begin(self._handle(params))
            case "Page.loadEventFired":
                self._loaded = True
            case "Page.frameNavigated" if not params["frame"].get("parentId"):
                self._loaded = False
            case "Page.javascriptDialogOpening":
                self._begin(self._dismiss())
            case "Inspector.targetCrashed":
                self._begin(_raised(_failed("the page crashed the browser")))
        self._changed.set()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _handle(self, paused: Message) -> None:
        try:
            await self._requests.handle(paused)
        finally:
            self._changed.set()

    async def _dismiss(self) -> None:
        with suppress(CommandFailed):
            await self._call("Page.handleJavaScriptDialog", accept=False)

    # --- how it is asked

    async def _call(self, method: str, **params: Any) -> Message:
        return await self._connection.call(method, self._session, **params)

    async def _evaluate(self, expression: str) -> Any:
        """Return the value of *expression* in the page, once it is not on its way elsewhere.

        Raises:
            FetchFailed: it raises an exception, as a selector does that is none.
        """
        for _ in range(_TRIES):
            try:
                answer = await self._call(
                    "Runtime.evaluate",
                    expression=expression,
                    returnByValue=True,
                    awaitPromise=True,
                    userGesture=True,
                )
            except CommandFailed:
                await self._pause(_LOOK_S)
                continue
            wrong = answer.get("exceptionDetails")
            if wrong is None:
                return answer["result"].get("value")
            said = answer["result"].get("description") or wrong.get("text", "")
            raise _failed(f"the page could not be asked: {str(said).partition(chr(10))[0][:200]}")
        raise _failed("its scripts never let it be read")

    async def _until(self, met: Callable[[], bool]) -> None:
        while not met():
            self._changed.clear()
            await self._changed.wait()

    async def _pause(self, seconds: float) -> bool:
        """Wait for *seconds*, or until something happens; return whether nothing did."""
        self._changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()
            return False
        return True


def _failed(detail: str) -> FetchFailed:
    return FetchFailed(ErrorKind.RENDER, detail)


async def _raised(error: Exception) -> None:
    raise error


def _quoted(selector: str) -> str:
    return json.dumps(selector)
