"""Rows of templates and their versions."""

import json
from typing import Any

from crawlyard.core.templates.template import CrawlTemplate, Parameter, ParameterType
from crawlyard.errors import Invalid
from crawlyard.store.codec.base import Row, object_of, to_json


def template_row(template: CrawlTemplate) -> dict[str, Any]:
    """Return all columns of a row of `templates`: its state as of this version."""
    return {
        "id": template.id,
        "owner": template.owner,
        "name": template.name,
        "search": search_of(template),
        "public": template.public,
        "version": template.version,
        "created_at": template.created_at,
    }


def version_row(template: CrawlTemplate) -> dict[str, Any]:
    """Return all columns of a row of `template_versions`."""
    return {
        "template_id": template.id,
        "version": template.version,
        "name": template.name,
        "description": template.description,
        "public": template.public,
        "spec": to_json(template.spec),
        "parameters": to_json([_parameter_json(p) for p in template.parameters]),
        "updated_at": template.updated_at,
        "actor": template.actor,
        "trusted": template.trusted,
    }


def template_of(row: Row) -> CrawlTemplate:
    """Return the template of a row of `template_versions` with its `owner` and `created_at`.

    A row that cannot be read gives a template with an empty spec, so that no job can be made
    from it, whose description says why; it must not fail a whole list.
    """
    try:
        spec, description = _spec_of(row["spec"]), row["description"]
        parameters = tuple(_parameter_of(p) for p in json.loads(row["parameters"]))
    except (ValueError, TypeError, KeyError, AttributeError, Invalid) as error:
        spec, parameters = {}, ()
        description = f"damaged: its row cannot be read ({error}); delete it, or give it a spec"
    return CrawlTemplate(
        id=row["template_id"],
        owner=row["owner"],
        name=row["name"],
        description=description,
        public=row["public"],
        version=row["version"],
        spec=spec,
        parameters=parameters,
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        actor=row["actor"],
        trusted=row["trusted"],
    )


def _spec_of(text: str) -> dict[str, Any]:
    spec = object_of(text)
    if spec is None:
        raise ValueError("spec: not a JSON object")
    return spec


def search_of(template: CrawlTemplate) -> str:
    """Return the text that `TemplateQuery.text` is searched in."""
    return f"{template.name}\n{template.description}".casefold()


def _parameter_json(parameter: Parameter) -> dict[str, object]:
    return {
        "name": parameter.name,
        "type": parameter.type.value,
        "description": parameter.description,
        "required": parameter.required,
        "default": parameter.default,
        "allowed": list(parameter.allowed),
    }


def _parameter_of(stored: dict[str, Any]) -> Parameter:
    kind, allowed = ParameterType(stored["type"]), tuple(stored["allowed"])
    return Parameter(**(stored | {"type": kind, "allowed": allowed}))
