"""`JobStore`: jobs are added, changed by one at a time, found, counted, deleted."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from crawlyard.core.crawl.page import Body, Skipped
from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.filter import Condition, FilterKey, condition, fits, parse
from crawlyard.core.jobs.job import Job, Origin
from crawlyard.core.jobs.lifecycle import LIFECYCLE, Move, State
from crawlyard.core.jobs.limits import Limits
from crawlyard.core.jobs.retry import RetryPolicy
from crawlyard.core.jobs.spec import JobSpec, Priority, Scope, Strategy, TextMode
from crawlyard.errors import Conflict, NotFound
from crawlyard.store.queries import EventQuery, JobQuery, PageQuery
from crawlyard.store.store import Store
from tests.builders import NOW, a_batch, a_job, a_spec, a_target, done, its_event
from tests.conformance.steps import (
    added,
    claimed,
    fingerprints,
    in_state,
    names,
    recorded,
    requeued,
    waiting,
)

MOVES = [(state, move) for state in State for move in LIFECYCLE[state]]


async def find_ids(store: Store, limit: int = 100, **filters: object) -> list[str]:
    return [s.job.id for s in await store.jobs.find(JobQuery(**filters), limit)]  # type: ignore[arg-type]  # fields by name


async def test_a_job_comes_back_as_it_was_added(store: Store) -> None:
    job = a_job(
        spec=a_spec(
            urls=("https://a.example/", "https://b.example/ü"),
            sitemaps=("robots",),
            name="Nightly",
            tags=("docs", "Ünicode"),
            priority=Priority.HIGH,
            limits=Limits(pages=7, duration_s=timedelta(minutes=3, microseconds=1).total_seconds()),
            retry=RetryPolicy(attempts=3, factor=4 / 3),
            scope=Scope.DOMAIN,
            strategy=Strategy.DEPTH_FIRST,
            text=TextMode.MARKDOWN,
            headers=(("X-A", "1"), ("X-A", "2")),
            extract=(("price", ".price@content"),),
        ),
        owner="ada",
        detail="»why«",
        due_at=NOW + timedelta(days=400, microseconds=1),
        started_at=NOW,
        ended_at=NOW + timedelta(seconds=1),
        turn=2**40,
        failures=2,
        losses=1,
        retry_of=a_job().id,
    )

    await store.jobs.add(job, its_event(job))

    assert (await store.jobs.get(job.id)).job == job


class _Link(str):
    """A text as a parser gives it."""

    __slots__ = ()


async def test_what_a_caller_without_types_gave_can_be_read_again(store: Store) -> None:
    fields: dict[str, Any] = {
        "urls": (_Link("https://a.example/"),),
        "name": _Link("with a \x00"),
        "tags": ["docs"],
        "limits": Limits(bytes=1e9, pages=5.0),  # type: ignore[arg-type]  # the very test
        "keep_html": 1,
    }
    job = a_job(spec=JobSpec(**fields))
    await store.jobs.add(job, its_event(job))

    [standing] = await store.jobs.find(JobQuery(), 10)

    spec = standing.job.spec
    assert (spec.urls, tuple(spec.tags)) == (("https://a.example/",), ("docs",))
    assert (spec.limits, spec.keep_html) == (Limits(bytes=10**9, pages=5), True)
    assert spec.name == "with a \ufffd"
    assert sum((await store.jobs.counts(JobQuery(tags=frozenset({"docs"})))).values()) == 1


async def test_a_new_job_has_no_usage_and_no_worker(store: Store) -> None:
    job = await added(store)

    shard = (await store.jobs.get(job.id)).shard

    assert (shard.worker, shard.attempt, shard.seq) == (None, 0, 0)
    assert (shard.usage.pages, shard.usage.discovered, shard.usage.duration_s) == (
        0,
        0,
        0.0,
    )


async def test_an_id_is_taken_once(store: Store) -> None:
    job = await added(store)

    with pytest.raises(Conflict, match=job.id):
        await store.jobs.add(a_job(id=job.id), its_event(job))

    assert await names(store, job.id) == ["created"]


async def test_a_job_is_made_like_one_that_has_not_changed_alone(store: Store) -> None:
    old = await added(store, in_state(State.FAILED))
    first, second, third = a_job(), a_job(), a_job()

    await store.jobs.add(first, its_event(first), old)
    moved, event = old.apply_move(Move.RESUME, NOW, actor="ada")
    await store.jobs.save(moved, event)
    with pytest.raises(Conflict, match=f"job {old.id} is not at version 1 any more"):
        await store.jobs.add(second, its_event(second), old)
    with pytest.raises(Conflict):
        await store.jobs.add(third, its_event(third), a_job())

    assert await names(store, first.id) == ["created"]
    assert await names(store, second.id) == await names(store, third.id) == []
    with pytest.raises(NotFound):
        await store.jobs.get(second.id)


@pytest.mark.parametrize(("state", "move"), MOVES)
async def test_every_move_and_its_event_are_stored_together(
    store: Store, state: State, move: Move
) -> None:
    job = await added(store, in_state(state))

    after, event = job.apply_move(move, NOW, actor="ada", detail="why")
    await store.jobs.save(after, event)

    assert (await store.jobs.get(job.id)).job == after
    [_, stored_event] = await store.events.events(EventQuery(subject=job.id))
    assert stored_event == replace(event, seq=stored_event.seq)


async def test_a_job_that_has_moved_on_is_not_overwritten(store: Store) -> None:
    job = await added(store)
    first = job.apply_move(Move.PAUSE, NOW, actor="ada")
    second = job.apply_move(Move.CANCEL, NOW, actor="bob")
    await store.jobs.save(*first)

    with pytest.raises(Conflict):
        await store.jobs.save(*second)

    assert (await store.jobs.get(job.id)).job.state is State.PAUSED
    assert await names(store, job.id) == ["created", "paused"]


async def test_of_twenty_that_save_the_same_version_one_succeeds(store: Store) -> None:
    job = await added(store)
    saves = [store.jobs.save(*job.apply_move(Move.PAUSE, NOW, actor=f"u{n}")) for n in range(20)]

    results = await asyncio.gather(*saves, return_exceptions=True)

    assert [type(r) for r in results if r is not None] == [Conflict] * 19
    assert await names(store, job.id) == ["created", "paused"]


async def test_a_tag_that_a_job_names_twice_is_one(store: Store) -> None:
    job = await added(store, spec=a_spec(tags=("a", "b", "a", "nul\x00", "nul\ufffd")))

    assert await find_ids(store, tags=frozenset({"a"})) == [job.id]
    assert await find_ids(store, tags=frozenset({"b", "nul\ufffd"})) == [job.id]


async def test_an_edit_replaces_spec_and_tags(store: Store) -> None:
    job = await added(store, spec=a_spec(tags=("old",)))
    spec = a_spec(name="new name", tags=("new",), priority=Priority.URGENT)

    edited, event = job.edit(spec, NOW, actor="ada", changed={"tags": ("new",)})
    await store.jobs.save(edited, event)

    assert (await store.jobs.get(job.id)).job == edited
    assert await find_ids(store, tags=frozenset({"new"})) == [job.id]
    assert await find_ids(store, tags=frozenset({"old"})) == []
    assert await find_ids(store, text="NEW NAME") == [job.id]
    assert await store.jobs.counts() == {(State.PENDING, Priority.URGENT): 1}
    [_, stored_event] = await store.events.events(EventQuery(subject=job.id))
    assert stored_event.data["changed"] == {"tags": ["new"]}


class TestFindJobs:
    async def test_the_newest_come_first(self, store: Store) -> None:
        jobs = [await added(store) for _ in range(5)]

        assert await find_ids(store) == [j.id for j in reversed(jobs)]

    async def test_at_most_limit_come_and_the_rest_before_the_last_of_them(
        self, store: Store
    ) -> None:
        ids = [(await added(store)).id for _ in range(7)]

        pages, before = [], None
        while page := await find_ids(store, limit=3, before=before):
            pages.append(page)
            before = page[-1]

        assert pages == [ids[6:3:-1], ids[3:0:-1], ids[:1]]

    async def test_each_field_narrows(self, store: Store) -> None:
        paused_job = await added(store, in_state(State.PAUSED, owner="ada", priority=Priority.HIGH))
        two = await added(store, in_state(State.FAILED, owner="bob", priority=Priority.LOW))

        assert await find_ids(store, owner="ada") == [paused_job.id]
        assert await find_ids(store, states=frozenset({State.FAILED})) == [two.id]
        assert await find_ids(store, states=frozenset({State.FAILED, State.PAUSED})) == [
            two.id,
            paused_job.id,
        ]
        assert await find_ids(store, priorities=frozenset({Priority.HIGH})) == [paused_job.id]
        assert await find_ids(store, owner="ada", states=frozenset({State.FAILED})) == []

    async def test_all_tags_have_to_fit(self, store: Store) -> None:
        with_both_tags = await added(store, spec=a_spec(tags=("a", "b")))
        await added(store, spec=a_spec(tags=("a",)))

        assert await find_ids(store, tags=frozenset({"a", "b"})) == [with_both_tags.id]
        assert await find_ids(store, tags=frozenset({"A"})) == []

    @pytest.mark.parametrize("text", ["50%", "Ünter", "ünTER", "docs.EXAMPLE", "a_b", "/path\\x"])
    async def test_text_is_a_part_of_the_name_or_of_a_start_url(
        self, store: Store, text: str
    ) -> None:
        job = await added(
            store,
            spec=a_spec(
                name="50% ÜNTERWEGS a_b",
                urls=("https://other.example/", "https://docs.example.com/path\\x"),
            ),
        )
        await added(store, spec=a_spec(name="500 unterwegs aXb"))

        assert await find_ids(store, text=text) == [job.id]

    async def test_an_id_is_found_by_its_beginning_or_end(self, store: Store) -> None:
        job = await added(store, id="01990000-0000-7000-8000-0000000000ab")
        await added(store, id="01991111-0000-7000-8000-0000000000cd")

        assert await find_ids(store, id_part="01990") == [job.id]
        assert await find_ids(store, id_part="00AB") == [job.id]
        assert await find_ids(store, id_part="0000-7000") == []
        assert await find_ids(store, id_part="%ab") == []

    async def test_how_far_a_job_has_come_is_found_with_it(self, store: Store) -> None:
        claim = await claimed(store)
        await recorded(store, claim.lease, a_batch([a_target()]))

        [standing] = await store.jobs.find(JobQuery(), 10)

        assert standing == await store.jobs.get(claim.job.id)
        assert (standing.shard.worker, standing.shard.usage.discovered) == ("w1", 1)


async def deleted(store: Store, job: Job) -> None:
    await store.jobs.delete(job.id, job.version, its_event(job, EventName.DELETED))


class TestDeleteJob:
    async def test_a_deleted_job_is_gone_for_every_method(self, store: Store) -> None:
        claim = await claimed(store, await added(store, spec=a_spec(tags=("t",))))
        no, body = claim.lease.job_no, {Body.TEXT: b"text"}
        first_target, two = a_target("1"), a_target("2")
        batch = a_batch(
            [first_target, two], [done(first_target, body)], [Skipped(a_target("3"), "scope")]
        )
        answer = await recorded(store, claim.lease, batch)
        [page] = await store.pages.pages(claim.job.id, PageQuery(), 10)

        await deleted(store, claim.job)

        with pytest.raises(NotFound):
            await store.jobs.get(claim.job.id)
        with pytest.raises(Conflict):
            await store.jobs.save(*claim.job.apply_move(Move.PAUSE, NOW, actor="ada"))
        assert await find_ids(store) == await find_ids(store, tags=frozenset({"t"})) == []
        assert await store.jobs.counts() == {}
        assert await waiting(store, no) == await store.frontier.roots(no) == []
        assert await fingerprints(store, no) == []
        assert await store.pages.pages(claim.job.id, PageQuery(), 10) == []
        assert await store.pages.bodies([page.id], list(Body)) == {}
        assert await store.pages.errors(claim.job.id) == []
        assert await store.pages.list_skipped(claim.job.id, 0, 10) == []
        assert await store.leases.holders() == {}
        after, event = claim.job.apply_move(Move.COMPLETE, NOW, actor="worker:w1")
        with pytest.raises(Conflict):
            await store.leases.settle(answer.lease, after, event)

    async def test_its_holder_is_shut_out(self, store: Store) -> None:
        claim = await claimed(store)

        await deleted(store, claim.job)

        assert await store.leases.orders([claim.lease]) == ["lost"]
        assert (await recorded(store, claim.lease, a_batch([a_target()]))).order == "lost"
        await store.leases.free(claim.lease)
        assert await store.leases.take_back(NOW + timedelta(days=1), [], requeued) == []

    async def test_its_events_stay(self, store: Store) -> None:
        job = await added(store)

        await deleted(store, job)
        while await store.upkeep.purge():
            pass

        assert await names(store, job.id) == ["created", "deleted"]

    async def test_its_id_is_not_given_again_before_it_is_purged(self, store: Store) -> None:
        job = await added(store)
        await deleted(store, job)

        with pytest.raises(Conflict):
            await store.jobs.add(job, its_event(job))


class TestPurgeJobs:
    async def test_nothing_is_purged_that_is_not_deleted(self, store: Store) -> None:
        await added(store)

        assert not await store.upkeep.purge()
        assert len(await find_ids(store)) == 1

    @pytest.mark.parametrize("step", [1, 3, 7, 1000])
    async def test_space_is_freed_in_steps_until_nothing_is_left(
        self, store: Store, step: int
    ) -> None:
        remaining, to_delete = await claimed(store), await claimed(store)
        targets = [a_target(str(n)) for n in range(10)]
        bodies = {Body.TEXT: b"text", Body.HTML: b"<p>text"}
        batch = a_batch(targets, [done(t, bodies) for t in targets[:4]])
        for claim in (remaining, to_delete):
            await recorded(store, claim.lease, batch)
        await deleted(store, to_delete.job)

        counts = []
        while count := (await store.upkeep.purge(step)).rows:
            counts.append(count)

        assert all(count <= step for count in counts)
        assert sum(counts) >= 1 + len(targets) + 4 + 8  # the job, targets, pages, bodies
        assert len(await store.pages.pages(remaining.job.id, PageQuery(), 100)) == 4
        assert len(await fingerprints(store, remaining.lease.job_no)) == 10

    async def test_a_new_job_never_gets_the_key_of_a_purged_one(self, store: Store) -> None:
        old = await claimed(store)
        await deleted(store, old.job)
        while await store.upkeep.purge():
            pass

        new = await claimed(store)

        assert new.lease.job_no != old.lease.job_no
        assert (await recorded(store, old.lease, a_batch([a_target()]))).order == "lost"


class TestConditions:
    """A store finds the jobs that `core.jobs.filter.fits` accepts, for any filter."""

    @pytest.fixture
    async def jobs(self, store: Store) -> list[Job]:
        day = timedelta(days=1)
        return [
            await added(store, in_state(State.PAUSED, owner="ada", priority=Priority.HIGH)),
            await added(
                store,
                in_state(
                    State.FAILED,
                    owner="bob",
                    spec=a_spec(
                        name='50% "off"',
                        tags=("a", "b c"),
                        urls=("http://shop.example:8080/A", "https://b.example"),
                    ),
                    created_at=NOW + day,
                ),
            ),
            await added(store, origin=Origin(template_id="t1", template_version=1)),
            await added(
                store, origin=Origin(template_id="t1", schedule_id="s1"), created_at=NOW - day
            ),
            await added(store, origin=Origin(template_id="t1"), retry_of=a_job().id),
        ]

    @pytest.mark.parametrize(
        "text",
        [
            "state:paused,failed",
            "priority:high",
            "priority_gte:high",
            "priority_gte:low,urgent",
            "tag:a",
            'tag:"b c",z',
            "host:shop.example",
            "host:SHOP.example:8080",
            "host:example",
            "host:hop.example",
            "host:b.example,example.com",
            "host:%",
            "template:t1",
            "schedule:s1",
            "owner:bob,ada",
            "origin:direct",
            "origin:template,retry",
            "origin:schedule",
            f"created_after:{NOW.isoformat()}",
            f"created_before:{NOW.isoformat()}",
            "50%",
            r'"\"OFF"',
            "/a",
            "state:failed owner:bob tag:a -host:a.example",
        ],
    )
    async def test_a_term_and_its_opposite(self, store: Store, jobs: list[Job], text: str) -> None:
        terms = parse(text)
        turned = tuple(replace(term, negated=not term.negated) for term in terms)

        for where in (terms, turned):
            fitting = [job.id for job in jobs if all(fits(term, job) for term in where)]
            assert await find_ids(store, where=where) == fitting[::-1]
            counts = await store.jobs.counts(JobQuery(where=where))
            assert sum(counts.values()) == len(fitting)

    async def test_no_word_fits_nothing(self, store: Store, jobs: list[Job]) -> None:
        for key in FilterKey:
            none = Condition(key=key, words=())
            assert await find_ids(store, where=(none,)) == []
            assert len(await find_ids(store, where=(replace(none, negated=True),))) == len(jobs)

    async def test_no_text_breaks_a_store(self, store: Store) -> None:
        odd = "a\x00\ud800%_\\"
        job = await added(
            store, owner=odd, spec=a_spec(name=odd, tags=(odd,), urls=(f"http://{odd}",))
        )
        keys = (FilterKey.OWNER, FilterKey.TEXT, FilterKey.TAG, FilterKey.HOST)

        for key in keys:
            term = condition(key, [odd.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")])
            assert len(await find_ids(store, where=(term,))) == 1, key
            await find_ids(store, where=(condition(key, [odd]),))
        assert await find_ids(store) == [job.id]

    async def test_an_edit_changes_the_hosts_and_the_text(self, store: Store) -> None:
        job = await added(store)

        spec = a_spec(urls=("https://new.example/",))
        await store.jobs.save(*job.edit(spec, NOW, actor="ada", changed={}))

        assert await find_ids(store, where=parse("host:new.example")) == [job.id]
        assert await find_ids(store, where=parse("host:example.com")) == []
        assert await find_ids(store, where=parse("new.example/")) == [job.id]
        assert await find_ids(store, where=parse("example.com")) == []


async def test_jobs_can_be_listed_oldest_first(store: Store) -> None:
    ids = [(await added(store)).id for _ in range(5)]

    first = await find_ids(store, limit=3, oldest_first=True)
    rest = await find_ids(store, limit=3, oldest_first=True, after=first[-1])

    assert first + rest == ids
