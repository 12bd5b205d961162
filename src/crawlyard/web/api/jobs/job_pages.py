"""What a job has brought: its pages, errors, and the URLs that were skipped or still wait."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import HTMLResponse, PlainTextResponse
from msgspec.structs import replace

from crawlyard.core.access.user import Actor
from crawlyard.core.crawl.page import Body, RuleKind
from crawlyard.errors import Invalid, NotFound
from crawlyard.export.jsonl import dumps
from crawlyard.services.jobs.body_text import readable
from crawlyard.store.queries import PageQuery
from crawlyard.web.asking import ReadsResults, SiteOf
from crawlyard.web.documenting import Responses, problems
from crawlyard.web.filters.filtering import PageFilter, Values, error_kind, of_parameter, words
from crawlyard.web.paging import Pages, Paging, whole
from crawlyard.web.routes import Route
from crawlyard.web.site import Site
from crawlyard.web.wire.jobs.jobs import SkippedOut
from crawlyard.web.wire.jobs.pages import ErrorsOut, SkippedGroupOut, StoredPageOut, WaitingOut
from crawlyard.web.wire.lists import ListOut

router = APIRouter(prefix="/jobs/{job_id}", tags=["results"], route_class=Route)

PageId = Annotated[int, Path(ge=1, lt=2**63)]
Part = Annotated[
    Body | None,
    Query(
        description="One part of it in place of the record: text and headers as plain text, html "
        "as a document that does nothing and loads nothing, for a frame of this server's pages."
    ),
]
_PARTS: Responses = {
    200: {
        "content": {
            "text/plain": {"schema": {"type": "string"}},
            "text/html": {"schema": {"type": "string"}},
        },
        "description": "The page",
    }
}
_INERT = {
    "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
_FRAMED = {
    # Whatever the page says: as if it came from nowhere, it runs nothing, sends no form,
    # opens no window, moves no frame but its own and asks nobody for anything.
    "Content-Security-Policy": (
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-DNS-Prefetch-Control": "off",  # a look-up of a host of its own would tell who looks
}


@router.get("/pages", responses=problems(401, 403, 404, 422))
async def pages_(
    job_id: str, actor: ReadsResults, site: SiteOf, pages: Pages, asked: PageFilter
) -> ListOut[StoredPageOut]:
    """List the pages of a job in the order they came; also while it runs."""
    return await _listed(site, actor, job_id, pages, asked)


@router.get(
    "/pages/{page_id}",
    response_model=StoredPageOut,
    responses=problems(401, 403, 404, 422) | _PARTS,
)
async def page_(
    job_id: str, page_id: PageId, actor: ReadsResults, site: SiteOf, part: Part = None
) -> StoredPageOut | Response:
    """Return a page with its response headers, or one part of it.

    HTML comes as it is kept, for a frame with `sandbox` in a page of this server whose own
    policy says `frame-src 'self'`: then a link that is followed in it leads nowhere.
    """
    if part is None:
        stored, kept = await site.yard.results.page(actor, job_id, page_id, [Body.HEADERS])
        return StoredPageOut.stored(job_id, stored, **readable(kept))
    _, kept = await site.yard.results.page(actor, job_id, page_id, [part, Body.HEADERS])
    told = readable(kept)
    if part.value not in told:
        raise NotFound(f"nothing is kept of page {page_id} as {part}: the spec of its job says so")
    text = told[part.value]
    body = text if isinstance(text, str) else dumps(text, indent=2)
    data = body.encode("utf-8", "replace")
    if part is Body.HTML:
        # what it says of its encoding is not heeded where the answer says one
        return HTMLResponse(data, headers=_FRAMED)
    return PlainTextResponse(data, headers=_INERT)


@router.get("/errors", responses=problems(401, 403, 404))
async def errors(job_id: str, actor: ReadsResults, site: SiteOf) -> ErrorsOut:
    """Return the failed URLs of a job by kinds; what robots.txt forbids is told apart."""
    groups = await site.yard.results.errors(actor, job_id)
    skipped = await site.yard.results.skipped_by(actor, job_id)
    robots = next((group for group in skipped if group.kind is RuleKind.ROBOTS), None)
    return ErrorsOut.of(groups, robots)


@router.get("/errors/{kind}/pages", responses=problems(401, 403, 404, 422))
async def failed(
    job_id: str, kind: str, actor: ReadsResults, site: SiteOf, pages: Pages
) -> ListOut[StoredPageOut]:
    """List the pages that failed in one way."""
    query = PageQuery(kinds=frozenset({error_kind("kind", kind)}))
    return await _listed(site, actor, job_id, pages, query)


@router.get("/skipped", responses=problems(401, 403, 404, 422))
async def skipped(
    job_id: str,
    actor: ReadsResults,
    site: SiteOf,
    pages: Pages,
    rule: Annotated[
        Values, Query(max_length=20, description="Kinds of rules: `robots`, `scope`, …")
    ] = None,
) -> ListOut[SkippedOut]:
    """List the URLs that a rule kept out, in the order they were found."""
    kinds = [_rule_kind(word) for word in words("rule", rule)]
    after = int(pages.position[0]) if pages.position else 0
    found = await site.yard.results.some_skipped(actor, job_id, kinds, after, pages.more)
    return pages.page(found, lambda one: SkippedOut.of(one[1]), lambda one: [one[0]])


@router.get("/skipped/rules", name="skipped_rules", responses=problems(401, 403, 404))
async def skipped_by(job_id: str, actor: ReadsResults, site: SiteOf) -> ListOut[SkippedGroupOut]:
    """Count the URLs that rules kept out, by kinds of rules, the most frequent first."""
    found = await site.yard.results.skipped_by(actor, job_id)
    return whole([SkippedGroupOut.of(group) for group in found])


@router.get("/frontier", responses=problems(401, 403, 404, 422))
async def frontier(
    job_id: str, actor: ReadsResults, site: SiteOf, pages: Pages
) -> ListOut[WaitingOut]:
    """List the URLs that wait to be fetched, in the order they were found."""
    after = int(pages.position[0]) if pages.position else 0
    found = await site.yard.results.upcoming(actor, job_id, after, pages.more)
    return pages.page(found, WaitingOut.of, lambda known: [known.key])


async def _listed(
    site: Site, actor: Actor, job_id: str, pages: Paging, asked: PageQuery
) -> ListOut[StoredPageOut]:
    after = int(pages.position[0]) if pages.position else 0
    query = replace(asked, after=after)
    found = await site.yard.results.some(actor, job_id, query, pages.more)
    return pages.page(
        found, lambda stored: StoredPageOut.stored(job_id, stored), lambda stored: [stored.id]
    )


def _rule_kind(word: str) -> RuleKind:
    with of_parameter("rule"):
        if word not in set(RuleKind):
            raise Invalid("rule", f"expected one of {', '.join(RuleKind)}, got {word[:100]!r}")
    return RuleKind(word)
