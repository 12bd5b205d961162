"""View store: add, read, list, save and delete saved views."""

from sqlalchemy import Connection, select
from sqlalchemy.exc import IntegrityError

from crawlyard.core.access.view import SavedView
from crawlyard.store.codec.records import VIEWS
from crawlyard.store.db.database import StorePart, reads, writes
from crawlyard.store.db.rows import (
    add_row,
    by_code_points,
    drop_version,
    equal,
    name_taken,
    put_version,
)
from crawlyard.store.tables.desk import views


class ViewStore(StorePart):
    """Saved views. Names are unique per owner and page."""

    @writes
    def add(self, conn: Connection, view: SavedView) -> None:
        """Add a new view.

        Raises:
            Conflict: the id is taken, or the owner has a view of that name on the same page.
        """
        add_row(conn, views, VIEWS.row(view), "a view")

    @reads
    def get(self, conn: Connection, view_id: str) -> SavedView:
        """Return a view.

        Raises:
            NotFound: no view has that id.
        """
        return VIEWS.get(conn, select(views).where(views.c.id == view_id), f"view {view_id}")

    @writes
    def save(self, conn: Connection, view: SavedView) -> None:
        """Replace version ``view.version - 1``.

        Raises:
            Conflict: the stored version is another, the view is gone, or the name is taken.
        """
        try:
            put_version(conn, views, VIEWS.row(view), f"view {view.id} is")
        except IntegrityError:  # the name is the only unique value that can change
            raise name_taken("a view", view.name) from None

    @reads
    def find(self, conn: Connection, owner: str, page: str | None = None) -> list[SavedView]:
        """Return the views of a user, sorted by page and name; *page* ``None`` means all pages."""
        query = select(views).where(*equal((views.c.owner, owner), (views.c.page, page)))
        order = (by_code_points(conn, views.c.page), by_code_points(conn, views.c.name))
        return VIEWS.all(conn, query.order_by(*order))

    @writes
    def delete(self, conn: Connection, view_id: str, version: int) -> None:
        """Delete a view.

        Raises:
            Conflict: the stored version is another, or the view is gone.
        """
        drop_version(conn, views, view_id, version, f"view {view_id} is")
