"""`HostStore.renew_slots`: a host never has more requests in flight than slots."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crawlyard.core.events.event import Event, EventName
from crawlyard.core.hosts.hosts import HostBooking, HostRule, HostState
from crawlyard.core.hosts.slots import (
    ALONE_S,
    LAST,
    SPARE_S,
    STRIKES_LAST,
    TURN,
    HostTerms,
    SlotRequest,
)
from crawlyard.ids import new_id
from crawlyard.store.store import Store
from tests.builders import NOW
from tests.conformance.conftest import Backend

SECOND = timedelta(seconds=1)
HOST = "a.example"


async def sat(store: Store, asker: str, now: datetime = NOW, **fields: Any) -> HostTerms:
    defaults: dict[str, Any] = {"host": HOST, "wanted": 4, "at_once": 4}
    wish = SlotRequest(**(defaults | fields))
    [terms] = await store.hosts.renew_slots(asker, [wish], now, now + LAST)
    return terms


async def ruled(store: Store, version: int = 1, **fields: Any) -> HostRule:
    rule = HostRule(host=HOST, version=version, updated_at=NOW, **fields)
    event = Event(name=EventName.HOST_UPDATED, subject=HOST, owner="", at=NOW, actor="ada")
    await store.host_rules.save(rule, event)
    return rule


async def test_a_single_worker_gets_all_slots_however_many_it_wants(store: Store) -> None:
    assert (await sat(store, "w1")).slots == 4
    assert (await sat(store, "w1", wanted=1)).slots == 4
    assert (await sat(store, "w1", host="b.example", at_once=7)).slots == 7


async def test_a_new_worker_gets_the_free_slots_and_its_share_after_a_renewal(
    store: Store,
) -> None:
    await sat(store, "w1")

    first = await sat(store, "w2")
    renewed = await sat(store, "w1", keeps=4)
    waits = await sat(store, "w2")
    freed = await sat(store, "w1", keeps=2)
    second = await sat(store, "w2")

    assert [terms.slots for terms in (first, renewed, waits, freed, second)] == [0, 2, 0, 2, 2]


async def test_unwanted_slots_of_a_share_go_to_other_workers(store: Store) -> None:
    await sat(store, "w1", wanted=1)
    await sat(store, "w2")
    await sat(store, "w1", wanted=1, keeps=1)

    assert (await sat(store, "w2")).slots == 3


async def test_the_fewest_that_anybody_allows_hold_for_all(store: Store) -> None:
    await sat(store, "w1", at_once=2)

    assert (await sat(store, "w2", at_once=4)).slots == 0
    await sat(store, "w1", at_once=2, keeps=1)
    assert (await sat(store, "w2", at_once=4)).slots == 1


async def test_released_slots_are_free_immediately(store: Store) -> None:
    await sat(store, "w1")
    await sat(store, "w1", wanted=0)
    assert (await sat(store, "w2")).slots == 4

    await store.hosts.release_slots("w2")
    assert (await sat(store, "w3")).slots == 4


async def test_slots_of_dead_workers_and_children_are_freed_but_not_their_bookings(
    store: Store,
) -> None:
    for asker in ("w1", "w1/20", "w12", "w2", "w3"):
        await sat(store, asker, host=f"{asker}.example", every_s=5.0, book=1)

    await store.hosts.release_slots("w1", "w2")
    terms = {
        asker: await sat(store, "w4", host=f"{asker}.example", every_s=5.0, book=1)
        for asker in ("w1", "w1/20", "w12", "w2", "w3")
    }

    assert {asker: host_terms.slots for asker, host_terms in terms.items()} == {
        "w1": 4,
        "w1/20": 4,
        "w2": 4,
        "w12": 0,
        "w3": 0,
    }
    assert terms["w1"].first_at is not None
    assert terms["w1"].first_at >= NOW + 5 * SECOND


async def test_requests_in_flight_keep_their_slots_when_no_more_are_wanted(
    store: Store,
) -> None:
    await sat(store, "w1")
    await sat(store, "w1", wanted=0, keeps=3)

    assert (await sat(store, "w2")).slots == 1


async def test_slots_that_are_not_renewed_expire(store: Store) -> None:
    await sat(store, "w1")

    before = await sat(store, "w2", NOW + LAST - SECOND)
    after = await sat(store, "w2", NOW + LAST)
    back = await sat(store, "w1", NOW + LAST + SECOND, keeps=4)

    assert [terms.slots for terms in (before, after, back)] == [0, 4, 0]


async def test_workers_take_turns_when_slots_are_fewer(store: Store) -> None:
    askers, served = ("w1", "w2", "w3"), set()
    for step in range(60):
        now = NOW + step * SECOND
        for asker in askers:
            terms = await sat(store, asker, now, at_once=1, wanted=1)
            served |= {asker} if terms.slots else set()

    assert served == set(askers)
    assert len(askers) * TURN <= 60 * SECOND


async def test_a_rule_reduces_slots_and_a_closed_host_has_none(store: Store) -> None:
    narrow = await ruled(store, at_once=1, delay_s=3)
    terms = await sat(store, "w1")
    assert (terms.slots, terms.rule) == (1, narrow)

    for version, state in enumerate((HostState.PAUSED, HostState.BLOCKED), 2):
        closed = await ruled(store, version, state=state)
        terms = await sat(store, "w1", book=True, every_s=1)
        assert (terms.slots, terms.rule, terms.first_at) == (0, closed, None)

    await ruled(store, 4)
    assert (await sat(store, "w1")).slots == 4


async def test_a_single_worker_books_a_long_window_with_its_slots(store: Store) -> None:
    first = await sat(store, "w1", book=True, every_s=0.5, wanted=1)
    unbooked = await sat(store, "w1", every_s=0.5)

    assert first.booked is not None
    assert (first.first_at, first.alone, first.booked.for_s) == (NOW, True, ALONE_S)
    assert (unbooked.first_at, unbooked.booked) == (None, None)
    until = NOW + (ALONE_S + 0.5) * SECOND
    assert (await store.hosts.read_bookings([HOST]))[HOST].booked_until == until


async def test_who_shares_a_host_books_a_slice_after_the_windows_of_the_others(
    store: Store,
) -> None:
    await sat(store, "w1", book=True, every_s=0.5, wanted=1)
    waits = await sat(store, "w2", every_s=0.5)
    await sat(store, "w1", wanted=1, keeps=1, every_s=0.5)
    second = await sat(store, "w2", book=True, every_s=0.5)
    ahead = await sat(store, "w2", book=True, every_s=0.5, ahead=3)

    assert (waits.slots, waits.alone) == (0, False)
    assert second.booked is not None
    assert ahead.booked is not None
    assert second.first_at == NOW + (ALONE_S + 0.5) * SECOND
    assert (second.alone, second.booked.for_s) == (False, 0.5 + SPARE_S)
    assert ahead.first_at == second.first_at + (1.0 + SPARE_S) * SECOND
    assert ahead.booked.for_s == 1.5 + SPARE_S  # room for those that are prepared


async def test_a_window_is_extended_only_without_a_later_booking(store: Store) -> None:
    first = await sat(store, "w1", book=True, every_s=0.5)
    last, later = NOW + (ALONE_S + 0.5) * SECOND, NOW + SECOND
    again = await sat(store, "w1", later, book=True, every_s=0.5, last=last, free_at=later)
    late = await sat(store, "w1", later, book=True, every_s=0.5, last=last, free_at=later)

    assert first.first_at == NOW
    assert again.first_at == later
    assert late.first_at == later + (ALONE_S + 0.5) * SECOND


async def test_a_window_is_released_by_a_worker_that_books_no_other(store: Store) -> None:
    await sat(store, "w1", book=True, every_s=0.5)
    last, free_at = NOW + (ALONE_S + 0.5) * SECOND, NOW + SECOND / 4
    await sat(store, "w1", wanted=0, every_s=0.0, last=last, free_at=free_at)

    assert (await store.hosts.read_bookings([HOST]))[HOST].booked_until == free_at


async def test_a_window_that_could_not_be_replaced_stays(store: Store) -> None:
    await sat(store, "w1", book=True, every_s=0.5)
    last, free_at = NOW + (ALONE_S + 0.5) * SECOND, NOW + SECOND / 4
    await ruled(store, state=HostState.PAUSED)

    terms = await sat(store, "w1", book=True, every_s=0.5, last=last, free_at=free_at)

    assert terms.booked is None
    assert (await store.hosts.read_bookings([HOST]))[HOST].booked_until == last


async def test_nothing_is_booked_without_a_slot_or_a_delay(store: Store) -> None:
    await sat(store, "w1", book=True)
    await sat(store, "w2", book=True, every_s=1)

    booked = await store.hosts.read_bookings([HOST])
    assert booked.get(HOST, HostBooking()).booked_until is None


async def test_a_longer_delay_by_a_rule_is_kept_after_the_window(store: Store) -> None:
    await ruled(store, delay_s=2)

    terms = await sat(store, "w1", book=True, every_s=0.01)

    assert terms.booked is not None
    assert terms.booked.every_s == 2
    until = NOW + (ALONE_S + 2) * SECOND
    assert (await store.hosts.read_bookings([HOST]))[HOST].booked_until == until


async def test_the_longest_delay_of_other_workers_is_returned_and_booked(store: Store) -> None:
    await sat(store, "w1", wanted=0, every_s=8.0)
    await sat(store, "w2", wanted=0, every_s=3.0)

    terms = await sat(store, "w3", every_s=0.5, book=True)

    assert terms.booked is not None
    assert (terms.others_s, terms.booked.every_s) == (8.0, 8.0)
    assert (await sat(store, "w1", every_s=8.0)).others_s == 3.0


async def test_a_delay_is_known_until_its_process_would_ask_again(store: Store) -> None:
    await sat(store, "w1", wanted=0, every_s=8.0)
    lapses = NOW + LAST + 8 * SECOND

    assert (await sat(store, "w2", lapses - SECOND)).others_s == 8.0
    assert (await sat(store, "w2", lapses)).others_s == 0.0


async def test_a_withdrawn_delay_ends(store: Store) -> None:
    await sat(store, "w1", every_s=8.0)
    await sat(store, "w1", wanted=0, every_s=0.0)

    assert (await sat(store, "w2")).others_s == 0.0


async def test_holds_and_refusals_are_returned_to_all_workers(store: Store) -> None:
    until = NOW + 30 * SECOND
    await store.hosts.hold(HOST, until, 3, NOW)
    await store.hosts.hold(HOST, NOW + SECOND, 1, NOW + SECOND)

    terms = await sat(store, "w2", NOW + SECOND, book=True, every_s=1)
    assert (terms.held_until, terms.strikes, terms.first_at) == (until, 3, until)

    await store.hosts.reset_refusals(HOST)
    terms = await sat(store, "w2", NOW + SECOND)
    assert (terms.held_until, terms.strikes) == (until, 0)


async def test_refusals_of_long_ago_count_no_more(store: Store) -> None:
    await store.hosts.hold(HOST, NOW + SECOND, 5, NOW)
    later = NOW + SECOND + STRIKES_LAST

    assert (await sat(store, "w1", later - SECOND)).strikes == 5
    assert (await sat(store, "w1", later)).strikes == 0
    await store.hosts.hold(HOST, later + SECOND, 1, later)
    assert (await sat(store, "w1", later)).strikes == 1


async def test_terms_are_returned_in_request_order(store: Store) -> None:
    await store.hosts.hold("b", NOW + SECOND, 2, NOW)
    wishes = [SlotRequest(host=host, wanted=1, at_once=n) for n, host in enumerate("cab", 1)]

    terms = await store.hosts.renew_slots("w1", wishes, NOW, NOW + LAST)

    assert [(host.slots, host.strikes) for host in terms] == [(1, 0), (2, 0), (3, 2)]
    assert await store.hosts.renew_slots("w1", [], NOW, NOW + LAST) == []


async def test_concurrent_processes_never_get_more_slots_than_exist(
    store: Store, backend: Backend
) -> None:
    stores = [store, *[await backend.open() for _ in range(3)]]
    wishes = [SlotRequest(host=host, wanted=3, at_once=5) for host in ("a", "b")]

    async def sit(number: int) -> list[HostTerms]:
        asker, mine = f"w{number}", stores[number % len(stores)]
        keeps, terms = [0, 0], []
        for second in range(3):
            now, order = NOW + second * SECOND, (1, -1)[number % 2]
            requests = [
                SlotRequest(host=w.host, wanted=3, at_once=5, keeps=many)
                for w, many in zip(wishes, keeps, strict=True)
            ]
            terms = (await mine.hosts.renew_slots(asker, requests[::order], now, now + LAST))[
                ::order
            ]
            keeps = [host_terms.slots for host_terms in terms]
        return terms

    answers = await asyncio.gather(*(sit(number) for number in range(8)))
    for other in stores[1:]:
        if backend.sql:
            await other.close()

    for host in (0, 1):
        assert 0 < sum(terms[host].slots for terms in answers) <= 5


async def test_expired_slots_are_deleted(store: Store) -> None:
    await sat(store, "w1", book=True, every_s=1)
    await sat(store, "w2", NOW + SECOND)

    assert await store.hosts.sweep(NOW + LAST) == 1  # the host itself: no booking lasts
    assert await store.hosts.sweep(NOW + LAST + SECOND / 2, 1) == 1
    assert await store.hosts.sweep(NOW + LAST + SECOND / 2) == 0
    assert (await sat(store, "w3", NOW + LAST - SECOND)).slots == 2  # w2 is there still


@dataclass
class Asker:
    """A process as the store may trust it to be: it uses what it is told, or still keeps."""

    name: str
    at_once: int
    seats: int = 0
    in_use: int = 0
    until: datetime = field(default=NOW)


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    limits=st.lists(st.integers(1, 4), min_size=2, max_size=3),
    steps=st.lists(
        st.tuples(
            st.integers(0, 2),  # the worker
            st.integers(0, 4),  # slots that it wants
            st.integers(0, 4),  # requests under way when it renews
            st.integers(0, 6),  # seconds that pass before
        ),
        max_size=14,
    ),
)
async def test_no_order_of_events_grants_more_slots_than_exist(
    store: Store, limits: list[int], steps: list[tuple[int, int, int, int]]
) -> None:
    now, host = NOW, new_id()
    askers = [Asker(f"w{n}", at_once) for n, at_once in enumerate(limits)]
    for worker, slots, under_way, passes_s in steps:
        now += passes_s * SECOND
        for asker in askers:
            asker.in_use = asker.in_use if asker.until > now else 0
        mine = askers[worker % len(askers)]
        keeps = min(mine.in_use, under_way)
        terms = await sat(
            store, mine.name, now, host=host, wanted=slots, at_once=mine.at_once, keeps=keeps
        )
        mine.in_use, mine.until = max(keeps, terms.slots), now + LAST

        using = [asker for asker in askers if asker.in_use]
        least = min((asker.at_once for asker in using), default=0)
        assert sum(asker.in_use for asker in using) <= least
