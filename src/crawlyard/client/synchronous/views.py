# made of asynchronous/views.py by `python -m tests.sync_client`; a test compares it
"""Filters that were kept under a name."""

from collections.abc import Generator, Mapping

from crawlyard.client.synchronous.calls import Calls
from crawlyard.client.transport import if_match, part
from crawlyard.core.answers.access.views import ViewOut


class Views:
    """Keeps and finds your own views."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(self, *, page: str | None = None) -> Generator[ViewOut]:
        """Yield views by page and name."""
        return self._calls.whole(ViewOut, "views", {"page": page})

    def get(self, view_id: str) -> ViewOut:
        """Return a view."""
        return self._calls.one(ViewOut, "GET", f"views/{part(view_id)}")

    def create(self, name: str, query: str = "", *, page: str = "jobs") -> ViewOut:
        """Keep a filter under a name."""
        body = {"name": name, "query": query, "page": page}
        return self._calls.one(ViewOut, "POST", "views", body=body)

    def edit(
        self, view_id: str, changes: Mapping[str, object], *, version: int | None = None
    ) -> ViewOut:
        """Change ``name`` or ``query``."""
        path = f"views/{part(view_id)}"
        return self._calls.one(ViewOut, "PATCH", path, body=changes, headers=if_match(version))

    def delete(self, view_id: str, *, version: int | None = None) -> None:
        """Delete a view."""
        self._calls.send("DELETE", f"views/{part(view_id)}", headers=if_match(version))
