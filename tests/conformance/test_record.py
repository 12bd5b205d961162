"""`FrontierStore.record`: what a batch says is what is stored."""

from datetime import timedelta

from msgspec.structs import replace

from crawlyard.core.crawl.lastmod import LastmodRecord
from crawlyard.core.crawl.page import Body, Outcome, Skipped, Target, TargetState, Via
from crawlyard.core.jobs.checkpoint import Batch, Order
from crawlyard.ids import new_id
from crawlyard.store.queries import EventQuery, PageQuery
from crawlyard.store.store import Store
from tests.builders import NOW, a_batch, a_target, done, noted
from tests.conformance.steps import (
    claimed,
    fingerprints,
    recorded,
    shard_of,
    stored,
    waiting,
    whole,
)

LATER = NOW + timedelta(seconds=3)


class TestWhatIsWritten:
    async def test_found_targets_wait_as_they_are(self, store: Store) -> None:
        claim = await claimed(store)
        seed = a_target("seed")
        child = Target(
            url="https://sub.example.com:8080/ü",
            fp=-(2**63),
            host="sub.example.com:8080",
            depth=1,
            via=Via.LINK,
            parent=seed.fp,
            hops=2,
            origin="https://example.com/before",
            tries=1,
            due_at=LATER,
        )

        answer = await recorded(store, claim.lease, a_batch([seed, child]))

        assert answer.order is Order.GO_ON
        no = claim.lease.job_no
        assert await store.frontier.load(whole(no), 10, depth_first=False) == [seed, child]
        assert await fingerprints(store, no) == sorted([seed.fp, child.fp])

    async def test_a_target_that_is_known_is_left_as_it_is(self, store: Store) -> None:
        claim = await claimed(store)
        known_target = a_target("known", depth=1)
        answer = await recorded(store, claim.lease, a_batch([known_target]))

        again = replace(known_target, depth=0, tries=5)
        await recorded(store, answer.lease, a_batch([again, a_target("new", depth=1)]))

        [first, _] = await store.frontier.load(claim.lease, 10, depth_first=False)
        assert first == known_target

    async def test_how_dates_proved_is_replaced_by_host(self, store: Store) -> None:
        claim, other = await claimed(store), await claimed(store)
        lastmods = {"a.example": LastmodRecord(told=1), "b.example": LastmodRecord(missed=2)}
        answer = await recorded(store, claim.lease, Batch(lastmods=lastmods))
        await recorded(store, other.lease, Batch(lastmods={"a.example": LastmodRecord(told=9)}))

        now = {"a.example": LastmodRecord(told=1, missed=1)}
        await recorded(store, answer.lease, Batch(lastmods=now))
        # its answer was lost, or it comes from an attempt that is over
        await recorded(store, claim.lease, Batch(lastmods=lastmods))

        assert await store.pages.lastmods(claim.job.id) == lastmods | now
        mine = [claim.job.id, other.job.id]
        counts = [(await store.pages.lastmods(job_id))["a.example"].told for job_id in mine]
        assert counts == [1, 9]
        assert await store.pages.lastmods(new_id()) == {}

    async def test_cookies_are_replaced_by_key_until_they_end(self, store: Store) -> None:
        claim, other = await claimed(store), await claimed(store)
        answer = await recorded(store, claim.lease, Batch(cookies={"a": b"1", "b": b"2"}))
        await recorded(store, other.lease, Batch(cookies={"a": b"9"}))

        changed = Batch(cookies={"a": b"3", "b": b"", "c": b"4", "never": b""})
        await recorded(store, answer.lease, changed)
        # its answer was lost, or it comes from an attempt that is over
        await recorded(store, claim.lease, Batch(cookies={"a": b"1"}))

        assert sorted(await store.cookies.of_job(claim.job.id)) == [b"3", b"4"]
        assert await store.cookies.of_job(other.job.id) == [b"9"]
        assert await store.cookies.of_job(new_id()) == []

    async def test_the_key_of_the_instance_is_kept_once(self, store: Store) -> None:
        assert await store.keys.get_or_create("first") == "first"
        assert await store.keys.get_or_create("second") == "first"

    async def test_two_jobs_may_know_the_same_target(self, store: Store) -> None:
        first, two = await claimed(store), await claimed(store)

        for claim in (first, two):
            await recorded(store, claim.lease, a_batch([a_target()], [done(a_target())]))

        assert await stored(store, first.job.id) == await stored(store, two.job.id)

    async def test_what_is_done_no_longer_waits_and_has_its_page(self, store: Store) -> None:
        claim = await claimed(store)
        target = a_target("a")
        answer = await recorded(store, claim.lease, a_batch([target]))

        outcome = done(target)
        await recorded(store, answer.lease, a_batch([], [outcome]))

        assert await waiting(store, claim.lease.job_no) == []
        [page] = await store.pages.pages(claim.job.id, PageQuery(), 10)
        assert page.page == outcome.page

    async def test_a_target_may_be_found_and_closed_in_one_batch(self, store: Store) -> None:
        claim = await claimed(store)
        first, second, third = a_target("1"), a_target("2"), a_target("3")
        moved_on = Outcome(second, TargetState.REDIRECTED, rule="302")

        await recorded(store, claim.lease, a_batch([first, second, third], [done(first), moved_on]))

        assert await waiting(store, claim.lease.job_no) == [third.url]
        assert await stored(store, claim.job.id) == [first.url]

    async def test_a_failed_try_waits_for_its_next(self, store: Store) -> None:
        claim = await claimed(store)
        old, new = a_target("old"), a_target("new")
        answer = await recorded(store, claim.lease, a_batch([old]))

        tried = [replace(t, tries=2, due_at=LATER) for t in (old, new)]
        again = [Outcome(t, TargetState.WAITING) for t in tried]
        await recorded(store, answer.lease, a_batch([new], again))

        assert await store.frontier.load(claim.lease, 10, depth_first=False) == tried

    async def test_a_failed_try_and_the_good_one_may_be_in_one_batch(self, store: Store) -> None:
        claim = await claimed(store)
        target = a_target()
        tried = Outcome(replace(target, tries=1), TargetState.WAITING)

        await recorded(store, claim.lease, a_batch([target], [tried, done(target)]))

        assert await waiting(store, claim.lease.job_no) == []
        assert await stored(store, claim.job.id) == [target.url]

    async def test_what_a_rule_keeps_out_is_listed_and_known(self, store: Store) -> None:
        claim = await claimed(store)
        before, after = a_target("before", depth=1), a_target("after", depth=2)
        batch = a_batch(
            [after],
            [Outcome(after, TargetState.SKIPPED, rule="duplicate")],
            [Skipped(before, "robots")],
        )

        await recorded(store, claim.lease, batch)

        assert await waiting(store, claim.lease.job_no) == []
        assert await fingerprints(store, claim.lease.job_no) == sorted([before.fp, after.fp])
        listed = [s for _, s in await store.pages.list_skipped(claim.job.id, 0, 10)]
        assert {(s.url, s.depth, s.rule) for s in listed} == {
            (before.url, 1, "robots"),
            (after.url, 2, "duplicate"),
        }

    async def test_what_is_closed_stays_closed(self, store: Store) -> None:
        claim = await claimed(store)
        target = a_target()
        answer = await recorded(store, claim.lease, a_batch([target], [done(target, title="1")]))

        tried = a_batch([], [Outcome(replace(target, tries=1), TargetState.WAITING)])
        answer = await recorded(store, answer.lease, tried)
        still = await waiting(store, claim.lease.job_no)
        await recorded(store, answer.lease, a_batch([target], [done(target, title="2")]))

        assert still == await waiting(store, claim.lease.job_no) == []
        [page] = await store.pages.pages(claim.job.id, PageQuery(), 10)
        assert page.page.title == "1"

    async def test_a_target_that_is_found_again_is_closed_all_the_same(self, store: Store) -> None:
        claim = await claimed(store)
        target, new = a_target("known"), a_target("new")
        answer = await recorded(store, claim.lease, a_batch([target]))

        await recorded(store, answer.lease, a_batch([target, new], [done(target)]))

        assert await waiting(store, claim.lease.job_no) == [new.url]

    async def test_an_outcome_of_an_unrecorded_target_is_stored(self, store: Store) -> None:
        claim = await claimed(store)
        known_target, unknown = a_target("known"), a_target("unknown")
        answer = await recorded(store, claim.lease, a_batch([known_target]))

        await recorded(store, answer.lease, a_batch([], [done(known_target), done(unknown)]))

        assert await waiting(store, claim.lease.job_no) == []
        assert await fingerprints(store, claim.lease.job_no) == sorted(
            [known_target.fp, unknown.fp]
        )
        assert await stored(store, claim.job.id) == [known_target.url, unknown.url]

    async def test_bodies_come_back_byte_for_byte(self, store: Store) -> None:
        claim = await claimed(store)
        target = a_target()
        bodies = {Body.TEXT: b"", Body.HTML: bytes(range(256)) * 400}

        await recorded(store, claim.lease, a_batch([target], [done(target, bodies)]))

        [page] = await store.pages.pages(claim.job.id, PageQuery(), 10)
        bodies_read = await store.pages.bodies([page.id], list(Body))
        assert bodies_read == {(page.id, kind): data for kind, data in bodies.items()}

    async def test_what_databases_refuse_in_text_is_replaced(self, store: Store) -> None:
        claim = await claimed(store)
        target = a_target("nul\x00and\ud800", host="h\x00st", origin="\udfff")
        page = done(
            target, title="\x00", description='"quo\\te"\n', extracted={"a\x00": ("\ud800", "ok")}
        )
        skipped = [Skipped(a_target("skip\x00"), "re:\x00")]
        note = noted(claim.job, data={"n\x00": ["\ud800"]})

        await recorded(
            store,
            claim.lease,
            a_batch(
                [target],
                [page],
                skipped,
                current_url="\x00",
                events=(note,),
            ),
        )

        [stored_page] = await store.pages.pages(claim.job.id, PageQuery(), 10)
        assert stored_page.page.url == "https://h\ufffdst/nul\ufffdand\ufffd"
        assert stored_page.page.title == "\ufffd"
        assert stored_page.page.description == '"quo\\te"\n'
        assert stored_page.page.extracted == {"a\ufffd": ("\ufffd", "ok")}
        [(_, listed)] = await store.pages.list_skipped(claim.job.id, 0, 10)
        assert listed.rule == "re:\ufffd"
        assert (await shard_of(store, claim.job.id)).current_url == "\ufffd"
        [*_, event] = await store.events.events(EventQuery(subject=claim.job.id))
        assert event.data["n\ufffd"] == ["\ufffd"]

    async def test_its_events_are_written_with_it(self, store: Store) -> None:
        claim = await claimed(store)
        events = (noted(claim.job, LATER, {"host": "a"}), noted(claim.job, LATER, {"n": 1.5}))

        await recorded(store, claim.lease, Batch(events=events), LATER)

        stored_events = (await store.events.events(EventQuery(subject=claim.job.id)))[2:]
        assert [replace(e, seq=0) for e in stored_events] == [
            replace(e, address=None) for e in events
        ]
