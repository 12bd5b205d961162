"""The judge of operators' moves, of preemption and of spread jobs: what it lets pass, and sees."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.lifecycle import State, StateReason
from crawlyard.core.jobs.spec import Priority
from tests.chaos.history import (
    Acknowledgement,
    Asked,
    Fault,
    FaultKind,
    Found,
    History,
    JobEvent,
    Wanted,
)
from tests.chaos.judge import broken
from tests.chaos.judge_moves import observed_moves

HOST, OTHER = "127.0.0.2:80", "127.0.0.3:80"
URLS = tuple(f"http://{HOST}/j/{n}" for n in range(3))
A, B = "worker-a", "worker-b"

STATES = {
    EventName.CREATED: State.PENDING,
    EventName.STARTED: State.RUNNING,
    EventName.REQUEUED: State.PENDING,
    EventName.WORKER_LOST: State.PENDING,
    EventName.PAUSED: State.PAUSED,
    EventName.RESUMED: State.PENDING,
    EventName.RETRIED: State.PENDING,
    EventName.COMPLETED: State.COMPLETED,
    EventName.CANCELLED: State.CANCELLED,
}


def a_request(number: int, worker: str, at: float, **more: Any) -> Asked:
    fields: dict[str, Any] = {"job": "j", "host": HOST, "ended_at": at + 0.25} | more
    return Asked(path=f"/j/{number}", worker=worker, at=at, **fields)


def an_event(name: EventName, at: float, worker: str = "", job: str = "j", **more: Any) -> JobEvent:
    return JobEvent(job=job, name=name, at=at, worker=worker, state=STATES[name], **more)


def seen_wrong(history: History, **changes: Any) -> list[str]:
    return broken(replace(history, **changes))


# --- operators

# paused at 12 s over page 1, which is stored; resumed at 15 s
HELD = History(
    wanted=[Wanted(job="j", urls=frozenset(URLS))],
    found=[Found(job="j", state=State.COMPLETED, urls=URLS, counted=3)],
    told=[
        an_event(EventName.CREATED, 9),
        an_event(EventName.STARTED, 10, A),
        an_event(EventName.PAUSED, 12),
        an_event(EventName.RESUMED, 15),
        an_event(EventName.STARTED, 15.1, B),
        an_event(EventName.COMPLETED, 20),
    ],
    said=[Acknowledgement(job="j", state=State.PAUSED, at=12.1)],
    asked=[a_request(0, A, 11), a_request(1, A, 12.5), a_request(2, B, 16)],
    faults=[],
)


def test_a_job_that_is_held_and_goes_on_passes() -> None:
    assert broken(HELD) == []


def late(at: float) -> Sequence[Asked]:
    return [HELD.asked[0], a_request(1, A, at), HELD.asked[2]]


def test_a_request_long_after_a_job_was_paused_is_named() -> None:
    assert f"{A} asked {URLS[1]} for job j 1.9 s after it was paused" in seen_wrong(
        HELD, asked=late(14)
    )


def test_a_worker_frozen_during_a_pause_may_notice_it_later() -> None:
    stop = Fault(kind=FaultKind.STOP, worker=A, since=11.5, until=13.5)

    assert seen_wrong(HELD, asked=late(14), faults=[stop]) == []
    assert seen_wrong(HELD, asked=late(14), faults=[replace(stop, worker=B)]) != []


@pytest.mark.parametrize(
    "kind", [FaultKind.STEP, FaultKind.REDIS_KILL, FaultKind.REDIS_FLUSH, FaultKind.REDIS_STOP]
)
def test_clocks_and_redis_excuse_nothing(kind: FaultKind) -> None:
    fault = Fault(kind=kind, since=11.5, until=13.5)

    assert len(seen_wrong(HELD, asked=late(14), faults=[fault])) == 1
    again = [*HELD.asked, a_request(1, B, 17)]
    named = f"{URLS[1]} was asked for job j by {A} and again by {B}"
    assert named in seen_wrong(HELD, asked=again, faults=[fault])


def test_a_repeated_request_of_a_resumed_job_is_reported() -> None:
    again = [*HELD.asked, a_request(1, B, 17)]

    named = f"{URLS[1]} was asked for job j by {A} and again by {B}"
    assert seen_wrong(HELD, asked=again) == [named]


# cancelled at 12 s
CANCELLED = replace(
    HELD,
    wanted=[replace(HELD.wanted[0], ends=State.CANCELLED)],
    found=[Found(job="j", state=State.CANCELLED, urls=URLS[:2], counted=2)],
    told=[*HELD.told[:2], an_event(EventName.CANCELLED, 12)],
    said=[Acknowledgement(job="j", state=State.CANCELLED, at=12.1)],
    asked=HELD.asked[:2],
)


def test_a_job_that_was_cancelled_passes_with_the_pages_that_it_had() -> None:
    assert broken(CANCELLED) == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (
            {"found": [replace(CANCELLED.found[0], state=State.COMPLETED)]},
            "job j is completed in the end",
        ),
        (
            {"wanted": HELD.wanted, "found": CANCELLED.found},
            "job j is cancelled in the end",
        ),
        (
            {"found": [replace(CANCELLED.found[0], counted=3)]},
            "job j counts 3 pages and has 2",
        ),
        (
            {"asked": [*CANCELLED.asked, a_request(2, A, 16)]},
            f"{A} asked {URLS[2]} for job j 3.9 s after it was cancelled",
        ),
    ],
    ids=["it went on", "never cancelled", "a wrong count", "a page after it"],
)
def test_what_is_wrong_with_a_cancelled_job_is_named(changes: dict[str, Any], named: str) -> None:
    assert named in seen_wrong(CANCELLED, **changes)


# page 1 fails at first, and is asked again once an operator wants it
RETRIED = replace(
    HELD,
    wanted=[replace(HELD.wanted[0], fails=frozenset(URLS[1:2]))],
    told=[
        an_event(EventName.CREATED, 9),
        an_event(EventName.STARTED, 10, A),
        an_event(EventName.COMPLETED, 12),
        an_event(EventName.RETRIED, 13),
        an_event(EventName.STARTED, 13.1, B),
        an_event(EventName.COMPLETED, 20),
    ],
    said=[],
    asked=[a_request(0, A, 11), a_request(1, A, 11.5), a_request(1, B, 14), a_request(2, B, 16)],
)


def test_a_failed_url_may_be_requested_again_for_an_operator() -> None:
    assert broken(RETRIED) == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"told": [t for t in RETRIED.told if t.at != 13]}, "job j was retried 0 times"),
        (
            {"asked": [*RETRIED.asked[:2], *RETRIED.asked[3:]]},
            f"{URLS[1]} was not asked again for job j, which was retried",
        ),
        (
            {"asked": [*RETRIED.asked, a_request(2, B, 18)]},
            f"{URLS[2]} was asked for job j by {B} and again by {B}",
        ),
        (
            {"asked": [*RETRIED.asked, a_request(1, B, 18)]},
            f"{URLS[1]} was asked for job j by {B} and again by {B}",
        ),
    ],
    ids=["not retried", "not asked again", "another one again", "once more"],
)
def test_what_is_wrong_with_a_retried_job_is_named(changes: dict[str, Any], named: str) -> None:
    assert named in seen_wrong(RETRIED, **changes)


# --- urgent jobs

# job j, a low one, makes room for job u at 12 s
YIELDED = replace(
    HELD,
    wanted=[
        replace(HELD.wanted[0], priority=Priority.LOW),
        Wanted(job="u", urls=frozenset(), priority=Priority.URGENT),
    ],
    found=[*HELD.found, Found(job="u", state=State.COMPLETED, urls=(), counted=0)],
    told=[
        *HELD.told[:2],
        an_event(EventName.CREATED, 10.5, job="u"),
        an_event(EventName.REQUEUED, 12, A, reason=StateReason.PREEMPTED),
        an_event(EventName.STARTED, 12, A, job="u"),
        an_event(EventName.COMPLETED, 14, job="u"),
        *HELD.told[4:],
    ],
    said=[],
)


def test_a_low_job_that_makes_room_for_an_urgent_one_passes() -> None:
    assert broken(YIELDED) == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (
            {"wanted": [HELD.wanted[0], YIELDED.wanted[1]]},
            "job j, which is not low, was to make room",
        ),
        (
            {"wanted": [YIELDED.wanted[0], replace(YIELDED.wanted[1], priority=Priority.HIGH)]},
            "job j made room for no other job",
        ),
        (
            {"told": [replace(t, worker=B) if t.job == "u" else t for t in YIELDED.told]},
            "job j made room for no other job",
        ),
    ],
    ids=["not low", "not urgent", "of another worker"],
)
def test_a_job_that_made_room_wrongly_is_named(changes: dict[str, Any], named: str) -> None:
    assert named in seen_wrong(YIELDED, **changes)


# --- spread jobs

# each host is one worker's; A is killed at 14 s, and B goes on with its host
SPREAD = History(
    wanted=[
        Wanted(
            job="j",
            urls=frozenset({*URLS, f"http://{OTHER}/j/0", f"http://{OTHER}/j/1"}),
            spread=True,
        )
    ],
    found=[
        Found(
            job="j",
            state=State.COMPLETED,
            urls=(*URLS, f"http://{OTHER}/j/0", f"http://{OTHER}/j/1"),
            counted=5,
        )
    ],
    told=[
        an_event(EventName.CREATED, 9),
        an_event(EventName.STARTED, 10, A),
        an_event(EventName.COMPLETED, 20),
    ],
    asked=[
        a_request(0, A, 11),
        a_request(0, B, 11.1, host=OTHER),
        a_request(1, B, 11.5, host=OTHER),
        a_request(1, A, 13.9, ended_at=14.0),
        a_request(1, B, 17),
        a_request(2, B, 18),
    ],
    faults=[Fault(kind=FaultKind.KILL, worker=A, since=14, until=14)],
)


def test_a_spread_job_whose_shard_moves_passes() -> None:
    assert broken(SPREAD) == []
    assert "spread" in observed_moves(SPREAD)


def test_a_frozen_worker_may_overlap_with_its_successor_until_notified() -> None:
    stopped = Fault(kind=FaultKind.STOP, worker=A, since=12, until=18)
    overlap = [*SPREAD.asked[:-1], a_request(2, A, 18.2), a_request(2, B, 18.3)]

    wrong = seen_wrong(SPREAD, asked=overlap, faults=[stopped])

    assert wrong == []


def turns(*workers: str) -> Sequence[Asked]:
    """Return requests to one host, one after the other."""
    return [a_request(n, worker, 11 + n / 3) for n, worker in enumerate(workers)]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (
            {"asked": [*SPREAD.asked, a_request(2, "worker-c", 18.1)]},
            f"{HOST} was asked for job j by {B} and worker-c at once",
        ),
        (
            {"asked": turns(A, B, A, B, A), "faults": []},
            f"{HOST} changed its worker for job j 4 times in no time",
        ),
        (
            {"told": [*SPREAD.told[:2], an_event(EventName.STARTED, 12, B), SPREAD.told[2]]},
            f"{B} started job j while {A} had it",
        ),
        (
            {"asked": [*SPREAD.asked, a_request(2, B, 24)]},
            f"{B} asked {URLS[2]} for job j 4.0 s too late",
        ),
        (
            {"asked": [*SPREAD.asked, a_request(0, B, 19)]},
            f"{URLS[0]} was asked for job j by {A} and again by {B}",
        ),
        (
            {
                "told": [
                    *SPREAD.told[:2],
                    an_event(EventName.WORKER_LOST, 17.1),
                    an_event(EventName.STARTED, 17.2, B),
                    SPREAD.told[2],
                ]
            },
            f"job j was lost while {B} went on with it",
        ),
        (
            {"found": [replace(SPREAD.found[0], counted=6)]},
            "job j counts 6 pages and has 5",
        ),
        (
            {"wanted": [replace(SPREAD.wanted[0], pages=4)]},
            "job j has 5 pages, not 4",
        ),
    ],
    ids=[
        "two at once on a host",
        "two in turns on a host",
        "started twice",
        "asked after its end",
        "a page again",
        "lost though others work",
        "counted wrong",
        "a limit that is passed",
    ],
)
def test_what_is_wrong_with_a_spread_job_is_named(changes: dict[str, Any], named: str) -> None:
    assert named in seen_wrong(SPREAD, **changes)


@pytest.mark.parametrize(
    ("history", "shown_moves"),
    [
        (HELD, {"paused", "resumed"}),
        (CANCELLED, {"cancelled"}),
        (RETRIED, {"retried"}),
        (YIELDED, {"preempted"}),
        (SPREAD, {"spread"}),
    ],
    ids=["held", "cancelled", "retried", "yielded", "spread"],
)
def test_observed_moves_are_listed(history: History, shown_moves: set[str]) -> None:
    assert observed_moves(history) == shown_moves


def test_two_workers_one_after_the_other_have_shared_nothing() -> None:
    alone = [hit for hit in SPREAD.asked if hit.host == HOST]

    assert "spread" not in observed_moves(replace(SPREAD, asked=alone))
