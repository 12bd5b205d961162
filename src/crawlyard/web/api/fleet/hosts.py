"""Hosts: what is done to each, and what operators say of it."""

from fastapi import APIRouter, Request, Response

from crawlyard.core.answers.fleet.watch import HostOut, HostRuleOut
from crawlyard.core.answers.lists import ListOut
from crawlyard.core.hosts.status import HostStanding
from crawlyard.web.asking import ReadsJobs, SiteOf, WritesWorkers
from crawlyard.web.documenting import problems
from crawlyard.web.etags import expected_version, tag_of
from crawlyard.web.paging import Pages
from crawlyard.web.rehearsing import DryRun, told, would
from crawlyard.web.routes import Route
from crawlyard.web.site import Site
from crawlyard.web.wire.fleet.watch_asks import HostNoteAsk, HostPatch

router = APIRouter(prefix="/hosts", tags=["hosts"], route_class=Route)

_SILENT = HostNoteAsk()
_CHANGES = problems(401, 403, 404, 409, 412, 422)


@router.get("", name="list", responses=problems(401, 403, 422))
async def hosts(actor: ReadsJobs, site: SiteOf, pages: Pages) -> ListOut[HostOut]:
    """List the hosts that are asked now or have a rule, by name; who is no admin sees his own."""
    after = str(pages.position[0]) if pages.position else ""
    found = await site.hosts.list(actor, after=after, limit=pages.more)
    return pages.page(found, HostOut.of, lambda host: [host.host])


@router.get("/{host}", name="get", responses=problems(401, 403, 404, 422))
async def one_host(host: str, actor: ReadsJobs, site: SiteOf, response: Response) -> HostOut:
    """Return what is done to one host, and its rule; the ETag is the rule's."""
    return _out(await site.hosts.get(actor, host), response)


@router.patch("/{host}", responses=_CHANGES)
async def patch(
    host: str,
    ask: HostPatch,
    actor: WritesWorkers,
    site: SiteOf,
    request: Request,
    response: Response,
) -> HostOut:
    """Say how gently a host is to be asked by all jobs together; they may be gentler still."""
    version = await _expected(site, host, request)
    return _out(await site.hosts.set(actor, host, ask.changes, version=version), response)


@router.post("/{host}/pause", responses=_CHANGES)
async def pause(
    host: str,
    actor: WritesWorkers,
    site: SiteOf,
    request: Request,
    response: Response,
    ask: HostNoteAsk = _SILENT,
) -> HostOut:
    """Let nobody ask a host until it is resumed; its URLs wait."""
    version = await _expected(site, host, request)
    return _out(await site.hosts.pause(actor, host, ask.note, version=version), response)


@router.post("/{host}/block", responses=_CHANGES)
async def block(
    host: str,
    actor: WritesWorkers,
    site: SiteOf,
    request: Request,
    response: Response,
    ask: HostNoteAsk = _SILENT,
) -> HostOut:
    """Let nobody ask a host; its URLs are skipped, in running jobs as well."""
    version = await _expected(site, host, request)
    return _out(await site.hosts.block(actor, host, ask.note, version=version), response)


@router.post("/{host}/resume", responses=_CHANGES)
async def resume(
    host: str, actor: WritesWorkers, site: SiteOf, request: Request, response: Response
) -> HostOut:
    """Let a host be asked again, at the pace that its rule says."""
    version = await _expected(site, host, request)
    return _out(await site.hosts.resume(actor, host, version=version), response)


@router.delete(
    "/{host}", status_code=204, response_model=None, responses=_CHANGES | would(HostRuleOut)
)
async def unset(
    host: str, actor: WritesWorkers, site: SiteOf, request: Request, *, dry_run: DryRun = False
) -> Response:
    """Delete the rule of a host: it is asked as its jobs wish."""
    version = await _expected(site, host, request)
    rule = await site.hosts.unset(actor, host, version=version, dry_run=dry_run)
    return told(HostRuleOut.of(rule)) if dry_run else Response(status_code=204)


async def _expected(site: Site, host: str, request: Request) -> int | None:
    return expected_version(request, await site.hosts.version(host))


def _out(standing: HostStanding, response: Response) -> HostOut:
    shape = HostOut.of(standing)
    response.headers["ETag"] = tag_of(shape.version)
    return shape
