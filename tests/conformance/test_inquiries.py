"""`InquiryStore`: why jobs and URLs wait, and how much has been done."""

import asyncio
from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crawlyard.core.checkpoint import Batch
from crawlyard.core.lifecycle import Move, State
from crawlyard.core.limits import Usage
from crawlyard.core.page import TargetState, Via
from crawlyard.core.priority import Priority
from crawlyard.core.queue import claim_key, claimable
from crawlyard.store.base import Store
from tests.builders import LEASE, NOW, a_batch, a_job, a_target, done, failed
from tests.builders_serve import quoted
from tests.conformance.conftest import Backend
from tests.conformance.steps import added, claimed, ended, in_state, recorded

HOUR = timedelta(hours=1)


class TestTheQueue:
    @settings(
        max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(
        jobs=st.lists(
            st.tuples(
                st.sampled_from(Priority), st.integers(0, 2), st.integers(0, 2), st.integers(-1, 1)
            ),
            max_size=8,
        )
    )
    def test_its_order_is_that_of_the_claims(
        self, backend: Backend, jobs: list[tuple[Priority, int, int, int]]
    ) -> None:
        async def check() -> None:
            store = await backend.open()
            made = [
                await added(
                    store,
                    a_job(
                        owner=f"o{turn}",
                        priority=priority,
                        turn=turn,
                        queued_at=NOW + timedelta(seconds=queued),
                        due_at=NOW + timedelta(seconds=due),
                    ),
                )
                for priority, turn, queued, due in jobs
            ]
            ids = {job.id for job in made}

            front = [i for i in await store.inquiries.front(NOW, 10_000) if i in ids]
            waiting = sorted((j for j in made if claimable(j, NOW)), key=claim_key)
            before = [await store.inquiries.ahead(job, NOW, 10_000) for job in waiting]

            assert front == [job.id for job in waiting]
            assert [n - before[0] for n in before] == sorted({n - before[0] for n in before})
            without = await store.inquiries.front(NOW, 10_000, {"o0", "o1"})
            assert [i for i in without if i in ids] == [j.id for j in waiting if j.owner == "o2"]
            if backend.sql:
                await store.close()

        asyncio.run(check())

    async def test_a_job_is_behind_those_that_go_first(self, store: Store) -> None:
        low = await added(store, a_job(priority=Priority.LOW))
        urgent = await added(store, a_job(priority=Priority.URGENT, owner="ada"))
        normal = await added(store)
        await added(store, a_job(priority=Priority.URGENT, due_at=NOW + HOUR))

        assert await store.inquiries.front(NOW, 10) == [urgent.id, normal.id, low.id]
        assert await store.inquiries.front(NOW, 1) == [urgent.id]
        assert [await store.inquiries.ahead(job, NOW, 10_000) for job in (urgent, normal, low)] == [
            0,
            1,
            2,
        ]
        assert await store.inquiries.ahead(low, NOW, 9, {"ada"}) == 1
        assert await store.inquiries.ahead(low, NOW, 1) == 1

    async def test_a_job_that_is_still_held_is_not_in_it(self, store: Store) -> None:
        claim = await claimed(store)
        job, event = claim.job.moved(Move.PAUSE, NOW, actor="local")
        await store.jobs.save(job, event)
        job, event = job.moved(Move.RESUME, NOW, actor="local")
        await store.jobs.save(job, event)

        assert await store.inquiries.front(NOW, 10) == []
        assert await store.inquiries.front(NOW + 2 * LEASE, 10) == [job.id]

    async def test_whose_quota_is_used_up_is_told_with_its_part(self, store: Store) -> None:
        await quoted(store, "ada", running=1)
        await quoted(store, "bob", pages_per_day=5)
        await quoted(store, "cyd", running=1, pages_per_day=5)
        await claimed(store, await added(store, owner="ada"))
        for pages in (2, 3):
            claim = await claimed(store, await added(store, owner="bob"))
            answer = await recorded(store, claim.lease, Batch(usage=Usage(pages=pages)))
            await ended(store, answer.lease)

        assert await store.inquiries.held_back(NOW) == {"ada": "running", "bob": "pages_per_day"}


class TestURLs:
    async def test_a_page_is_found_by_its_target(self, store: Store) -> None:
        claim = await claimed(store)
        first, second = a_target("1"), a_target("2", parent=a_target("1").fp, depth=1)
        await recorded(
            store, claim.lease, a_batch([first, second], [done(first), failed(second, status=404)])
        )
        other = await claimed(store)

        page = await store.inquiries.page_of(claim.job.id, second.fp)

        assert page is not None
        assert (page.page.url, page.page.status) == (second.url, 404)
        assert page.page.parent == first.url
        assert await store.inquiries.page_of(claim.job.id, a_target("3").fp) is None
        assert await store.inquiries.page_of(other.job.id, first.fp) is None
        assert await store.inquiries.page_of("0" * 32, first.fp) is None

    async def test_what_waits_before_a_url_is_counted_in_the_order_of_the_frontier(
        self, store: Store
    ) -> None:
        claim = await claimed(store)
        targets = [a_target(str(n), depth=depth) for n, depth in enumerate((0, 2, 1, 1, 2))]
        await recorded(store, claim.lease, a_batch(targets, [done(targets[0])]))

        for deep in (False, True):
            order = await store.frontier.load(claim.lease.job_no, 10, depth_first=deep)
            known = [await store.journal.known(claim.job.id, t.fp) for t in order]
            places = [
                await store.inquiries.before(claim.job.id, one, depth_first=deep)
                for one in known
                if one is not None
            ]
            assert places == [0, 1, 2, 3]

    async def test_roots_are_where_seeds_were_redirected_to(self, store: Store) -> None:
        claim = await claimed(store)
        seed = a_target()
        hop = a_target(host="www.example.com", via=Via.SEED, hops=1)
        link = a_target("x", via=Via.LINK, hops=1)
        await recorded(store, claim.lease, a_batch([seed, hop, link]))

        assert await store.inquiries.roots(claim.job.id) == [hop.url]
        known = await store.journal.known(claim.job.id, hop.fp)
        assert known is not None
        assert known.state is TargetState.WAITING


class TestEnded:
    async def test_jobs_are_counted_by_when_and_how_they_ended(self, store: Store) -> None:
        for minutes, state, owner in (
            (-1, State.COMPLETED, "ada"),
            (0, State.COMPLETED, "ada"),
            (59, State.COMPLETED, "bob"),
            (59, State.FAILED, "ada"),
            (60, State.CANCELLED, "ada"),
            (179, State.COMPLETED, "ada"),
            (180, State.COMPLETED, "ada"),
        ):
            at = NOW + timedelta(minutes=minutes)
            await added(store, in_state(state, owner=owner, ended_at=at))
        await added(store)

        every = await store.inquiries.ended(None, NOW, NOW + 3 * HOUR, HOUR)
        own = await store.inquiries.ended("bob", NOW, NOW + 3 * HOUR, HOUR)

        assert every == {
            (0, State.COMPLETED): 2,
            (0, State.FAILED): 1,
            (1, State.CANCELLED): 1,
            (2, State.COMPLETED): 1,
        }
        assert own == {(0, State.COMPLETED): 1}
