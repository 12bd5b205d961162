"""What a running job says that it waits for, by the hosts that its workers ask."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from crawlyard.core.hosts.rule import HostState
from crawlyard.core.hosts.status import HostReport
from crawlyard.core.jobs.lifecycle import State
from crawlyard.core.jobs.waiting import WaitReason, running_waits
from tests.builders import NOW, a_job
from tests.builders_serve import a_report

JOB = a_job(id="j1", state=State.RUNNING)
SOON = NOW + timedelta(seconds=30)


def asked(host: str, **fields: Any) -> HostReport:
    return HostReport(host=host, jobs=(JOB.id,), **fields)


def detail(hosts: Sequence[HostReport]) -> str:
    waits = running_waits(JOB, NOW, [a_report(hosts=tuple(hosts))])
    assert all(wait.reason is WaitReason.HOST for wait in waits)
    return "".join(wait.detail for wait in waits)


def test_hosts_that_an_operator_has_paused_are_waited_for() -> None:
    shut = [asked(host, state=HostState.PAUSED) for host in ("b", "a")]
    assert detail(shut) == "an operator has paused a, b"


def test_some_may_be_paused_and_the_others_held() -> None:
    paused, held = asked("a", state=HostState.PAUSED), asked("b", held_until=SOON)
    told = "an operator has paused a; b refused requests; asked again in 30s"
    assert detail([paused, held]) == told
    (wait,) = running_waits(JOB, NOW, [a_report(hosts=(paused, held))])
    assert (wait.hosts, wait.until) == (("a", "b"), SOON)


def test_a_job_that_may_ask_one_of_its_hosts_waits_for_none() -> None:
    paused = asked("a", state=HostState.PAUSED)
    assert detail([paused, asked("b")]) == ""
    assert detail([paused, asked("b", state=HostState.BLOCKED)]) == ""
    assert detail([asked("a", state=HostState.PAUSED, in_flight=1)]) == ""


def test_hosts_for_which_nothing_waits_do_not_matter() -> None:
    paused = asked("a", state=HostState.PAUSED)
    assert detail([paused, asked("b", idle=True)]) == "an operator has paused a"
    assert detail([asked("b", idle=True)]) == ""
