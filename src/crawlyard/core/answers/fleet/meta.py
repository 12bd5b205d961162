"""The shapes of what a server says of itself."""

from collections.abc import Mapping
from typing import Any, Literal

from crawlyard.core.answers.base import Wire


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
