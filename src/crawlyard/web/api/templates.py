"""Templates: kept in versions, shared or not, filled, taken in and given out as files."""

import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Path, Query, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from crawlyard.core.access.credential import Caller
from crawlyard.core.access.user import Actor, Permit
from crawlyard.core.answers.deletions import TemplateDeletionOut
from crawlyard.core.answers.lists import ListOut
from crawlyard.core.answers.templates.templates import (
    CheckedTemplateOut,
    RenderedOut,
    SavedTemplateOut,
    TemplateOut,
)
from crawlyard.core.blame import blaming
from crawlyard.core.merge_patch import merged_object
from crawlyard.core.templates.secrets import stripped
from crawlyard.core.templates.template import CrawlTemplate, FileFormat, TemplateDraft
from crawlyard.errors import Invalid
from crawlyard.services.templates.files import data_of, draft_of
from crawlyard.services.templates.manager import check_draft
from crawlyard.store.queries import TemplateQuery
from crawlyard.web.asking import ReadsTemplates, SiteOf, WritesTemplates, caller_of
from crawlyard.web.documenting import NOT_MODIFIED, problems
from crawlyard.web.etags import expected_version, tag_of, unchanged
from crawlyard.web.live.begin import BEGINS_STREAM
from crawlyard.web.paging import Pages
from crawlyard.web.refs import Ref
from crawlyard.web.rehearsing import DryRun, told, would
from crawlyard.web.routes import Route
from crawlyard.web.site import Site
from crawlyard.web.wire.templates.template_asks import (
    MAX_VERSION,
    DuplicateAsk,
    FileAsk,
    RenderAsk,
    template_patch_schema,
    template_schema,
)

router = APIRouter(prefix="/templates", tags=["templates"], route_class=Route)

_OWN = frozenset({"name", "description", "parameters", "spec"})
_AS_IT_IS = RenderAsk()
_AS_A_COPY = DuplicateAsk()
_UNNAMEABLE = re.compile(r"[^a-z0-9]+")
_KINDS = {FileFormat.YAML: "application/yaml", FileFormat.JSON: "application/json"}  # RFC 9512

Version = Annotated[int, Path(ge=1, le=MAX_VERSION)]
Fields = Annotated[dict[str, Any], Body()]
Reader = Annotated[Caller, Security(caller_of, scopes=[Permit.TEMPLATES_READ.value])]


def _body(schema: dict[str, Any], *kinds: str) -> dict[str, Any]:
    return {"requestBody": {"content": {kind: {"schema": schema} for kind in kinds}}}


_MADE = _body(template_schema(), "application/json")
_CHANGED = _body(template_patch_schema(), "application/merge-patch+json", "application/json")


@router.get("", responses=problems(401, 403, 422), dependencies=[BEGINS_STREAM])
async def list_(
    actor: ReadsTemplates,
    site: SiteOf,
    pages: Pages,
    visibility: Annotated[Literal["private", "public"] | None, Query()] = None,
    owner: Annotated[str | None, Query(max_length=64, description="`me`, or a user.")] = None,
    q: Annotated[str, Query(max_length=500, description="Of name or description.")] = "",
) -> ListOut[TemplateOut]:
    """List templates by name: your own, and those that others have published."""
    query = TemplateQuery(
        owner=actor.id if owner == "me" else owner,
        public=None if visibility is None else visibility == "public",
        text=q,
        after=(str(pages.position[0]), str(pages.position[1])) if pages.position else None,
    )
    found = await site.yard.templates.list(actor, query, pages.more)
    return pages.page(found, TemplateOut.of, lambda one: [one.name, one.id])


@router.post("", status_code=201, responses=problems(401, 403, 409, 422), openapi_extra=_MADE)
async def create(
    body: Fields, actor: WritesTemplates, site: SiteOf, response: Response
) -> TemplateOut:
    """Make a template of yours; nobody else sees it until you publish it."""
    draft = draft_of(body)
    with blaming(_OWN, "spec"):
        template = await site.yard.templates.create(actor, draft)
    return _made(template, response)


@router.post("/import", status_code=201, responses=problems(401, 403, 409, 422))
async def import_(
    ask: FileAsk, actor: WritesTemplates, site: SiteOf, response: Response
) -> TemplateOut:
    """Make a template of yours of the text of a file, in YAML or JSON; nothing in it is fetched."""
    return _made(await site.yard.templates.create(actor, await _read(site, ask)), response)


