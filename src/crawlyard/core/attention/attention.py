"""Attention notices: problems that need a person, with their cause and start."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Literal
from urllib.parse import quote

from msgspec import Struct, field
from msgspec.structs import replace

from crawlyard.core.access.user import Permit
from crawlyard.core.answer import API, Wire
from crawlyard.core.attention.lines import IN_A_ROW, JobEnd, NoticeLine, SubjectKind, streak
from crawlyard.core.attention.trouble import Trouble
from crawlyard.core.crawl.render_options import RenderRule
from crawlyard.core.hosts.answers import HostOut
from crawlyard.core.jobs.job import Job, Standing, damage_of
from crawlyard.core.jobs.lifecycle import State, StateReason
from crawlyard.core.jobs.outcome import is_cut_short, outcome_of
from crawlyard.core.jobs.queue import can_run
from crawlyard.core.parse import hosts_in
from crawlyard.core.quantity import count_noun
from crawlyard.core.schedules.schedule import BY_ITSELF, CrawlSchedule
from crawlyard.core.templates.secrets import hide_urls
from crawlyard.core.webhooks.webhook import Webhook
from crawlyard.core.words import REASONS

LATE = timedelta(minutes=1)
"""A schedule that should have fired this long ago is overdue."""

PAUSED_LONG = timedelta(days=1)

LATELY = timedelta(days=1)
"""How long a failed job causes a notice, unless it is retried or deleted."""

MOST_OF_KIND = 20

LONGEST_ID = 64

DISMISSED_FOR = timedelta(days=90)
"""How long a notice stays dismissed if its problem continues."""

DISMISSED_FOR_NOW = timedelta(days=1)
"""The same for a problem whose start is unknown."""

_LEAST_FREE = 1 << 30  # bytes: with less, a disk of any size is nearly full
_PLENTY = 10 << 30  # bytes: with more, a disk of any size has room
_SHARE = 0.05  # of the disk: between the two, this share must be free


SHORT_OF = frozenset({StateReason.DISK_FULL, StateReason.NOT_GRANTED, StateReason.LOGGED_OUT})
"""Reasons for which the server pauses jobs itself."""

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
        """True if space should be freed."""
        return self.free < max(_LEAST_FREE, min(_PLENTY, self.total * _SHARE))


class Facts(Struct, frozen=True, kw_only=True):
    """Known facts about possible problems, for one user or for all.

    The sequences need not be limited to actual problems. *cut* lists the kinds of problems for
    which they may be incomplete.
    """

    now: datetime
    wall: datetime  # wall-clock time, which schedules use
    workers: Sequence[Collection[str]] = ()  # the tags of each live worker that takes jobs
    install: str = ""  # command that installs a browser, if no worker has one
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
    """Subject of a notice, and its path."""

    type: str  # job, schedule, template, host or webhook
    id: str  # of a host, its name
    name: str
    path: str


class Help(Wire, frozen=True, kw_only=True):
    """A remedy: an endpoint by its name in the API, and its path."""

    endpoint: str
    method: str
    path: str


class Notice(Wire, frozen=True, kw_only=True):
    """One problem that needs a person."""

    id: str  # stays the same while the same problem of the same subject continues
    object: Literal["notice"] = "notice"
    kind: str
    detail: str  # a sentence that does not name its subject
    subject: Subject | None  # null: the yard itself
    job_id: str | None  # the job on which to act
    jobs: int = 1  # failed jobs that it covers: several of one host are one notice
    since: datetime | None  # null: unknown
    help: Help | None

    def is_dismissed(self, at: datetime | None, now: datetime) -> bool:
        """Return whether a user who dismissed it *at* that time need not see it *now*."""
        if at is None:
            return False
        if self.since is None:
            return now < at + DISMISSED_FOR_NOW
        return self.since <= at and now < at + DISMISSED_FOR


class AttentionOut(Wire, frozen=True, kw_only=True):
    """Problems that need a person: the most urgent kind first, in each the longest-lasting first.

    Of jobs that ended, the last one comes first.
    """

    object: Literal["attention"] = "attention"
    at: datetime
    items: tuple[Notice, ...]  # at most 20 of each kind
    counts: Mapping[str, int]  # by kind, including those beyond the items
    at_least: tuple[str, ...]  # kinds whose count is a lower bound
    dismissed: int = 0  # notices that the user has dismissed; they are in no other count


def kinds_for(permits: Collection[Permit]) -> frozenset[Trouble]:
    """Return the kinds of notices that a user with *permits* may see."""
    return frozenset(kind for kind, rule in RULES.items() if rule.needs in permits)


def attention(
    facts: Facts, kinds: Collection[Trouble], dismissed: Mapping[str, datetime] = _NONE
) -> AttentionOut:
    """Return the notices of these *kinds* that follow from *facts*.

    Notices are left out that were *dismissed*, by id, and have not started anew.
    """
    notices: list[Notice] = []
    counts: dict[str, int] = {}
    hidden = 0
    for kind in Trouble:
        rule = RULES[kind]
        every = list(rule.find(kind, facts)) if kind in kinds else []
        undismissed = [n for n in every if not n.is_dismissed(dismissed.get(n.id), facts.now)]
        hidden += len(every) - len(undismissed)
        if undismissed:
            counts[str(kind)] = len(undismissed)
            undismissed.sort(key=lambda n: n.since or facts.now, reverse=rule.latest_first)
            notices += undismissed[:MOST_OF_KIND]
    cut = tuple(sorted(map(str, facts.cut & set(kinds))))
    return AttentionOut(
        at=facts.now, items=tuple(notices), counts=counts, at_least=cut, dismissed=hidden
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

    The user can act on the job *job_id*. If *key* is one of several jobs of a name, *line* is
    that name.
    """
    about, mark = None, f"{kind} {subject or ''} {line or key}"
    if subject is not None:
        path = f"{API}/{_PATHS[subject]}/{quote(key, safe='')}"
        about = Subject(type=subject, id=key, name=hide_urls(name), path=path)
    return Notice(
        id=blake2b(mark.encode(errors="replace"), digest_size=12).hexdigest(),
        kind=kind,
        detail=hide_urls(detail),
        subject=about,
        job_id=job_id,
        jobs=jobs,
        since=since,
        help=_help(kind, key, job_id),
    )


