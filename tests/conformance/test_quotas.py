"""Quotas at the claim: whose is used up waits, and everybody else's jobs are taken instead."""

import asyncio
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from crawlyard.core.access.user import NO_QUOTA, Quota
from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.checkpoint import Asker, Batch
from crawlyard.core.jobs.lifecycle import Move, State
from crawlyard.core.jobs.limits import Usage
from crawlyard.core.jobs.spec import Priority
from crawlyard.store.queries import JobQuery
from crawlyard.store.store import Store
from tests.builders import LEASE, NOW, a_job, its_event
from tests.builders_serve import about, kept_user, quoted
from tests.conformance.conftest import Backend
from tests.conformance.purging import deleted
from tests.conformance.steps import added, claimed, ended, in_state, moved, recorded

DAY = timedelta(days=1)


async def claim_owners(store: Store, most: int = 100) -> list[str]:
    """Claim all jobs; return their owners in the order of the claims."""
    owners: list[str] = []
    while len(owners) < most and (claim := await store.leases.claim(Asker("w1"), NOW, LEASE)):
        owners.append(claim.job.owner)
    return owners


async def fetched(store: Store, owner: str, pages: int) -> None:
    """Let a job of *owner* fetch that many pages now, and end."""
    claim = await claimed(store, await added(store, owner=owner))
    answer = await recorded(store, claim.lease, Batch(usage=Usage(pages=pages)))
    await ended(store, answer.lease)


class TestRunning:
    async def test_another_owners_job_is_claimed_instead(self, store: Store) -> None:
        await quoted(store, running=1)
        await kept_user(store, id="bob")
        for owner, priority in (
            *[("ada", Priority.URGENT)] * 2,
            ("bob", Priority.LOW),
            ("local", Priority.LOW),
        ):
            await added(store, a_job(owner=owner, priority=priority))

        assert await claim_owners(store) == ["ada", "bob", "local"]

    async def test_the_next_begins_when_one_has_ended(self, store: Store) -> None:
        await quoted(store, running=1)
        first, _ = await added(store, owner="ada"), await added(store, owner="ada")
        claim = await claimed(store, first)

        owners = await claim_owners(store)
        await ended(store, claim.lease)

        assert owners == []
        assert await claim_owners(store) == ["ada"]

    @pytest.mark.parametrize("move", [Move.PAUSE, Move.CANCEL])
    async def test_what_no_longer_runs_does_not_count(self, store: Store, move: Move) -> None:
        await quoted(store, running=1)
        first, _ = await added(store, owner="ada"), await added(store, owner="ada")
        await claimed(store, first)

        await moved(store, first.id, move)

        assert await claim_owners(store) == ["ada"]

    async def test_a_deleted_job_does_not_count(self, store: Store) -> None:
        await quoted(store, running=1)
        claim = await claimed(store, await added(store, owner="ada"))
        await added(store, owner="ada")

        await deleted(store, claim.job)

        assert await claim_owners(store) == ["ada"]

    async def test_it_holds_for_one_job_by_name_too(self, store: Store) -> None:
        await quoted(store, running=1)
        first, second = await added(store, owner="ada"), await added(store, owner="ada")
        await claimed(store, first)

        assert await store.leases.claim(Asker("w1", only=second.id), NOW, LEASE) is None

    async def test_a_quota_that_is_lifted_holds_nothing_back(self, store: Store) -> None:
        user = await quoted(store, running=0)
        await added(store, owner="ada")
        free = replace(user, quota=NO_QUOTA, version=2)

        await store.users.save(free, about(free, EventName.USER_UPDATED))

        assert await claim_owners(store) == ["ada"]

    async def test_workers_of_several_processes_do_not_pass_it_together(
        self, store: Store, backend: Backend
    ) -> None:
        await quoted(store, "ada", running=3)
        await quoted(store, "bob", running=2)
        for owner in ("ada", "bob") * 10:
            await added(store, owner=owner)
        other_stores = [await backend.open() for _ in range(4)]

        claims = await asyncio.gather(
            *(
                o.leases.claim(Asker(f"w{n}"), NOW, LEASE)
                for n, o in enumerate(other_stores)
                for _ in range(5)
            )
        )
        if backend.sql:
            for other in other_stores:
                await other.close()

        owners = [claim.job.owner for claim in claims if claim]
        assert (owners.count("ada"), owners.count("bob")) == (3, 2)


