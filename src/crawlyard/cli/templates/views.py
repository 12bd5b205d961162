"""Views of templates, their versions and rendered specs."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from crawlyard.cli.render import output
from crawlyard.cli.render.output import Column, Facts, View, id_of, instant
from crawlyard.core.answer import Wire
from crawlyard.core.jobs.spec_json import at
from crawlyard.core.templates.answers import ParameterOut, TemplateOut
from crawlyard.export.jsonl import dumps


class Value(Wire, frozen=True, kw_only=True):
    """One field of a spec and the source of its value, as a row of a table."""

    field: str
    value: Any
    source: str


def values_of(form: Mapping[str, Any], sources: Mapping[str, str]) -> list[Value]:
    """Return the fields of a form that *sources* names, in their order."""
    return [Value(field=path, value=at(form, path), source=sources[path]) for path in sources]


VALUES: View[Value] = View(
    key=lambda value: value.field,
    columns=(
        Column(name="FIELD", value=lambda v: v.field),
        Column(name="VALUE", value=lambda v: display_value(v.value), wide=True),
        Column(name="SOURCE", value=lambda v: v.source),
    ),
)


def _yes(template: TemplateOut) -> str:
    return "yes" if template.public else "no"


_PUBLIC: Column[TemplateOut] = Column(
    name="PUBLIC", value=lambda t: t.public, shown=_yes, fact=_yes
)


def templates_view(now: datetime) -> View[TemplateOut]:
    """Return the view of templates, with times relative to *now*."""
    return View(
        key=lambda template: template.id,
        table=("NAME", "VERSION", "PUBLIC", "PARAMETERS", "OWNER", "ID", "CHANGED", "DESCRIPTION"),
        columns=(
            Column(name="NAME", value=lambda t: t.name, wide=True),
            id_of(lambda t: t.id, least=100),
            Column(name="DESCRIPTION", value=lambda t: t.description, wide=True, least=100),
            Column(name="OWNER", value=lambda t: t.owner, least=90),
            _PUBLIC,
            Column(
                name="VERSION",
                value=lambda t: t.version,
                fact=lambda t: f"{t.version}, by {t.actor}",
                right=True,
            ),
            Column(
                name="PARAMETERS",
                value=lambda t: ", ".join(p.name for p in t.parameters),
                sheet=False,
            ),
            output.at("CHANGED", "updated_at", now, sheet=False),
            Column(name="CREATED AT", value=lambda t: instant(t, "created_at")),
            Column(name="UPDATED AT", value=lambda t: instant(t, "updated_at")),
        ),
        more=_content,
    )


def _content(template: TemplateOut) -> Facts:
    """Return the parameters of a template and the fields of its spec."""
    return [
        *((f"parameter {p.name}", _parameter(p)) for p in template.parameters),
        *((f"spec {path}", display_value(value)) for path, value in _flat(template.spec)),
    ]


def versions_view(now: datetime) -> View[TemplateOut]:
    """Return the view of the versions of one template, with times relative to *now*."""
    return View(
        key=lambda template: str(template.version),
        columns=(
            Column(name="VERSION", value=lambda t: t.version, right=True),
            _PUBLIC,
            output.at("CHANGED", "updated_at", now),
            Column(name="BY", value=lambda t: t.actor),
            Column(name="NAME", value=lambda t: t.name, wide=True),
            Column(name="DESCRIPTION", value=lambda t: t.description, wide=True),
        ),
    )


def display_value(value: object) -> str:
    """Return a value of a form for people: text as it is, all else as JSON."""
    return value if isinstance(value, str) else dumps(value)


def _parameter(parameter: ParameterOut) -> str:
    words = [str(parameter.type)]
    if parameter.required:
        words.append("required")
    if parameter.default is not None:
        words.append(f"else {display_value(parameter.default)}")
    if parameter.allowed:
        words.append(f"one of {', '.join(display_value(value) for value in parameter.allowed)}")
    if parameter.description:
        words.append(parameter.description)
    return "; ".join(words)


def _flat(spec: Mapping[str, object]) -> list[tuple[str, object]]:
    lines: list[tuple[str, object]] = []
    for name, value in spec.items():
        if name in {"limits", "retry"} and isinstance(value, Mapping):
            lines += [(f"{name}.{inner}", deep) for inner, deep in value.items()]
        else:
            lines.append((name, value))
    return lines
