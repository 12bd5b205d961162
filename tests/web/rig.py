"""The application in this process: no socket, a store in memory, time that stands still."""

import asyncio
from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest
from msgspec import structs
from starlette.applications import Starlette

from crawlyard.config import Settings
from crawlyard.core.access.policy import SectionName
from crawlyard.core.access.user import LOCAL, Permit, Role
from crawlyard.core.answer import API as PREFIX
from crawlyard.services.surface import Surface
from crawlyard.store.store import Store
from crawlyard.web.app import create_app
from crawlyard.web.site import Site, SiteOptions, open_site
from crawlyard.yard import IN_MEMORY, Yard
from tests.clock import FakeClock

BASE = "http://127.0.0.1:8700"
URL = "https://example.com/"
PUBLIC_URL = "https://crawls.example.org"
"""The address in links to this server, as in its settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """A server, and those who ask it."""

    site: Site
    app: Starlette
    clock: FakeClock
    secrets: dict[str, str] = field(default_factory=dict)  # of users, by name

    @property
    def yard(self) -> Yard:
        return self.site.yard

    async def user(self, name: str, role: Role = Role.OPERATOR) -> str:
        """Create a user, and return the secret of a token of theirs."""
        if name != LOCAL.id:
            await Surface(self.yard.services, LOCAL).users.create(name, role)
        return await self.token(name)

    async def token(self, name: str, permits: frozenset[Permit] | None = None) -> str:
        """Return the secret of a new token of a user, who uses the first one by default."""
        tokens = Surface(self.yard.services, LOCAL).tokens
        token = await tokens.create("test", user=name, scopes=tuple(permits or ()))
        assert token.token is not None
        self.secrets.setdefault(name, token.token)
        return token.token

    async def ask(
        self,
        method: str,
        path: str,
        *,
        by: str | None = LOCAL.id,
        secret: str | None = None,
        headers: Mapping[str, str] | None = None,
        address: str = "127.0.0.1",
        **more: Any,
    ) -> httpx.Response:
        """Send a request as a user (``None``: without credentials), or with a token."""
        sent = dict(headers or {})
        if secret is None and by is not None:
            secret = self.secrets[by]
        if secret is not None:
            sent.setdefault("Authorization", f"Bearer {secret}")
        url = path if path.startswith("/") else f"{PREFIX}/{path}"
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False, client=(address, 123))
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
            request = client.request(method, url, headers=sent, **more)
            # as on a server, others have their turns, and the context of the call is its own
            return await asyncio.create_task(request)

    async def get(self, path: str, **more: Any) -> httpx.Response:
        return await self.ask("GET", path, **more)

    async def post(self, path: str, json: object = None, **more: Any) -> httpx.Response:
        body: dict[str, Any] = {} if json is None else {"json": json}
        return await self.ask("POST", path, **body, **more)

    async def job(self, by: str = LOCAL.id, **form: Any) -> dict[str, Any]:
        """Return a new job of a user's."""
        answer = await self.post("jobs", {"urls": [URL]} | form, by=by)
        assert answer.status_code == 201, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def with_services(self, **parts: object) -> "Rig":
        """Return the same server with services of its own, by their names."""
        services, yard = copy(self.yard.services), copy(self.yard)
        vars(services).update(parts)
        yard.services = services
        site = structs.replace(self.site, yard=yard)
        return replace(self, site=site, app=create_app(site))

    async def close(self) -> None:
        """End what goes on behind the server, such as the seats of hosts; not its store."""
        await self.yard._close()


_unused: list[Starlette] = []
_used: list[Starlette] = []


def an_app(site: Site) -> Starlette:
    """Return an application that serves *site*, for one test: if there is any, a used one.

    Making one and asking it for the first time takes longer than most tests.
    """
    app = _unused.pop() if _unused else create_app(site)
    app.state.site = site
    _used.append(app)
    return app


@pytest.fixture(autouse=True)
def apps_are_used_again() -> Iterator[None]:
    """Let later tests have the applications of a test that has ended."""
    yield
    _unused.extend(_used)
    _used.clear()


async def hide_jobs_of_others(store: Store) -> None:
    """Set the visibility of an instance that is older than the setting."""
    old = await store.settings.get(SectionName.SHARING)
    if old.version:  # else it is empty already
        await store.settings.save(structs.replace(old, value={}, version=old.version + 1))


async def a_rig(
    store: Store,
    options: SiteOptions | None = None,
    clock: FakeClock | None = None,
    *,
    public_url: str = PUBLIC_URL,
) -> Rig:
    """Return a server on *store*, with a token of the admin's. Users see only what they own."""
    await hide_jobs_of_others(store)
    clock = clock or FakeClock()
    yard = Yard(Settings(database_url=IN_MEMORY, public_url=public_url), store, clock)
    site = await open_site(yard, options or SiteOptions(rate_limits=False))
    rig = Rig(site=site, app=an_app(site), clock=clock)
    await rig.token(LOCAL.id)
    return rig


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Return status and code of an answer that is a problem."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    body = answer.json()
    assert body["status"] == answer.status_code
    return answer.status_code, body["code"]


def pointers(answer: httpx.Response) -> list[str]:
    """Return the places in its body for which a request was refused."""
    assert problem(answer) == (422, "validation_failed"), answer.text
    return [error["pointer"] for error in answer.json()["errors"]]