class TestPagesPerDay:
    async def test_no_job_begins_once_they_are_used_up(self, store: Store) -> None:
        await quoted(store, pages_per_day=10)
        await fetched(store, "ada", 9)
        first, _ = await added(store, owner="ada"), await added(store, owner="ada")

        claim = await claimed(store, first)
        await recorded(store, claim.lease, Batch(usage=Usage(pages=1)))
        await added(store, owner="local")

        assert await claim_owners(store) == ["local"]

    async def test_they_are_there_again_on_the_next_day(self, store: Store) -> None:
        await quoted(store, pages_per_day=10)
        await fetched(store, "ada", 11)
        await added(store, owner="ada")
        midnight = NOW.replace(hour=0, minute=0, second=0, microsecond=0) + DAY

        late = await store.leases.claim(Asker("w1"), midnight - timedelta(microseconds=1), LEASE)
        next_day = await store.leases.claim(Asker("w1"), midnight, LEASE)

        assert late is None
        assert next_day is not None

    async def test_those_of_others_do_not_count(self, store: Store) -> None:
        await quoted(store, "ada", pages_per_day=10)
        await fetched(store, "local", 100)
        await added(store, owner="ada")

        assert await claim_owners(store) == ["ada"]


class TestBytesPerDay:
    async def test_no_job_begins_once_they_are_used_up(self, store: Store) -> None:
        await quoted(store, bytes_per_day=1_000)
        claim = await claimed(store, await added(store, owner="ada"))
        await added(store, owner="ada")

        before = await claim_owners(store, 1)
        await recorded(store, claim.lease, Batch(usage=Usage(bytes=1_000)))
        await added(store, owner="ada")

        assert before == ["ada"]
        assert await claim_owners(store) == []


class TestSpent:
    async def test_it_names_the_part_that_is_used_up_today(self, store: Store) -> None:
        quotas = {
            "ada": Quota(running=0, pages_per_day=10),
            "bob": Quota(pages_per_day=11, bytes_per_day=100),
            "cleo": Quota(pages_per_day=11),
            "dora": Quota(running=1),
            "emil": NO_QUOTA,
        }
        for owner, quota in quotas.items():
            user = await kept_user(store, id=owner)
            claim = await claimed(store, await added(store, owner=owner))
            await recorded(store, claim.lease, Batch(usage=Usage(pages=10, bytes=100)))
            user = replace(user, quota=quota, version=2)
            await store.users.save(user, about(user, EventName.USER_UPDATED))

        assert await store.positions.find_spent_owners(NOW) == {
            "ada": "pages_per_day",
            "bob": "bytes_per_day",
        }
        assert await store.positions.find_spent_owners(NOW + DAY) == {}

    async def test_no_owner_without_a_quota_is_over_it(self, store: Store) -> None:
        await fetched(store, "local", 100)

        assert await store.positions.find_spent_owners(NOW) == {}


QUOTAS = st.builds(
    Quota,
    running=st.none() | st.integers(0, 3),
    pending=st.none() | st.just(0),
    pages_per_day=st.none() | st.integers(0, 3),
)


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(quota=QUOTAS, running=st.integers(0, 4))
async def test_a_claim_agrees_with_the_rule(store: Store, quota: Quota, running: int) -> None:
    for standing in await store.jobs.find(JobQuery(), 100):
        job = standing.job
        await store.jobs.delete(job.id, job.version, its_event(job, EventName.DELETED))
    local = await store.users.get("local")
    changed = replace(local, quota=quota, version=local.version + 1)
    await store.users.save(changed, about(changed, EventName.USER_UPDATED))
    for _ in range(running):
        await added(store, in_state(State.RUNNING))
    await added(store)

    claim = await store.leases.claim(Asker("w1"), NOW, LEASE)

    full = quota.running is not None and running >= quota.running
    assert (claim is None) == (full or quota.pages_per_day == 0)
