"""Authorization matrix: one row for each route. A route without a row fails the test.

To add a route: add its row below, and if its path has a parameter of a kind that is new,
a maker of such a thing to `MAKERS`.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum, auto
from typing import Any

from msgspec.structs import replace

from crawlyard.core.access.user import Actor
from crawlyard.core.crawl.changes import ChangeKind, RunChanges, StoredChange
from crawlyard.core.hosts.hosts import HostReport
from crawlyard.core.jobs.checkpoint import Asker
from crawlyard.core.jobs.lifecycle import Move
from crawlyard.core.operations.operation import OperationKind
from crawlyard.core.workers.status import WorkerReport
from tests.builders import LEASE, NOW
from tests.web.crawled import crawl, crawled, settle
from tests.web.rig import URL, Rig


class Who(StrEnum):
    """Callers of a route."""

    OWNER = auto()  # ada, an operator
    OTHER = auto()  # bob, another one
    READER = auto()  # a token of bob's that is good for reading alone
    VIEWER = auto()  # vera, who may only look
    ADMIN = auto()
    REVOKED = auto()  # a token of ada's that was good
    NOBODY = auto()


class Whose(StrEnum):
    """Targets of a request: a resource of ada's, a public one, or a missing one."""

    PRIVATE = auto()
    PUBLIC = auto()  # for kinds of things that can be
    MISSING = auto()


Rule = Callable[[Who, Whose], int]
Maker = Callable[[Rig, bool], Awaitable[Mapping[str, str]]]

UNPROVED = frozenset({Who.REVOKED, Who.NOBODY})
OWNERS = frozenset({Who.OWNER, Who.ADMIN})
LOOKERS = frozenset({Who.READER, Who.VIEWER})
MISSING_ID = "00000000-0000-7000-8000-000000000000"
OF_MISSING = {"version": "1", "page_id": "1", "kind": "timeout"}
"""Parameters of a path that are no ids, where nothing is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteStatuses:
    method: str
    path: str
    rule: Rule
    thing: str = ""  # a key of `MAKERS`
    body: object = None  # "{who}" in a text of it is who asks
    query: str = ""
    streams: bool = False  # the answer does not end

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


# --- rules


def looks(ok: int = 200) -> Rule:
    """To be seen by its owner and admins, and by all once it is public."""

    def rule(caller: Who, whose: Whose) -> int:
        if caller in UNPROVED:
            return 401
        visible = whose is Whose.PUBLIC or (whose is Whose.PRIVATE and caller in OWNERS)
        return ok if visible else 404

    return rule


def personal(ok: int = 200) -> Rule:
    """To be seen by its owner alone, not by admins either."""

    def rule(caller: Who, whose: Whose) -> int:
        if caller in UNPROVED:
            return 401
        return ok if caller is Who.OWNER and whose is Whose.PRIVATE else 404

    return rule


def kept_wide(rule: Rule) -> Rule:
    """As *rule*, but not by a token that is good for less than its user's role."""

    def narrowed(caller: Who, whose: Whose) -> int:
        return 403 if caller is Who.READER else rule(caller, whose)

    return narrowed


def own(ok: int) -> Rule:
    """To be done by its owner alone, with leave to write."""
    mine = personal(ok)
    return lambda caller, whose: 403 if caller in LOOKERS else mine(caller, whose)


def changes(ok: int = 202, public: int | None = None) -> Rule:
    """To be done by its owner and admins; what is public others see, and may not change.

    *public*: the answer where it is public, if that is another one.
    """

    def rule(caller: Who, whose: Whose) -> int:
        if caller in UNPROVED:
            return 401
        if caller in LOOKERS:
            return 403
        if whose is Whose.MISSING:
            return 404
        if caller in OWNERS:
            return ok if whose is Whose.PRIVATE or public is None else public
        return 403 if whose is Whose.PUBLIC else 404

    return rule


def uses(ok: int = 201) -> Rule:
    """Require a write permit, and visibility of the resource."""
    look_rule = looks(ok)
    return lambda caller, whose: 403 if caller in LOOKERS else look_rule(caller, whose)


def makes(ok: int = 201) -> Rule:
    """Require a write permit."""
    return lambda caller, _: 401 if caller in UNPROVED else 403 if caller in LOOKERS else ok


def signed_in(ok: int = 200, missing: int = 404) -> Rule:
    """Allow every authenticated caller."""
    return lambda caller, whose: (
        401 if caller in UNPROVED else missing if whose is Whose.MISSING else ok
    )


def admins(ok: int = 200) -> Rule:
    """Allow admins only."""

    def rule(caller: Who, whose: Whose) -> int:
        if caller in UNPROVED:
            return 401
        if caller is not Who.ADMIN:
            return 403
        return 404 if whose is Whose.MISSING else ok

    return rule


def admins_of_any(ok: int = 200) -> Rule:
    """Allow admins only, also for resources that do not exist yet."""
    rule = admins(ok)
    return lambda caller, _: rule(caller, Whose.PRIVATE)


