"""State of a worker, from its last report and its desired state."""

from crawlyard.core.workers.status import WorkerState, WorkerWish
from tests.builders_serve import a_report

CASES: list[tuple[dict[str, object], WorkerState, bool]] = [
    ({}, WorkerState.IDLE, True),
    ({"running": ("1",)}, WorkerState.RUNNING, True),
    ({"quiet": True}, WorkerState.QUIET, False),
    ({"wish": WorkerWish.QUIET, "running": ("1",)}, WorkerState.QUIET, False),
    ({"stopping": True, "quiet": True}, WorkerState.STOPPING, False),
    ({"wish": WorkerWish.STOP, "running": ("1",)}, WorkerState.STOPPING, False),
]


def test_a_wish_counts_before_the_worker_has_heard_of_it() -> None:
    for wish, state, claims in CASES:
        report = a_report(**wish)
        assert report.state(alive=True) is state, (wish, state)
        assert report.claims is claims, (wish, state)


def test_one_that_says_nothing_is_gone_whatever_it_said_last() -> None:
    for wish, _state, _claims in CASES:
        assert a_report(**wish).state(alive=False) is WorkerState.GONE, (wish, _state)
