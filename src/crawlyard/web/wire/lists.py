"""The shape of lists."""

from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

T = TypeVar("T")


class ListOut(BaseModel, Generic[T]):
    """One page of a list; `next_cursor` asks for the next, null says that there is none."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    object: Literal["list"] = "list"
    items: list[T]
    next_cursor: str | None
    has_more: bool
    total: int | None = None  # where `count` asked for it
