"""`ReplyStore`: a request that is sent again is answered as it was the first time."""

import asyncio
from datetime import datetime, timedelta

from msgspec.structs import replace

from crawlyard.core.endpoints.idempotency import StoredReply
from crawlyard.store.store import Store
from tests.builders import NOW
from tests.builders_serve import a_reply
from tests.conformance.conftest import Backend

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)


async def begun(store: Store, reply: StoredReply, now: datetime = NOW) -> StoredReply | None:
    """Begin a request at *now*, when what is a day old is forgotten and a minute old dead."""
    reply = replace(reply, created_at=now)
    return await store.replies.begin(reply, now - DAY, now - MINUTE)


async def test_a_repeated_request_gets_the_pending_reply_of_the_first(
    store: Store,
) -> None:
    reply = a_reply(key="ü 1")

    first = await begun(store, reply)
    second = await begun(store, replace(reply, request="cd" * 32))

    assert first is None
    assert second == reply


async def test_the_answer_comes_back_byte_for_byte(store: Store) -> None:
    reply = a_reply()
    headers = (("etag", '"1.2"'), ("location", "/api/v1/jobs/ü"), ("etag", "x"))
    answer = replace(reply, status=201, headers=headers, body=bytes(range(256)))
    await begun(store, reply)

    await store.replies.settle(answer)

    assert await begun(store, reply) == answer


async def test_keys_are_each_askers_own(store: Store) -> None:
    await begun(store, a_reply())

    assert await begun(store, a_reply(asker="0193")) is None
    assert await begun(store, a_reply(key="k2")) is None


async def test_of_twenty_that_begin_at_once_one_goes_on(store: Store, backend: Backend) -> None:
    other = await backend.open()

    answers = await asyncio.gather(*(begun((store, other)[n % 2], a_reply()) for n in range(20)))
    if backend.sql:
        await other.close()

    assert answers.count(None) == 1
    assert answers.count(a_reply()) == 19


async def test_a_deleted_reply_starts_over(store: Store) -> None:
    answer = a_reply(status=200, body=b"old")
    await begun(store, a_reply())
    await store.replies.settle(answer)

    recent = await begun(store, a_reply(), NOW + DAY)
    anew = await begun(store, a_reply(request="cd" * 32), NOW + DAY + timedelta(microseconds=1))
    after = await begun(store, a_reply(), NOW + DAY + MINUTE)

    assert recent == answer
    assert anew is None
    assert after is not None
    assert (after.status, after.body, after.request) == (0, b"", "cd" * 32)


async def test_what_is_long_under_way_is_taken_over_by_one_of_twenty(
    store: Store, backend: Backend
) -> None:
    await begun(store, a_reply())
    other, late = await backend.open(), NOW + MINUTE + timedelta(microseconds=1)

    early = await begun(store, a_reply(), NOW + MINUTE)
    answers = await asyncio.gather(
        *(begun((store, other)[n % 2], a_reply(), late) for n in range(20))
    )
    if backend.sql:
        await other.close()

    assert early == a_reply()
    assert answers.count(None) == 1
    assert answers.count(a_reply(created_at=late)) == 19


async def test_an_answer_is_not_taken_over(store: Store) -> None:
    answer = a_reply(status=200)
    await begun(store, a_reply())
    await store.replies.settle(answer)

    assert await begun(store, a_reply(), NOW + 2 * MINUTE) == answer


async def test_only_what_is_under_way_is_settled_or_dropped(store: Store) -> None:
    answer = a_reply(status=200, body=b"first")
    await begun(store, a_reply())
    await store.replies.settle(replace(answer, request="cd" * 32, body=b"another's"))
    await store.replies.settle(answer)

    await store.replies.settle(replace(answer, body=b"second"))
    await store.replies.settle(a_reply(key="never begun", status=200))
    await store.replies.drop(answer.asker, answer.key)

    assert await begun(store, a_reply()) == answer
    assert await begun(store, a_reply(key="never begun")) is None


async def test_what_is_dropped_may_be_tried_again(store: Store) -> None:
    await begun(store, a_reply())
    await begun(store, a_reply(key="k2"))

    await store.replies.drop("0192", "k1")

    assert await begun(store, a_reply()) is None
    assert await begun(store, a_reply(key="k2")) is not None


async def test_what_is_old_is_swept(store: Store) -> None:
    for n in range(5):
        await begun(store, a_reply(key=str(n)), NOW + n * MINUTE)

    few = await store.replies.sweep(NOW + 3 * MINUTE, 2)
    rest = await store.replies.sweep(NOW + 3 * MINUTE)

    assert (few, rest) == (2, 1)
    assert await begun(store, a_reply(key="3"), NOW + 3 * MINUTE) is not None
    assert await begun(store, a_reply(key="0"), NOW + 3 * MINUTE) is None