def anybody(ok: int = 200, missing: int = 404) -> Rule:
    """Allow all callers, authenticated or not."""
    return lambda _, whose: missing if whose is Whose.MISSING else ok


# --- things of ada's


async def _posted(rig: Rig, path: str, body: Mapping[str, object]) -> dict[str, Any]:
    answer = await rig.post(path, body, by="ada")
    assert answer.status_code in {200, 201, 202}, answer.text
    content: dict[str, Any] = answer.json()
    return content


async def _job(rig: Rig, _public: bool) -> Mapping[str, str]:
    return {"job_id": (await rig.job("ada", name=SECRET, webhooks=[{"url": HOOK}]))["id"]}


async def _ended_job(rig: Rig, public: bool) -> Mapping[str, str]:
    job = await _job(rig, public)
    await _posted(rig, f"jobs/{job['job_id']}/cancel", {})
    return job


async def _paused_job(rig: Rig, public: bool) -> Mapping[str, str]:
    job = await _job(rig, public)
    await _posted(rig, f"jobs/{job['job_id']}/pause", {})
    return job


async def _crawled(rig: Rig, _public: bool) -> Mapping[str, str]:
    job_id, _ = await crawled(rig, "ada", name=SECRET)
    [page, *_] = (await rig.get(f"jobs/{job_id}/pages", by="ada")).json()["items"]
    return {"job_id": job_id, "page_id": str(page["id"]), "kind": "timeout"}


async def _two_jobs(rig: Rig, _public: bool) -> Mapping[str, str]:
    job_id, _ = await crawled(rig, "ada", name=SECRET)
    other, _ = await crawled(rig, "ada")
    return {"job_id": job_id, "other": other}


async def _changed_run(rig: Rig, _public: bool) -> Mapping[str, str]:
    job = await rig.job("ada")
    job_id, of = job["id"], MISSING_ID
    run = RunChanges(job_id=job_id, schedule_id=of, base_id=None, compared_at=NOW, counts={})
    url = f"{URL}{SECRET}"
    change = StoredChange(job_id=job_id, schedule_id=of, kind=ChangeKind.NEW, url=url)
    await rig.yard.store.changes.save(run, [change], ())
    return {"job_id": job["id"]}


async def _operation(rig: Rig, _public: bool) -> Mapping[str, str]:
    form = {"action": "pause", "reason": SECRET}
    begun = await rig.yard.operations.start(Actor(id="ada"), OperationKind.JOBS, form, 1)
    return {"operation_id": begun.id}


async def _group(rig: Rig, _public: bool) -> Mapping[str, str]:
    form = {"jobs": [{"urls": [URL], "name": SECRET}]}
    batch = (await rig.post("jobs/batch", form, by="ada")).json()
    return {"group_id": batch["group_id"]}


async def _template(rig: Rig, public: bool) -> Mapping[str, str]:
    count = len((await rig.get("templates")).json()["items"])
    spec = {"urls": [URL]}
    template = await _posted(rig, "templates", {"name": f"{SECRET} {count}", "spec": spec})
    if public:
        template = await _posted(rig, f"templates/{template['id']}/publish", {})
    return {"ref": template["id"], "version": str(template["version"])}


async def _schedule(rig: Rig, _public: bool) -> Mapping[str, str]:
    count = len((await rig.get("schedules")).json()["items"])
    body = {"name": f"{SECRET} {count}", "when": "@daily", "overrides": {"urls": [URL]}}
    return {"ref": (await _posted(rig, "schedules", body))["id"]}


async def _crawled_schedule(rig: Rig, public: bool) -> Mapping[str, str]:
    schedule = await _schedule(rig, public)
    job_id = (await _posted(rig, f"schedules/{schedule['ref']}/run", {}))["id"]
    await settle(rig, job_id, await crawl(rig, job_id), Move.COMPLETE)
    return schedule


async def _paused_schedule(rig: Rig, public: bool) -> Mapping[str, str]:
    schedule = await _schedule(rig, public)
    await _posted(rig, f"schedules/{schedule['ref']}/pause", {})
    return schedule


async def _webhook(rig: Rig, _public: bool) -> Mapping[str, str]:
    return {"webhook_id": (await _posted(rig, "webhooks", {"url": HOOK}))["id"]}


async def _channel(rig: Rig, _public: bool) -> Mapping[str, str]:
    count = len((await rig.get("notifications", by="ada")).json()["items"])
    body = {"name": f"{SECRET}-{count}", "kind": "ntfy", "to": HOOK}
    return {"ref": (await _posted(rig, "notifications", body))["id"]}


