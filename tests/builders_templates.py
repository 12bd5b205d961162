"""Templates for tests: valid as they are, each field to be had otherwise."""

from typing import Any, cast

from crawlyard.core.events.event import Event, EventName
from crawlyard.core.templates.answers import SavedTemplateOut
from crawlyard.core.templates.template import (
    CrawlTemplate,
    ParameterType,
    TemplateDraft,
    TemplateParameter,
)
from crawlyard.errors import Version
from crawlyard.ids import new_id
from crawlyard.services.templates.files import data_of
from crawlyard.services.templates.templates import Templates
from tests.builders import NOW

START_URL = TemplateParameter(name="start_url", type=ParameterType.URL, required=True)
PAGES = TemplateParameter(name="pages", type=ParameterType.INTEGER, default=200)
SPEC: dict[str, object] = {"urls": ["{{start_url}}"], "limits": {"pages": "{{pages}}"}}


def a_draft(**fields: Any) -> TemplateDraft:
    """Return a template of a start URL and a number of pages, as its author writes it."""
    defaults: dict[str, Any] = {"name": "news", "spec": SPEC, "parameters": (START_URL, PAGES)}
    return TemplateDraft(**(defaults | fields))


def a_plain_draft(**fields: Any) -> TemplateDraft:
    """Return a template without parameters."""
    spec = {"urls": ["https://example.com/"]}
    return a_draft(**({"name": "plain", "spec": spec, "parameters": ()} | fields))


def a_template(**fields: Any) -> CrawlTemplate:
    """Return version 1 of a private template."""
    defaults: dict[str, Any] = {
        "id": new_id(),
        "owner": "ada",
        "name": "news",
        "spec": SPEC,
        "parameters": (START_URL, PAGES),
        "created_at": NOW,
        "updated_at": NOW,
        "actor": "ada",
    }
    return CrawlTemplate(**(defaults | fields))


def template_event(template: CrawlTemplate, name: EventName = EventName.TEMPLATE_CREATED) -> Event:
    data = {"name": template.name, "version": template.version}
    return Event(
        name=name, subject=template.id, owner=template.owner, at=NOW, actor="ada", data=data
    )


async def rewrite(
    templates: Templates, ref: str, draft: TemplateDraft, version: Version = None
) -> SavedTemplateOut:
    """Save a draft as the next version of a template, also if it equals the last one."""
    old, new = await templates.get(ref), data_of(draft)
    changes = {
        "name": draft.name,
        "description": draft.description,
        "spec": {**dict.fromkeys(old.spec), **draft.spec},
        "parameters": dict.fromkeys(parameter.name for parameter in old.parameters)
        | cast("dict[str, Any]", new.get("parameters", {})),
    }
    return await templates.edit(ref, changes, version=version)
