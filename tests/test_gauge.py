"""The counts of crawls and commands do not rise unnoticed; see `tests.gauge`."""

import pytest

from tests import gauge


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_crawl_or_command_does_more_than_before() -> None:
    figures = gauge.measure()

    assert figures.keys() == gauge.saved().keys()
    assert gauge.rises(figures, gauge.saved()) == [], "python -m tests.gauge --save, with a reason"


def test_a_rise_of_more_than_one_percent_is_named() -> None:
    before = {"none": {"calls a page": 100.0, "modules": 10}}

    assert gauge.rises({"none": {"calls a page": 100.9, "modules": 20}}, before) == []
    assert gauge.rises({"none": {"calls a page": 101.1}}, before) == [
        "none: 101.1 calls a page, 100 before"
    ]
    assert gauge.rises({"new": {"statements": 1}}, before) == ["new: 1 statements, 0 before"]
