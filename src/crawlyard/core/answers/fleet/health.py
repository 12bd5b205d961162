"""The shapes of what a server says of itself."""

from typing import Annotated, Literal

from msgspec import Meta

from crawlyard.core.answers.base import Wire


class HealthOut(Wire, frozen=True, kw_only=True):
    """It is well."""

    status: Literal["ok"] = "ok"


class ReadyOut(HealthOut, frozen=True, kw_only=True):
    """Requests can be answered."""

    redis: Annotated[
        Literal["well", "away"] | None,
        Meta(description="Away: live progress is slower; all else works. Null: none is used."),
    ] = None


class ProblemKindOut(Wire, frozen=True, kw_only=True):
    """What all problems of one type share."""

    type: str  # its address, as problems carry it
    code: str
    status: int
    title: str
    detail: str  # what it means, and what to do