async def _delivery(rig: Rig, public: bool) -> Mapping[str, str]:
    webhook = await _webhook(rig, public)
    await _posted(rig, f"webhooks/{webhook['webhook_id']}/test", {})
    await rig.yard.store.deliveries.fan_out(rig.clock.now())
    path = f"webhooks/{webhook['webhook_id']}/deliveries"
    listed = (await rig.get(path, by="ada")).json()["items"]
    return {**webhook, "delivery_id": listed[0]["id"]}


async def _token(rig: Rig, _public: bool) -> Mapping[str, str]:
    return {"token_id": (await _posted(rig, "tokens", {"name": SECRET}))["id"]}


async def _share(rig: Rig, public: bool) -> Mapping[str, str]:
    job = (await _job(rig, public))["job_id"]
    return {"share_id": (await _posted(rig, "shares", {"job": job, "name": SECRET}))["id"]}


async def _trigger(rig: Rig, public: bool) -> Mapping[str, str]:
    schedule = (await _schedule(rig, public))["ref"]
    created = await _posted(rig, "triggers", {"name": SECRET, "schedule": schedule})
    return {"trigger_id": created["id"], "token": "cyh_unknown"}


async def _user(_rig: Rig, _public: bool) -> Mapping[str, str]:
    return {"user_id": "ada"}


async def _view(rig: Rig, _public: bool) -> Mapping[str, str]:
    count = len((await rig.get("views", by="ada")).json()["items"])
    body = {"name": f"{SECRET} {count}", "query": "state:failed"}
    return {"view_id": (await _posted(rig, "views", body))["id"]}


async def _session(rig: Rig, _public: bool) -> Mapping[str, str]:
    count = len((await rig.get("sessions", by="ada")).json()["items"])
    body = {"kind": "bearer", "url": URL, "secret": SECRET}
    response = await rig.ask("PUT", f"sessions/{SECRET}-{count}", by="ada", json=body)
    assert response.status_code == 200, response.text
    return {"name": f"{SECRET}-{count}"}


async def _alive_worker(rig: Rig, _public: bool) -> Mapping[str, str]:
    report = WorkerReport(
        id="w1", host="here", pid=7, version="1", slots=4, started_at=NOW, beat_at=NOW
    )
    await rig.yard.store.workers.forget("w1")
    await rig.yard.store.workers.save_heartbeat(replace(report, beat_at=rig.clock.now()))
    return {"worker_id": "w1"}


async def _quiet_worker(rig: Rig, public: bool) -> Mapping[str, str]:
    worker = await _alive_worker(rig, public)
    assert (await rig.post("workers/w1/quiet", {})).status_code == 202
    return worker


async def _worker(rig: Rig, public: bool) -> Mapping[str, str]:
    worker = await _alive_worker(rig, public)
    await rig.clock.advance(timedelta(minutes=1))  # gone by now
    return worker


async def _host(rig: Rig, public: bool) -> Mapping[str, str]:
    job = await _job(rig, public)
    await rig.yard.store.leases.claim(Asker("w1"), rig.clock.now(), LEASE)
    report = WorkerReport(
        id="w1",
        host="here",
        pid=7,
        version="1",
        slots=4,
        running=(job["job_id"],),
        hosts=(HostReport(host="a.example", jobs=(job["job_id"],)),),
        started_at=NOW,
        beat_at=rig.clock.now(),
    )
    await rig.yard.store.workers.save_heartbeat(report)
    return {"host": "a.example", **job}


async def _ruled_host(rig: Rig, public: bool) -> Mapping[str, str]:
    host = await _host(rig, public)
    assert (await rig.ask("PATCH", "hosts/a.example", json={"at_once": 1})).status_code == 200
    return host


async def _section(_rig: Rig, _public: bool) -> Mapping[str, str]:
    return {"section": "retention"}


async def _problem(_rig: Rig, _public: bool) -> Mapping[str, str]:
    return {"kind": "not-found"}


SECRET = "adas-own"
"""Stands in the names of ada's things, which lists must not show to others."""

HOOK = f"https://93.184.216.34/{SECRET}"

MAKERS: Mapping[str, Maker] = {
    "job": _job,
    "ended job": _ended_job,
    "crawled job": _crawled,
    "changed run": _changed_run,
    "two jobs": _two_jobs,
    "paused job": _paused_job,
    "operation": _operation,
    "group": _group,
    "template": _template,
    "schedule": _schedule,
    "paused schedule": _paused_schedule,
    "crawled schedule": _crawled_schedule,
    "webhook": _webhook,
    "delivery": _delivery,
    "channel": _channel,
    "token": _token,
    "trigger": _trigger,
    "share": _share,
    "user": _user,
    "view": _view,
    "session": _session,
    "worker": _worker,
    "worker that is alive": _alive_worker,
    "quiet worker": _quiet_worker,
    "host": _host,
    "host with a rule": _ruled_host,
    "section": _section,
    "problem": _problem,
}

PUBLISHED = frozenset({"template"})
"""Kinds of things that can be public."""

PERSONAL = frozenset({"view", "session"})
"""Kinds of things that admins do not see either."""
