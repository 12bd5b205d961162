"""Lookup of templates: by id, name or OWNER/NAME, as far as an actor may see or change them.

Actors see their own templates, and the public versions of other people's templates that are
public now; anything else is `NotFound`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from crawlyard.core.access.user import Actor, Role
from crawlyard.core.templates.template import CrawlTemplate, is_id
from crawlyard.errors import Forbidden, NotFound, Version, check_version
from crawlyard.store.queries import TemplateQuery

if TYPE_CHECKING:
    from crawlyard.store.store import Store


async def find_template(
    store: "Store", actor: Actor, ref: str, version: int | None = None
) -> CrawlTemplate:
    """Return *version* of a template, by default the latest.

    Raises:
        NotFound: no such template or version that the actor may see.
    """
    latest = await _latest(store, actor, ref)
    if version is None or version == latest.version:
        return latest
    template = await store.templates.get(latest.id, version)
    if not sees_template(actor, template):
        raise NotFound(f"no version {version} of template {latest.id}")
    return template


async def changeable_template(
    store: "Store", actor: Actor, ref: str, version: Version = None
) -> CrawlTemplate:
    """Return the latest version of a template that the actor may change.

    Raises:
        NotFound, Forbidden, Stale: as the names say.
    """
    template = await _latest(store, actor, ref)
    if not actor.may_change(template.owner):
        raise Forbidden(f"{actor.id} may use template {ref}, but not change it; duplicate it")
    check_version(f"template {template.name}", template.version, version)
    return template


async def visible_templates(
    store: "Store", actor: Actor, query: TemplateQuery, limit: int
) -> Sequence[CrawlTemplate]:
    """Return the templates matching *query* that the actor may see, ordered by (name, id)."""
    if actor.role is not Role.ADMIN:
        query = replace(query, seen_by=actor.id)
    return await store.templates.find(query, limit)


def sees_template(actor: Actor, template: CrawlTemplate) -> bool:
    """Return whether the actor may see a version of a template."""
    return template.public or actor.may_see(template.owner)


async def _latest(store: "Store", actor: Actor, ref: str) -> CrawlTemplate:
    if is_id(ref):
        template = await store.templates.get(ref.lower())
        if not sees_template(actor, template):
            raise NotFound(f"no template {ref.lower()}")
        return template
    owner, slash, name = ref.rpartition("/")
    query = TemplateQuery(owner=owner if slash else actor.id, name=name)
    for template in await visible_templates(store, actor, query, 1):
        return template
    anyones = replace(query, owner=None)
    templates = [] if slash else await visible_templates(store, actor, anyones, 3)
    hint = ", ".join(f"{template.owner}/{template.name}" for template in templates)
    raise NotFound(f"there is no template {ref}" + (f"; there is {hint}" if hint else ""))
