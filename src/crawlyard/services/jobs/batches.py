"""Submission of many jobs as a group, in one transaction."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from crawlyard.core.access.user import Actor
from crawlyard.core.jobs.answers import BatchOut
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.spec_json import read_request
from crawlyard.errors import Refused
from crawlyard.ids import new_id
from crawlyard.services.jobs.submission import JobDraft, Submitter, check_maker

_CHECKED_AT_ONCE = 100
"""Jobs that are checked before other tasks of the process get their turn: 20 ms."""


async def submit_batch(
    submitter: Submitter, actor: Actor, bodies: Sequence[Mapping[str, Any]]
) -> BatchOut:
    """Submit many requests as one group; return the job of each, or why it was refused.

    Each is checked as by `submit`, and a refusal does not affect the others. All jobs are stored
    in one transaction, so that their group cannot end before it has all of them. A job that exists
    with the unique key of a request keeps its own group.

    Raises:
        Forbidden: the actor may only view.
        StoreUnavailable: the store cannot be written, or it is unknown whether it was.
    """
    check_maker(actor)
    group_id, defaults = new_id(), await submitter.defaults()
    drafts: list[JobDraft | Refused] = []
    for number, body in enumerate(bodies):
        if number % _CHECKED_AT_ONCE == 0:
            await asyncio.sleep(0)
        try:
            submission = await submitter.prepare(actor, read_request(body), defaults)
            origin = replace(submission.origin, group_id=group_id)
            drafts.append(await submitter.draft(actor, replace(submission, origin=origin)))
        except Refused as refusal:
            drafts.append(refusal)
    fit = [draft for draft in drafts if isinstance(draft, JobDraft)]
    entered = iter(await submitter.enter_all(fit))
    answers = [next(entered) if isinstance(draft, JobDraft) else draft for draft in drafts]
    has_new = any(isinstance(job, Job) and job.origin.group_id == group_id for job in answers)
    return BatchOut.of(answers, group_id if has_new else None)
