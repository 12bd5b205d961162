"""Template files and forms: reading, checking and writing."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from msgspec.structs import replace

from crawlyard.core.jobs.spec_json import values_of
from crawlyard.core.parse import boolean, format_value, is_list, none_of, text, unknown
from crawlyard.core.templates.render import check
from crawlyard.core.templates.template import (
    MAX_CONTENT_BYTES,
    FileFormat,
    ParameterType,
    TemplateDraft,
    TemplateParameter,
)
from crawlyard.errors import Invalid
from crawlyard.lazy import lazily
from crawlyard.services.webhooks.receivers import check_job_spec

# it takes long to load
with lazily():
    from crawlyard.services.templates import yaml

_T = TypeVar("_T")
_Schedule = tuple[dict[str, Any], str]

MAX_BYTES = 20_000_000
"""Maximum size of a file in bytes: enough for the 100,000 start URLs of the largest template."""

_FIELDS = ("name", "description", "parameters", "spec")
_PARAMETER = ("type", "description", "required", "default", "allowed")


def read(data: bytes, source: str) -> TemplateDraft:
    """Return the template in a file; *source* names the file in messages.

    Raises:
        Invalid: it is not YAML or JSON (the message has line and column), has a duplicate
            key, an alias or a tag, or a value is not valid (the message has its path).
    """
    if len(data) > MAX_BYTES:
        raise Invalid(source, f"expected at most {MAX_BYTES:,} bytes, got {len(data):,}")
    try:
        content = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Invalid(source, f"expected UTF-8, got another byte at {error.start}") from None
    return draft_of(_parse(content, source))


def format_draft(draft: TemplateDraft, form: FileFormat) -> str:
    """Return the text of a file that `read` turns back into *draft*."""
    return _dump(data_of(draft), form)


def _dump(data: Mapping[str, object], form: FileFormat) -> str:
    if form is FileFormat.JSON:
        return json.dumps(data, ensure_ascii=False, indent=2) + "\n"
    return yaml.dump_yaml(data)


def check_draft(draft: TemplateDraft) -> None:
    """Check everything in a template that does not depend on the values of its parameters.

    Raises:
        Invalid: a field is not valid; the message names it.
    """
    # addresses are checked on submission: the job may set `allow_private` itself
    outline = replace(check(draft), allow_private=True)
    check_job_spec(outline)


def draft_of(data: object) -> TemplateDraft:
    """Return the template that a JSON object describes.

    Its parameters are an object keyed by name, or a list of objects with a name.

    Raises:
        Invalid: a field is unknown, missing or not valid.
    """
    fields = _object("template", data, _FIELDS)
    values = {name: value for name, value in fields.items() if value is not None}
    spec = fields.get("spec", {})
    if not isinstance(spec, Mapping):
        raise Invalid("spec", f"expected an object of fields of a spec, got {format_value(spec)}")
    if "name" not in fields:
        raise Invalid("name", "expected the name of the template, got none")
    return TemplateDraft(
        name=_text("name", fields["name"]),
        description=_text("description", values.get("description", "")).strip(),
        spec=spec,
        parameters=_parameters(values.get("parameters", {})),
    )


def data_of(draft: TemplateDraft) -> dict[str, object]:
    """Return *draft* as a JSON object that `draft_of` turns back into *draft*."""
    data: dict[str, object] = {"name": draft.name}
    if draft.description:
        data["description"] = draft.description
    if draft.parameters:
        data["parameters"] = {p.name: _parameter_data(p) for p in draft.parameters}
    return data | {"spec": draft.spec}


def _parameter_data(parameter: TemplateParameter) -> dict[str, object]:
    data: dict[str, object] = {"type": parameter.type.value}
    if parameter.description:
        data["description"] = parameter.description
    if parameter.required:
        data["required"] = True
    if parameter.default is not None:
        data["default"] = parameter.default
    if parameter.allowed:
        data["allowed"] = list(parameter.allowed)
    return data


def _parameters(data: object) -> tuple[TemplateParameter, ...]:
    if isinstance(data, Mapping):
        return tuple(_parameter(str(name), fields) for name, fields in data.items())
    if not is_list(data):
        raise Invalid(
            "parameters", f"expected an object by names, or a list, got {format_value(data)}"
        )
    return tuple(_parse_named_parameter(f"parameters.{n}", fields) for n, fields in enumerate(data))


def _parse_named_parameter(path: str, data: object) -> TemplateParameter:
    fields = _object(path, data, ("name", *_PARAMETER))
    if "name" not in fields:
        raise Invalid(f"{path}.name", "expected the name of the parameter, got none")
    name = _text(f"{path}.name", fields.pop("name"))
    return _parameter(name, fields)


def _parameter(name: str, data: object) -> TemplateParameter:
    path = f"parameters.{name}"
    fields = _object(path, {} if data is None else data, _PARAMETER)
    kind, allowed = fields.get("type", "text"), fields.get("allowed") or ()
    if kind not in list(ParameterType):
        raise Invalid(f"{path}.type", none_of(kind, ParameterType))
    if not is_list(allowed):
        raise Invalid(f"{path}.allowed", f"expected a list, got {format_value(allowed)}")
    try:
        required = boolean(fields.get("required", False))
    except ValueError as error:
        raise Invalid(f"{path}.required", str(error)) from None
    return TemplateParameter(
        name=name,
        type=ParameterType(kind),
        description=_text(f"{path}.description", fields.get("description") or ""),
        required=required,
        default=fields.get("default"),
        allowed=tuple(allowed),
    )


def _object(path: str, data: object, allowed: Sequence[str]) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise Invalid(
            path, f"expected an object with {', '.join(allowed)}, got {format_value(data)}"
        )
    for name in data:
        if name not in allowed:
            where = str(name) if path in {"template", "schedule"} else f"{path}.{name}"
            raise unknown(where, str(name), allowed, "field")
    return dict(data)


def _text(path: str, value: object) -> str:
    try:
        return text(value)
    except ValueError as error:
        raise Invalid(path, str(error)) from None


# --- YAML and JSON


def _parse(content: str, source: str) -> object:
    # JSON is nearly a subset of YAML, except for tabs and escaped surrogate pairs
    is_json = content.lstrip().startswith("{")
    return (_from_json if is_json else yaml.parse_yaml)(content, source)


def _from_json(content: str, source: str) -> object:
    try:
        return json.loads(content, object_pairs_hook=_unique, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        place = f"{source}, line {error.lineno}, column {error.colno}"
        raise Invalid(place, f"invalid JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise Invalid(source, f"invalid JSON: {error}") from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members: dict[str, object] = {}
    for key, value in pairs:
        if key in members:
            raise ValueError(f"duplicate key {key!r}")
        members[key] = value
    return members


def _no_number(word: str) -> object:
    raise ValueError(f"{word} is not a number")


# --- of others, over the API

_FILE = "file"


class FileIntake:
    """Reads and writes files, one at a time: a megabyte of YAML takes seconds of CPU time.

    Both readers raise `Invalid`: the text is too large, is not YAML or JSON, or has a value that
    is not valid; the field is ``content``, and the message says where.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "crawlyard-files")

    async def read(self, content: str) -> TemplateDraft:
        """Return the checked template in the text of a file; no URL in it is fetched."""
        return await self._run_in_thread(_read_draft, content)

    async def schedule(self, content: Mapping[str, Any] | str, names: Sequence[str]) -> _Schedule:
        """Return the fields set in a schedule, from *content* or a file, and the file's text."""
        return await self._run_in_thread(_schedule, content, names)

    async def format(self, data: Mapping[str, object], form: FileFormat) -> str:
        """Return *data* as the text of a file."""
        return await self._run_in_thread(_dump, data, form)

    async def _run_in_thread(self, call: Callable[..., _T], *arguments: object) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)
        except Invalid as error:
            raise Invalid("content", str(error)) from None


def _read_draft(content: str) -> TemplateDraft:
    draft = draft_of(_data(content))
    check_draft(draft)
    return draft


def _schedule(content: Mapping[str, Any] | str, names: Sequence[str]) -> _Schedule:
    fields = _object("schedule", _data(content) if isinstance(content, str) else content, names)
    overrides = fields.get("overrides")
    if isinstance(content, str) and isinstance(overrides, Mapping):
        values_of(overrides)
    data = {name: value for name in names if (value := _set(fields.get(name))) not in (None, {})}
    return data, _dump(data, FileFormat.YAML)


def _set(value: object) -> object:
    """Return *value* without members that are null, and 60.0 as 60."""
    if isinstance(value, Mapping):
        return {name: inner for name, inner in value.items() if inner is not None}
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _data(content: str) -> object:
    size = len(content.encode(errors="replace"))
    if size > MAX_CONTENT_BYTES:
        raise Invalid(_FILE, f"expected at most {MAX_CONTENT_BYTES:,} bytes, got {size:,}")
    data = _parse(content.removeprefix("\ufeff"), _FILE)
    try:
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Invalid(_FILE, "contains half a character (a lone surrogate)") from None
    return data
