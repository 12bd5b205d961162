"""What is asked about views."""

from typing import Annotated

from pydantic import Field

from crawlyard.core.access.view import MAX_VIEW_NAME, MAX_VIEW_QUERY
from crawlyard.web.wire.base import Ask, example

_Name = Annotated[str, Field(min_length=1, max_length=MAX_VIEW_NAME, examples=["failed today"])]


_Query = Annotated[str, Field(max_length=MAX_VIEW_QUERY, examples=["state:failed owner:me"])]


class ViewAsk(Ask):
    """A filter to be kept under a name."""

    model_config = example(name="failed today", query="state:failed owner:me")

    name: _Name
    page: Annotated[str, Field(pattern=r"^[a-z][a-z_]{0,31}$", description="Of the dashboard.")] = (
        "jobs"
    )
    query: _Query = ""


class ViewPatch(Ask):
    """What is to be changed of a view."""

    model_config = example(query="state:failed -tag:test")

    name: _Name | None = None
    query: _Query | None = None
