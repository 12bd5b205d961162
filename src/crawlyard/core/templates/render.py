"""Template rendering: finding, checking and filling placeholders."""

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from crawlyard.core.jobs.job import Origin
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.core.jobs.spec_json import EXAMPLE, spec_of
from crawlyard.core.parse import is_list, nearest, unknown
from crawlyard.core.templates.secrets import HIDDEN, has_only_placeholders, secret_names, texts_in
from crawlyard.core.templates.template import (
    MAX_DESCRIPTION,
    MAX_PARAMETERS,
    NAME,
    PLACEHOLDER,
    CrawlTemplate,
    TemplateDraft,
    check_name,
)
from crawlyard.errors import Invalid

_MAX_DEPTH = 6  # a spec has lists of objects with lists: five levels
_OMITTED = object()


class Placeholder(Struct, frozen=True):
    """Where a parameter is used in a spec."""

    path: str  # "urls.0"
    name: str


def find_placeholders(value: object, path: str = "") -> Iterator[Placeholder]:
    """Yield the placeholders of a spec, or of the part of it at *path*, in order.

    Raises:
        Invalid: a name is invalid or used as a field name, or the spec is nested too deeply.
    """
    if path.count(".") >= _MAX_DEPTH:
        raise Invalid(path, f"expected at most {_MAX_DEPTH} levels")
    if isinstance(value, str):
        for match in PLACEHOLDER.finditer(value):
            name = match[1].strip()
            if not NAME.fullmatch(name):
                raise Invalid(
                    path, f"expected {{{{name}}}} with the name of a parameter, got {match[0]}"
                )
            yield Placeholder(path, name)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if PLACEHOLDER.search(str(key)):
                raise Invalid(f"{path}.{key}".lstrip("."), "a parameter can fill values, not names")
            yield from find_placeholders(inner, f"{path}.{key}".lstrip("."))
    elif is_list(value):
        for index, inner in enumerate(value):
            yield from find_placeholders(inner, f"{path}.{index}")


def fill(
    template: CrawlTemplate | TemplateDraft, arguments: Mapping[str, object]
) -> dict[str, object]:
    """Return the spec of *template* with its placeholders filled.

    A text that is exactly ``{{name}}`` becomes the value, with its type; if it is an item of a list
    and the value is a list, the items are inserted one by one. Inside longer text, a value becomes
    text. If a parameter has no value, text that is exactly its placeholder is left out, and inside
    longer text the placeholder becomes empty. ``Bearer {{token}}`` is left out as a whole, and so
    is an object in a list if its ``url`` is left out.

    Raises:
        Invalid: a parameter is unknown, missing, or has an invalid value; the field is
            ``params.NAME``.
    """
    parameters = {parameter.name: parameter for parameter in template.parameters}
    errors = [
        unknown(f"params.{name}", str(name), tuple(parameters), "parameter")
        if parameters
        else Invalid(f"params.{name}", f"template {template.name} has no parameters")
        for name in arguments
        if name not in parameters
    ]
    values: dict[str, object] = {}
    for name, parameter in parameters.items():
        try:
            if name in arguments:
                values[name] = parameter.value(arguments[name])
            elif parameter.default is not None:
                values[name] = parameter.value(parameter.default)
            elif parameter.required and not any(nearest(str(n), [name]) for n in arguments):
                description = f" ({parameter.description})" if parameter.description else ""
                expected = f"expected a value of type {parameter.type}{description}, got none"
                errors.append(Invalid(f"params.{name}", expected))
        except Invalid as error:
            is_secret = name in secret_names(template.spec)
            message = error.message.partition(", got ")[0] if is_secret else error.message
            errors.append(Invalid(error.field, message))
    if errors:
        raise Invalid.of(errors)
    filled: dict[str, object] = _fill(template.spec, values, default="")
    return filled


def outline(template: CrawlTemplate | TemplateDraft) -> dict[str, object]:
    """Return the spec of *template* as far as it is known before any parameter is given.

    Parameters have their default or one of their allowed values. What depends on other parameters
    is left out, and so is a list that contains nothing else.
    """
    samples = {p.name: p.sample for p in template.parameters if p.sample is not None}
    filled: dict[str, object] = _fill(template.spec, samples, default=None)
    return filled


def check(draft: TemplateDraft) -> JobSpec:
    """Check a template before it is saved; return its outline as a spec.

    If the template has no start URLs, the spec gets an example URL.

    Raises:
        Invalid: something in it is invalid, a placeholder has no parameter, or a parameter
            no placeholder; the message names the field.
    """
    check_name(draft.name)
    if len(draft.description) > MAX_DESCRIPTION:
        actual = f"got {len(draft.description)}"
        raise Invalid("description", f"expected at most {MAX_DESCRIPTION} characters, {actual}")
    if len(draft.parameters) > MAX_PARAMETERS:
        actual = f"got {len(draft.parameters)}"
        raise Invalid("parameters", f"expected at most {MAX_PARAMETERS}, {actual}")
    _check_placeholders(draft)
    _check_nothing_hidden(draft)
    fields = outline(draft)
    for name in ("urls", "sitemaps"):
        if fields.get(name) == []:
            del fields[name]
    return spec_of(fields, EXAMPLE)


