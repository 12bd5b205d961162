"""Rows of templates and their versions."""

from typing import Any

from crawlyard.core.templates.template import CrawlTemplate, Parameter
from crawlyard.errors import Invalid
from crawlyard.store.codec.base import Row, decoder_of, object_of, to_json

_PARAMETERS = decoder_of(tuple[Parameter, ...])
_OF_VERSION = ("version", "name", "description", "public", "updated_at", "actor", "trusted")


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
    row = {name: getattr(template, name) for name in _OF_VERSION}
    return row | {
        "template_id": template.id,
        "spec": to_json(template.spec),
        "parameters": to_json(template.parameters),
    }


def template_of(row: Row) -> CrawlTemplate:
    """Return the template of a row of `template_versions` with its `owner` and `created_at`.

    A row that cannot be read gives a template with an empty spec, so that no job can be made
    from it, whose description says why; it must not fail a whole list.
    """
    try:
        spec, description = _spec_of(row["spec"]), row["description"]
        parameters = _PARAMETERS.decode(row["parameters"])
    except (ValueError, TypeError, Invalid) as error:
        spec, parameters = {}, ()
        description = f"damaged: its row cannot be read ({error}); delete it, or give it a spec"
    return CrawlTemplate(
        **{name: row[name] for name in (*_OF_VERSION, "owner", "created_at")}
        | {"description": description},
        id=row["template_id"],
        spec=spec,
        parameters=parameters,
    )


def _spec_of(text: str) -> dict[str, Any]:
    spec = object_of(text)
    if spec is None:
        raise ValueError("spec: not a JSON object")
    return spec


def search_of(template: CrawlTemplate) -> str:
    """Return the text that `TemplateQuery.text` is searched in."""
    return f"{template.name}\n{template.description}".casefold()
