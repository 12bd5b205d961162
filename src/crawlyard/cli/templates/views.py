"""Tables and facts of templates, their versions and rendered specs."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from crawlyard.cli.render import words
from crawlyard.cli.render.output import Column, View
from crawlyard.core.answers.base import Wire, as_dict
from crawlyard.core.answers.templates import ParameterOut, RenderedOut, TemplateOut
from crawlyard.core.jobs.spec_json import FIELDS, at
from crawlyard.export.jsonl import dumps


class Value(Wire, frozen=True, kw_only=True):
    """One field of a filled template, as a line of a table."""

    field: str
    value: Any
    source: str


def values_of(rendered: RenderedOut) -> list[Value]:
    """Return the fields of *rendered*, in the order of the form."""
    return [
        Value(field=path, value=at(rendered.spec, path), source=rendered.sources[path])
        for path in FIELDS
    ]


VALUES: View[Value] = View(
    key=lambda value: value.field,
    columns=(
        Column(name="FIELD", value=lambda v: v.field),
        Column(name="VALUE", value=lambda v: told(v.value), wide=True),
        Column(name="SOURCE", value=lambda v: v.source),
    ),
)


def templates_view(now: datetime) -> View[TemplateOut]:
    """Return the view of templates at *now*."""
    return View(
        key=lambda template: template.id,
        columns=(
            Column(name="NAME", value=lambda t: t.name, wide=True),
            Column(name="VERSION", value=lambda t: t.version, right=True),
            Column(name="PUBLIC", value=lambda t: t.public, shown=lambda t: _yes(t.public)),
            Column(name="PARAMETERS", value=lambda t: ", ".join(p.name for p in t.parameters)),
            Column(name="OWNER", value=lambda t: t.owner, least=90),
            Column(name="ID", value=lambda t: t.id, shown=lambda t: words.short(t.id), least=100),
            _changed(now),
            Column(name="DESCRIPTION", value=lambda t: t.description, wide=True, least=100),
        ),
    )


def versions_view(now: datetime) -> View[TemplateOut]:
    """Return the view of the versions of one template at *now*."""
    return View(
        key=lambda template: str(template.version),
        columns=(
            Column(name="VERSION", value=lambda t: t.version, right=True),
            Column(name="PUBLIC", value=lambda t: t.public, shown=lambda t: _yes(t.public)),
            _changed(now),
            Column(name="BY", value=lambda t: t.actor),
            Column(name="NAME", value=lambda t: t.name, wide=True),
            Column(name="DESCRIPTION", value=lambda t: t.description, wide=True),
        ),
    )


def facts(template: TemplateOut) -> list[tuple[str, str]]:
    """Return the facts about a template that are not empty, the most interesting first."""
    times = as_dict(template, {"created_at", "updated_at"})
    known = {
        "name": template.name,
        "id": template.id,
        "description": template.description,
        "owner": template.owner,
        "public": _yes(template.public),
        "version": f"{template.version}, by {template.actor}",
        "created at": times["created_at"],
        "updated at": times["updated_at"],
        **{f"parameter {p.name}": _parameter(p) for p in template.parameters},
        **{f"spec {path}": told(value) for path, value in _flat(template.spec)},
    }
    return [(name, value) for name, value in known.items() if value]


def told(value: object) -> str:
    """Return a value of a form as people read it: text as it is, all else as JSON."""
    return value if isinstance(value, str) else dumps(value)


def _parameter(parameter: ParameterOut) -> str:
    said = [parameter.type]
    if parameter.required:
        said.append("required")
    if parameter.default is not None:
        said.append(f"else {told(parameter.default)}")
    if parameter.allowed:
        said.append(f"one of {', '.join(told(value) for value in parameter.allowed)}")
    if parameter.description:
        said.append(parameter.description)
    return "; ".join(said)


def _flat(spec: Mapping[str, object]) -> list[tuple[str, object]]:
    lines: list[tuple[str, object]] = []
    for name, value in spec.items():
        if name in {"limits", "retry"} and isinstance(value, Mapping):
            lines += [(f"{name}.{inner}", deep) for inner, deep in value.items()]
        else:
            lines.append((name, value))
    return lines


def _changed(now: datetime) -> Column[TemplateOut]:
    return Column(
        name="CHANGED",
        value=lambda t: as_dict(t, {"updated_at"})["updated_at"],
        shown=lambda t: words.clock(t.updated_at, now),
    )


def _yes(value: bool) -> str:  # noqa: FBT001 - what is told is all it takes
    return "yes" if value else "no"
