"""Launch of browsers: starts Lightpanda and Chromium without a network."""

import asyncio
import os
import shutil
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from msgspec import Struct

from crawlyard.about import install_line
from crawlyard.core.crawl.page import ErrorKind
from crawlyard.core.crawl.rendering import Browser
from crawlyard.engine.http.fetch import FetchFailed, plain
from crawlyard.engine.render.cdp import BrowserLost, CdpConnection, CommandFailed, MessageTransport
from crawlyard.engine.render.pipe import PipeTransport
from crawlyard.engine.render.process import BrowserProcess
from crawlyard.lazy import find_package, is_installed, lazily

# few crawls render
with lazily():
    from crawlyard.engine.render import websocket

MIB = 1024 * 1024
_START_S = 20.0
_POLL_S = 0.01
_NO_PROXY = "http://127.0.0.1:9"  # the discard port: no proxy listens there
_CHROMIUM = (
    "chromium-headless-shell",  # takes less time for a page, as it has no windows
    *("chromium", "chromium-browser", "google-chrome-stable", "google-chrome"),
)
_LINUX = "browsers can be started on Linux only"


class RunningBrowser(Struct, frozen=True, kw_only=True):
    """A browser that is ready for pages."""

    name: str  # with its version
    connection: CdpConnection
    process: BrowserProcess | None = None  # None: it is external

    async def end(self) -> None:
        """End it, or the connection to it."""
        await self.connection.close()
        if self.process is not None:
            await self.process.end()


class Launch(Struct, frozen=True, kw_only=True):
    """Way to start one kind of browser."""

    missing: Callable[[], str]  # the package to install first; empty: none
    open: Callable[[], Awaitable[RunningBrowser]]
    is_full: bool = True  # it has a layout, which screenshots need, and frames
    most_rss: int = 2048 * MIB  # of its processes together; they share some of it


def launch_of(browser: Browser, endpoint: str = "") -> Launch:
    """Return the launch of *browser*; *endpoint*: the CDP address of an external Chromium."""
    if browser is Browser.LIGHTPANDA:
        return Launch(
            missing=_lightpanda_missing, open=_lightpanda, is_full=False, most_rss=512 * MIB
        )
    if endpoint:
        return Launch(missing=_websockets_missing, open=lambda: _remote(endpoint))
    return Launch(missing=_chromium_missing, open=_chromium)


# --- Lightpanda


def _lightpanda_binary() -> Path | None:
    folder = find_package("lightpanda")
    return folder / "lightpanda" if folder is not None else None


def _lightpanda_missing() -> str:
    if sys.platform != "linux":
        return _LINUX
    if _lightpanda_binary() is None:
        return f"Lightpanda is not installed: {install_line('render')}"
    return _websockets_missing()


async def _lightpanda() -> RunningBrowser:
    """Start a Lightpanda without network access, and connect to it over a Unix socket."""
    command = [
        *(str(_lightpanda_binary()), "serve", "--unix-socket", "{dir}/s", "--disable-metrics"),
        *("--http-proxy", _NO_PROXY, "--block-cidrs", "0.0.0.0/0", "--block-cidrs", "::/0"),
        *("--cdp-max-message-size", str(256 * MIB), "--v8-max-heap-mb", "256"),
        *("--log-level", "fatal", "--watchdog-ms", "0"),  # the deadline of a page is ours
    ]
    variables = {"LIGHTPANDA_DISABLE_TELEMETRY": "true", "LIGHTPANDA_DISABLE_CORE_DUMP": "true"}
    process = await BrowserProcess.start(command, variables, forks=False)
    path = process.directory / "s"

    async def open_transport() -> MessageTransport:
        while not await process.dies_within(_POLL_S):
            with suppress(FileNotFoundError, ConnectionRefusedError):
                return await websocket.WebSocketTransport.open("ws://localhost/", str(path))
        raise BrowserLost("it has ended")

    # over CDP it presents itself as a Chrome
    return await _connect(process, open_transport, f"lightpanda {version('lightpanda')}")


# --- Chromium


def _chromium_binary() -> str | None:
    return next(filter(None, map(shutil.which, _CHROMIUM)), None)


