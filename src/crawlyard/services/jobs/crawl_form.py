"""Form of a job from Python: a URL, a spec or a mapping, with keywords such as ``max_pages``."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from crawlyard.core.answer import json_value
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.core.jobs.spec_json import FIELDS, form_of
from crawlyard.core.parse import format_value, is_list, suggestion
from crawlyard.errors import Invalid

Crawl: TypeAlias = str | Sequence[str] | JobSpec | Mapping[str, Any]
"""The crawl to run: a URL, several, a spec, or a spec in JSON."""

_GROUPS = ("limits", "retry")


def _option_paths() -> Mapping[str, str]:
    paths = {group: group for group in _GROUPS}
    for field in FIELDS.values():
        flag = field.field.flag.removeprefix("--").replace("-", "_")
        names = (field.path, field.also, flag)
        paths |= {name: field.path for name in names if name and "." not in name}
    return paths


OPTIONS = _option_paths()
"""Paths by keyword: the name of a field, and the name of its command-line option."""


def form_with(crawl: Crawl, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the form of *crawl*, overridden by *options*.

    Raises:
        Invalid: an option is unknown or given twice, or *crawl* has an unsupported type.
    """
    _check_names(options)
    form = _form(crawl)
    # groups first, so that a single limit overrides its group in any order of the keywords
    for name in sorted(options, key=lambda name: name not in _GROUPS):
        value = json_value(options[name])
        group, _, member = OPTIONS[name].rpartition(".")
        if group:
            form[group] = _object(group, form.get(group)) | {member: value}
        elif name in _GROUPS:
            form[name] = _object(name, form.get(name)) | _object(name, value)
        else:
            form[OPTIONS[name]] = value
    return form


def _check_names(options: Mapping[str, Any]) -> None:
    by_path: dict[str, str] = {}
    errors: list[Invalid] = []
    for name in options:
        path = OPTIONS.get(name)
        if path is None:
            near = suggestion(name, [*OPTIONS])
            hint = near or "; see 'Crawl settings' in the reference"
            errors.append(Invalid(name, f"unknown option{hint}"))
        elif path in by_path:
            errors.append(Invalid(name, f"expected {by_path[path]} or {name}, got both"))
        else:
            by_path[path] = name
    if errors:
        raise Invalid.of(errors)


def _form(crawl: Crawl) -> dict[str, Any]:
    if isinstance(crawl, JobSpec):
        return form_of(crawl)
    if isinstance(crawl, Mapping):
        return dict(crawl)
    if isinstance(crawl, str):
        return {"urls": [crawl]}
    if is_list(crawl):
        return {"urls": [*crawl]} if crawl else {}
    raise Invalid("urls", f"expected a URL, a JobSpec or a mapping, got {format_value(crawl)}")


def _object(path: str, value: object) -> dict[str, Any]:
    if value is None or isinstance(value, Mapping):
        return dict(value or {})
    raise Invalid(path, f"expected an object of its fields, got {format_value(value)}")
