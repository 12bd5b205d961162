from crawlyard.demo.hits import Hit
from tests.site import after, ahead_s, hurried, most_at_once, refetched


def a_hit(
    at: float,
    path: str = "/",
    host: str = "h",
    end: float | None = None,
    received_at: float | None = None,
) -> Hit:
    return Hit(1, at, at, "GET", path, host, "", 1, answered_at=end, gone_at=received_at)


def test_refetched_counts_what_was_asked_twice() -> None:
    hits = [a_hit(1, "/a"), a_hit(2, "/a"), a_hit(3, "/b"), a_hit(4, "/a", host="i")]
    hits += [a_hit(t, "/robots.txt") for t in (5, 6)]
    assert refetched(hits) == {"h/a": 2}
    assert refetched(hits, but=()) == {"h/a": 2, "h/robots.txt": 2}


PACE_S = 0.08


def paced(many: int, *, each_s: float = PACE_S, late: dict[int, float] | None = None) -> list[Hit]:
    """Return requests at a steady pace, some with a longer travel time."""
    return [a_hit(10 + n * each_s + (late or {}).get(n, 0.0)) for n in range(many)]


def test_how_early_requests_came_is_the_worst_of_all_spans() -> None:
    assert ahead_s([1.0, 2.0, 3.0], 1.0) == 0.0
    assert ahead_s([1.0, 2.5, 3.0, 4.0], 1.0) == 0.5  # unused time gives no credit
    assert ahead_s([1.0, 1.75, 2.5, 9.0], 1.0) == 0.5


def test_a_pace_that_is_kept_passes_also_where_a_request_travels_longer() -> None:
    for name, hits in {
        "even": paced(21),
        "one late": paced(21, late={4: 0.05}),
        "three late": paced(21, late={4: 0.05, 9: 0.05, 10: 0.05}),
        "two hosts": [*paced(3), *(a_hit(hit.at, host="i") for hit in paced(3))],
        "one": paced(1),
    }.items():
        assert hurried(hits, PACE_S) == {}, name


def test_a_pace_that_is_not_kept_is_named() -> None:
    for name, hits in {
        "doubled": paced(3, each_s=PACE_S / 2),
        "a fifth too fast": paced(21, each_s=PACE_S * 0.8),
        "two at once": [*paced(9), *paced(9)],
        "one between": [*paced(21), a_hit(10.5)],
        "two after each other": [*paced(9), *paced(9, late=dict.fromkeys(range(9), 0.02))],
    }.items():
        assert list(hurried(hits, PACE_S)) == ["h"], name


def test_a_gap_that_is_shorter_than_the_way_of_a_request_explains_is_named() -> None:
    assert list(hurried(paced(9, late={4: 0.075}), PACE_S)) == ["h"]


def test_most_at_once_counts_overlapping_requests() -> None:
    hits = [a_hit(1, end=3), a_hit(2, end=4), a_hit(3, end=5), a_hit(9), a_hit(9, host="i", end=10)]
    hits += [a_hit(10, received_at=11), a_hit(11, end=12)]
    assert most_at_once(hits) == {"h": 2, "i": 1}


def test_after_gives_later_arrivals() -> None:
    assert [hit.at for hit in after([a_hit(1), a_hit(2), a_hit(3)], 2)] == [3]
