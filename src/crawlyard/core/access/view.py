"""Saved views: filters under names."""

from datetime import datetime

from msgspec import Struct

from crawlyard.errors import Invalid

MAX_VIEW_NAME = 100
MAX_VIEW_QUERY = 2_000


class SavedView(Struct, frozen=True, kw_only=True, tag_field="object", tag="view"):
    """A named filter of one user."""

    id: str
    owner: str
    name: str
    page: str = "jobs"  # page of the dashboard
    query: str = ""
    version: int = 1
    created_at: datetime
    updated_at: datetime

    def __post_init__(self) -> None:
        if not self.name.strip() or not self.name.isprintable() or len(self.name) > MAX_VIEW_NAME:
            expected = f"expected 1 to {MAX_VIEW_NAME} characters on one line"
            raise Invalid("name", f"{expected}, got {self.name!r}")
        if len(self.query) > MAX_VIEW_QUERY:
            expected = f"expected at most {MAX_VIEW_QUERY} characters"
            raise Invalid("query", f"{expected}, got {len(self.query)}")
