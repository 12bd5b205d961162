import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import crawlyard
from crawlyard import public_names

MISSION = {
    "CrawlSchedule",
    "CrawlTemplate",
    "Job",
    "JobManager",
    "JobSpec",
    "Limits",
    "Priority",
    "PriorityQueue",
    "Progress",
    "ProgressTracker",
    "ResourceLimiter",
    "RetryPolicy",
    "Scheduler",
    "State",
    "TemplateManager",
    "Yard",
}


def names_for_type_checkers() -> dict[str, str]:
    """Return the names that the package imports for type checkers only, with their modules."""
    tree = ast.parse(Path(public_names.__file__).read_text(encoding="utf-8"))
    imports = [
        node
        for branch in tree.body
        if isinstance(branch, ast.If)
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
    ]
    return {
        alias.asname or alias.name: node.module or "" for node in imports for alias in node.names
    }


def test_the_parts_of_the_mission_are_public() -> None:
    assert set(public_names.__all__) >= MISSION


def test_a_public_name_is_found_documented_and_where_type_checkers_look() -> None:
    for name in public_names.__all__:
        member = getattr(crawlyard, name)
        assert public_names.MODULE_OF[name] == names_for_type_checkers()[name], name
        if inspect.isclass(member):
            assert member.__doc__, name
            assert member.__module__ == public_names.MODULE_OF[name], name


def test_a_star_import_has_all_public_names() -> None:
    names: dict[str, object] = {}
    exec("from crawlyard import *", names)  # a function cannot hold the statement
    assert names.keys() - {"__builtins__"} == set(public_names.__all__)


def test_no_other_name_is_promised() -> None:
    names = set(public_names.__all__)
    assert names == public_names.MODULE_OF.keys() == names_for_type_checkers().keys()
    assert dir(crawlyard) == sorted(public_names.__all__)


def test_a_name_that_is_none_is_refused_as_python_does() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Crawler'"):
        crawlyard.Crawler  # noqa: B018 - that it is not there is the test


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(crawlyard.__file__).parent / "py.typed").exists()


def test_the_package_is_imported_without_what_it_can_do() -> None:
    script = "import sys, crawlyard; print(*sorted(m for m in sys.modules if 'crawlyard' in m))"
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert process.stdout.split() == [b"crawlyard"]


def test_a_module_that_is_loaded_late_is_found_by_its_name() -> None:
    script = "import crawlyard.sync, crawlyard.api.near; print(crawlyard.api.near.open.__name__)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("open\n", "")
