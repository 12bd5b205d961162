"""One action on many jobs."""

from fastapi import APIRouter, Response

from crawlyard.core.jobs.bulk import BulkAction, Chosen
from crawlyard.core.jobs.filter import Condition, FilterKey, condition, parse
from crawlyard.core.jobs.priority import Priority
from crawlyard.errors import Invalid
from crawlyard.web.asking import SiteOf, WritesJobs
from crawlyard.web.documenting import problems
from crawlyard.web.errors.blame import blaming
from crawlyard.web.routes import Route
from crawlyard.web.wire.fleet.operations import BulkAsk, BulkOut, FilterAsk

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=Route)


@router.post(
    "/bulk",
    responses=problems(401, 403, 409, 422, 429)
    | {202: {"model": BulkOut, "description": "An operation does it"}},
)
async def bulk(ask: BulkAsk, actor: WritesJobs, site: SiteOf, response: Response) -> BulkOut:
    """Do something to many jobs: up to 200 at once, more by an operation (202)."""
    asked = BulkAction(
        action=ask.action,
        reason=ask.reason,
        priority=None if ask.priority is None else Priority.of(ask.priority),
        scope=ask.scope,
        kinds=frozenset(ask.kinds),
    )
    done = await site.bulk.act(
        actor, asked, _chosen(ask), expected=ask.expected_count, dry_run=ask.dry_run
    )
    if done.operation is not None:
        response.status_code = 202
        response.headers["Location"] = f"/api/v1/operations/{done.operation.id}"
    return BulkOut.of(done)


def _chosen(ask: BulkAsk) -> Chosen:
    if (ask.ids is None) is (ask.filter is None):
        raise Invalid("ids", "expected ids or a filter, one of the two")
    if ask.filter is None:
        return Chosen(ids=ask.ids)
    with blaming((), "filter"):
        return Chosen(where=_conditions(ask.filter))


def _conditions(ask: FilterAsk) -> tuple[Condition, ...]:
    given = {name: words for name, words in ask.model_dump().items() if name != "q" and words}
    return (*(condition(FilterKey(name), words) for name, words in given.items()), *parse(ask.q))
