"""`RobotsStore`: the robots.txt of an origin is kept for as long as it holds."""

from datetime import timedelta
from typing import Any

from crawlyard.core.hosts.hosts import RobotsFile
from crawlyard.store.store import Store
from tests.builders import NOW

DAY = timedelta(days=1)
MOMENT = timedelta(microseconds=1)
ORIGIN = "https://a.example"


def a_file(origin: str = ORIGIN, **fields: Any) -> RobotsFile:
    defaults: dict[str, Any] = {
        "origin": origin,
        "status": 200,
        "body": b"User-agent: *\nDisallow: /\n",
        "fetched_at": NOW,
        "expires_at": NOW + DAY,
    }
    return RobotsFile(**(defaults | fields))


async def test_a_file_comes_back_byte_for_byte(store: Store) -> None:
    odd = a_file("http://b.example:81", body=b"\xff\xfe\x00Disallow: /caf\xe9\r\n" * 40_000)
    missing = a_file(status=404, body=b"")

    await store.robots.save([odd, missing])

    assert await store.robots.get(odd.origin, NOW) == odd
    assert await store.robots.get(ORIGIN, NOW) == missing


async def test_a_file_holds_until_it_expires(store: Store) -> None:
    await store.robots.save([a_file()])

    assert await store.robots.get(ORIGIN, NOW + DAY - MOMENT) == a_file()
    assert await store.robots.get(ORIGIN, NOW + DAY) is None
    assert await store.robots.get("http://a.example", NOW) is None
    await store.robots.save([])


async def test_a_file_takes_the_place_of_one_that_was_had_earlier_alone(store: Store) -> None:
    later = a_file(body=b"later", fetched_at=NOW + MOMENT, expires_at=NOW + DAY + MOMENT)

    for files in ([a_file()], [later], [a_file(body=b"too late")]):
        await store.robots.save(files)

    assert await store.robots.get(ORIGIN, NOW) == later


async def test_files_that_have_expired_are_swept(store: Store) -> None:
    files = [a_file(f"http://{name}", expires_at=NOW) for name in "abc"]
    await store.robots.save([*files, a_file()])

    assert await store.robots.sweep(NOW) == 0
    assert await store.robots.sweep(NOW + MOMENT, 2) == 2
    assert await store.robots.sweep(NOW + MOMENT) == 1
    assert await store.robots.get(ORIGIN, NOW) == a_file()
