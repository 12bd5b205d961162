from crawlyard.demo.hits import Hit
from tests.site import after, gaps, most_at_once, refetched


def a_hit(
    at: float, path: str = "/", host: str = "h", end: float | None = None, gone: float | None = None
) -> Hit:
    return Hit(1, at, at, "GET", path, host, "", 1, answered_at=end, gone_at=gone)


def test_refetched_counts_what_was_asked_twice() -> None:
    hits = [a_hit(1, "/a"), a_hit(2, "/a"), a_hit(3, "/b"), a_hit(4, "/a", host="i")]
    hits += [a_hit(t, "/robots.txt") for t in (5, 6)]

    assert refetched(hits) == {"h/a": 2}
    assert refetched(hits, but=()) == {"h/a": 2, "h/robots.txt": 2}


def test_gaps_are_the_shortest_between_arrivals_of_one_host() -> None:
    hits = [a_hit(1.0), a_hit(4.0), a_hit(2.5), a_hit(2.6, host="i")]

    assert gaps(hits) == {"h": 1.5}


def test_most_at_once_counts_overlapping_requests() -> None:
    hits = [a_hit(1, end=3), a_hit(2, end=4), a_hit(3, end=5), a_hit(9), a_hit(9, host="i", end=10)]
    hits += [a_hit(10, gone=11), a_hit(11, end=12)]

    assert most_at_once(hits) == {"h": 2, "i": 1}


def test_after_gives_later_arrivals() -> None:
    assert [hit.at for hit in after([a_hit(1), a_hit(2), a_hit(3)], 2)] == [3]
