"""What is logged to stderr: our own lines as asked for, those of libraries from warnings on."""

import logging
from collections.abc import Iterator

import pytest

from crawlyard.cli.logs import log_to_stderr
from crawlyard.errors import Invalid

OURS = "crawlyard.services.worker.run"
OTHERS = ("alembic.runtime.migration", "uvicorn.error", "httpx")
DEBUG, INFO, WARNING, ERROR = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Put what logging was told back."""
    loggers = [logging.getLogger(name) for name in (None, "crawlyard")]
    levels, handlers = [logger.level for logger in loggers], loggers[0].handlers[:]
    yield
    loggers[0].handlers[:] = handlers
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.mark.parametrize(
    ("level", "ours", "others"),
    [
        ("debug", {DEBUG, INFO, WARNING, ERROR}, {DEBUG, INFO, WARNING, ERROR}),
        ("info", {INFO, WARNING, ERROR}, {WARNING, ERROR}),
        ("WARNING", {WARNING, ERROR}, {WARNING, ERROR}),
        ("error", {ERROR}, {ERROR}),
    ],
)
def test_libraries_are_heard_from_warnings_on(
    capsys: pytest.CaptureFixture[str], level: str, ours: set[int], others: set[int]
) -> None:
    log_to_stderr(level)

    for name in (OURS, *OTHERS):
        for each in (DEBUG, INFO, WARNING, ERROR):
            logging.getLogger(name).log(each, "%s says %d", name, each)

    said = capsys.readouterr().err
    assert {each for each in (DEBUG, INFO, WARNING, ERROR) if f"{OURS} says {each}" in said} == ours
    for name in OTHERS:
        heard = {each for each in (DEBUG, INFO, WARNING, ERROR) if f"{name} says {each}" in said}
        assert heard == others, name


def test_a_level_that_is_none_is_refused() -> None:
    with pytest.raises(Invalid, match="expected one of debug, info, warning, error, got 'loud'"):
        log_to_stderr("loud")
