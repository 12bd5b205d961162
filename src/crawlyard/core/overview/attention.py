"""Attention notices: problems that need a person, with their cause and start."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Literal
from urllib.parse import quote

from msgspec import Struct, field
from msgspec.structs import replace

from crawlyard.core.access.user import Permit
from crawlyard.core.answers.base import API, Wire
from crawlyard.core.answers.fleet.watch import HostOut
from crawlyard.core.jobs.checkpoint import Standing
from crawlyard.core.jobs.job import Job, damage_of
from crawlyard.core.jobs.lifecycle import State, StateReason
from crawlyard.core.jobs.outcome import is_cut_short, outcome_of
from crawlyard.core.jobs.queue import can_run
from crawlyard.core.jobs.render_options import RenderRule
from crawlyard.core.jobs.start_hosts import hosts_in
from crawlyard.core.overview.lines import IN_A_ROW, JobEnd, NoticeLine, SubjectKind, streak
from crawlyard.core.overview.trouble import Trouble
from crawlyard.core.quantity import counted
from crawlyard.core.schedules.schedule import BY_ITSELF, CrawlSchedule
from crawlyard.core.templates.secrets import hidden_urls
from crawlyard.core.webhooks.webhook import Webhook
from crawlyard.core.words import REASONS

LATE = timedelta(minutes=1)
"""A schedule that should have fired this long ago is overdue."""

PAUSED_LONG = timedelta(days=1)

LATELY = timedelta(days=1)
"""How long a job that ended badly causes a notice, unless it is retried or deleted."""

MOST_OF_KIND = 20

LONGEST_ID = 64

DISMISSED_FOR = timedelta(days=90)
"""How long a notice stays dismissed if what it tells of goes on."""

DISMISSED_FOR_NOW = timedelta(days=1)
"""The same, if nobody knows since when that has been so."""

_LEAST_FREE = 1 << 30  # bytes: with less, a disk of any size is nearly full
_PLENTY = 10 << 30  # bytes: with more, a disk of any size has room
_SHARE = 0.05  # of the disk: between the two, this share must be free


NEEDS: Mapping[Trouble, Permit] = {
    Trouble.DISK_FULL: Permit.ADMIN,
    Trouble.SCHEDULE_OVERDUE: Permit.SCHEDULES_READ,
    Trouble.SCHEDULE_PAUSED: Permit.SCHEDULES_READ,
    Trouble.WEBHOOK_OFF: Permit.WEBHOOKS_READ,
    Trouble.WEBHOOK_FAILING: Permit.WEBHOOKS_READ,
}
"""The permit needed to see a kind of notice, other than `Permit.JOBS_READ`."""

SHORT_OF = frozenset({StateReason.DISK_FULL, StateReason.NOT_GRANTED, StateReason.LOGGED_OUT})
"""Reasons for which the server pauses jobs itself."""


HELPS: Mapping[Trouble, str] = {
    Trouble.NO_WORKER_TAG: "PATCH /jobs/{job_id}",
    Trouble.DISK_FULL: "PUT /settings/{section}",
    Trouble.JOB_DAMAGED: "DELETE /jobs/{job_id}",
    Trouble.SCHEDULE_OVERDUE: "POST /schedules/{ref}/run",
    Trouble.SCHEDULE_PAUSED: "POST /schedules/{ref}/resume",
    Trouble.RUNS_FAILING: "POST /jobs/{job_id}/retry",
    Trouble.JOB_FAILED: "POST /jobs/{job_id}/retry",
    Trouble.JOB_PAUSED: "POST /jobs/{job_id}/resume",
    Trouble.LOGGED_OUT: "POST /jobs/{job_id}/resume",
    Trouble.HOST_REFUSING: "PATCH /jobs/{job_id}",
    Trouble.WEBHOOK_OFF: "POST /webhooks/{webhook_id}/enable",
    Trouble.WEBHOOK_FAILING: "POST /webhooks/{webhook_id}/test",
    Trouble.JOB_STOPPED: "PATCH /jobs/{job_id}",
    Trouble.NEEDS_SCRIPTS: "POST /jobs",
}
"""The endpoint that helps; where there is none, nothing of the API does."""

_NONE: Mapping[str, datetime] = {}
_PATHS: Mapping[SubjectKind, str] = {
    SubjectKind.JOB: "jobs",
    SubjectKind.SCHEDULE: "schedules",
    SubjectKind.TEMPLATE: "templates",
    SubjectKind.HOST: "hosts",
    SubjectKind.WEBHOOK: "webhooks",
}


class OwnerBacklog(Struct, frozen=True, kw_only=True):
    """The jobs that are due and waiting."""

    count: int = 0
    oldest: str | None = None  # id of the job that has been due longest
    since: datetime | None = None  # when that job was due


class Disk(Struct, frozen=True, kw_only=True):
    """The disk that holds the data directory."""

    folder: str
    free: int  # bytes
    total: int

    @property
    def nearly_full(self) -> bool:
        """Return whether space should be freed."""
        return self.free < max(_LEAST_FREE, min(_PLENTY, self.total * _SHARE))


class Facts(Struct, frozen=True, kw_only=True):
    """What is known about possible problems, for one user or for all.

    The sequences need not be limited to actual problems. *cut* lists the kinds of problems for
    which they may be incomplete.
    """

    now: datetime
    wall: datetime  # wall-clock time, which schedules use
    workers: Sequence[Collection[str]] = ()  # the tags of each live worker that takes jobs
    install: str = ""  # what installs a browser, if none of them has one
    backlog: OwnerBacklog = field(default_factory=OwnerBacklog)
    tagged: Sequence[Job] = ()  # due jobs that need a worker with tags, due longest first
    disk: Disk | None = None
    schedules: Sequence[CrawlSchedule] = ()
    lines: Mapping[NoticeLine, Sequence[JobEnd]] = field(default_factory=dict)  # latest first
    names: Mapping[NoticeLine, str] = field(default_factory=dict)  # for lines whose subject exists
    paused: Sequence[Job] = ()
    ended: Sequence[Standing] = ()  # within the last day, latest first
    damaged: Sequence[Job] = ()
    hosts: Sequence[HostOut] = ()
    webhooks: Sequence[Webhook] = ()
    cut: frozenset[Trouble] = frozenset()


class Subject(Wire, frozen=True, kw_only=True):
    """What a notice is about, and the path of it."""

    type: str  # job, schedule, template, host or webhook
    id: str  # of a host, its name
    name: str
    path: str


class Help(Wire, frozen=True, kw_only=True):
    """What can be done about it: an endpoint as the document names it, and where that is."""

    endpoint: str
    method: str
    path: str


class Notice(Wire, frozen=True, kw_only=True):
    """One thing that needs a person."""

    id: str  # the same as long as it tells the same of the same thing
    object: Literal["notice"] = "notice"
    kind: str
    detail: str  # a sentence; its subject is not named in it
    subject: Subject | None  # null: the yard itself
    job_id: str | None  # the job to which something can be done
    jobs: int = 1  # that ended so, of which it tells: several of one host are one notice
    since: datetime | None  # null: nobody knows
    help: Help | None

    def is_dismissed(self, at: datetime | None, now: datetime) -> bool:
        """Return whether a user who dismissed it *at* that time need not see it *now*."""
        if at is None:
            return False
        if self.since is None:
            return now < at + DISMISSED_FOR_NOW
        return self.since <= at and now < at + DISMISSED_FOR


class Attention(Wire, frozen=True, kw_only=True):
    """What needs a person: the most urgent kind first, in each what lasts longest.

    Of jobs that ended, the last one comes first.
    """

    object: Literal["attention"] = "attention"
    at: datetime
    items: tuple[Notice, ...]  # at most 20 of each kind
    counts: Mapping[str, int]  # by kind, with those that are not among the items
    at_least: tuple[str, ...]  # kinds of which there may be more than their count
    dismissed: int = 0  # notices that the user has dismissed; they are counted here alone


def kinds_for(permits: Collection[Permit]) -> frozenset[Trouble]:
    """Return the kinds of notices that a user with *permits* may see."""
    return frozenset(kind for kind in Trouble if NEEDS.get(kind, Permit.JOBS_READ) in permits)


def attention(
    facts: Facts, kinds: Collection[Trouble], dismissed: Mapping[str, datetime] = _NONE
) -> Attention:
    """Return the notices of these *kinds* that follow from *facts*.

    Without those that were *dismissed*, by their ids, and have not begun anew.
    """
    shown: list[Notice] = []
    counts: dict[str, int] = {}
    hidden = 0
    for kind in Trouble:
        every = _FIND[kind](facts) if kind in kinds else []
        found = [n for n in every if not n.is_dismissed(dismissed.get(n.id), facts.now)]
        hidden += len(every) - len(found)
        if found:
            counts[str(kind)] = len(found)
            found.sort(key=lambda n: n.since or facts.now, reverse=kind in _ENDED)
            shown += found[:MOST_OF_KIND]
    cut = tuple(sorted(map(str, facts.cut & set(kinds))))
    return Attention(
        at=facts.now, items=tuple(shown), counts=counts, at_least=cut, dismissed=hidden
    )


def notice(
    kind: Trouble,
    detail: str,
    subject: SubjectKind | None = None,
    key: str = "",
    name: str = "",
    *,
    job_id: str | None = None,
    since: datetime | None = None,
    line: str = "",
    jobs: int = 1,
) -> Notice:
    """Return a notice about the thing *key*, without credentials in its texts.

    The user can act on the job *job_id*. If *key* is one of several jobs of a name, *line* is that.
    """
    about, mark = None, f"{kind} {subject or ''} {line or key}"
    if subject is not None:
        path = f"{API}/{_PATHS[subject]}/{quote(key, safe='')}"
        about = Subject(type=subject, id=key, name=hidden_urls(name), path=path)
    return Notice(
        id=blake2b(mark.encode(errors="replace"), digest_size=12).hexdigest(),
        kind=kind,
        detail=hidden_urls(detail),
        subject=about,
        job_id=job_id,
        jobs=jobs,
        since=since,
        help=_help(kind, key, job_id),
    )


def _help(kind: Trouble, key: str, job_id: str | None) -> Help | None:
    endpoint = HELPS.get(kind)
    if endpoint is None or ("{job_id}" in endpoint and job_id is None):
        return None
    method, _, path = endpoint.partition(" ")
    of = {"section": "retention", "job_id": job_id, "ref": key, "webhook_id": key}
    return Help(endpoint=endpoint, method=method, path=f"{API}{path.format_map(of)}")


def _no_worker(facts: Facts) -> list[Notice]:
    waiting = facts.backlog
    if facts.workers or not waiting.count:
        return []
    jobs = counted(waiting.count, "job waits", "jobs wait")
    return [
        notice(
            Trouble.NO_WORKER,
            f"{jobs}, and no worker takes any (crawlyard work runs one)",
            SubjectKind.JOB,
            waiting.oldest or "",
            job_id=waiting.oldest,
            since=waiting.since,
        )
    ]


def _no_worker_tag(facts: Facts) -> list[Notice]:
    if not facts.workers:
        return []  # `_no_worker` says it
    waiting: dict[tuple[str, ...], list[Job]] = {}
    for job in facts.tagged:
        needs = tuple(sorted(set(job.spec.worker_tags)))
        if not any(can_run(frozenset(tags), needs) for tags in facts.workers):
            waiting.setdefault(needs, []).append(job)
    found: list[Notice] = []
    for needs, these in waiting.items():
        jobs, first = counted(len(these), "job waits", "jobs wait"), these[0]
        asked = " ".join(f"--tag {tag}" for tag in needs)
        found.append(
            notice(
                Trouble.NO_WORKER_TAG,
                f"{jobs} for a worker with {' and '.join(needs)} (crawlyard work {asked} runs one)",
                SubjectKind.JOB,
                first.id,
                first.spec.name,
                job_id=first.id,
                since=first.due_at,
            )
        )
    return found


def _disk_full(facts: Facts) -> list[Notice]:
    disk = facts.disk
    if disk is None or not disk.nearly_full:
        return []
    free = f"{disk.free / (1 << 30):.1f} of {disk.total / (1 << 30):,.0f} GiB are free"
    detail = f"the disk of {disk.folder} is nearly full: {free}"
    return [notice(Trouble.DISK_FULL, detail)]


def _overdue(facts: Facts) -> list[Notice]:
    late = "it should have been fired: no scheduler runs, or it is behind"
    return [
        _of_schedule(Trouble.SCHEDULE_OVERDUE, one, late, one.fire_at)
        for one in facts.schedules
        if one.paused_at is None and one.fire_at is not None and one.fire_at < facts.wall - LATE
    ]


def _schedules_paused(facts: Facts) -> list[Notice]:
    return [
        _of_schedule(
            Trouble.SCHEDULE_PAUSED, one, f"it was paused: {one.pause_reason}", one.paused_at
        )
        for one in facts.schedules
        if one.paused_at is not None and one.paused_by == BY_ITSELF
    ]


def _of_schedule(
    trouble: Trouble, schedule: CrawlSchedule, detail: str, since: datetime | None
) -> Notice:
    return notice(
        trouble,
        detail,
        SubjectKind.SCHEDULE,
        schedule.id,
        schedule.name,
        since=since,
    )


def _runs_failing(facts: Facts) -> list[Notice]:
    found: list[Notice] = []
    for line, ends in facts.lines.items():
        failed = streak(ends)
        if len(failed) >= IN_A_ROW and line in facts.names:
            # all that were looked at have failed: there may be more before them
            more = "at least " if len(failed) == len(ends) else ""
            named = line.kind is SubjectKind.JOB
            found.append(
                notice(
                    Trouble.RUNS_FAILING,
                    f"its last jobs have failed, {more}{len(failed)} in a row",
                    line.kind,
                    failed[0].job_id if named else line.key,
                    facts.names[line],
                    job_id=failed[0].job_id,
                    since=failed[-1].ended_at,
                    line=line.key,
                )
            )
    return found


def _jobs_failed(facts: Facts) -> list[Notice]:
    in_a_row = {end.job_id for ends in facts.lines.values() for end in _of_streak(ends)}
    failed = [
        (job, f"it failed: {job.detail or REASONS[job.state_reason]}")
        for job in (one.job for one in _lately(facts))
        # a damaged one is a notice of its own: it cannot be retried
        if job.state is State.FAILED and not job.damaged and job.id not in in_a_row
    ]
    return _by_host(Trouble.JOB_FAILED, failed)


def _of_streak(ends: Sequence[JobEnd]) -> Sequence[JobEnd]:
    failed = streak(ends)
    return failed if len(failed) >= IN_A_ROW else ()


def _jobs_stopped(facts: Facts) -> list[Notice]:
    # the other limits are what whoever made the job wanted of it
    cut = [
        (job, outcome_of(job, usage))
        for job, usage in ((one.job, one.shard.usage) for one in _lately(facts))
        if job.state_reason is StateReason.LIMIT_ERRORS and is_cut_short(job, usage)
    ]
    return _by_host(Trouble.JOB_STOPPED, cut)


def _needs_scripts(facts: Facts) -> list[Notice]:
    found = [
        (one.job, f"{counted(n, 'page needs', 'pages need')} scripts: the text is empty or partial")
        for one in _lately(facts)
        if one.job.spec.render != RenderRule.NEVER and (n := one.shard.usage.needs_scripts)
    ]
    told = _by_host(Trouble.NEEDS_SCRIPTS, found)
    if not facts.install:
        return told
    lack = f"no worker has a browser to run them ({facts.install})"
    return [replace(one, detail=f"{one.detail}; {lack}", help=None) for one in told]


def _by_host(trouble: Trouble, ended: Sequence[tuple[Job, str]]) -> list[Notice]:
    """Return notices about jobs, the last one first, and what is said of each.

    Many jobs whose first URL is at one host are one notice.
    """
    hosts: dict[str, list[tuple[Job, str]]] = {}
    for job, detail in ended:
        host = (job.id, *hosts_in(job.spec.urls[:1]))[-1]  # the last one is with its port
        hosts.setdefault(host, []).append((job, detail))
    found: list[Notice] = []
    for host, these in hosts.items():
        if len(these) < IN_A_ROW:
            found += [_of_end(trouble, *one) for one in these]
            continue
        last, detail = these[0]
        about = SubjectKind.HOST, host, host
        told = f"the last one, {last.spec.name or last.id}: {detail[:1].lower()}{detail[1:]}"
        found.append(notice(trouble, told, *about, since=last.ended_at, jobs=len(these)))
    return found


def _lately(facts: Facts) -> list[Standing]:
    """Return the jobs that ended lately, of each schedule only the last one."""
    lines: dict[str, Standing] = {}
    for one in facts.ended:
        lines.setdefault(one.job.origin.schedule_id or one.job.id, one)
    return list(lines.values())


def _of_end(trouble: Trouble, job: Job, detail: str) -> Notice:
    about = SubjectKind.JOB, job.id, job.spec.name
    return notice(trouble, detail, *about, job_id=job.id, since=job.ended_at)


def _jobs_paused(facts: Facts) -> list[Notice]:
    return _paused(facts, Trouble.JOB_PAUSED)


def _logged_out(facts: Facts) -> list[Notice]:
    return _paused(facts, Trouble.LOGGED_OUT)


def _paused(facts: Facts, trouble: Trouble) -> list[Notice]:
    found: list[Notice] = []
    for job in facts.paused:
        short, out = job.state_reason in SHORT_OF, job.state_reason is StateReason.LOGGED_OUT
        due = job.state is State.PAUSED and (short or job.since < facts.now - PAUSED_LONG)
        if due and out is (trouble is Trouble.LOGGED_OUT):
            why = f": {job.detail}" if job.detail else ""
            found.append(
                notice(
                    trouble,
                    f"it is paused ({REASONS[job.state_reason]}){why}",
                    SubjectKind.JOB,
                    job.id,
                    job.spec.name,
                    job_id=job.id,
                    since=job.since,
                )
            )
    return found


def _jobs_damaged(facts: Facts) -> list[Notice]:
    return [
        notice(
            Trouble.JOB_DAMAGED,
            f"it is {damage_of(job)}",
            SubjectKind.JOB,
            job.id,
            job.spec.name,
            job_id=job.id,
        )
        for job in facts.damaged
    ]


def _hosts_refusing(facts: Facts) -> list[Notice]:
    return [
        notice(
            Trouble.HOST_REFUSING,
            f"it has refused the last {host.refusals} requests (429 or 503)",
            SubjectKind.HOST,
            host.host,
            host.host,
            job_id=next(iter(host.jobs), None),
        )
        for host in facts.hosts
        if host.refusals >= IN_A_ROW
    ]


def _webhooks_off(facts: Facts) -> list[Notice]:
    return [
        notice(
            Trouble.WEBHOOK_OFF,
            f"it was switched off: {webhook.disabled_reason}",
            SubjectKind.WEBHOOK,
            webhook.id,
            webhook.receiver,
            since=webhook.failing_since or webhook.updated_at,
        )
        for webhook in facts.webhooks
        if webhook.off_by_itself
    ]


def _webhooks_failing(facts: Facts) -> list[Notice]:
    return [
        notice(
            Trouble.WEBHOOK_FAILING,
            f"nothing arrives: {counted(webhook.failures, 'attempt')} failed in a row",
            SubjectKind.WEBHOOK,
            webhook.id,
            webhook.receiver,
            since=webhook.failing_since,
        )
        for webhook in facts.webhooks
        if webhook.active and webhook.failing_since is not None
    ]


_ENDED = frozenset({Trouble.JOB_FAILED, Trouble.JOB_STOPPED, Trouble.NEEDS_SCRIPTS})
_FIND = {
    Trouble.NO_WORKER: _no_worker,
    Trouble.NO_WORKER_TAG: _no_worker_tag,
    Trouble.DISK_FULL: _disk_full,
    Trouble.JOB_DAMAGED: _jobs_damaged,
    Trouble.SCHEDULE_OVERDUE: _overdue,
    Trouble.SCHEDULE_PAUSED: _schedules_paused,
    Trouble.RUNS_FAILING: _runs_failing,
    Trouble.JOB_FAILED: _jobs_failed,
    Trouble.JOB_PAUSED: _jobs_paused,
    Trouble.LOGGED_OUT: _logged_out,
    Trouble.HOST_REFUSING: _hosts_refusing,
    Trouble.WEBHOOK_OFF: _webhooks_off,
    Trouble.WEBHOOK_FAILING: _webhooks_failing,
    Trouble.JOB_STOPPED: _jobs_stopped,
    Trouble.NEEDS_SCRIPTS: _needs_scripts,
}
