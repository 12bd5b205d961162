"""Spec edits: which fields can change, and how a merge patch changes them.

Source: RFC 7396, JSON Merge Patch.
"""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from crawlyard.core.fields import fields_of
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.core.jobs.spec_json import FIELDS, Form, values_of

EDITABLE = frozenset(
    {"limits", *(path for path, field in fields_of(JobSpec).items() if field.about.editable)}
)
"""Fields of a spec that can change during the life of a job; changes apply at once.

A single limit (``limits.pages``) leaves the others as they are, whoever changes those.
"""


def changes_of(patch: Form) -> dict[str, Any]:
    """Return the values that *patch* sets, by the paths of `FIELDS`.

    Null means the default: no ceiling, no tags. A null group resets all its fields.

    Raises:
        Invalid: as for `spec_json.values_of`.
    """
    given: dict[str, object] = {}
    cleared: list[str] = []
    for name, value in patch.items():
        if isinstance(value, Mapping):
            cleared += [f"{name}.{inner}" for inner, one in value.items() if one is None]
            given[name] = {inner: one for inner, one in value.items() if one is not None}
        elif value is None:
            cleared.append(name)
        else:
            given[name] = value
    changes = values_of(given)
    for path in cleared:
        own = [f for f in FIELDS.values() if path and path in (f.path, f.also, f.field.group)]
        if not own:
            values_of({path: None} if "." not in path else _nested(path))  # raises Invalid
        for field in own:
            changes[field.path] = field.field.default
    return changes


def _nested(path: str) -> Form:
    group, _, name = path.partition(".")
    return {group: {name: None}}


def edited(spec: JobSpec, changes: Mapping[str, Any]) -> JobSpec:
    """Return *spec* with *changes*, whose keys are in `EDITABLE`.

    Raises:
        Invalid: a value has the wrong type or is out of range.
    """
    prefix = "limits."
    single = {n.removeprefix(prefix): v for n, v in changes.items() if n.startswith(prefix)}
    fields = {n: v for n, v in changes.items() if not n.startswith(prefix)}
    spec = replace(spec, **fields)
    return replace(spec, limits=replace(spec.limits, **single)) if single else spec
