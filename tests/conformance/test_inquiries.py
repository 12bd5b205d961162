"""`InquiryStore`: why jobs and URLs wait, and how much has been done."""

import asyncio
from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crawlyard.core.crawl.page import ErrorKind, TargetState, Via
from crawlyard.core.jobs.checkpoint import Batch, Lease
from crawlyard.core.jobs.lifecycle import Move, State, StateReason
from crawlyard.core.jobs.limits import Usage
from crawlyard.core.jobs.queue import claim_key, claimable
from crawlyard.core.jobs.spec import Priority
from crawlyard.core.stats import FailingHost
from crawlyard.store.queries import EVERY_JOB, JobQuery
from crawlyard.store.store import Store
from tests.builders import LEASE, NOW, a_batch, a_job, a_target, done, failed, its_event
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
            stored_jobs = [
                await added(
                    store,
                    a_job(
                        owner=f"o{turn}",
                        priority=priority,
                        queued_at=NOW + timedelta(seconds=queued),
                        due_at=NOW + timedelta(seconds=due),
                    ),
                )
                for priority, turn, queued, due in jobs
            ]
            ids = {job.id for job in stored_jobs}
            stored_jobs = [
                (await store.jobs.get(job.id)).job for job in stored_jobs
            ]  # with their turns

            front = [i for i in await store.positions.find_front(NOW, 10_000) if i in ids]
            waiting = sorted((j for j in stored_jobs if claimable(j, NOW)), key=claim_key)
            before = [await store.positions.count_ahead(job, NOW, 10_000) for job in waiting]

            assert front == [job.id for job in waiting]
            assert [n - before[0] for n in before] == sorted({n - before[0] for n in before})
            without = await store.positions.find_front(NOW, 10_000, {"o0", "o1"})
            assert [i for i in without if i in ids] == [j.id for j in waiting if j.owner == "o2"]
            if backend.sql:
                await store.close()

        asyncio.run(check())

    async def test_a_job_is_behind_those_that_go_first(self, store: Store) -> None:
        low = await added(store, a_job(priority=Priority.LOW))
        urgent = await added(store, a_job(priority=Priority.URGENT, owner="ada"))
        normal = await added(store)
        await added(store, a_job(priority=Priority.URGENT, due_at=NOW + HOUR))

        assert await store.positions.find_front(NOW, 10) == [urgent.id, normal.id, low.id]
        assert await store.positions.find_front(NOW, 1) == [urgent.id]
        assert [
            await store.positions.count_ahead(job, NOW, 10_000) for job in (urgent, normal, low)
        ] == [
            0,
            1,
            2,
        ]
        assert await store.positions.count_ahead(low, NOW, 9, {"ada"}) == 1
        assert await store.positions.count_ahead(low, NOW, 1) == 1

    async def test_a_job_that_is_still_held_is_not_in_it(self, store: Store) -> None:
        claim = await claimed(store)
        job, event = claim.job.apply_move(Move.PAUSE, NOW, actor="local")
        await store.jobs.save(job, event)
        job, event = job.apply_move(Move.RESUME, NOW, actor="local")
        await store.jobs.save(job, event)

        assert await store.positions.find_front(NOW, 10) == []
        assert await store.positions.find_front(NOW + 2 * LEASE, 10) == [job.id]

    async def test_owners_over_quota_are_listed_with_the_exceeded_limit(self, store: Store) -> None:
        await quoted(store, "ada", running=1)
        await quoted(store, "bob", pages_per_day=5)
        await quoted(store, "cyd", running=1, pages_per_day=5)
        await claimed(store, await added(store, owner="ada"))
        for pages in (2, 3):
            claim = await claimed(store, await added(store, owner="bob"))
            answer = await recorded(store, claim.lease, Batch(usage=Usage(pages=pages)))
            await ended(store, answer.lease)

        assert await store.positions.find_held_owners(NOW) == {
            "ada": "running",
            "bob": "pages_per_day",
        }