def blame_parameter(error: Invalid, template: CrawlTemplate) -> Invalid:
    """Return *error*, about a field of the filled spec, as one about the parameter that filled it.

    Returns the same error if the field was not filled by exactly one parameter.
    """
    field = error.field
    names = {
        placeholder.name
        for placeholder in find_placeholders(template.spec)
        if placeholder.path in (field, f"{field}_s")
        or placeholder.path.startswith(f"{field}.")
        or field.startswith(f"{placeholder.path}.")
    }
    if len(names) != 1:
        return error
    return Invalid(f"params.{names.pop()}", f"{error.message}, as {field} of the spec")


def _check_placeholders(draft: TemplateDraft) -> None:
    names = [parameter.name for parameter in draft.parameters]
    for name in names:
        if names.count(name) > 1:
            raise Invalid(f"parameters.{name}", "expected once, got it twice")
    used_names = set()
    for placeholder in find_placeholders(draft.spec):
        path, used_name = placeholder.path, placeholder.name
        if used_name not in names:
            if not names:
                raise Invalid(path, f"{{{{{used_name}}}}} is declared by no parameter")
            raise unknown(path, used_name, names, f"parameter as {{{{{used_name}}}}}")
        used_names.add(used_name)
    for name in names:
        if name not in used_names:
            raise Invalid(
                f"parameters.{name}",
                f"{{{{{name}}}}} is not used in the spec; use it, or remove it",
            )


def _check_nothing_hidden(draft: TemplateDraft) -> None:
    message = f"{HIDDEN} stands for a hidden value; give the value itself"
    for field in ("headers", "webhooks"):
        if HIDDEN in texts_in(draft.spec.get(field)):
            raise Invalid(field, message)
    for field, value in draft.spec.items():
        if any(f"://{HIDDEN}@" in text for text in texts_in(value)):
            raise Invalid(field, message)
    secrets = secret_names(draft.spec)
    for parameter in draft.parameters:
        is_secret = parameter.name in secrets
        for field, value in (("default", parameter.default), ("allowed", parameter.allowed)):
            if any((is_secret and t == HIDDEN) or f"://{HIDDEN}@" in t for t in texts_in(value)):
                raise Invalid(f"parameters.{parameter.name}.{field}", message)


def _fill(value: object, values: Mapping[str, object], default: str | None) -> Any:
    """Return *value* filled; inside text, *default* replaces placeholders without a value.

    If *default* is ``None``, text with such a placeholder is left out.
    """
    if isinstance(value, str):
        return _fill_text(value, values, default)
    if isinstance(value, Mapping):
        fields = {key: _fill(item, values, default) for key, item in value.items()}
        return {key: item for key, item in fields.items() if item is not _OMITTED}
    if is_list(value):
        filled = _fill_list([(item, _fill(item, values, default)) for item in value])
        # a list with no known items is unknown, not empty
        return _OMITTED if default is None and value and not filled else filled
    return value


def _fill_text(value: str, values: Mapping[str, object], default: str | None) -> object:
    names = [name.strip() for name in PLACEHOLDER.findall(value)]
    if names and PLACEHOLDER.fullmatch(value):
        return values.get(names[0], _OMITTED)
    if default is None and not values.keys() >= set(names):
        return _OMITTED
    if names and values.keys().isdisjoint(names) and has_only_placeholders(value):
        return _OMITTED
    # values are not expanded again: a value cannot refer to another parameter
    return PLACEHOLDER.sub(lambda match: _as_text(values.get(match[1].strip(), default)), value)


def _fill_list(pairs: list[tuple[object, object]]) -> list[object]:
    filled: list[object] = []
    for before, after in pairs:
        if after is _OMITTED:
            continue
        if isinstance(before, str) and is_list(after):
            filled += after
        elif is_list(after) and is_list(before) and len(after) < len(before):
            continue  # a pair such as a header is complete, or left out
        elif (
            isinstance(before, Mapping) and isinstance(after, Mapping) and _lost_url(before, after)
        ):
            continue
        else:
            filled.append(after)
    return filled


def _lost_url(before: Mapping[object, object], after: Mapping[object, object]) -> bool:
    """Return whether a webhook has lost its URL; such a webhook is dropped."""
    return "url" in before and "url" not in after


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if is_list(value):
        return ",".join(map(str, value))
    return str(value)


class RenderedTemplate(Struct, frozen=True, kw_only=True):
    """A template filled for one job."""

    template: CrawlTemplate
    spec: JobSpec
    form: Mapping[str, object]  # the same in JSON form, with every field
    sources: Mapping[str, str]  # "default", "template v3" or "this job", by path of the form
    origin: Origin  # the origin to submit the job with
