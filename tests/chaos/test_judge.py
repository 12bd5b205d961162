"""The judge itself: it lets pass what is well, and sees each thing that is not."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from crawlyard.core.events.event import EventName
from crawlyard.core.jobs.lifecycle import State
from tests.chaos.history import (
    Asked,
    Fault,
    FaultKind,
    Found,
    History,
    JobEvent,
    Ledger,
    Pace,
    Wanted,
)
from tests.chaos.judge import broken

HOST = "127.0.0.2:80"
PATHS = ("/j/0", "/j/1", "/j/2")
URLS = tuple(f"http://{HOST}{path}" for path in PATHS)

A, B = "worker-a", "worker-b"


def a_request(path: str, worker: str, at: float, **more: Any) -> Asked:
    fields: dict[str, Any] = {"job": "j", "host": HOST, "ended_at": at + 0.05} | more
    return Asked(path=path, worker=worker, at=at, **fields)


def an_event(name: EventName, at: float, worker: str = "", job: str = "j") -> JobEvent:
    states = {
        EventName.STARTED: State.RUNNING,
        EventName.PROGRESSED: State.RUNNING,
        EventName.COMPLETED: State.COMPLETED,
    }
    return JobEvent(job=job, name=name, at=at, worker=worker, state=states.get(name, State.PENDING))


def ledger(rows: Sequence[str] = ("8:00",), jobs: Sequence[str] = ("8:00",)) -> Ledger:
    return Ledger(schedule="s", due=frozenset({"8:00"}), rows=rows, jobs=jobs)


# A is killed at 20 s, over page 1; B takes the job 2 s later.
KILLED = Fault(kind=FaultKind.KILL, worker=A, since=20, until=20)
WELL = History(
    wanted=[Wanted(job="j", urls=frozenset(URLS))],
    found=[Found(job="j", state=State.COMPLETED, urls=URLS, counted=3)],
    told=[
        an_event(EventName.CREATED, 9),
        an_event(EventName.STARTED, 10, A),
        an_event(EventName.PROGRESSED, 19),
        an_event(EventName.WORKER_LOST, 22),
        an_event(EventName.STARTED, 22.1, B),
        an_event(EventName.COMPLETED, 30),
    ],
    asked=[
        a_request("/robots.txt", A, 10.1, job=""),
        a_request("/j/0", A, 11),
        a_request("/j/1", A, 19.9, ended_at=20.01),
        a_request("/j/1", B, 23),
        a_request("/j/2", B, 24),
    ],
    faults=[KILLED],
    ledgers=[ledger()],
    pace=Pace(delay_s=0.1, at_once=2),
)


def test_a_history_in_which_all_is_well_passes() -> None:
    assert broken(WELL) == []


def test_a_limit_that_is_reached_exactly_passes() -> None:
    limited = replace(WELL.wanted[0], pages=2)
    result = replace(WELL.found[0], urls=URLS[:2], counted=2)

    assert broken(replace(WELL, wanted=[limited], found=[result])) == []


def test_what_was_stopped_may_ask_until_a_checkpoint_after_it_went_on() -> None:
    stopped = Fault(kind=FaultKind.STOP, worker=A, since=20, until=40)
    late = a_request("/j/2", A, 41)
    ended = replace(WELL.told[-1], at=50)
    hits = [*WELL.asked[:-1], late]

    assert broken(replace(WELL, asked=hits, faults=[stopped], told=[*WELL.told[:-1], ended])) == []
    later = replace(late, at=43, ended_at=43.1)
    findings = broken(replace(WELL, asked=[*hits[:-1], later], faults=[stopped]))
    assert findings == [f"{A} asked {URLS[2]} for job j 21.0 s too late"]


def test_what_was_answered_while_the_file_was_locked_is_in_no_checkpoint() -> None:
    # stopped over its transaction, C keeps A from writing until just before A is killed
    stopped = Fault(kind=FaultKind.STOP, worker="worker-c", since=12, until=19.9)
    locked = replace(stopped, kind=FaultKind.LOCK, worker="")
    twice = [*WELL.asked, a_request("/j/2", A, 13)]
    named = f"{URLS[2]} was asked for job j by {A} and again by {B}"

    assert broken(replace(WELL, asked=twice, faults=[KILLED, stopped, locked])) == []
    assert broken(replace(WELL, asked=twice, faults=[KILLED, stopped])) == [named]


def test_a_lock_does_not_delay_the_notice_of_a_lost_job() -> None:
    locked = Fault(kind=FaultKind.LOCK, since=21, until=29)
    late = [*WELL.asked, a_request("/j/2", A, 26)]

    findings = broken(replace(WELL, asked=late, faults=[KILLED, locked]))
    assert f"{A} asked {URLS[2]} for job j 4.0 s too late" in findings


def test_the_host_of_a_killed_worker_gets_requests_soon_after_its_job_starts() -> None:
    late = [replace(hit, at=hit.at + 4, ended_at=hit.at + 4.05) for hit in WELL.asked[3:]]
    idle = replace(WELL, asked=[*WELL.asked[:3], *late])
    befell = Fault(kind=FaultKind.CUT, since=23, until=23)
    later_hit = a_request("/k/1", "worker-c", 25, job="k")

    assert broken(idle) == ["hosts waited 4.9 s where the jobs of killed workers had begun"]
    assert broken(replace(idle, slowness=1.5)) == []
    assert broken(replace(idle, faults=[KILLED, befell])) == []
    assert "hosts waited" not in str(broken(replace(idle, asked=[*idle.asked, later_hit])))


def hits(*more: Asked) -> Sequence[Asked]:
    return [*WELL.asked, *more]


def stored(**changes: Any) -> Sequence[Found]:
    return [replace(WELL.found[0], **changes)]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a job that is gone": ({"found": []}, "job j is gone"),
    "a job that has not ended": (
        {"found": stored(state=State.PENDING)},
        "job j is pending in the end",
    ),
    "a job that was added twice": (
        {"found": [*WELL.found, Found(job="k", state=State.COMPLETED, urls=(), counted=0)]},
        "job k was never submitted",
    ),
    "a start while another has the job": (
        {"told": [e for e in WELL.told if e.name is not EventName.WORKER_LOST]},
        f"{B} started job j while {A} had it",
    ),
    "a page that is missing": (
        {"found": stored(urls=URLS[:2], counted=2)},
        "job j has 2 pages, not 3",
    ),
    "a page that is there twice": (
        {"found": stored(urls=(*URLS, URLS[0]), counted=4)},
        f"job j has {URLS[0]} 2 times",
    ),
    "a page that no link leads to": (
        {"found": stored(urls=(*URLS[:2], "http://else/"))},
        "job j has http://else/, which it cannot reach",
    ),
    "a count that is wrong": (
        {"found": stored(counted=4)},
        "job j counts 4 pages and has 3",
    ),
    "a limit that is passed": (
        {"wanted": [replace(WELL.wanted[0], pages=2)]},
        "job j has 3 pages, not 2",
    ),
    "a limit that is not reached": (
        {
            "wanted": [replace(WELL.wanted[0], pages=2)],
            "found": stored(urls=URLS[:1], counted=1),
        },
        "job j has 1 pages, not 2",
    ),
    "a request of one who never had the job": (
        {"asked": [replace(WELL.asked[1], worker="stranger"), *WELL.asked[2:]]},
        f"stranger asked {URLS[0]} for job j without having it",
    ),
    "a request long after the job was lost": (
        {"asked": [*WELL.asked[:-1], a_request("/j/2", A, 25)]},
        f"{A} asked {URLS[2]} for job j 3.0 s too late",
    ),
    "a page that was recorded and is asked again": (
        {"asked": hits(a_request("/j/0", B, 25))},
        f"{URLS[0]} was asked for job j by {A} and again by {B}",
    ),
    "a page that is asked again without a fault": (
        {"asked": hits(a_request("/j/2", B, 25))},
        f"{URLS[2]} was asked for job j by {B} and again by {B}",
    ),
    "a page that is asked again while its worker goes on": (
        {
            "asked": hits(a_request("/j/2", B, 25)),
            "faults": [KILLED, Fault(kind=FaultKind.CUT, since=24.1, until=24.1)],
        },
        f"{URLS[2]} was asked for job j by {B} and again by {B}",
    ),
    "an instant without a tick": (
        {"ledgers": [ledger(rows=[], jobs=[])]},
        "schedule s missed 8:00",
    ),
    "an instant that was decided twice": (
        {"ledgers": [ledger(rows=["8:00", "8:00"])]},
        "schedule s decided 8:00 2 times",
    ),
    "an instant with two jobs": (
        {"ledgers": [ledger(jobs=["8:00", "8:00"])]},
        "schedule s has 2 jobs of 8:00",
    ),
    "an instant without its job": (
        {"ledgers": [ledger(jobs=[])]},
        "schedule s has 0 jobs of 8:00",
    ),
    "a job of an instant that was not decided": (
        {"ledgers": [ledger(jobs=["8:00", "9:00"])]},
        "schedule s has a job of 9:00 and no row",
    ),
    "a burst": (
        {"asked": hits(*(a_request("/robots.txt", B, 26 + n / 100, job="") for n in range(5)))},
        f"{HOST} was asked 3.6 requests ahead of its pace",
    ),
    "three requests at once": (
        {
            "asked": hits(
                *(a_request("/robots.txt", B, 26 + n, job="", ended_at=29) for n in range(3))
            )
        },
        f"{HOST} had 3 requests at once",
    ),
}


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG)
def test_the_judge_sees(changes: dict[str, Any], message: str) -> None:
    assert message in broken(replace(WELL, **changes))
