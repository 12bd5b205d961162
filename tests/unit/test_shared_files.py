"""Cache of scripts that pages share: lifetime and size."""

from collections.abc import Mapping
from datetime import timedelta

import pytest

from crawlyard.engine.http.fetch import Response
from crawlyard.engine.shared_files import DEFAULT_FRESH_S, MAX_BYTES, SharedFiles
from tests.clock import FakeClock

URL = "https://example.org/app.js"


def an_answer(body: bytes = b"x", status: int = 200, headers: Mapping[str, str] = {}) -> Response:
    return Response(status, tuple(headers.items()), body, len(body), "", 1)


@pytest.mark.parametrize(
    ("headers", "fresh_s"),
    [
        ({}, DEFAULT_FRESH_S),
        ({"cache-control": "public, max-age=600"}, 600),
        ({"cache-control": "max-age=600", "age": "580"}, 20),
        ({"cache-control": "max-age=0"}, 0),
        ({"cache-control": "no-cache"}, 0),
        ({"cache-control": "private, no-store"}, 0),
        ({"vary": "Accept-Encoding"}, DEFAULT_FRESH_S),
        ({"vary": "Cookie"}, 0),
        ({"vary": "*"}, 0),
    ],
)
def test_an_answer_is_used_again_while_it_is_fresh(headers: dict[str, str], fresh_s: float) -> None:
    clock = FakeClock()
    files = SharedFiles(clock)
    answer = an_answer(headers=headers)

    files.add(URL, answer, with_credentials=True)

    assert (files.get(URL, with_credentials=True) is answer) == (fresh_s > 0)
    assert files.get(URL, with_credentials=False) is None  # no credentials went with that
    clock.stall(timedelta(seconds=fresh_s))
    assert files.get(URL, with_credentials=True) is None


def test_only_whole_answers_are_kept() -> None:
    files = SharedFiles(FakeClock())

    files.add(URL, an_answer(status=404), with_credentials=True)

    assert files.get(URL, with_credentials=True) is None


def test_the_oldest_give_way() -> None:
    files = SharedFiles(FakeClock())
    fifth = bytes(MAX_BYTES // 5)
    urls = [f"{URL}?{n}" for n in range(6)]

    for url in urls:
        files.add(url, an_answer(fifth), with_credentials=True)

    is_cached = [files.get(url, with_credentials=True) is not None for url in urls]
    assert is_cached == [False, True, True, True, True, True]
