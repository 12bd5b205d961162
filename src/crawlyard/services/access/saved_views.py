"""Saved views: filters under names, each user's own."""

from typing import Annotated

from msgspec import Meta

from crawlyard.core.access.view import MAX_VIEW_NAME, MAX_VIEW_QUERY
from crawlyard.core.answers.access.views import ViewOut
from crawlyard.core.endpoint import ANYBODY, OWN_ACCOUNT, IfMatch, Slice, endpoint
from crawlyard.services.noun import Noun

Name = Annotated[str, Meta(min_length=1, max_length=MAX_VIEW_NAME, examples=["failed today"])]
Query = Annotated[str, Meta(max_length=MAX_VIEW_QUERY, examples=["state:failed owner:me"])]
Page = Annotated[str, Meta(pattern=r"^[a-z][a-z_]{0,31}$", description="Of the dashboard.")]


class SavedViews(Noun):
    """Keeps and finds the filters of one user; nobody else sees them, admins neither."""

    @endpoint("GET /views", ANYBODY)
    async def list(
        self, *, page: Annotated[str, Meta(max_length=32)] | None = None
    ) -> Slice[ViewOut]:
        """List your views by page and name."""
        found = await self._services.views.list(self._actor, page)
        return Slice(items=[ViewOut.of(view) for view in found])

    @endpoint(
        "POST /views",
        OWN_ACCOUNT,
        status=201,
        example={"name": "failed today", "query": "state:failed owner:me"},
    )
    async def create(self, name: Name, query: Query = "", *, page: Page = "jobs") -> ViewOut:
        """Keep a filter under a name."""
        return ViewOut.of(await self._services.views.create(self._actor, name, page, query))

    @endpoint("GET /views/{view_id}", ANYBODY)
    async def get(self, view_id: str) -> ViewOut:
        """Return a view."""
        return ViewOut.of(await self._services.views.get(self._actor, view_id))

    @endpoint("PATCH /views/{view_id}", OWN_ACCOUNT, example={"query": "state:failed -tag:test"})
    async def edit(
        self,
        view_id: str,
        *,
        name: Name | None = None,
        query: Query | None = None,
        version: IfMatch = None,
    ) -> ViewOut:
        """Change the name or the filter of a view."""
        view = await self._services.views.update(
            self._actor, view_id, name=name, query=query, version=version
        )
        return ViewOut.of(view)

    @endpoint("DELETE /views/{view_id}", OWN_ACCOUNT, status=204)
    async def delete(self, view_id: str, *, version: IfMatch = None) -> None:
        """Delete a view."""
        await self._services.views.delete(self._actor, view_id, version=version)
