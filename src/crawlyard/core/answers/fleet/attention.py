"""The shapes of what needs a person."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal
from urllib.parse import quote

from crawlyard.core.answers.base import API, Wire
from crawlyard.core.overview.attention import Attention, Notice, SubjectKind, Trouble
from crawlyard.core.templates.secrets import hidden_urls

HELPS: Mapping[Trouble, str] = {
    Trouble.DISK_FULL: "PUT /settings/{section}",
    Trouble.JOB_DAMAGED: "DELETE /jobs/{job_id}",
    Trouble.SCHEDULE_OVERDUE: "POST /schedules/{ref}/run",
    Trouble.SCHEDULE_PAUSED: "POST /schedules/{ref}/resume",
    Trouble.RUNS_FAILING: "POST /jobs/{job_id}/retry",
    Trouble.JOB_PAUSED: "POST /jobs/{job_id}/resume",
    Trouble.HOST_REFUSING: "PATCH /jobs/{job_id}",
    Trouble.WEBHOOK_OFF: "POST /webhooks/{webhook_id}/enable",
}
"""The endpoint that helps; where there is none, nothing of the API does."""

_PATHS: Mapping[SubjectKind, str] = {
    SubjectKind.JOB: "jobs",
    SubjectKind.SCHEDULE: "schedules",
    SubjectKind.TEMPLATE: "templates",
    SubjectKind.HOST: "hosts",
    SubjectKind.WEBHOOK: "webhooks",
}


class SubjectOut(Wire, frozen=True, kw_only=True):
    """What a notice is about, and the path of it."""

    type: str  # job, schedule, template, host or webhook
    id: str  # of a host, its name
    name: str
    path: str

    @classmethod
    def of(cls, notice: Notice) -> "SubjectOut | None":
        """Return the subject of *notice*, ``None`` if it is the yard."""
        if notice.subject is None:
            return None
        path = f"{API}/{_PATHS[notice.subject]}/{quote(notice.key, safe='')}"
        name = hidden_urls(notice.name)
        return cls(type=notice.subject, id=notice.key, name=name, path=path)


class HelpOut(Wire, frozen=True, kw_only=True):
    """What can be done about it: an endpoint as the document names it, and where that is."""

    endpoint: str
    method: str
    path: str

    @classmethod
    def of(cls, notice: Notice) -> "HelpOut | None":
        """Return what helps, ``None`` if nothing of the API does."""
        endpoint = HELPS.get(notice.trouble)
        if endpoint is None or ("{job_id}" in endpoint and notice.job_id is None):
            return None
        method, _, path = endpoint.partition(" ")
        of = {
            "section": "retention",
            "job_id": notice.job_id,
            "ref": notice.key,
            "webhook_id": notice.key,
        }
        return cls(endpoint=endpoint, method=method, path=f"{API}{path.format_map(of)}")


class NoticeOut(Wire, frozen=True, kw_only=True):
    """One thing that needs a person."""

    object: Literal["notice"] = "notice"
    kind: str
    detail: str  # a sentence; its subject is not named in it
    subject: SubjectOut | None  # null: the yard itself
    job_id: str | None  # the job to which something can be done
    since: datetime | None  # null: nobody knows
    help: HelpOut | None

    @classmethod
    def of(cls, notice: Notice) -> "NoticeOut":
        """Return the shape of *notice*."""
        return cls.filled(
            notice,
            object="notice",
            kind=notice.trouble,
            detail=hidden_urls(notice.detail),
            subject=SubjectOut.of(notice),
            help=HelpOut.of(notice),
        )


class AttentionOut(Wire, frozen=True, kw_only=True):
    """What needs a person: the most urgent kind first, in each what lasts longest."""

    object: Literal["attention"] = "attention"
    at: datetime
    items: tuple[NoticeOut, ...]  # at most 20 of each kind
    counts: Mapping[str, int]  # by kind, with those that are not among the items
    at_least: tuple[str, ...]  # kinds of which there may be more than their count

    @classmethod
    def of(cls, found: Attention) -> "AttentionOut":
        """Return the shape of *found*."""
        return cls(
            at=found.at,
            items=tuple(map(NoticeOut.of, found.notices)),
            counts={str(kind): count for kind, count in found.counts.items()},
            at_least=tuple(sorted(map(str, found.cut))),
        )
