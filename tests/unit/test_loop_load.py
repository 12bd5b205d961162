"""When a worker leaves work to helper processes."""

from pathlib import Path

import pytest

from crawlyard.engine.extract import loop_load
from crawlyard.engine.extract.loop_load import LoopLoad, usable_cores


class Machine:
    """Clocks and load average of a machine."""

    def __init__(self) -> None:
        self.wall_s = 0.0
        self.computed_s = 0.0
        self.running = 1.0

    def load(self, cores: int = 2) -> LoopLoad:
        return LoopLoad(
            cores=cores,
            wall=lambda: self.wall_s,
            computing=lambda: self.computed_s,
            running=lambda: self.running,
        )

    def pass_second(self, computing: float) -> None:
        self.wall_s += 1
        self.computed_s += computing


def test_a_thread_that_computes_all_the_time_has_a_high_load() -> None:
    machine = Machine()
    load = machine.load()
    assert not load.is_high()

    machine.pass_second(computing=0.9)
    assert load.is_high()
    machine.pass_second(computing=0.5)
    assert not load.is_high()


def test_a_load_is_measured_over_half_a_second() -> None:
    machine = Machine()
    load = machine.load()

    machine.wall_s, machine.computed_s = 0.4, 0.4
    assert not load.is_high()
    machine.wall_s, machine.computed_s = 0.5, 0.5
    assert load.is_high()


def test_no_load_is_high_without_a_free_core() -> None:
    machine = Machine()
    machine.running = 2.0
    load = machine.load()

    machine.pass_second(computing=1.0)

    assert not load.is_high()


def test_relief_does_not_end_because_it_helps_or_takes_the_last_core() -> None:
    machine = Machine()
    load = machine.load()
    machine.pass_second(computing=1.0)
    assert load.is_high()

    machine.running = 3.0
    with load.relief():
        machine.pass_second(computing=0.3)

    assert load.is_high()
    machine.pass_second(computing=0.3)
    assert not load.is_high()


def test_a_quota_limits_the_usable_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(loop_load, "_QUOTA", quota)
    every = usable_cores()

    for text, cores in (("max 100000", every), ("50000 100000", 1), ("100000 100000", 1)):
        quota.write_text(text)
        assert usable_cores() == cores
