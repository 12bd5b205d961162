"""The shapes of saved views."""

from datetime import datetime
from typing import Literal

from crawlyard.core.access.view import SavedView
from crawlyard.core.answers.base import Wire


class ViewOut(Wire, frozen=True, kw_only=True):
    """A filter under a name."""

    id: str
    object: Literal["view"] = "view"
    owner: str
    name: str
    page: str
    query: str
    version: int
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, view: SavedView) -> "ViewOut":
        """Return the shape of *view*."""
        return cls.filled(view, object="view")
