"""A delivering process is killed again and again: every event arrives under one id."""

import asyncio
import random
import signal
import sys
from collections import defaultdict
from datetime import timedelta
from pathlib import Path

import pytest

from crawlyard.clock import SystemClock
from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.job import Origin
from crawlyard.core.webhooks.delivery_limits import Traffic
from crawlyard.core.webhooks.webhook import JobWebhook
from crawlyard.engine.http.webhook_post import Poster
from crawlyard.ids import new_id
from crawlyard.services.webhooks.delivery import Deliverer, DeliveryOptions
from crawlyard.store.open import open_sql_store
from crawlyard.store.queries import EventQuery
from crawlyard.store.store import Store
from tests.builders import a_job, a_spec, its_event
from tests.builders_webhooks import SECRET, stored_webhook
from tests.receiver import Manner, Receiver, answer

AT_ONCE = 10
LEASE = timedelta(milliseconds=500)

DELIVER = """
import asyncio, sys
from datetime import timedelta
from crawlyard.clock import SystemClock
from crawlyard.engine.http.webhook_post import Poster
from crawlyard.services.webhooks.delivery import Deliverer, DeliveryOptions
from crawlyard.store.open import open_sql_store

async def deliver(where, lease_s):
    store = await open_sql_store(where)
    options = DeliveryOptions(lease=timedelta(seconds=float(lease_s)))
    await Deliverer(store, Poster("Crawlyard/test"), SystemClock(), options).run()

asyncio.run(deliver(*sys.argv[1:]))
"""


END = """
import asyncio, os, signal, sys
from crawlyard.clock import SystemClock
from crawlyard.core.jobs.lifecycle import Move
from crawlyard.store.open import open_sql_store

async def end(where, *jobs):
    store, now = await open_sql_store(where), SystemClock().now()
    for job in jobs:
        await store.jobs.change_all(
            [job], lambda each: each.job.apply_move(Move.CANCEL, now, actor="local")
        )
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(end(*sys.argv[1:]))
"""


async def deliverer(where: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", DELIVER, where, str(LEASE.total_seconds())),
        cwd=Path(__file__).parents[2],
    )


def kill_sender(
    receiver: Receiver, process: asyncio.subprocess.Process, killed: asyncio.Event, moment: str
) -> Manner:
    """Kill the sender before its message arrives, before the answer, or just after it."""

    async def manner(writer: asyncio.StreamWriter) -> None:
        if moment == "before":
            receiver.messages.pop()  # as if it had been lost on its way
        if moment == "after":
            await answer(204)(writer)
        if process.returncode is None:
            process.kill()
        killed.set()

    return manner


async def add_jobs(store: Store, count: int) -> None:
    """Add jobs, each with its event."""
    now = SystemClock().now()
    for _ in range(count):
        job = a_job()
        await store.jobs.add(job, job.event(EventName.CREATED, now, "local"))


@pytest.fixture
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return str(tmp_path / "crawlyard.db")
    return str(request.getfixturevalue("postgres_url"))


@pytest.mark.parametrize(
    ("where", "rounds"),
    [
        ("sqlite", 2),
        pytest.param("sqlite", 6, marks=pytest.mark.slow),
        pytest.param("postgres", 6, marks=[pytest.mark.slow, pytest.mark.postgres]),
    ],
    indirect=["where"],
)
async def test_no_event_is_lost_whenever_the_sender_is_killed(where: str, rounds: int) -> None:
    chance = random.Random(1)
    store = await open_sql_store(where)

    async with Receiver() as receiver:
        address = receiver.authority
        await stored_webhook(store, url=receiver.url, allow_addresses=(address,), events=("job.*",))
        for _ in range(rounds):
            process, killed = await deliverer(where), asyncio.Event()
            for _ in range(chance.randrange(AT_ONCE)):
                receiver.next(answer(204))
            moment = chance.choice(("before", "between", "after"))
            receiver.next(kill_sender(receiver, process, killed, moment))
            await add_jobs(store, AT_ONCE)
            await killed.wait()
            await process.wait()

        await deliver_rest(store)

    arrived = defaultdict(set)
    for message in receiver.messages:
        arrived[message.verified(SECRET)["data"]["seq"]].add(message.id)
    happened = await store.events.events(EventQuery(names=frozenset({EventName.CREATED})))
    await store.close()
    assert len(happened) == rounds * AT_ONCE
    assert arrived.keys() == {event.seq for event in happened}
    assert all(len(ids) == 1 for ids in arrived.values())
    assert len(set().union(*arrived.values())) == len(happened)


async def deliver_rest(store: Store) -> None:
    """Deliver the rest, once the leases of killed processes have lapsed."""
    options = DeliveryOptions(lease=LEASE)
    rest = Deliverer(store, Poster("Crawlyard/test"), SystemClock(), options)
    async with asyncio.timeout(60):
        while await store.deliveries.next_at(SystemClock().now(), Traffic()) is not None:
            await rest.run(drain=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "where", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)
@pytest.mark.parametrize("moment", ["before", "between", "after"])
async def test_the_end_of_a_group_arrives_whatever_is_killed_after_its_last_move(
    where: str, moment: str
) -> None:
    store, group_id = await open_sql_store(where), new_id()
    async with Receiver() as receiver:
        hook = JobWebhook(
            url=receiver.url, events=("group.completed",), secret=SECRET, metadata={"build": 42}
        )
        specs = (a_spec(webhooks=(hook,), allow_addresses=(receiver.authority,)), a_spec())
        jobs = [a_job(spec=spec, origin=Origin(group_id=group_id)) for spec in specs]
        for job in jobs:
            await store.jobs.add(job, its_event(job))
        ending = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", END, where, *(job.id for job in jobs)),
            cwd=Path(__file__).parents[2],
        )
        assert await ending.wait() == -signal.SIGKILL

        process, killed = await deliverer(where), asyncio.Event()
        receiver.next(kill_sender(receiver, process, killed, moment))
        await killed.wait()
        await process.wait()
        await deliver_rest(store)

    ends = await store.events.events(EventQuery(names=frozenset({EventName.GROUP_COMPLETED})))
    await store.close()
    assert [event.subject for event in ends] == [group_id]
    assert len({message.id for message in receiver.messages}) == 1
    data = receiver.messages[-1].verified(SECRET)["data"]
    assert (data["subject"], data["metadata"]) == (group_id, {"build": 42})
    assert data["details"]["states"] == {"cancelled": 2}
