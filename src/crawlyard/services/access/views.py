"""Saved views: named filters of each user."""

from contextlib import suppress

from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.access.user import Actor
from crawlyard.core.access.view import SavedView
from crawlyard.errors import Conflict, NotFound, QuotaExceeded, Version, check_version
from crawlyard.ids import new_id
from crawlyard.store.store import Store

MOST_VIEWS = 200
"""The most views of one user."""

_TRIES = 8  # attempts per change: after a lost race it is reread; more losses mean a bug


class Views:
    """Stores views. Everyone, admins included, sees and changes only their own."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def list(self, actor: Actor, page: str | None = None) -> list[SavedView]:
        """Return the actor's views, of one dashboard page or of all, ordered by (page, name)."""
        return await self._store.views.find(actor.id, page)

    async def get(self, actor: Actor, view_id: str) -> SavedView:
        """Return a view.

        Raises:
            NotFound: no such view, or it belongs to another user.
        """
        view = await self._store.views.get(view_id)
        if view.owner != actor.id:
            raise NotFound(f"no view {view_id}")
        return view

    async def create(self, actor: Actor, name: str, page: str, query: str) -> SavedView:
        """Create a view owned by the actor, and return it.

        Raises:
            Invalid: *name* or *query* is not valid.
            Conflict: the actor already has a view with that name on that page.
            QuotaExceeded: the actor has `MOST_VIEWS` views.
        """
        if len(await self.list(actor)) >= MOST_VIEWS:
            raise QuotaExceeded("views", f"{actor.id} has {MOST_VIEWS} views; delete one first")
        now = self._clock.now()
        view = SavedView(
            id=new_id(),
            owner=actor.id,
            name=name,
            page=page,
            query=query,
            created_at=now,
            updated_at=now,
        )
        await self._store.views.add(view)
        return view

    async def update(
        self,
        actor: Actor,
        view_id: str,
        *,
        name: str | None = None,
        query: str | None = None,
        version: Version = None,
    ) -> SavedView:
        """Change the given fields of a view, and return it.

        Raises:
            NotFound: no such view, or it belongs to another user.
            Invalid: *name* or *query* is not valid.
            Stale: the view is not at *version*.
            Conflict: it changed concurrently, or the name is taken.
        """
        old = await self._at(actor, view_id, version)
        new = replace(
            old,
            name=old.name if name is None else name,
            query=old.query if query is None else query,
            version=old.version + 1,
            updated_at=self._clock.now(),
        )
        try:
            await self._store.views.save(new)
        except Conflict:
            await self._at(actor, view_id, version)
            raise
        return new

    async def delete(self, actor: Actor, view_id: str, *, version: Version = None) -> None:
        """Delete a view.

        Raises:
            NotFound: no such view, or it belongs to another user.
            Stale: the view is not at *version*.
            Conflict: the view keeps changing.
        """
        for _ in range(_TRIES):
            old = await self._at(actor, view_id, version)
            with suppress(Conflict):
                return await self._store.views.delete(view_id, old.version)
        raise Conflict(f"view {view_id} keeps changing; try again")

    async def _at(self, actor: Actor, view_id: str, version: Version) -> SavedView:
        view = await self.get(actor, view_id)
        check_version(f"view {view_id}", view.version, version)
        return view
