"""Schedules with a past: ledgers as a scheduler would have written them, and jobs that ended."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace

from crawlyard.core.access.user import LOCAL
from crawlyard.core.crawl.page import Body, ErrorKind
from crawlyard.core.jobs.checkpoint import Claim
from crawlyard.core.jobs.job import Origin
from crawlyard.core.jobs.lifecycle import Move, StateReason
from crawlyard.core.schedules.schedule import TickOutcome, TickReason
from tests.browser.crawls import LEASE, begun, moved_on, settled
from tests.browser.rig import Stage
from tests.builders import a_batch, a_job, a_target, done, failed
from tests.builders_schedules import a_firing, a_tick, ran

URLS = {"urls": ["https://docs.example.org/"]}
HOSTILE = "<img src=x onerror=alert(1)>"

_WHY = {
    "skipped": (TickOutcome.SKIPPED, TickReason.OVERLAP, "job 6eef3303 has not ended"),
    "refused": (TickOutcome.SKIPPED, TickReason.REFUSED, "urls: expected one at least"),
    "missed": (TickOutcome.MISSED, TickReason.NO_SCHEDULER, "of the late ones only one can run"),
    "waiting": (TickOutcome.WAITING, TickReason.OVERLAP, "job 6eef3303 has not ended"),
}
_TIMES = ("created_at", "updated_at", "since", "queued_at", "due_at")
_MOVES = {
    "completed": (Move.COMPLETE, None),
    "failed": (Move.FAIL, StateReason.LIMIT_ERRORS),
    "cancelled": (Move.CANCEL, StateReason.BY_USER),
}


async def a_schedule(stage: Stage, name: str, by: str = LOCAL.id, **form: Any) -> dict[str, Any]:
    """Return a new schedule, due each hour unless *form* says otherwise."""
    body = {"name": name, "when": "@hourly", "overrides": URLS} | form
    schedule: dict[str, Any] = await stage.ask("POST", "/schedules", body, by)
    return schedule


async def lived(
    stage: Stage,
    schedule: dict[str, Any],
    past: Sequence[str],
    step: timedelta = timedelta(hours=1),
) -> list[str]:
    """Give a schedule a ledger, the latest first, and return the ids of its jobs.

    Each word of *past* is what became of one instant: skipped, refused, missed or waiting,
    or what its job is: pending, running, completed, failed or cancelled.
    """
    store = stage.yard.store
    stored = await store.schedules.get(schedule["id"])
    due = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    ticks, jobs = [], []
    for n, word in reversed(list(enumerate(past))):  # ids rise with time
        at = due - n * step
        if word in _WHY:
            outcome, reason, detail = _WHY[word]
            fields: dict[str, Any] = {"outcome": outcome, "reason": reason, "detail": detail}
            ticks.append(a_tick(stored, at, decided_at=at, **fields))
            continue
        origin = Origin(schedule_id=stored.id, tick_at=at)
        times: dict[str, Any] = dict.fromkeys(_TIMES, at)
        job = a_job(owner=stored.owner, origin=origin, **times)
        jobs.append((n, word, job))
        ticks.append(ran(stored, job, decided_at=at))
    firing = replace(a_firing(stored, ticks, [job for _, _, job in jobs]), events=())
    assert await store.ticks.fire([firing]) == [True]
    for n, word, job in jobs:
        if word == "pending":
            continue
        claim = await begun(stage, {"id": job.id})
        took = timedelta(seconds=30 + n * 37 % 400)
        [claim] = await moved_on(
            stage, [claim], pages=120, bytes=10**6, duration_s=took.total_seconds()
        )
        if word in _MOVES:
            await settled(stage, claim, *_MOVES[word])
    return [job.id for _, _, job in reversed(jobs)]


async def crawled(
    stage: Stage,
    schedule: Mapping[str, Any],
    texts: Mapping[str, str],
    removed: Sequence[str] = (),
    broken: Sequence[str] = (),
) -> str:
    """Run a schedule; return the id of its job, which has come to its end with these pages.

    Its changes are kept as after any run.
    """
    run = await stage.ask("POST", f"/schedules/{schedule['id']}/run")
    claim = await begun(stage, run)
    outcomes = []
    for path, text in texts.items():
        fields: dict[str, Any] = {
            "sha256": f"sha of {text}",
            "content_rule": "main",
            "content_hash": f"hash of {text}",
            "content_version": 1,
        }
        outcomes.append(done(a_target(path), {Body.TEXT: text.encode()}, **fields))
    outcomes += [failed(a_target(path), ErrorKind.HTTP_4XX, status=404) for path in removed]
    outcomes += [failed(a_target(path), ErrorKind.HTTP_5XX, status=500) for path in broken]
    batch = a_batch([outcome.target for outcome in outcomes], outcomes)
    store, now = stage.yard.store, stage.yard.clock.now()
    [answer] = await store.frontier.record([(claim.lease, batch)], now, LEASE)
    ended = Claim(lease=answer.lease, job=claim.job, shard=claim.shard)
    await settled(stage, ended, reason=StateReason.EXHAUSTED)
    await stage.yard.services.changes.settle(schedule["id"])
    return str(run["id"])


async def overdue(stage: Stage, schedule: Mapping[str, Any], by: timedelta) -> None:
    """Let a schedule have been due for some time, without a scheduler."""
    stored = await stage.yard.store.schedules.get(schedule["id"])
    at = datetime.now(UTC) - by
    assert await stage.yard.store.ticks.fire([a_firing(stored, next_at=at, fire_at=at)]) == [True]


_SHOP = {
    "name": "shop-prices",
    "description": "Prices of a shop, from its sitemap",
    "parameters": {
        "start_url": {"type": "url", "required": True, "description": "Where the shop is"},
        "pages": {"type": "integer", "default": 500, "allowed": [100, 500, 5000]},
    },
    "spec": {"urls": ["{{start_url}}"], "limits": {"pages": "{{pages}}"}},
}
_LONG = "Documentation of all products with the archive and its translations of old versions"
_WEEK: Sequence[tuple[str, str, str, Sequence[str]]] = (
    (_LONG, "0 3 * * *", "Europe/Berlin", ["failed", "failed", *["completed"] * 12]),
    ("News sweep", "*/20 * * * *", "UTC", ["skipped", "completed", "completed"] * 20),
    ("東京の天気", "0 6 * * *", "Asia/Tokyo", []),
    (HOSTILE, "15 2 * * 0", "Europe/Berlin", ["refused"]),
    ("Wiki snapshot", "every 6h", "UTC", ["completed"] * 7),
    ("Status pages", "0 */4 * * *", "UTC", ["missed", "completed", "cancelled"]),
    ("Before the launch", "at 2031-01-01T08:00", "UTC", []),
    ("Annual report", "@yearly", "UTC", []),
    ("Weekly audit", "0 3 * * mon", "Europe/Berlin", ["pending"]),
    ("Weekly audit of images", "0 3 * * mon", "Europe/Berlin", []),
)


async def week_of_schedules(stage: Stage) -> dict[str, str]:
    """Make schedules as a small company has them; return their ids by name."""
    schedule_ids: dict[str, str] = {}
    for name, when, zone, past in _WEEK:
        schedule = await a_schedule(stage, name, when=when, zone=zone)
        await lived(stage, schedule, past)
        schedule_ids[name] = schedule["id"]
    shop = await stage.ask("POST", "/templates", _SHOP)
    watch = await a_schedule(
        stage,
        "Price watch",
        when="30 8-18/2 * * mon-fri",
        zone="Europe/Berlin",
        description="Prices of the three shops that we compare",
        template=shop["id"],
        params={"start_url": "https://shop.example.com/"},
        overrides={},
        pause_after=3,
        jitter_s=120,
    )
    lately = ["running", *["completed"] * 9, "failed", "skipped", *["completed"] * 26, "missed"]
    await lived(stage, watch, [*lately, *["completed"] * 20])
    why = {"reason": "the wiki is being moved to another host, back on Monday"}
    await stage.ask("POST", f"/schedules/{schedule_ids['Wiki snapshot']}/pause", why)
    await overdue(stage, {"id": schedule_ids["Status pages"]}, timedelta(minutes=6))
    return schedule_ids | {"Price watch": watch["id"]}
