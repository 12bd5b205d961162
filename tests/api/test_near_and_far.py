"""The surface does the same in this process and over HTTP."""

import json
import subprocess
import sys
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from crawlyard import LOCAL, Role, every
from crawlyard.about import VERSION
from crawlyard.core.access.policy import SectionName
from crawlyard.core.access.user import QuotaAsk
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.operations.bulk import JobAction, RetryScope
from crawlyard.core.schedules.schedule import Overlap
from crawlyard.errors import IllegalMove, Invalid, NotFound, Stale
from crawlyard.export.base import Format
from crawlyard.services.surface import Surface, every_endpoint
from tests.api.conftest import far_side
from tests.builders import NOW
from tests.web.crawled import crawled, in_state
from tests.web.rig import URL, Rig

FORM = {"urls": [URL], "name": "docs", "priority": "high", "limits": {"pages": 3}}


async def test_a_job_is_made_changed_moved_and_deleted(yard: Surface) -> None:
    job = await yard.jobs.create(FORM)
    assert (job.spec.name, job.state, job.spec.priority, job.spec.limits.pages) == (
        "docs",
        "pending",
        "high",
        3,
    )

    paused = await yard.jobs.pause(job.id, "a break", version=job.version)
    edited = await yard.jobs.edit(job.id, {"limits": {"pages": None}}, version=paused.version)
    assert (paused.state, paused.detail) == ("paused", "a break")
    assert edited.spec.limits.pages is None

    for act in (yard.jobs.resume, yard.jobs.cancel):
        moved = await act(job.id)
    assert moved.state == "cancelled"
    assert (await yard.jobs.deletable(job.id)).job_id == job.id
    await yard.jobs.delete(job.id)
    with pytest.raises(NotFound):
        await yard.jobs.get(job.id)


async def test_what_is_wrong_is_said_in_the_same_words(yard: Surface) -> None:
    job = await yard.jobs.create(FORM)

    with pytest.raises(Invalid) as invalid:
        await yard.jobs.create({"urls": [URL], "limits": {"pages": 0}})
    with pytest.raises(Stale) as stale:
        await yard.jobs.cancel(job.id, version=7)
    with pytest.raises(IllegalMove) as illegal:
        await yard.jobs.delete(job.id)
    with pytest.raises(Invalid) as unknown:
        await yard.jobs.counts(state="done")

    assert (invalid.value.field, stale.value.current) == ("limits.pages", 1)
    assert str(invalid.value) == "limits.pages: expected more than 0, got 0"
    assert "waiting" in str(illegal.value)
    assert unknown.value.field == "state"


async def test_what_is_out_of_bounds_is_said_in_the_same_words(yard: Surface) -> None:
    anything: Any = yard
    messages = []
    calls: Any = (
        lambda: anything.jobs.list(limit=201),
        lambda: anything.jobs.list(stat="failed"),
        lambda: anything.jobs.log("x", level="loud"),
        lambda: anything.tokens.create(""),
        lambda: anything.hosts.set("a.example", delay_s="slow"),
        lambda: anything.users.create("ada", "chief"),
        lambda: anything.webhooks.edit("x", description=7),
        lambda: anything.templates.list(visibility="secret"),
    )
    for call in calls:
        with pytest.raises(Invalid) as refused:
            await call()
        messages.append(str(refused.value).replace("got '201'", "got 201"))  # a query is text

    assert messages == [
        "limit: expected a whole number of at most 200, got 201",
        "stat: there is no such parameter; did you mean state?",
        "level: expected one of debug, info, warning, error, got 'loud'",
        "name: expected text of at least 1, got ''",
        "delay_s: expected a number or null, got 'slow'",
        "role: expected one of viewer, operator, admin, got 'chief'",
        "description: expected text or null, got 7",
        "visibility: expected one of private, public, got 'secret'",
    ]


async def test_lists_are_walked_to_their_end(yard: Surface) -> None:
    job_ids = [(await yard.jobs.create(FORM | {"tags": ["x"]})).id for _ in range(5)]
    await yard.jobs.create(FORM)

    part = await yard.jobs.list(tag="x", limit=2, count="exact")
    rest = await yard.jobs.list(tag="x", limit=200, cursor=part.next_cursor)
    walked = [job.id async for job in every(yard.jobs.list, tag=("x", "y"))]
    assert walked == [job.id async for job in every(yard.jobs.list, tag="y, x")]
    assert (await yard.jobs.list(tag='"y,x"')).items == []
    some = [job.id async for job in every(yard.jobs.list, limit=3)]

    assert (len(part.items), part.total, part.has_more) == (2, 5, True)
    assert [job.id for job in (*part.items, *rest.items)] == walked == job_ids[::-1]
    assert len(some) == 3
    assert (await yard.jobs.counts(tag="x")).total == 5


async def test_many_jobs_at_once(yard: Surface) -> None:
    batch = await yard.jobs.submit_many([FORM, {"urls": []}, FORM])
    ids = tuple(result.id for result in batch.results if result.id)

    done = await yard.jobs.bulk(JobAction.CANCEL, ids=ids, reason="no")

    assert [result.ok for result in batch.results] == [True, False, True]
    assert (done.count, done.succeeded) == (2, 2)
    assert (await yard.jobs.plan(FORM)).limits.pages == 3