def _help(kind: Trouble, key: str, job_id: str | None) -> Help | None:
    endpoint = RULES[kind].help
    if not endpoint or ("{job_id}" in endpoint and job_id is None):
        return None
    method, _, path = endpoint.partition(" ")
    of = {"section": "retention", "job_id": job_id, "ref": key, "webhook_id": key}
    return Help(endpoint=endpoint, method=method, path=f"{API}{path.format_map(of)}")


class Rule(Struct, frozen=True):
    """One kind of problem: how to find it, how to fix it, and who sees it."""

    find: Callable[[Trouble, Facts], Iterable[Notice]]
    help: str = ""  # the endpoint that fixes it; empty: no endpoint does
    needs: Permit = Permit.JOBS_READ
    latest_first: bool = False  # for ended jobs; otherwise the longest-lasting first


def _of_job(kind: Trouble, job: Job, detail: str, since: datetime | None = None) -> Notice:
    about = SubjectKind.JOB, job.id, job.spec.name
    return notice(kind, detail, *about, job_id=job.id, since=since)


def _of_schedule(
    kind: Trouble, schedule: CrawlSchedule, detail: str, since: datetime | None
) -> Notice:
    return notice(kind, detail, SubjectKind.SCHEDULE, schedule.id, schedule.name, since=since)


def _of_webhook(kind: Trouble, webhook: Webhook, detail: str, since: datetime | None) -> Notice:
    return notice(kind, detail, SubjectKind.WEBHOOK, webhook.id, webhook.receiver, since=since)


def _no_worker(kind: Trouble, facts: Facts) -> Iterator[Notice]:
    waiting = facts.backlog
    if waiting.count and not facts.workers:
        jobs = count_noun(waiting.count, "job waits", "jobs wait")
        detail = f"{jobs}, and no worker takes any; start one"
        about = SubjectKind.JOB, waiting.oldest or ""
        yield notice(kind, detail, *about, job_id=waiting.oldest, since=waiting.since)


