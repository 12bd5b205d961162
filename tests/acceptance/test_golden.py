"""Golden output of commands in each format, from a local yard and over HTTP."""

from collections.abc import Iterator, Mapping

import pytest

from tests.acceptance.conftest import BOTH
from tests.golden import CHANGES, FOLDER, LOOKS, built, parts, texts
from tests.program import FORMATTED

FILES = sorted(file.name for file in FOLDER.glob("*.txt"))


@pytest.fixture(scope="module", params=BOTH)
def written(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, str]]:
    """Output of the commands; over HTTP in three formats only, as the others share their data."""
    yard = built(tmp_path_factory.mktemp("golden"))
    if request.param == "local":
        yield texts(yard, yard.shell)
    else:
        with yard.served() as shell:
            yield texts(yard, shell, ("-o table", "-o json", "-q"))


def test_every_golden_file_belongs_to_a_command() -> None:
    assert sorted(f"{name.replace(' ', '-')}.txt" for name in (*LOOKS, "changes")) == FILES


def test_every_command_with_output_has_a_golden_file() -> None:
    # test_db.py covers whole databases, which no server serves; test_check.py covers checks: their
    # output depends on a site; a screenshot is not text
    elsewhere = ("check", "jobs screenshot")
    writing = {name for name in FORMATTED if not name.startswith("db ") and name not in elsewhere}
    changing = {name for name in writing for line in CHANGES if line.startswith(f"{name} ")}

    assert {*LOOKS} | changing == writing


@pytest.mark.parametrize("name", FILES)
def test_a_command_writes_its_golden_output(written: Mapping[str, str], name: str) -> None:
    """Run ``python -m tests.golden`` after an intended change."""
    expected, outputs = (FOLDER / name).read_text("utf-8"), parts(written[name])

    assert outputs == {line: out for line, out in parts(expected).items() if line in outputs}
    if len(outputs) == len(parts(expected)):
        assert written[name] == expected