def _chromium_missing() -> str:
    if sys.platform != "linux":
        return _LINUX
    if _chromium_binary() is None:
        return (
            "Chromium is not installed: apt install chromium-headless-shell, or set "
            "CRAWLYARD_BROWSER_CDP"
        )
    return ""


_DISABLED_FEATURES = (
    *("IsolateOrigins", "site-per-process", "Translate", "OptimizationHints", "MediaRouter"),
    # pages of its own interface, each with a process per window: half of all CPU
    *("WebUIOmniboxPopup", "WebUIOmniboxAimPopup", "PreloadTopChromeWebUI"),
)
_CHROMIUM_FLAGS = (
    *("--headless", "--remote-debugging-pipe", "--user-data-dir={dir}/profile"),
    # no network: requests that are not intercepted go to a proxy that does not exist
    *(f"--proxy-server={_NO_PROXY}", "--proxy-bypass-list=<-loopback>"),
    *("--host-resolver-rules=MAP * ~NOTFOUND", "--dns-prefetch-disable", "--disable-quic"),
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-breakpad", "--disable-crash-reporter", "--disable-default-apps"),
    *("--disable-extensions", "--no-first-run", "--no-default-browser-check"),
    *("--block-new-web-contents", "--disable-notifications", "--deny-permission-prompts"),
    *("--mute-audio", "--hide-scrollbars", "--window-size=1280,800", "--disable-gpu"),
    *("--disable-dev-shm-usage", "--password-store=basic", "--use-mock-keychain"),
    # timers as in a visible page
    *("--disable-background-timer-throttling", "--disable-renderer-backgrounding"),
    "--disable-backgrounding-occluded-windows",
    # frames of other sites stay in the process of their page, where they are intercepted with it
    *("--disable-site-isolation-trials", "--js-flags=--max-old-space-size=512"),
    # no visible windows, and no animations
    *("--no-startup-window", "--animation-duration-scale=0", "--wm-window-animations-disabled"),
    "--force-prefers-reduced-motion",
    f"--disable-features={','.join(_DISABLED_FEATURES)}",
)


async def _chromium() -> RunningBrowser:
    """Start a Chromium without a network, and connect to it over a pipe."""
    browser_in, our_out = os.pipe()
    our_in, browser_out = os.pipe()
    # as root it refuses to run with its sandbox
    sandbox = () if os.geteuid() else ("--no-sandbox",)
    command = [str(_chromium_binary()), *_CHROMIUM_FLAGS, *sandbox]
    try:
        process = await BrowserProcess.start(command, {}, (browser_in, browser_out), forks=True)
    except BaseException:
        os.close(our_in)
        os.close(our_out)
        raise
    finally:
        os.close(browser_in)
        os.close(browser_out)
    return await _connect(process, lambda: PipeTransport.open(our_in, our_out), "")


# --- external Chromium


def _websockets_missing() -> str:
    return (
        ""
        if is_installed("websockets")
        else f"the websockets package is not installed: {install_line('render')}"
    )


async def _remote(endpoint: str) -> RunningBrowser:
    return await _connect(None, lambda: websocket.WebSocketTransport.open(endpoint), "")


async def _connect(
    process: BrowserProcess | None,
    open_transport: Callable[[], Awaitable[MessageTransport]],
    name: str,
) -> RunningBrowser:
    """Return a browser once it responds; end it if it does not.

    Raises:
        FetchFailed: it did not start or respond.
    """
    try:
        async with asyncio.timeout(_START_S):
            connection = CdpConnection(await open_transport())
            listening = asyncio.ensure_future(connection.listen())
            try:
                version_info = await connection.call("Browser.getVersion")
            finally:
                listening.cancel()
                await asyncio.wait((listening,))
    except BaseException as error:
        output = ""
        if process is not None:
            output = await process.end()
        if not isinstance(error, BrowserLost | CommandFailed | OSError):
            raise
        detail = f"the browser did not start: {output or plain(error)}"
        raise FetchFailed(ErrorKind.RENDER, detail, transient=True) from error
    product = str(version_info.get("product", "")).replace("HeadlessChrome", "Chrome")
    return RunningBrowser(
        name=name or product.replace("Chrome/", "chromium "), connection=connection, process=process
    )