def _no_worker_tag(kind: Trouble, facts: Facts) -> Iterator[Notice]:
    if not facts.workers:
        return  # covered by `_no_worker`
    waiting: dict[tuple[str, ...], list[Job]] = {}
    for job in facts.tagged:
        needs = tuple(sorted(set(job.spec.worker_tags)))
        if not any(can_run(frozenset(tags), needs) for tags in facts.workers):
            waiting.setdefault(needs, []).append(job)
    for needs, held_up in waiting.items():
        jobs, first = count_noun(len(held_up), "job waits", "jobs wait"), held_up[0]
        word = "tag" if len(needs) == 1 else "tags"
        detail = f"{jobs} for a worker with the {word} {', '.join(needs)}; start one"
        yield _of_job(kind, first, detail, first.due_at)


def _disk_full(kind: Trouble, facts: Facts) -> Iterator[Notice]:
    disk = facts.disk
    if disk is not None and disk.nearly_full:
        free = f"{disk.free / (1 << 30):.1f} of {disk.total / (1 << 30):,.0f} GiB are free"
        yield notice(kind, f"the disk of {disk.folder} is nearly full: {free}")


def _runs_failing(kind: Trouble, facts: Facts) -> Iterator[Notice]:
    for line, ends in facts.lines.items():
        failed = _of_streak(ends)
        if not failed or line not in facts.names:
            continue
        # all known jobs have failed: there may be more before them
        more = "at least " if len(failed) == len(ends) else ""
        yield notice(
            kind,
            f"its last jobs have failed, {more}{len(failed)} in a row",
            line.kind,
            failed[0].job_id if line.kind is SubjectKind.JOB else line.key,
            facts.names[line],
            job_id=failed[0].job_id,
            since=failed[-1].ended_at,
            line=line.key,
        )


def _of_streak(ends: Sequence[JobEnd]) -> Sequence[JobEnd]:
    failed = streak(ends)
    return failed if len(failed) >= IN_A_ROW else ()


def _jobs_failed(kind: Trouble, facts: Facts) -> Iterator[Notice]:
    in_a_row = {end.job_id for ends in facts.lines.values() for end in _of_streak(ends)}
    failed = (
        (job, job.detail or REASONS[job.state_reason])
        for job in (standing.job for standing in _lately(facts))
        # a damaged one is a notice of its own: it cannot be retried
        if job.state is State.FAILED and not job.damaged and job.id not in in_a_row
    )
    return _by_host(kind, failed)


def _jobs_stopped(kind: Trouble, facts: Facts) -> Iterator[Notice]:
    # the other limits are intended: the submitter of the job set them
    stopped = (
        (job, outcome_of(job, usage))
        for job, usage in ((standing.job, standing.shard.usage) for standing in _lately(facts))
        if job.state_reason is StateReason.LIMIT_ERRORS and is_cut_short(job, usage)
    )
    return _by_host(kind, stopped)


def _needs_scripts(kind: Trouble, facts: Facts) -> Iterator[Notice]:
    jobs = (
        (
            standing.job,
            f"{count_noun(n, 'page needs', 'pages need')} scripts: the text is empty or partial",
        )
        for standing in _lately(facts)
        if standing.job.spec.render != RenderRule.NEVER
        and (n := standing.shard.usage.needs_scripts)
    )
    lack = f"no worker has a browser to run them ({facts.install})"
    for job_notice in _by_host(kind, jobs):
        detail = f"{job_notice.detail}; {lack}"
        yield replace(job_notice, detail=detail, help=None) if facts.install else job_notice


def _by_host(kind: Trouble, ended: Iterable[tuple[Job, str]]) -> Iterator[Notice]:
    """Yield notices about failed jobs, newest first, with the reason of each.

    Many jobs whose first URL is at one host are one notice.
    """
    hosts: dict[str, list[tuple[Job, str]]] = {}
    for job, detail in ended:
        host = (job.id, *hosts_in(job.spec.urls[:1]))[-1]  # the last one is with its port
        hosts.setdefault(host, []).append((job, detail))
    for host, of_host in hosts.items():
        if len(of_host) < IN_A_ROW:
            yield from (_of_job(kind, job, detail, job.ended_at) for job, detail in of_host)
            continue
        last, detail = of_host[0]
        about = SubjectKind.HOST, host, host
        text = f"the last one, {last.spec.name or last.id}: {detail[:1].lower()}{detail[1:]}"
        yield notice(kind, text, *about, since=last.ended_at, jobs=len(of_host))


def _lately(facts: Facts) -> list[Standing]:
    """Return the jobs that ended recently, of each schedule only the last one."""
    lines: dict[str, Standing] = {}
    for standing in facts.ended:
        lines.setdefault(standing.job.origin.schedule_id or standing.job.id, standing)
    return list(lines.values())


