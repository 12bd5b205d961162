"""`HostStore`: bookings of one host never overlap, across all processes."""

import asyncio
from datetime import datetime, timedelta
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crawlyard.core.hosts.hosts import HostBooking
from crawlyard.core.jobs.checkpoint import Booking
from crawlyard.ids import new_id
from crawlyard.store.store import Store
from tests.builders import NOW
from tests.conformance.conftest import Backend

SECOND = timedelta(seconds=1)


async def booked(
    store: Store, host: str, every_s: float = 1, count: int = 1, now: datetime = NOW
) -> datetime:
    booking = Booking(host=host, every_s=every_s, for_s=(count - 1) * every_s)
    [start] = await store.hosts.book([booking], now)
    return start


async def test_the_first_request_leaves_at_once_and_the_next_after_the_pace(store: Store) -> None:
    assert await booked(store, "a", 1.5) == NOW
    assert await booked(store, "a", 2) == NOW + 1.5 * SECOND
    assert await booked(store, "a", 1) == NOW + 3.5 * SECOND


async def test_a_booking_of_many_keeps_the_host_as_long_as_they_take(store: Store) -> None:
    assert await booked(store, "a", 0.5, count=10) == NOW

    assert await booked(store, "a", 0.5) == NOW + 5 * SECOND


async def test_what_the_last_to_book_did_not_use_is_free_again(store: Store) -> None:
    until = await booked(store, "a", 10, count=3) + 30 * SECOND
    later = NOW + 0.5 * SECOND
    again = Booking(host="a", every_s=10, last=until, free_at=later)

    [start] = await store.hosts.book([again], NOW + 0.25 * SECOND)

    assert start == later
    assert await booked(store, "a") == later + 10 * SECOND


async def test_what_a_process_that_leaves_did_not_use_is_free_again(store: Store) -> None:
    last = await booked(store, "a", 10) + 10 * SECOND
    await booked(store, "b", 10)
    await booked(store, "b", 10)
    free_at = NOW + 2 * SECOND

    unused = [Booking(host=host, every_s=10, last=last, free_at=free_at) for host in ("b", "a")]
    await store.hosts.release_slots("w1", unused=unused)

    assert await booked(store, "a") == free_at
    assert await booked(store, "b") == NOW + 20 * SECOND  # another has booked it since


async def test_what_was_booked_is_not_free_again_once_another_has_booked(store: Store) -> None:
    until = await booked(store, "a", 10) + 10 * SECOND
    assert await booked(store, "a", 10) == until

    [start] = await store.hosts.book([Booking(host="a", every_s=10, last=until, free_at=NOW)], NOW)

    assert start == until + 10 * SECOND


async def test_hosts_do_not_wait_for_each_other(store: Store) -> None:
    await booked(store, "a", 100)

    assert await booked(store, "b") == NOW
    assert await booked(store, "a:8080") == NOW


async def test_time_that_was_not_used_is_not_saved_up(store: Store) -> None:
    await booked(store, "a")
    later = NOW + 100 * SECOND

    assert await booked(store, "a", now=later) == later
    assert await booked(store, "a", now=later) == later + SECOND


async def test_bookings_are_returned_in_request_order_also_for_one_host(store: Store) -> None:
    wishes = [
        Booking(host=host, every_s=every_s, for_s=(count - 1) * every_s)
        for host, every_s, count in (("b", 1, 2), ("a", 3, 1), ("b", 1, 1), ("a", 1, 1))
    ]

    starts = await store.hosts.book(wishes, NOW)

    assert starts == [NOW, NOW, NOW + 2 * SECOND, NOW + 3 * SECOND]
    assert await store.hosts.book([], NOW) == []


async def test_no_booking_begins_before_the_hold_ends(store: Store) -> None:
    await booked(store, "booked", 1)
    for host in ("booked", "new"):
        await store.hosts.hold(host, NOW + 10 * SECOND)

    for host in ("booked", "new"):
        assert await booked(store, host) == NOW + 10 * SECOND
        assert await booked(store, host) == NOW + 11 * SECOND


async def test_an_earlier_hold_changes_nothing_and_a_later_one_lengthens(store: Store) -> None:
    await store.hosts.hold("a", NOW + 10 * SECOND)
    await store.hosts.hold("a", NOW + 5 * SECOND)
    first = await booked(store, "a")
    await store.hosts.hold("a", NOW + 60 * SECOND)

    assert first == NOW + 10 * SECOND
    assert await booked(store, "a") == NOW + 60 * SECOND