@router.post(
    "/validate",
    dependencies=[Security(caller_of, scopes=[Permit.TEMPLATES_READ.value])],
    responses=problems(401, 403, 422),
    openapi_extra=_body(
        {"anyOf": [template_schema(), {"$ref": "#/components/schemas/FileAsk"}]}, "application/json"
    ),
)
async def validate(body: Fields, site: SiteOf) -> CheckedTemplateOut:
    """Check a template, or the `content` of a file that holds one; nothing is kept."""
    if "content" in body:
        return CheckedTemplateOut.of(await _read(site, _file_of(body)))
    draft = draft_of(body)
    with blaming(_OWN, "spec"):
        check_draft(draft)
    return CheckedTemplateOut.of(draft)


@router.get("/{ref}", response_model=TemplateOut, responses=problems(401, 403, 404) | NOT_MODIFIED)
async def get(
    ref: Ref, actor: ReadsTemplates, site: SiteOf, request: Request, response: Response
) -> TemplateOut | Response:
    """Return a template as it is now."""
    template = await site.yard.templates.get(actor, ref)
    return unchanged(request, response, tag_of(template.version)) or TemplateOut.of(template)


@router.patch(
    "/{ref}",
    responses=problems(401, 403, 404, 409, 412, 422, 428),
    openapi_extra=_CHANGED,
)
async def patch(
    ref: Ref,
    body: Fields,
    actor: WritesTemplates,
    site: SiteOf,
    request: Request,
    response: Response,
) -> SavedTemplateOut:
    """Make the next version of a template: what is absent stays, null takes a member away.

    A public one is kept without credentials; `stripped` names those that were in it.
    """
    old, _ = await _guarded(site, actor, ref, request, required=True)
    draft = draft_of(merged_object(data_of(old.draft), body))
    with blaming(_OWN, "spec"):
        # of what was merged with what: of no other version, whatever may be changed
        saved = await site.yard.templates.update(actor, old.id, draft, version=old.version)
    response.headers["ETag"] = tag_of(saved.template.version)
    return SavedTemplateOut.saved(saved)


@router.delete(
    "/{ref}",
    status_code=204,
    response_model=None,
    responses=problems(401, 403, 404, 409, 412, 428) | would(TemplateDeletionOut),
)
async def delete(
    ref: Ref, actor: WritesTemplates, site: SiteOf, request: Request, *, dry_run: DryRun = False
) -> Response:
    """Delete a template with all versions; refused while schedules use it, which are named."""
    templates = site.yard.templates
    template, version = await _guarded(site, actor, ref, request, required=not dry_run)
    if dry_run:
        found = await templates.deletable(actor, template.id, version=version)
        return told(TemplateDeletionOut.of(*found))
    await templates.delete(actor, template.id, version=version)
    return Response(status_code=204)


@router.get("/{ref}/versions", responses=problems(401, 403, 404, 422))
async def versions(
    ref: Ref, actor: ReadsTemplates, site: SiteOf, pages: Pages
) -> ListOut[TemplateOut]:
    """List the versions of a template that you may see, the newest first."""
    before = int(pages.position[0]) if pages.position else MAX_VERSION + 1
    found = await site.yard.templates.versions(actor, ref)
    older = [one for one in found if one.version < before]
    return pages.page(older[: pages.more], TemplateOut.of, lambda one: [one.version])


@router.get(
    "/{ref}/versions/{version}",
    response_model=TemplateOut,
    responses=problems(401, 403, 404, 422) | NOT_MODIFIED,
)
async def version_(
    ref: Ref,
    version: Version,
    actor: ReadsTemplates,
    site: SiteOf,
    request: Request,
    response: Response,
) -> TemplateOut | Response:
    """Return a template as it was at a version."""
    template = await site.yard.templates.get(actor, ref, version)
    return unchanged(request, response, tag_of(template.version)) or TemplateOut.of(template)


@router.post(
    "/{ref}/versions/{version}/restore",
    status_code=202,
    responses=problems(401, 403, 404, 409, 412, 422),
)
async def restore(
    ref: Ref,
    version: Version,
    actor: WritesTemplates,
    site: SiteOf,
    request: Request,
    response: Response,
) -> SavedTemplateOut:
    """Make what a version said the next one; name and visibility stay as they are."""
    old, latest = await _guarded(site, actor, ref, request)
    saved = await site.yard.templates.restore(actor, old.id, version, latest=latest)
    _moved(old, saved.template, response)
    return SavedTemplateOut.saved(saved)


