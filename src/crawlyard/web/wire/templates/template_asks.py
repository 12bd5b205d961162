"""The shapes of what is asked of templates, and of a file that was checked."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from crawlyard.core.templates.template import (
    MAX_CONTENT_BYTES,
    MAX_DESCRIPTION,
    MAX_NAME,
    FileFormat,
)
from crawlyard.web.wire.base import Ask, example

MAX_VERSION = 2**31 - 1


class RenderAsk(Ask):
    """What a template is to be filled with."""

    model_config = example(overrides={"limits": {"pages": 100}})

    params: dict[str, Any] = Field(default_factory=dict, description="Values of its parameters.")
    overrides: dict[str, Any] = Field(
        default_factory=dict, description="What differs, as in a job."
    )
    version: Annotated[int | None, Field(ge=1, le=MAX_VERSION)] = None


class DuplicateAsk(Ask):
    """What the copy of a template is called, and which version is copied."""

    model_config = example(name="docs of mine")

    name: Annotated[
        str | None,
        Field(min_length=1, max_length=MAX_NAME, description='Null: "news copy", "news copy 2".'),
    ] = None
    version: Annotated[int | None, Field(ge=1, le=MAX_VERSION)] = None


class FileAsk(Ask):
    """The file of a template, as text."""

    model_config = example(content="name: docs\nspec:\n  urls: [https://docs.example.org/]\n")

    content: Annotated[
        str,
        Field(
            max_length=MAX_CONTENT_BYTES,
            description="YAML or JSON, at most 2 MiB.",
            examples=["name: docs\nspec:\n  urls: [https://docs.example.org/]\n"],
        ),
    ]
    format: Annotated[FileFormat | None, Field(description="Null: what it looks like.")] = None


_OBJECT: Mapping[str, Any] = {"type": "object"}
_PARAMETERS = {
    "description": "Open places, by name; or a list of objects with a name.",
    "anyOf": [
        {"type": "object", "additionalProperties": _OBJECT},
        {"type": "array"},
        {"type": "null"},
    ],
    "examples": [{"start_url": {"type": "url", "required": True}}],
}
_FIELDS: Mapping[str, Any] = {
    "name": {"type": "string", "minLength": 1, "maxLength": MAX_NAME, "examples": ["docs"]},
    "description": {"type": "string", "maxLength": MAX_DESCRIPTION},
    "parameters": _PARAMETERS,
    "spec": {
        "type": "object",
        "description": "As the body of a job; any text may have places such as {{start_url}}.",
        "examples": [{"urls": ["{{start_url}}"], "limits": {"pages": 200}}],
    },
}


def template_schema() -> dict[str, Any]:
    """Return the JSON Schema of a template, as its author writes it."""
    example = {"name": "docs", "spec": {"urls": ["https://docs.example.org/"]}}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["name"],
        "properties": dict(_FIELDS),
        "examples": [example],
    }


def template_patch_schema() -> dict[str, Any]:
    """Return the JSON Schema of what is to be changed of a template."""
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": dict(_FIELDS),
        "examples": [{"spec": {"limits": {"pages": 500, "bytes": None}}}],
    }