async def test_what_is_booked_beyond_the_hold_stays_booked(store: Store) -> None:
    await booked(store, "a", 1, count=100)
    await store.hosts.hold("a", NOW + 10 * SECOND)

    assert await booked(store, "a") == NOW + 100 * SECOND


async def test_processes_that_book_at_once_never_overlap(store: Store, backend: Backend) -> None:
    other_stores = [await backend.open() for _ in range(3)]
    wishes = [Booking(host=host, every_s=1, for_s=1) for host in ("a", "b")]

    starts = await asyncio.gather(
        *(
            s.hosts.book(wishes[::step], NOW)
            for s in (store, *other_stores)
            for step in (1, -1, 1, -1)
        )
    )
    for other in other_stores:
        await other.close()

    expected = [NOW + n * 2 * SECOND for n in range(16)]
    pairs = [pair[::step] for pair, step in zip(starts, (1, -1) * 8, strict=True)]
    assert sorted(a for a, _ in pairs) == sorted(b for _, b in pairs) == expected


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.integers(1, 3), st.integers(0, 5)),
        max_size=8,
    )
)
async def test_requests_to_a_host_are_never_closer_than_its_pace(
    store: Store, steps: list[tuple[str, int, int, int]]
) -> None:
    now, run = NOW, new_id()
    requests: dict[str, list[tuple[datetime, timedelta]]] = {"a": [], "b": []}
    for host, every_s, count, passes_s in steps:
        start = await booked(store, f"{host}-{run}", every_s, count, now)
        assert start >= now
        requests[host] += [(start + n * every_s * SECOND, every_s * SECOND) for n in range(count)]
        now += passes_s * SECOND

    for sent in requests.values():
        for (before, every), (after, _) in pairwise(sent):
            assert after - before >= every


async def test_what_is_booked_and_held_can_be_looked_at(store: Store) -> None:
    await store.hosts.book([Booking(host="a.example", every_s=2.0, for_s=4.0)], NOW)
    await store.hosts.hold("b.example", NOW + timedelta(minutes=5))

    bookings = await store.hosts.read_bookings(["a.example", "b.example", "c.example"])

    assert bookings == {
        "a.example": HostBooking(booked_until=NOW + timedelta(seconds=6)),
        "b.example": HostBooking(held_until=NOW + timedelta(minutes=5)),
    }
    assert await store.hosts.read_bookings([]) == {}


async def test_hosts_without_recent_requests_are_deleted(store: Store) -> None:
    await booked(store, "booked", now=NOW - 2 * SECOND)
    await store.hosts.hold("held", NOW - SECOND)
    await booked(store, "still booked", 10, now=NOW - 2 * SECOND)
    await booked(store, "still held", now=NOW - 2 * SECOND)
    await store.hosts.hold("still held", NOW + SECOND)

    few = await store.hosts.sweep(NOW, 1)
    rest = await store.hosts.sweep(NOW)

    assert (few, rest, await store.hosts.sweep(NOW)) == (1, 1, 0)
    remaining = await store.hosts.read_bookings(["booked", "held", "still booked", "still held"])
    assert sorted(remaining) == ["still booked", "still held"]


async def test_a_host_that_is_swept_while_it_is_booked_is_booked_none_the_less(
    store: Store, backend: Backend
) -> None:
    other, later = await backend.open(), NOW + timedelta(days=1)
    names = [f"h{n}" for n in range(30)]
    every = [Booking(host=name, every_s=1) for name in names]

    for _ in range(10):
        await store.hosts.book(every, NOW)
        starts, again, _, _ = await asyncio.gather(
            store.hosts.book(every, later),
            other.hosts.book(every, later),
            other.hosts.sweep(later),
            store.hosts.sweep(later),
        )
        assert sorted(starts + again) == [later] * 30 + [later + SECOND] * 30
        await store.hosts.sweep(later + timedelta(days=1))
    if backend.sql:
        await other.close()


async def test_a_hold_is_not_lost_to_a_sweep(store: Store, backend: Backend) -> None:
    other, later = await backend.open(), NOW + timedelta(days=1)

    for _ in range(20):
        await booked(store, "a", now=NOW)
        await asyncio.gather(
            store.hosts.hold("a", later + SECOND),
            other.hosts.sweep(later),
            store.hosts.sweep(later),
        )
        assert (await store.hosts.read_bookings(["a"]))["a"].held_until == later + SECOND
        await store.hosts.sweep(later + timedelta(days=1))
    if backend.sql:
        await other.close()
