"""Answers about the server itself: health, version, forms."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta

from crawlyard.core.answer import Wire


class HealthOut(Wire, frozen=True, kw_only=True):
    """The server is up."""

    status: Literal["ok"] = "ok"


class ReadyOut(HealthOut, frozen=True, kw_only=True):
    """The server can handle requests."""

    redis: Annotated[
        Literal["well", "away"] | None,
        Meta(description="`away`: live progress is slower; all else works. Null: not used."),
    ] = None


class ProblemKindOut(Wire, frozen=True, kw_only=True):
    """Description that all problems of one type share."""

    type: str  # its URI, as in problems
    code: str
    status: int
    title: str
    detail: str  # meaning, and what to do


class MetaOut(Wire, frozen=True, kw_only=True):
    """Version, limits and defaults of a server."""

    object: Literal["meta"] = "meta"
    name: Literal["crawlyard"] = "crawlyard"
    version: str
    api: Literal["v1"] = "v1"
    features: tuple[str, ...]
    limits: Mapping[str, int]  # sizes in bytes, counts; `*_s` in seconds
    user_agent: str  # default, if a job sets none


class EnumsOut(Wire, frozen=True, kw_only=True):
    """The closed lists of words with their meanings; clients must accept unknown words as well."""

    object: Literal["enums"] = "enums"
    enums: Mapping[str, Mapping[str, str]]


class SchemasOut(Wire, frozen=True, kw_only=True):
    """JSON Schemas of request bodies, by the kind of record that they create."""

    object: Literal["schemas"] = "schemas"
    schemas: Mapping[str, Mapping[str, Any]]