def _jobs_paused(kind: Trouble, facts: Facts) -> Iterator[Notice]:
    for job in facts.paused:
        short, out = job.state_reason in SHORT_OF, job.state_reason is StateReason.LOGGED_OUT
        due = job.state is State.PAUSED and (short or job.since < facts.now - PAUSED_LONG)
        if due and out is (kind is Trouble.LOGGED_OUT):
            why = f": {job.detail}" if job.detail else ""
            yield _of_job(kind, job, f"it is paused ({REASONS[job.state_reason]}){why}", job.since)


_OVERDUE = "it was due, but no scheduler is running or it is behind"

RULES: Mapping[Trouble, Rule] = {
    Trouble.NO_WORKER: Rule(_no_worker),
    Trouble.NO_WORKER_TAG: Rule(_no_worker_tag, "PATCH /jobs/{job_id}"),
    Trouble.DISK_FULL: Rule(_disk_full, "PUT /settings/{section}", Permit.ADMIN),
    Trouble.JOB_DAMAGED: Rule(
        lambda kind, facts: (
            _of_job(kind, job, f"it is {damage_of(job)}") for job in facts.damaged
        ),
        "DELETE /jobs/{job_id}",
    ),
    Trouble.SCHEDULE_OVERDUE: Rule(
        lambda kind, facts: (
            _of_schedule(
                kind,
                schedule,
                "it was due, but no scheduler is running or it is behind",
                schedule.fire_at,
            )
            for schedule in facts.schedules
            if schedule.paused_at is None
            and schedule.fire_at is not None
            and schedule.fire_at < facts.wall - LATE
        ),
        "POST /schedules/{ref}/run",
        Permit.SCHEDULES_READ,
    ),
    Trouble.SCHEDULE_PAUSED: Rule(
        lambda kind, facts: (
            _of_schedule(
                kind, schedule, f"it was paused: {schedule.pause_reason}", schedule.paused_at
            )
            for schedule in facts.schedules
            if schedule.paused_at is not None and schedule.paused_by == BY_ITSELF
        ),
        "POST /schedules/{ref}/resume",
        Permit.SCHEDULES_READ,
    ),
    Trouble.RUNS_FAILING: Rule(_runs_failing, "POST /jobs/{job_id}/retry"),
    Trouble.JOB_FAILED: Rule(_jobs_failed, "POST /jobs/{job_id}/retry", latest_first=True),
    Trouble.JOB_PAUSED: Rule(_jobs_paused, "POST /jobs/{job_id}/resume"),
    Trouble.LOGGED_OUT: Rule(_jobs_paused, "POST /jobs/{job_id}/resume"),
    Trouble.HOST_REFUSING: Rule(
        lambda kind, facts: (
            notice(
                kind,
                f"it refused the last {host.refusals} requests (429 or 503)",
                *(SubjectKind.HOST, host.host, host.host),
                job_id=next(iter(host.jobs), None),
            )
            for host in facts.hosts
            if host.refusals >= IN_A_ROW
        ),
        "PATCH /jobs/{job_id}",
    ),
    Trouble.WEBHOOK_OFF: Rule(
        lambda kind, facts: (
            _of_webhook(
                kind,
                webhook,
                f"it was disabled: {webhook.disabled_reason}",
                webhook.failing_since or webhook.updated_at,
            )
            for webhook in facts.webhooks
            if webhook.off_by_itself
        ),
        "POST /webhooks/{webhook_id}/enable",
        Permit.WEBHOOKS_READ,
    ),
    Trouble.WEBHOOK_FAILING: Rule(
        lambda kind, facts: (
            _of_webhook(
                kind,
                webhook,
                "no message was delivered: "
                f"{count_noun(webhook.failures, 'attempt')} failed in a row",
                webhook.failing_since,
            )
            for webhook in facts.webhooks
            if webhook.active and webhook.failing_since is not None
        ),
        "POST /webhooks/{webhook_id}/test",
        Permit.WEBHOOKS_READ,
    ),
    Trouble.JOB_STOPPED: Rule(_jobs_stopped, "PATCH /jobs/{job_id}", latest_first=True),
    Trouble.NEEDS_SCRIPTS: Rule(_needs_scripts, "POST /jobs", latest_first=True),
}
"""One row for each kind."""