async def test_what_a_job_has_brought(rig: Rig, yard: Surface) -> None:
    job_id, _ = await crawled(rig)
    jobs, results = yard.jobs, yard.results

    pages = [page async for page in every(jobs.pages, job_id)]
    failed = [page async for page in every(jobs.pages, job_id, failed=True)]
    lines = b"".join([piece async for piece in await results.export(job_id, format_=Format.JSONL)])
    record = await results.page(job_id, pages[0].id)

    assert [json.loads(line)["url"] for line in lines.splitlines()] == [p.url for p in pages]
    assert 0 < len(failed) < len(pages)
    assert sum(group.count for group in (await results.errors(job_id)).items) == len(failed)
    assert (record.url, record.id) == (pages[0].url, pages[0].id)
    assert (await jobs.wait(job_id, timeout_s=0)).state == (await jobs.get(job_id)).state
    assert (await jobs.events(job_id, limit=1)).items[0].name == "job.created"


async def test_templates_are_kept_filled_and_used(yard: Surface) -> None:
    parameters = {"start": {"type": "url", "required": True}}
    spec = {"urls": ["{{start}}"]}
    template = await yard.templates.create({"name": "b c?", "parameters": parameters, "spec": spec})
    saved = await yard.templates.edit(template.id, {"description": "x"}, version=1)
    rendered = await yard.templates.render(f"local/{template.name}", params={"start": URL})
    job = await yard.jobs.create(template=template.id, params={"start": URL})
    text = await yard.templates.export(template.id)
    versions = [version.version for version in (await yard.templates.versions(template.id)).items]

    assert (saved.version, versions, rendered.spec["urls"]) == (2, [2, 1], [URL])
    assert job.origin.template_version == 2
    assert "{{start}}" in text
    with pytest.raises(Stale):
        await yard.templates.edit(template.id, {"description": "y"}, version=1)


async def test_schedules_and_webhooks_are_kept_and_run(yard: Surface) -> None:
    schedule = await yard.schedules.create("nightly", "@daily", overrides={"urls": [URL]})
    job = await yard.schedules.run("nightly")
    ahead = await yard.schedules.next("nightly", 3)
    paused = await yard.schedules.pause(schedule.id, "holidays")
    hook = await yard.webhooks.create("https://93.184.216.34/hook", events=("job.*",))
    off = await yard.webhooks.disable(hook.id)

    assert job.origin.schedule_id == schedule.id
    assert (len(ahead.next), paused.enabled, paused.pause_reason) == (3, False, "holidays")
    assert str(hook.secret).startswith("whsec_")
    assert not off.active
    assert [webhook.id for webhook in (await yard.webhooks.list()).items] == [hook.id]
    assert [item.kind for item in (await yard.attention.get()).items] == ["no_worker"]


async def test_accounts_settings_and_views_are_there(yard: Surface) -> None:
    user = await yard.users.create("ada", Role.VIEWER, QuotaAsk(running=2))
    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({"running": -1}, "quota.running", "at least 0"),
        ({"pending": "many"}, "quota.pending", "a whole number"),
        ({"ceilings": {"pages": 0}}, "quota.ceilings.pages", "a whole number of at least 1, got 0"),
        ({"pendng": 1}, "quota.pendng", "did you mean pending"),
    ]
    for quota, field, why in wrong:
        quota_change: Any = quota
        with pytest.raises(Invalid, match=why) as refused:
            await yard.users.edit("ada", quota=quota_change)
        assert refused.value.field == field
    token = await yard.tokens.create("laptop", user="ada", scopes=("jobs:read",))
    section = await yard.settings.put(SectionName.CEILINGS, {"pages": 10}, version=None)
    view = await yard.views.create("waits", "state:pending")
    edited = await yard.views.edit(view.id, query="state:paused", version=view.version)

    assert (user.quota.running, token.user, section.value["pages"]) == (2, "ada", 10)
    assert (await yard.account.me()).user.id == "local"
    assert {user.id for user in (await yard.users.list()).items} == {"ada", "local"}
    assert edited.query == "state:paused"
    await yard.tokens.revoke(token.id)
    assert (await yard.tokens.get(token.id)).revoked_at is not None
    await yard.views.delete(view.id)
    with pytest.raises(NotFound):
        await yard.views.get(view.id)


async def test_figures_and_what_an_instance_says_of_itself_are_read(
    rig: Rig, yard: Surface
) -> None:
    await yard.jobs.create(FORM)

    week = await yard.stats.get(since=rig.clock.now() - timedelta(days=7), step_s=86_400)
    meta = await yard.meta.get()

    assert (week.cards.jobs["pending"], len(week.finished)) == (1, 7)
    assert meta.version == VERSION
    assert set((await yard.meta.enums()).enums["states"]) == set(State)
    assert "urls" in (await yard.meta.schemas()).schemas["job"]["properties"]
    assert "crawlyard_" in await yard.monitoring.metrics()


