"""Saved views, in verbs: filters under names, each user's own."""

from contextlib import suppress

from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.access.user import Actor
from crawlyard.core.access.view import SavedView
from crawlyard.errors import Conflict, NotFound, QuotaExceeded, check_version
from crawlyard.ids import new_id
from crawlyard.store.store import Store

MOST_VIEWS = 200
"""Of one user."""

_TRIES = 8  # a change that loses a race is read and tried again; more losses mean a bug


class Views:
    """Keeps views. Everybody sees and changes his own alone, an admin too."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def list(self, actor: Actor, page: str | None = None) -> list[SavedView]:
        """Return the actor's views, of a page of the dashboard or of all, by (page, name)."""
        return await self._store.views.find(actor.id, page)

    async def get(self, actor: Actor, view_id: str) -> SavedView:
        """Return a view.

        Raises:
            NotFound: there is none of that id, or it is somebody else's.
        """
        view = await self._store.views.get(view_id)
        if view.owner != actor.id:
            raise NotFound(f"no view {view_id}")
        return view

    async def create(self, actor: Actor, name: str, page: str, query: str) -> SavedView:
        """Remember a new view of the actor's, and return it.

        Raises:
            Invalid: name or query is not what is expected.
            Conflict: he has one of that name on that page.
            QuotaExceeded: he has `MOST_VIEWS`.
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
        version: int | None = None,
    ) -> SavedView:
        """Change what is given, and return the view.

        Raises:
            NotFound: there is none of that id, or it is somebody else's.
            Invalid: name or query is not what is expected.
            Stale: it is not at *version*.
            Conflict: it changed just now, or the name is taken.
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

    async def delete(self, actor: Actor, view_id: str, *, version: int | None = None) -> None:
        """Delete a view.

        Raises:
            NotFound: there is none of that id, or it is somebody else's.
            Stale: it is not at *version*.
            Conflict: it keeps changing.
        """
        for _ in range(_TRIES):
            old = await self._at(actor, view_id, version)
            with suppress(Conflict):
                return await self._store.views.delete(view_id, old.version)
        raise Conflict(f"view {view_id} keeps changing; try again")

    async def _at(self, actor: Actor, view_id: str, version: int | None) -> SavedView:
        view = await self.get(actor, view_id)
        check_version(f"view {view_id}", view.version, version)
        return view
