"""A yard with its dashboard on a socket, and a browser that looks at it."""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from crawlyard.clock import SystemClock
from crawlyard.config import Settings
from crawlyard.core.access.user import LOCAL, Role
from crawlyard.core.answer import API as PREFIX
from crawlyard.services.surface import Surface
from crawlyard.store.open import open_sql_store
from crawlyard.web.app import create_app
from crawlyard.web.server import listen, serve
from crawlyard.web.site import Site, SiteOptions, open_site
from crawlyard.yard import Yard

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
INSTALL = "apt-get install chromium"
WIDE = (1440, 900)
NARROW = (390, 844)
_ENDED_WITHIN_S = 10
PATIENCE_MS = 30_000
"""How long a page may take to be there, or to show something, on a busy machine."""

_TOLD = (
    "status of 4",
    "ERR_",
    'MIME type ("application/problem+json")',
)  # reported by pages themselves
_LATE = ("Transition was aborted",)  # the browser gives up to animate a page that came late
_WATCH = """
  addEventListener("securitypolicyviolation", (event) =>
    console.error(`refused by policy: ${event.violatedDirective} ${event.blockedURI}`));
"""


def chromium() -> str | None:
    """Return the path of a browser, None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@asynccontextmanager
async def a_browser(path: str) -> AsyncIterator[Browser]:
    """Run the browser at *path*."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            await browser.close()


@dataclass(kw_only=True)
class Stage:
    """A yard that is served, and who has signed in."""

    site: Site
    base: str
    secrets: dict[str, str]  # tokens of users
    browser: Browser
    faults: list[str] = field(default_factory=list)  # errors in the consoles of pages

    @property
    def yard(self) -> Yard:
        return self.site.yard

    async def user(self, name: str, role: Role = Role.OPERATOR) -> None:
        """Make a user, who can then look."""
        await Surface(self.site.yard.services, LOCAL).users.create(name, role)
        token = await Surface(self.site.yard.services, LOCAL).tokens.create("browser", user=name)
        self.secrets[name] = token.token or ""

    async def ask(self, method: str, path: str, body: object = None, by: str = LOCAL.id) -> Any:
        """Return what the API answers to a user; it must be well."""
        headers = {"Authorization": f"Bearer {self.secrets[by]}", "If-Match": "*"}
        async with httpx.AsyncClient(base_url=self.base, headers=headers, timeout=30) as client:
            answer = await client.request(method, f"{PREFIX}{path}", json=body)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    async def job(self, by: str = LOCAL.id, **form: Any) -> dict[str, Any]:
        """Return a new job of a user's."""
        job: dict[str, Any] = await self.ask("POST", "/jobs", {"urls": [_URL]} | form, by)
        return job

    @asynccontextmanager
    async def context(
        self,
        by: str = LOCAL.id,
        *,
        size: tuple[int, int] = WIDE,
        dark: bool = False,
        **options: Any,
    ) -> AsyncIterator[BrowserContext]:
        """Open a browser window for the block, signed in as a user (empty: not signed in)."""
        context = await self.browser.new_context(
            base_url=self.base,
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if dark else "light",
            locale="en-GB",
            timezone_id="Europe/Berlin",
            **options,
        )
        context.set_default_timeout(PATIENCE_MS)
        await context.add_init_script(_WATCH)
        context.on("page", self._listen)
        if by:
            session = await self.site.yard.services.access.sign_in(self.secrets[by])
            await context.add_cookies(
                [{"name": "crawlyard", "value": session.secret, "url": self.base, "httpOnly": True}]
            )
        try:
            yield context
        finally:
            await context.close()

    @asynccontextmanager
    async def page(self, path: str, by: str = LOCAL.id, **options: Any) -> AsyncIterator[Page]:
        """Open the page at *path* for the block."""
        async with self.context(by, **options) as context:
            page = await context.new_page()
            await page.goto(path)
            yield page

    def _listen(self, page: Page) -> None:
        page.on("pageerror", lambda error: self._hear(page.url, str(error)))
        page.on(
            "console",
            lambda message: self._hear(page.url, message.text) if message.type == "error" else None,
        )

    def _hear(self, url: str, message: str) -> None:
        if not any(expected in message for expected in (*_TOLD, *_LATE)):
            self.faults.append(f"{url}: {message}")


_URL = "https://docs.example.org/"


@asynccontextmanager
async def a_stage(
    folder: Path,
    browser: Browser,
    *,
    works: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    port: int = 0,
    sample: str = "",
) -> AsyncIterator[Stage]:
    """Serve a yard on a file in *folder*.

    *works* says what goes on beside it: worker, scheduler, operations, deliverer.
    At the end no page may have complained of anything.
    """
    store = await open_sql_store(folder / "crawlyard.db")
    settings_ = Settings(data_dir=folder, **(settings or {}))
    yard = Yard(settings_, store, SystemClock())
    site = await open_site(yard, SiteOptions(rate_limits=False, sample=sample))
    secret = (await Surface(yard.services, LOCAL).tokens.create("browser")).token or ""
    app = create_app(site)
    try:
        with listen("127.0.0.1", port) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            base = f"http://127.0.0.1:{sock.getsockname()[1]}"
            async with serve(app, sock, site.live.close), _working(yard, works):
                stage = Stage(site=site, base=base, secrets={LOCAL.id: secret}, browser=browser)
                yield stage
    finally:
        await yard._close()
        await store.close()
    assert not stage.faults, stage.faults


@asynccontextmanager
async def _working(yard: Yard, works: Sequence[str]) -> AsyncIterator[None]:
    worker = yard.worker() if "worker" in works else None
    runs = {"scheduler": yard.scheduler.run, "operations": yard.operations.run}
    tasks = [asyncio.create_task(run()) for name, run in runs.items() if name in works]
    if "deliverer" in works:
        tasks.append(asyncio.create_task(yard.deliverer.run()))
    working = asyncio.create_task(worker.run()) if worker is not None else None
    try:
        yield
    finally:
        if worker is not None and working is not None:
            worker.stop()
            with suppress(asyncio.CancelledError):
                await asyncio.wait_for(working, _ENDED_WITHIN_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
