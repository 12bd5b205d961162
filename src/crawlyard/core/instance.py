"""Answers about the server itself: health, version, forms."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta

from crawlyard.core.answer import Wire


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


class MetaOut(Wire, frozen=True, kw_only=True):
    """What a server is, and what it takes."""

    object: Literal["meta"] = "meta"
    name: Literal["crawlyard"] = "crawlyard"
    version: str
    api: Literal["v1"] = "v1"
    features: tuple[str, ...]
    limits: Mapping[str, int]  # sizes in bytes, counts; `*_s` in seconds
    user_agent: str  # where a job names none


class EnumsOut(Wire, frozen=True, kw_only=True):
    """The closed lists of words, each word with what it means; clients take unknown ones too."""

    object: Literal["enums"] = "enums"
    enums: Mapping[str, Mapping[str, str]]


class SchemasOut(Wire, frozen=True, kw_only=True):
    """JSON Schemas of what may be sent: by the kind of thing that it makes."""

    object: Literal["schemas"] = "schemas"
    schemas: Mapping[str, Mapping[str, Any]]