@router.post("/{ref}/publish", status_code=202, responses=problems(401, 403, 404, 409, 412, 422))
async def publish(
    ref: Ref,
    actor: WritesTemplates,
    site: SiteOf,
    request: Request,
    response: Response,
    *,
    confirm: Annotated[
        bool, Query(description="Keep the credentials in the owner's schedules that need them.")
    ] = False,
) -> SavedTemplateOut:
    """Let others see and use a template, from a version on that has no credentials.

    `stripped` names those that were taken out, `kept` the schedules of the owner that keep
    them as params and overrides of their own. If there are any and `confirm` is not set,
    nothing is changed, and the answer is 409 `confirmation_required` with these `schedules`.
    """
    old, version = await _guarded(site, actor, ref, request)
    saved = await site.yard.templates.publish(actor, old.id, version=version, confirmed=confirm)
    _moved(old, saved.template, response)
    return SavedTemplateOut.saved(saved)


@router.post("/{ref}/unpublish", status_code=202, responses=problems(401, 403, 404, 409, 412))
async def unpublish(
    ref: Ref, actor: WritesTemplates, site: SiteOf, request: Request, response: Response
) -> TemplateOut:
    """Let others not see or use a template any more, no version of it."""
    old, version = await _guarded(site, actor, ref, request)
    template = await site.yard.templates.unpublish(actor, old.id, version=version)
    _moved(old, template, response)
    return TemplateOut.of(template)


@router.post("/{ref}/duplicate", status_code=201, responses=problems(401, 403, 404, 409, 422))
async def duplicate(
    ref: Ref,
    actor: WritesTemplates,
    site: SiteOf,
    response: Response,
    ask: DuplicateAsk = _AS_A_COPY,
) -> TemplateOut:
    """Make a private template of yours that says what another one does."""
    with blaming(_OWN, "spec"):
        copy = await site.yard.templates.duplicate(actor, ref, name=ask.name, version=ask.version)
    return _made(copy, response)


@router.post("/{ref}/render", responses=problems(401, 403, 404, 422))
async def render(
    ref: Ref, actor: ReadsTemplates, site: SiteOf, ask: RenderAsk = _AS_IT_IS
) -> RenderedOut:
    """Return the whole spec that a job would have, and where each value comes from.

    Nothing is kept.
    """
    with blaming(("params", "version"), "overrides"):
        rendered = await site.yard.templates.render(
            actor, ref, ask.params, ask.overrides, ask.version
        )
    return RenderedOut.of(rendered)


@router.get(
    "/{ref}/export",
    response_class=Response,
    responses=problems(401, 403, 404, 422)
    | {
        200: {
            "description": "A file that `POST /templates/import` takes.",
            "content": {kind: {"schema": {"type": "object"}} for kind in _KINDS.values()},
        }
    },
)
async def export(
    ref: Ref,
    caller: Reader,
    site: SiteOf,
    form: Annotated[FileFormat, Query(alias="format")] = FileFormat.YAML,
    version: Annotated[int | None, Query(ge=1, le=MAX_VERSION)] = None,
) -> Response:
    """Return the file of a template; with credentials for those alone who may change it."""
    template = await site.yard.templates.get(caller.actor, ref, version)
    changes = caller.actor.may_change(template.owner) and Permit.TEMPLATES_WRITE in caller.permits
    draft = template.draft if changes else stripped(template.draft)[0]
    stem = _UNNAMEABLE.sub("-", template.name.lower()).strip("-") or "template"
    name = f"{stem}-v{template.version}.{form.value}"
    return Response(
        await site.intake.written(draft, form),
        media_type=_KINDS[form],
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "ETag": tag_of(template.version),
        },
    )


def _made(template: CrawlTemplate, response: Response) -> TemplateOut:
    response.headers["Location"] = f"/api/v1/templates/{template.id}"
    response.headers["ETag"] = tag_of(template.version)
    return TemplateOut.of(template)


def _moved(old: CrawlTemplate, new: CrawlTemplate, response: Response) -> None:
    if new.version == old.version:
        response.status_code = 200  # it was so already
    response.headers["ETag"] = tag_of(new.version)


async def _guarded(
    site: Site, actor: Actor, ref: str, request: Request, *, required: bool = False
) -> tuple[CrawlTemplate, int | None]:
    """Return a template, and the version that a change may be made to, if it may at this one."""
    template = await site.yard.templates.resolve(actor, ref)
    return template, expected_version(request, template.version, required=required)


def _file_of(body: dict[str, Any]) -> FileAsk:
    try:
        return FileAsk.model_validate(body)
    except ValidationError as error:
        found = [{**one, "loc": ("body", *one["loc"])} for one in error.errors()]
        raise RequestValidationError(found) from None


async def _read(site: Site, ask: FileAsk) -> TemplateDraft:
    if ask.format is FileFormat.JSON and not ask.content.lstrip("\ufeff \t\r\n").startswith("{"):
        raise Invalid("content", "expected an object of JSON, as format says")
    try:
        return await site.intake.read(ask.content)
    except Invalid as error:
        raise Invalid("content", str(error)) from None