async def test_pages_of_all_jobs_are_found_and_exported(rig: Rig, yard: Surface) -> None:
    first, _ = await crawled(rig)
    second, _ = await crawled(rig)

    job_ids = [page.job_id async for page in every(yard.pages.find)]
    part = await yard.pages.find(limit=2, job=(first,), since=NOW)
    raw = b"".join([piece async for piece in await yard.pages.export(format_="csv", failed=True)])

    assert job_ids == [second] * 3 + [first] * 3
    assert (len(part.items), part.searched.cut_short) == (2, False)
    assert raw.decode().count("\r\n") == 5


async def test_what_is_none_is_taken_away(yard: Surface) -> None:
    schedule = await yard.schedules.create(
        "nightly", "0 3 * * *", overrides={"urls": [URL]}, runs_left=3
    )
    hook = await yard.webhooks.create("https://93.184.216.34/", events=("job.failed",))
    await yard.hosts.set("example.com", delay_s=2, at_once=1)

    assert (await yard.schedules.edit(schedule.id, runs_left=None)).runs_left is None
    assert (await yard.webhooks.edit(hook.id, events=None)).events == ("*",)
    rule = (await yard.hosts.set("example.com", delay_s=None)).rule
    assert rule is not None
    assert (rule.delay_s, rule.at_once) == (None, 1)


async def test_webhooks_are_found_by_a_part_of_their_id(yard: Surface) -> None:
    url = "https://93.184.216.34/"
    first, other = await yard.webhooks.create(url), await yard.webhooks.create(url)
    job = await yard.jobs.create(FORM | {"webhooks": [url]})

    async def webhook_ids(part: str, job: str = "") -> list[str]:
        return [hook.id async for hook in every(yard.webhooks.list, id=part, job=job)]

    assert await webhook_ids(first.id) == await webhook_ids(first.id[-12:].upper()) == [first.id]
    assert (await webhook_ids(first.id[:2]))[-2:] == [other.id, first.id]
    assert await webhook_ids(job.id) == await webhook_ids(job.id, job=job.id) == [f"{job.id}:0"]
    assert (
        await webhook_ids(first.id, job=job.id)
        == await webhook_ids(f"{first.id}x")
        == await webhook_ids("%")
        == []
    )
    assert await webhook_ids("") == [other.id, first.id]


async def test_a_change_may_say_nothing(yard: Surface) -> None:
    schedule = await yard.schedules.create("nightly", "0 3 * * *", overrides={"urls": [URL]})

    changed = await yard.schedules.edit(schedule.id, version=schedule.version)

    assert changed.overrides == schedule.overrides


async def test_a_ledger_is_read_from_an_instant_back(rig: Rig, yard: Surface) -> None:
    schedule = await yard.schedules.create(
        "often", "every 1h", overlap=Overlap.ALLOW, overrides=FORM
    )
    for _ in range(4):
        await rig.clock.advance(timedelta(hours=1))
        await rig.yard.scheduler.round()

    whole = [tick.due_at async for tick in every(yard.schedules.runs, schedule.id)]
    part = await yard.schedules.runs(schedule.id, before=whole[1], limit=1)
    rest = await yard.schedules.runs(schedule.id, before=whole[1], limit=1, cursor=part.next_cursor)

    assert len(whole) == 4
    assert [tick.due_at for tick in (*part.items, *rest.items)] == whole[2:]


async def test_a_retry_says_how_many_urls_wait_again(rig: Rig, yard: Surface) -> None:
    job_id = await in_state(rig, State.COMPLETED)
    failed = (await yard.results.errors(job_id)).total

    again = await yard.jobs.retry(job_id, scope=RetryScope.FAILED)

    assert (again.id, again.state, again.urls) == (job_id, State.PENDING, failed)


async def test_both_sides_answer_alike(rig: Rig) -> None:
    job_id, _ = await crawled(rig)
    near = Surface(rig.yard.services, LOCAL)
    async with far_side(rig) as far:
        for here, there, names in (
            (near.jobs, far.jobs, ("get", "progress", "config", "attempts", "shards")),
            (near.results, far.results, ("errors", "skipped_rules")),
            (near.site, far.site, ("map", "check")),
        ):
            for name in names:
                answer = await getattr(there, name)(job_id)
                assert plain(answer) == plain(await getattr(here, name)(job_id)), name


def plain(shape: Any) -> Any:
    return json.loads(msgspec.json.encode(shape))


def test_every_endpoint_says_what_it_does_and_returns() -> None:
    for endpoint in every_endpoint():
        assert (endpoint.call.__doc__ or "").strip(), endpoint.name
        assert endpoint.returns is not Any, endpoint.name


def test_a_connection_loads_no_database_and_no_engine() -> None:
    code = (
        "import sys, crawlyard; crawlyard.connect\n"
        "heavy = ('sqlalchemy', 'alembic', 'turbohtml', 'fastapi', 'psycopg')\n"
        "print(sorted(name for name in sys.modules if name.partition('.')[0] in heavy))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert process.stdout == "[]\n"
