"""Changes to a job's spec: which there are, and how a part of its form asks for them.

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
"""The fields of a spec that can change while the job lives; they take effect at once.

A limit alone (``limits.pages``) leaves the others as they are, whoever changes them.
"""

_DEFAULTS = JobSpec(urls=("https://example.com/",))  # the only field that has none


def changes_of(patch: Form) -> dict[str, Any]:
    """Return the values that *patch* asks for, by the paths of `FIELDS`.

    Null is the default: no ceiling, no tags. A group that is null is so as a whole.

    Raises:
        Invalid: as for `form.values_of`.
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
            values_of({path: None} if "." not in path else _nested(path))  # says what is wrong
        for field in own:
            changes[field.path] = field.field.default
    return changes


def _nested(path: str) -> Form:
    group, _, name = path.partition(".")
    return {group: {name: None}}


def edited(spec: JobSpec, changes: Mapping[str, Any]) -> JobSpec:
    """Return *spec* with *changes*, whose names are some of `EDITABLE`.

    Raises:
        Invalid: a value is of another type or out of its range.
    """
    prefix = "limits."
    single = {n.removeprefix(prefix): v for n, v in changes.items() if n.startswith(prefix)}
    fields = {n: v for n, v in changes.items() if not n.startswith(prefix)}
    spec = replace(spec, **fields)
    return replace(spec, limits=replace(spec.limits, **single)) if single else spec
