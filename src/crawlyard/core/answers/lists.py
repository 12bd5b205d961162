"""The shape of lists."""

from typing import Generic, Literal, TypeVar

from msgspec import Struct

T = TypeVar("T")


class ListOut(Struct, Generic[T], frozen=True, kw_only=True):
    """One page of a list; `next_cursor` asks for the next, null says that there is none."""

    object: Literal["list"] = "list"
    items: list[T]
    next_cursor: str | None
    has_more: bool
    total: int | None = None  # where `count` asked for it
