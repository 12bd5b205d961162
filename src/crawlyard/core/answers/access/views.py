"""The shapes of saved views."""

from typing import Literal

from crawlyard.core.access.view import SavedView
from crawlyard.core.answers.base import Instant, Text, Wire


class ViewOut(Wire, frozen=True, kw_only=True):
    """A filter under a name."""

    id: str
    object: Literal["view"] = "view"
    owner: str
    name: Text
    page: str
    query: Text
    version: int
    created_at: Instant
    updated_at: Instant

    @classmethod
    def of(cls, view: SavedView) -> "ViewOut":
        """Return the shape of *view*."""
        return cls.filled(view, object="view")
