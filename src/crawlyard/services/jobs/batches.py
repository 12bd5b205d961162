"""Submission of many jobs, many per transaction."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from crawlyard.core.access.user import Actor
from crawlyard.core.jobs.answers import BatchOut
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.spec_json import read_request
from crawlyard.errors import Refused
from crawlyard.ids import new_id
from crawlyard.services.jobs.submission import (
    HEAVIEST,
    JobDraft,
    Submission,
    Submitter,
    check_maker,
)
from crawlyard.store.queries import Entered

PORTION = 250
"""Jobs of `submit_many` per transaction. Checking that many takes 10 to 20 ms, during which
the process does nothing else; larger portions are hardly faster."""


async def submit_many(
    submitter: Submitter, actor: Actor, submissions: Sequence[Submission]
) -> list[Entered]:
    """Submit new jobs, many per transaction; return each job or the reason for its refusal.

    The results are in the order of *submissions*. Each job is checked as by `submit`, and a
    refusal does not affect the others. If a transaction fails, earlier ones stay stored.

    Raises:
        Forbidden: the actor may only view.
        StoreUnavailable: the store cannot be written, or it is unknown whether it was.
    """
    check_maker(actor)
    answers: list[Entered] = []
    for portion in _portions(submissions):
        answers += await _submit(submitter, actor, portion)
    return answers


async def submit_batch(
    submitter: Submitter, actor: Actor, bodies: Sequence[Mapping[str, Any]]
) -> BatchOut:
    """Submit many requests as one group; return the job of each, or why it was refused.

    A job that exists with the unique key of a request keeps its own group.

    Raises:
        Forbidden: the actor may only view.
        StoreUnavailable: the store cannot be written, or it is unknown whether it was.
    """
    group_id = new_id()
    answers: dict[int, Entered] = {}
    submissions: dict[int, Submission] = {}
    defaults = await submitter.defaults()
    for number, body in enumerate(bodies):
        try:
            submission = await submitter.prepare(actor, read_request(body), defaults)
        except Refused as refusal:
            answers[number] = refusal
        else:
            origin = replace(submission.origin, group_id=group_id)
            submissions[number] = replace(submission, origin=origin)
    submitted = await submit_many(submitter, actor, list(submissions.values()))
    answers |= dict(zip(submissions, submitted, strict=True))
    has_new = any(
        isinstance(job, Job) and job.origin.group_id == group_id for job in answers.values()
    )
    ordered = [answers[number] for number in range(len(bodies))]
    return BatchOut.of(ordered, group_id if has_new else None)


async def _submit(
    submitter: Submitter, actor: Actor, submissions: Sequence[Submission]
) -> list[Entered]:
    drafts: list[JobDraft | Refused] = []
    for submission in submissions:
        try:
            drafts.append(await submitter.draft(actor, submission))
        except Refused as refusal:
            drafts.append(refusal)
    fit = [draft for draft in drafts if isinstance(draft, JobDraft)]
    entered = iter(await submitter.enter_all(fit))
    return [next(entered) if isinstance(draft, JobDraft) else draft for draft in drafts]


def _portions(submissions: Sequence[Submission]) -> Iterator[Sequence[Submission]]:
    """Yield *submissions* in order, in portions that one transaction may take."""
    portion: list[Submission] = []
    urls = 0
    for submission in submissions:
        weight = len(submission.spec.urls)
        if portion and (len(portion) == PORTION or urls + weight > HEAVIEST):
            yield portion
            portion, urls = [], 0
        portion.append(submission)
        urls += weight
    if portion:
        yield portion
