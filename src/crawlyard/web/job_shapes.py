"""A job as an answer has it: with what it waits for, and a tag that tells of both."""

from collections.abc import Sequence
from zlib import crc32

from fastapi import Request, Response

from crawlyard.core.jobs.checkpoint import Standing
from crawlyard.core.jobs.waiting import Wait
from crawlyard.services.jobs.reader import progress_of_standing
from crawlyard.web.etags import tag_of, unchanged
from crawlyard.web.expanding import Ties, expanded
from crawlyard.web.site import Site
from crawlyard.web.wire.jobs.jobs import JobOut


async def job_out(site: Site, standing: Standing, response: Response) -> JobOut:
    """Return the shape of a job, and set its tag."""
    waits = (await site.why.waits([standing])).get(standing.job.id, ())
    response.headers["ETag"] = _tag(standing, waits)
    return _shape(site, standing, waits)


async def job_if_changed(
    site: Site,
    standing: Standing,
    request: Request,
    response: Response,
    ties: Ties | None = None,
) -> JobOut | Response:
    """Return the shape of a job, with its *ties* if any, or a 304 if the asker has it already."""
    waits = (await site.why.waits([standing])).get(standing.job.id, ())
    same = unchanged(request, response, _tag(standing, waits, ties))
    if same is not None:
        return same
    shape = _shape(site, standing, waits)
    return shape if ties is None else await expanded(site, shape, ties)


async def jobs_out(site: Site, standings: Sequence[Standing]) -> list[JobOut]:
    """Return the shapes of jobs, in their order."""
    waits = await site.why.waits(standings)
    return [_shape(site, one, waits.get(one.job.id, ())) for one in standings]


def _shape(site: Site, standing: Standing, waits: Sequence[Wait]) -> JobOut:
    now = site.yard.clock.now()
    return JobOut.of(standing, progress_of_standing(standing), now, waits)


def _tag(standing: Standing, waits: Sequence[Wait], ties: Ties | None = None) -> str:
    """Return the tag of a job; another place in the queue makes another, or a change of *ties*."""
    # while it waits there are no checkpoints that would count `seq` up
    beat = crc32(repr(waits).encode()) if waits else standing.shard.seq
    if ties is not None:
        beat = crc32(repr((beat, ties.versions)).encode())
    return tag_of(standing.job.version, beat)
