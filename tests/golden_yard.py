"""A yard with something of everything in it, whose ids and instants are the same each time.

Instants are so far from the one at which it is built: a whole number of hours, or up to ten
minutes before one, so that `tests.golden` can tell them from those of the run itself.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from crawlyard import Settings, Yard
from crawlyard.core.access.credential import CredentialKind, CredentialTarget, digest_of
from crawlyard.core.access.site_session import LoginKind, SiteSession
from crawlyard.core.access.user import Permit, Quota, Role
from crawlyard.core.crawl.link import encode_links
from crawlyard.core.crawl.page import Body, ErrorKind, Outcome, Skipped
from crawlyard.core.events.event import EventName
from crawlyard.core.hosts.hosts import HostReport, HostRule, HostState
from crawlyard.core.jobs.checkpoint import Asker, Lease
from crawlyard.core.jobs.job import Job, Origin
from crawlyard.core.jobs.job_log import Level
from crawlyard.core.jobs.lifecycle import Move, StateReason
from crawlyard.core.jobs.limits import Limits, Usage
from crawlyard.core.jobs.pulse import Pulse
from crawlyard.core.jobs.spec import Priority
from crawlyard.core.operations.operation import Failure, OperationState
from crawlyard.core.schedules.schedule import TickOutcome, TickReason
from crawlyard.core.webhooks.delivery_limits import Traffic
from crawlyard.core.webhooks.notifications import NotificationRules, Occasion
from crawlyard.core.webhooks.webhook import DeliveryAttempt, MessageFormat
from crawlyard.engine.urls import packed_fingerprints
from crawlyard.services.hosts import host_event
from crawlyard.store.store import Store
from tests.builders import a_batch, a_job, a_spec, a_target, done, failed
from tests.builders_schedules import a_firing, a_schedule, a_tick, ran, schedule_event
from tests.builders_serve import a_credential, a_line, a_report, a_user, about, an_operation
from tests.builders_templates import a_template, template_event
from tests.builders_webhooks import a_webhook

TOKEN = f"cyt_{'0' * 43}"
"""By which a server knows who reads the yard."""

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
FAR = datetime(2100, 1, 1, tzinfo=UTC)  # when schedules begin: nothing is due meanwhile
OTHER = "ada"

TRIGGER = 14
SHARE = 15
CHANNEL = 81
GROUP = 71
NEWS, PLAIN, NIGHTLY, WEEKLY = 21, 22, 31, 32  # ids of templates and schedules
DOCS, BROKEN, TRIAL, HELD, SHOP, TICKED, NEXT, LATER, HERS = range(41, 50)  # of jobs


def fixed(number: int) -> str:
    return f"01900000-0000-7000-8000-{number:012}"


async def build(folder: Path, now: datetime) -> None:
    """Make the yard in the data directory *folder*; it is *now*."""
    async with Yard.open(Settings(data_dir=folder)) as yard:
        builder = _Builder(yard.store, now)
        await builder.people()
        await builder.templates()
        await builder.schedules()
        await builder.webhooks()
        await builder.ended_jobs()
        await builder.ledger()
        await builder.jobs_that_go_on()
        await builder.operations()
        await builder.deliveries()
        await builder.workers()
        await builder.hosts()
        await builder.sessions()
        await builder.channels()


class _Builder:
    """Fills a store, the oldest things first."""

    def __init__(self, store: Store, now: datetime) -> None:
        self._store = store
        self._now = now

    async def people(self) -> None:
        at = self._now - 9 * DAY
        quota = Quota(running=2, pages_per_day=10_000, ceilings=Limits(pages=5000))
        ada = a_user(id=OTHER, quota=quota, created_at=at, updated_at=at)
        bob = a_user(id="bob", role=Role.VIEWER, created_at=at, updated_at=at, disabled_at=at)
        for user in (ada, bob):
            await self._store.users.add(user, replace(about(user), at=at))
        tokens: Sequence[dict[str, Any]] = (
            {"label": "laptop", "digest": digest_of(TOKEN), "used_at": self._now},
            {
                "label": "report",
                "user_id": OTHER,
                "permits": frozenset({Permit.JOBS_READ, Permit.RESULTS_READ}),
                "expires_at": self._now + 30 * DAY,
            },
            {"label": "lost", "revoked_at": self._now - 8 * DAY},
        )
        for number, fields in enumerate(tokens, 11):
            token = a_credential(
                id=fixed(number), created_at=at, prefix=f"cyt_{number:08}", **fields
            )
            await self._store.credentials.add(token)
        trigger = a_credential(
            id=fixed(TRIGGER),
            created_at=at,
            kind=CredentialKind.TRIGGER,
            prefix=f"cyh_{TRIGGER:08}",
            label="CMS",
            target=CredentialTarget(schedule_id=fixed(NIGHTLY)),
        )
        await self._store.credentials.add(trigger)
        share = a_credential(
            id=fixed(SHARE),
            created_at=at,
            kind=CredentialKind.SHARE,
            prefix=f"cyv_{SHARE:08}",
            label="the editors",
            expires_at=self._now + 30 * DAY,
            target=CredentialTarget(job_id=fixed(DOCS), downloads=True),
        )
        await self._store.credentials.add(share)

    async def templates(self) -> None:
        at = self._now - 8 * DAY
        own = {"owner": "local", "actor": "local", "created_at": at}
        first = a_template(id=fixed(NEWS), description="Front pages", updated_at=at, **own)
        later: dict[str, Any] = {"version": 2, "public": True, "updated_at": at + DAY}
        plain: dict[str, Any] = {"name": "plain", "spec": {"urls": ["https://example.com/"]}}
        other = a_template(id=fixed(PLAIN), parameters=(), updated_at=at, **own, **plain)
        for template in (first, other):
            await self._store.templates.add(template, self._at(template_event(template), at))
        second = replace(first, **later)
        event = template_event(second, EventName.TEMPLATE_UPDATED)
        await self._store.templates.save(second, self._at(event, second.updated_at))

    async def schedules(self) -> None:
        at = self._now - 7 * DAY
        dated = {"created_at": at, "updated_at": at, "starts_at": FAR, "anchored_at": at}
        nightly = a_schedule(
            id=fixed(NIGHTLY),
            name="nightly",
            template_id=fixed(NEWS),
            params={"start_url": "https://news.example.org/"},
            overrides={},
            when="0 3 * * *",
            next_at=FAR + 3 * HOUR,
            fire_at=FAR + 3 * HOUR,
            **dated,
        )
        weekly = a_schedule(
            id=fixed(WEEKLY),
            name="weekly",
            description="All of it",
            when="30 8 * * MON",
            zone="Europe/Berlin",
            jitter=timedelta(minutes=5),
            runs_left=12,
            paused_at=FAR,
            paused_by="local",
            pause_reason="holidays",
            next_at=datetime(2100, 1, 4, 7, 30, tzinfo=UTC),
            fire_at=datetime(2100, 1, 4, 7, 30, tzinfo=UTC),
            **dated,
        )
        for schedule in (nightly, weekly):
            event = self._at(schedule_event(schedule), at)
            data = {"name": schedule.name, "version": schedule.version}
            await self._store.schedules.add(schedule, replace(event, data=data))

    async def channels(self) -> None:
        at = self._now - 2 * DAY
        channel = a_webhook(
            id=fixed(CHANNEL),
            url="https://hooks.slack.com/…wXyZ",
            format=MessageFormat.SLACK,
            name="ops",
            rules=NotificationRules(on=(Occasion.FAILED, Occasion.CHANGED), quiet_hours=_NIGHT),
            events=("job.failed", "job.completed", "run.changed"),
            created_at=at,
            updated_at=at,
        )
        event = channel.event(EventName.WEBHOOK_CREATED, at, "local")
        await self._store.webhooks.add(channel, event)

    async def webhooks(self) -> None:
        at = self._now - 6 * DAY
        for number, fields in enumerate(_WEBHOOKS, 51):
            webhook = a_webhook(id=fixed(number), created_at=at, updated_at=at, **fields)
            event = webhook.event(EventName.WEBHOOK_CREATED, at, "local")
            await self._store.webhooks.add(webhook, event)

    async def sessions(self) -> None:
        at = self._now - DAY
        wiki = SiteSession(
            id=fixed(71),
            owner="local",
            name="wiki",
            version=2,
            kind=LoginKind.BASIC,
            url="https://wiki.example.org/",
            user="ada",
            origins=("https://wiki.example.org",),
            made_at=at + HOUR,
            used_at=at + 2 * HOUR,
            used_by=fixed(NEXT),
            created_at=at,
        )
        event = self._at(wiki.event(EventName.SESSION_CREATED, at, "local"), at)
        await self._store.site_sessions.add(wiki, event)

    async def ended_jobs(self) -> None:
        at = self._now - 5 * DAY
        docs = await self._added(DOCS, at, _DOCS, origin=Origin(group_id=fixed(GROUP)))
        lease = await self._crawled(docs, at, _docs_outcomes(at))
        await self._settled(lease, Move.COMPLETE, at + HOUR, reason=StateReason.LIMIT_PAGES)
        broken = await self._added(BROKEN, at + HOUR, {"urls": ("https://down.example/",)})
        lease = await self._crawled(broken, at + HOUR, [failed(a_target(host="down.example"))])
        detail = "https://down.example/: no answer in time"
        await self._settled(
            lease, Move.FAIL, at + 2 * HOUR, reason=StateReason.START_FAILED, detail=detail
        )
        trial = await self._added(TRIAL, at + 2 * HOUR, {"name": "trial"})
        await self._moved(trial, Move.CANCEL, at + 3 * HOUR, detail="not that one")

    async def ledger(self) -> None:
        nightly = await self._store.schedules.get(fixed(NIGHTLY))
        due = self._now - 4 * DAY
        job = self._job(
            TICKED, due, spec=a_spec(name="nightly"), origin=_origin(fixed(NIGHTLY), due)
        )
        ticks = (
            a_tick(nightly, due - DAY, decided_at=due - DAY, reason=TickReason.OVERLAP),
            ran(nightly, job, decided_at=due),
            a_tick(nightly, due + DAY, decided_at=due + DAY, **_MISSED),
        )
        firing = a_firing(nightly, ticks, [job])
        jobs = tuple((job_id, self._at(event, due)) for job_id, event in firing.jobs)
        [fired] = await self._store.ticks.fire([replace(firing, jobs=jobs, events=())])
        assert fired
        await self._moved(job, Move.CANCEL, due + HOUR, detail="enough")

    async def jobs_that_go_on(self) -> None:
        at = self._now - 3 * DAY
        paused = await self._added(HELD, at, {"name": "held", "tags": ("a", "b")})
        await self._moved(paused, Move.PAUSE, at + HOUR, detail="lunch")
        shop = await self._added(SHOP, at + HOUR, _SHOP)
        begun = at + 2 * HOUR
        await self._crawled(shop, begun, _shop_outcomes(begun), **_RUNS)
        await self._added(NEXT, at + 2 * HOUR, {"name": "next", "priority": Priority.HIGH})
        later = self._now + 2 * DAY + timedelta(minutes=55)
        await self._added(
            LATER, at + 3 * HOUR, {}, due_at=later, state_reason=StateReason.SCHEDULED
        )
        await self._added(HERS, at + 4 * HOUR, {"name": "hers"}, owner=OTHER)

    async def operations(self) -> None:
        at = self._now - 2 * DAY
        failure = Failure(id=fixed(DOCS), code="invalid_transition", detail="it is completed")
        ended = {"created_at": at, "updated_at": at + HOUR, "ended_at": at + HOUR}
        paused = an_operation(
            id=fixed(61),
            state=OperationState.COMPLETED,
            total=3,
            done=2,
            failed=1,
            failures=(failure,),
            **ended,
        )
        stopped = an_operation(
            id=fixed(62), state=OperationState.CANCELLED, total=9, done=4, **ended
        )
        busy = an_operation(id=fixed(63), created_at=at, updated_at=at, total=5, done=1)
        abandoned = replace(busy, leased_until=self._now + 10 * DAY)  # no worker resumes it
        for operation in (paused, stopped, abandoned):
            await self._store.operations.add(operation)

    async def deliveries(self) -> None:
        at = self._now - DAY
        while await self._store.deliveries.fan_out(at):
            pass
        for status, excerpt in ((200, "thanks"), (410, "gone")):
            for claimed in await self._store.deliveries.claim(at, HOUR, Traffic()):
                if status == 410 or "chat" in claimed.webhook.url:
                    attempt = DeliveryAttempt(
                        at=at, latency=timedelta(seconds=0.25), status=status, excerpt=excerpt
                    )
                    after = claimed.delivery.record_attempt(attempt, chance=0)
                    await self._store.deliveries.settle(claimed.delivery, after)
            at += 2 * HOUR

    async def workers(self) -> None:
        host = HostReport(
            host="shop.example",
            in_flight=2,
            at_once=4,
            delay_s=0.5,
            waiting=120,
            jobs=(fixed(SHOP),),
        )
        alive: dict[str, Any] = {
            "beat_at": self._now + 2 * HOUR,  # it does not go while the yard is read
            "tags": ("browser", "eu"),
            "browsers": ("chromium",),
            "running": (fixed(SHOP),),
            "pages": 1200,
            "bytes": 34_000_000,
            "pages_per_s": 4.25,
            "memory_bytes": 210_000_000,
            "cpu": 0.25,
            "load": 0.5,
            "hosts": (host,),
        }
        lost: dict[str, Any] = {"beat_at": self._now - HOUR, "errors": {"timeout": 3}}
        for number, fields in enumerate((alive, lost), 1):
            started: dict[str, Any] = {
                "started_at": self._now - DAY,
                "pid": 4000 + number,
                "version": "1.2.3",
            }
            report = a_report(id=f"crawler:400{number}:abc{number}", host="crawler")
            await self._store.workers.save_heartbeat(replace(report, **started, **fields))

    async def hosts(self) -> None:
        at = self._now - HOUR
        slow = HostRule(
            host="shop.example", delay_s=2.0, at_once=1, note="They asked us to", updated_at=at
        )
        down = HostRule(host="ads.example", state=HostState.BLOCKED, updated_at=at)
        for rule, name in ((slow, EventName.HOST_UPDATED), (down, EventName.HOST_BLOCKED)):
            updated = replace(rule, actor="local")
            await self._store.host_rules.save(updated, host_event(name, updated))

    # --- jobs

    def _job(self, number: int, at: datetime, **fields: Any) -> Job:
        dated = dict.fromkeys(("created_at", "updated_at", "since", "queued_at", "due_at"), at)
        return a_job(id=fixed(number), **(dated | fields))

    async def _added(self, number: int, at: datetime, spec: dict[str, Any], **fields: Any) -> Job:
        job = self._job(number, at, spec=a_spec(**spec), **fields)
        await self._store.jobs.add(job, job.event(EventName.CREATED, at, job.owner))
        return job

    async def _crawled(
        self, job: Job, at: datetime, outcomes: Sequence[Outcome], **batch: Any
    ) -> Lease:
        """Let a worker have a job for long, and store what it brought."""
        claim = await self._store.leases.claim(
            Asker("crawler:4001:abc1", only=job.id), at, 10 * DAY
        )
        assert claim is not None
        waiting = a_target("waits", host=outcomes[0].target.host, depth=1)
        targets = [*(outcome.target for outcome in outcomes), waiting]
        batch = {"skipped": _SKIPPED, "log": _log(at), **batch}
        whole = a_batch(targets, outcomes, **batch)
        usage = replace(whole.usage, duration_s=30)
        usage = batch.get("usage") or usage
        recorded = [(claim.lease, replace(whole, usage=usage))]
        [answer] = await self._store.frontier.record(recorded, at, 10 * DAY)
        return answer.lease

    async def _settled(self, lease: Lease, move: Move, at: datetime, **facts: Any) -> None:
        job = (await self._store.jobs.get(lease.job_id)).job
        moved = job.apply_move(move, at, actor=f"worker:{lease.worker}", **facts)
        await self._store.leases.settle(lease, *moved)

    async def _moved(self, job: Job, move: Move, at: datetime, **facts: Any) -> None:
        await self._store.jobs.save(*job.apply_move(move, at, actor="local", **facts))

    def _at(self, event: Any, at: datetime) -> Any:
        return replace(event, at=at, actor="local")


_NIGHT = "22:00-07:00"
_MISSED = {"outcome": TickOutcome.MISSED, "reason": TickReason.NO_SCHEDULER, "detail": "a day late"}
_WEBHOOKS: Sequence[dict[str, Any]] = (
    {
        "url": "https://hooks.example.org/chat",
        "description": "The chat",
        "events": ("job.completed", "job.failed"),
    },
    {"url": "https://old.example.org/in", "events": ("job.failed",)},
)
_SKIPPED = (Skipped(a_target("private/", depth=1), "robots: Disallow: /private/"),)
_DOCS: dict[str, Any] = {
    "urls": ("https://docs.example.org/",),
    "name": "docs",
    "tags": ("a", "nightly"),
    "limits": Limits(pages=3),
    "headers": (("Authorization", "Bearer hidden"),),
}
_SHOP: dict[str, Any] = {
    "urls": ("https://shop.example/",),
    "name": "shop",
    "priority": Priority.URGENT,
    "limits": Limits(pages=2000, duration_s=(2 * HOUR).total_seconds()),
    "spread": 2,
}
_RUNS: dict[str, Any] = {
    "usage": Usage(
        pages=1200,
        bytes=34_000_000,
        duration_s=300,
        errors=12,
        discovered=3000,
        done=1212,
        skipped=1,
    ),
    "pulse": Pulse(
        rate=4.0,
        spread=0.5,
        pages_rate=4.0,
        bytes_rate=110_000,
        samples=30,
        done=(60, 60),
        found=(30, 12),
        active_s=(15.0, 15.0),
        quiet=9,
    ),
    "current_url": "https://shop.example/p/1212",
}


def _origin(schedule_id: str, at: datetime) -> Origin:
    return Origin(template_id=fixed(NEWS), template_version=2, schedule_id=schedule_id, tick_at=at)


def _docs_outcomes(at: datetime) -> list[Outcome]:
    host, text = "docs.example.org", {Body.TEXT: b"Welcome, and \xc3\xbc"}
    links = [
        (f"https://{host}/a", "", "a", "", "The first part"),
        (f"https://{host}/gone", "end", "a", "nofollow", "What is gone"),
    ]
    home = done(
        a_target(host=host),
        text | {Body.LINKS: encode_links(links)},
        title='=The "handbook", ü',
        fetched_at=at,
        elapsed_ms=120,
    )
    return [
        replace(home, targets=packed_fingerprints(link[0] for link in links)),
        done(a_target("a", host=host, depth=1), fetched_at=at, content_type="text/plain", title=""),
        failed(a_target("slow", host=host, depth=1), fetched_at=at, detail="no answer in time"),
        failed(a_target("gone", host=host, depth=1), ErrorKind.HTTP_4XX, status=404, fetched_at=at),
    ]


def _shop_outcomes(at: datetime) -> list[Outcome]:
    return [done(a_target(host="shop.example"), fetched_at=at)]


def _log(at: datetime) -> tuple[Any, ...]:
    return (
        a_line("the crawl begins", at=at),
        a_line("no answer in time", Level.WARNING, at=at, url="https://docs.example.org/slow"),
    )