class TestFindURLs:
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
            order = await store.frontier.load(claim.lease, 10, depth_first=deep)
            urls = [await store.frontier.find(claim.job.id, t.fp) for t in order]
            places = [
                await store.inquiries.before(claim.job.id, url, depth_first=deep)
                for url in urls
                if url is not None
            ]
            assert places == [0, 1, 2, 3]

    async def test_roots_are_where_seeds_were_redirected_to(self, store: Store) -> None:
        claim = await claimed(store)
        seed = a_target()
        hop = a_target(host="www.example.com", via=Via.SEED, hops=1)
        link = a_target("x", via=Via.LINK, hops=1)
        await recorded(store, claim.lease, a_batch([seed, hop, link]))

        assert await store.inquiries.roots(claim.job.id) == [hop.url]
        url = await store.frontier.find(claim.job.id, hop.fp)
        assert url is not None
        assert url.state is TargetState.WAITING


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

        every = await store.stats.count_ended(EVERY_JOB, NOW, NOW + 3 * HOUR, HOUR)
        own = await store.stats.count_ended(JobQuery(owner="bob"), NOW, NOW + 3 * HOUR, HOUR)

        assert every == {
            (0, State.COMPLETED): 2,
            (0, State.FAILED): 1,
            (1, State.CANCELLED): 1,
            (2, State.COMPLETED): 1,
        }
        assert own == {(0, State.COMPLETED): 1}

    async def test_what_a_limit_or_a_user_stopped_with_pages_kept_is_counted_apart(
        self, store: Store
    ) -> None:
        for minutes, move, reason, fetched in (
            (5, Move.COMPLETE, StateReason.LIMIT_PAGES, 3),
            (70, Move.COMPLETE, StateReason.LIMIT_DURATION, 3),
            (80, Move.COMPLETE, StateReason.LIMIT_PAGES, 9),  # all its URLs were fetched
            (90, Move.COMPLETE, StateReason.EXHAUSTED, 3),
            (65, Move.CANCEL, StateReason.BY_USER, 3),
            (66, Move.CANCEL, StateReason.BY_USER, 0),  # it had fetched nothing
            (67, Move.CANCEL, StateReason.BY_SCHEDULE, 3),
        ):
            claim = await claimed(store, await added(store))
            await recorded(store, claim.lease, Batch(usage=Usage(discovered=9, done=fetched)))
            job = (await store.jobs.get(claim.job.id)).job
            at = NOW + timedelta(minutes=minutes)
            await store.leases.settle(
                claim.lease, *job.apply_move(move, at, actor="worker:w1", reason=reason)
            )

        every = await store.stats.count_stopped(EVERY_JOB, NOW, NOW + 3 * HOUR, HOUR)

        completed, cancelled = State.COMPLETED, State.CANCELLED
        assert every == {(0, completed): 1, (1, completed): 1, (1, cancelled): 1}
        assert (
            await store.stats.count_stopped(JobQuery(owner="bob"), NOW, NOW + 3 * HOUR, HOUR) == {}
        )


class TestFailing:
    async def failing(
        self, store: Store, owner: str, host: str, *kinds: ErrorKind, minutes: int = 0
    ) -> Lease:
        """Return the lease of a job where one URL of *host* failed for each kind, and one not."""
        claim = await claimed(store, await added(store, owner=owner))
        at = NOW + timedelta(minutes=minutes)
        good, *bad = [a_target(str(n), host=host) for n in range(len(kinds) + 1)]
        outcomes = [failed(t, k, fetched_at=at) for t, k in zip(bad, kinds, strict=True)]
        batch = a_batch([good, *bad], [done(good), *outcomes])
        return (await recorded(store, claim.lease, batch)).lease

    async def test_hosts_are_sorted_by_number_of_failures(self, store: Store) -> None:
        slow, missing = ErrorKind.TIMEOUT, ErrorKind.HTTP_4XX
        await self.failing(store, "ada", "a.example", missing, minutes=1)
        await self.failing(store, "ada", "b.example:8080", slow, missing, missing, minutes=2)
        await self.failing(store, "bob", "a.example", slow, slow, minutes=3)
        await self.failing(store, "bob", "c.example", slow, minutes=4)
        await self.failing(store, "bob", "late.example", slow, slow, minutes=60)
        await self.failing(store, "bob", "early.example", slow, slow, minutes=-1)
        await self.failing(store, "bob", "good.example")

        every = await store.stats.failing(EVERY_JOB, NOW, NOW + HOUR, 100)
        own = await store.stats.failing(JobQuery(owner="ada"), NOW, NOW + HOUR, 100)

        def host(name: str, minutes: int, **kinds: int) -> FailingHost:
            last_at = NOW + timedelta(minutes=minutes)
            return FailingHost(host=name, errors=sum(kinds.values()), kinds=kinds, last_at=last_at)

        assert every == [
            host("a.example", 3, timeout=2, http_4xx=1),
            host("b.example:8080", 2, http_4xx=2, timeout=1),
            host("c.example", 4, timeout=1),
        ]
        assert [*every[1].kinds] == [missing, slow]
        assert own == [
            host("b.example:8080", 2, http_4xx=2, timeout=1),
            host("a.example", 1, http_4xx=1),
        ]

    async def test_of_too_many_the_latest_count(self, store: Store) -> None:
        slow = ErrorKind.TIMEOUT
        await self.failing(store, "ada", "first.example", slow, slow, slow)
        await self.failing(store, "ada", "last.example", slow, slow, minutes=1)

        [host] = await store.stats.failing(EVERY_JOB, NOW, NOW + HOUR, 2)

        assert (host.host, host.errors) == ("last.example", 2)

    async def test_what_is_deleted_or_tried_again_does_not_count(self, store: Store) -> None:
        slow = ErrorKind.TIMEOUT
        deleted = await ended(store, await self.failing(store, "ada", "a.example", slow))
        retried = await ended(store, await self.failing(store, "ada", "b.example", slow))

        await store.jobs.delete(deleted.id, deleted.version, its_event(deleted))
        again, event = retried.apply_move(Move.RETRY_FAILED, NOW, actor="local")
        await store.jobs.retry_failed(again, event, ())

        assert await store.stats.failing(EVERY_JOB, NOW, NOW + HOUR, 100) == []
