"""The shapes of what a server says of itself."""

from typing import Literal

from pydantic import Field

from crawlyard.web.wire.base import Wire


class HealthOut(Wire):
    """It is well."""

    status: Literal["ok"] = "ok"


class ReadyOut(HealthOut):
    """Requests can be answered."""

    redis: Literal["well", "away"] | None = Field(
        default=None,
        description="Away: live progress is slower; all else works. Null: none is used.",
    )


class ProblemKindOut(Wire):
    """What all problems of one type share."""

    type: str  # its address, as problems carry it
    code: str
    status: int
    title: str
    detail: str  # what it means, and what to do
