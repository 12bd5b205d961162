"""Saved views: named filters of each user."""

from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from crawlyard.core.access.view import MAX_VIEW_NAME, MAX_VIEW_QUERY, SavedView
from crawlyard.core.endpoints.endpoint import (
    ANYBODY,
    OWN_ACCOUNT,
    IdempotencyKey,
    IfMatch,
    Slice,
    endpoint,
)
from crawlyard.errors import Conflict, NotFound, QuotaExceeded, Version, check_version
from crawlyard.ids import new_id
from crawlyard.services.noun import Noun
from crawlyard.services.races import TRIES, retry_on_race

MOST_VIEWS = 200
"""Maximum number of views per user."""

Name = Annotated[str, Meta(min_length=1, max_length=MAX_VIEW_NAME, examples=["failed today"])]
Query = Annotated[str, Meta(max_length=MAX_VIEW_QUERY, examples=["state:failed owner:me"])]
Page = Annotated[str, Meta(pattern=r"^[a-z][a-z_]{0,31}$", description="Of the dashboard.")]


class Views(Noun):
    """Stores and finds the views of one user; not even admins see those of others.

    A view of another user raises `NotFound`. With *version*, the change is made only if that
    version is current; otherwise `Stale` is raised.
    """

    @endpoint("GET /views", ANYBODY)
    async def list(
        self, *, page: Annotated[str, Meta(max_length=32)] | None = None
    ) -> Slice[SavedView]:
        """List your views by page and name."""
        return Slice(items=await self._services.store.views.find(self._actor.id, page))

    @endpoint(
        "POST /views",
        OWN_ACCOUNT,
        status=201,
        example={"name": "failed today", "query": "state:failed owner:me"},
    )
    async def create(
        self,
        name: Name,
        query: Query = "",
        *,
        page: Page = "jobs",
        idempotency_key: IdempotencyKey = None,  # noqa: ARG002 - its callers read it
    ) -> SavedView:
        """Save a filter under a name."""
        owner, views = self._actor.id, self._services.store.views
        if len(await views.find(owner, None)) >= MOST_VIEWS:
            raise QuotaExceeded("views", f"{owner} has {MOST_VIEWS} views; delete one first")
        now = self._services.clock.now()
        view = SavedView(
            id=new_id(),
            owner=owner,
            name=name,
            page=page,
            query=query,
            created_at=now,
            updated_at=now,
        )
        await views.add(view)
        return view

    @endpoint("GET /views/{view_id}", ANYBODY)
    async def get(self, view_id: str) -> SavedView:
        """Return a saved view, unless it belongs to another user."""
        return await self._at(view_id)

    @endpoint("PATCH /views/{view_id}", OWN_ACCOUNT, example={"query": "state:failed -tag:test"})
    async def edit(
        self,
        view_id: str,
        *,
        name: Name | None = None,
        query: Query | None = None,
        version: IfMatch = None,
    ) -> SavedView:
        """Change the name or the filter of a view."""
        for _ in range(TRIES):
            old = await self._at(view_id, version)
            new = replace(
                old,
                name=old.name if name is None else name,
                query=old.query if query is None else query,
                version=old.version + 1,
                updated_at=self._services.clock.now(),
            )
            try:
                await self._services.store.views.save(new)
            except Conflict:
                if (await self._at(view_id, version)).version == old.version:
                    raise  # the name is taken
                continue
            return new
        raise Conflict(f"view {view_id} keeps changing; try again")

    @endpoint("DELETE /views/{view_id}", OWN_ACCOUNT, status=204)
    async def delete(self, view_id: str, *, version: IfMatch = None) -> None:
        """Delete a view; its jobs or pages are not affected."""

        async def delete() -> None:
            old = await self._at(view_id, version)
            await self._services.store.views.delete(view_id, old.version)

        await retry_on_race(delete, f"view {view_id} keeps changing")

    async def _at(self, view_id: str, version: Version = None) -> SavedView:
        view = await self._services.store.views.get(view_id)
        if view.owner != self._actor.id:
            raise NotFound(f"no view {view_id}")
        check_version(f"view {view_id}", view.version, version)
        return view
