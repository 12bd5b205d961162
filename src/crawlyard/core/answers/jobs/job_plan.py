"""The shape of what `POST /jobs` would make: the answer to its dry run."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from crawlyard.core.answers.base import Wire
from crawlyard.core.answers.jobs.jobs import LimitsOut, OriginOut
from crawlyard.core.answers.jobs.why import WaitOut
from crawlyard.core.jobs.job import Job
from crawlyard.core.jobs.waiting import Wait, reason_shown
from crawlyard.core.templates.secrets import hidden_urls


class JobPlanOut(Wire, frozen=True, kw_only=True):
    """The job that would be made, were it asked for now; nothing was written."""

    object: Literal["job_plan"] = "job_plan"
    dry_run: bool = True
    owner: str
    name: str
    state: str
    state_reason: str
    priority: str
    tags: tuple[str, ...]
    due_at: datetime
    waits_for: tuple[WaitOut, ...]  # what is over first in front
    limits: LimitsOut  # within the ceilings
    cut: tuple[str, ...]  # limits that were above them, by their paths
    config: Mapping[str, Any]  # as `POST /jobs` takes it, every field; credentials are hidden
    sources: Mapping[str, str]  # by path: default, settings, template v3, ceiling, this job
    origin: OriginOut

    @classmethod
    def of(
        cls,
        job: Job,
        waits: Sequence[Wait],
        form: Mapping[str, Any],
        sources: Mapping[str, str],
        cut: Sequence[str],
    ) -> "JobPlanOut":
        """Return the shape of a *job* that is not there, and of where its settings come from."""
        return cls(
            owner=job.owner,
            name=hidden_urls(job.spec.name),
            state=job.state,
            state_reason=reason_shown(job, waits),
            priority=str(job.priority),
            tags=job.spec.tags,
            due_at=job.due_at,
            waits_for=tuple(map(WaitOut.of, waits)),
            limits=LimitsOut.of(job.limits),
            cut=tuple(cut),
            config=form,
            sources=sources,
            origin=OriginOut.of(job.origin),
        )
