"""The source tree keeps to its rules, and each rule notices when it does not."""

import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import crawlyard
from tests import architecture
from tests.architecture import RULES, Tree, cycles, script_edges

PACKAGE = Path(crawlyard.__file__).parent
SOURCE = Tree.of(PACKAGE)
SCRIPTS = PACKAGE / "web" / "static" / "js"
PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
ARCHITECTURE = PYPROJECT.parent / "docs" / "architecture.md"

Rule = Callable[[Tree], Iterator[str]]

LONG = "\n".join(f"    x = {n}" for n in range(61))

BROKEN: list[tuple[Rule, dict[str, str], str]] = [
    (
        architecture.folders_are_small,
        {f"core.many.f{n}": "" for n in range(26)},
        "core.many has 26 files",
    ),
    (
        architecture.folders_are_nouns,
        {"services.misc.jobs": ""},
        "services.misc is neither a noun nor a mechanism of its layer",
    ),
    (
        architecture.folders_are_nouns,
        {"core.jobs.answers.log": ""},
        "core.jobs.answers is neither a noun nor a mechanism of its layer",
    ),
    (
        architecture.imports_point_inward,
        {"engine.crawl": "from crawlyard.services.jobs.moves import JobWriter"},
        "engine.crawl imports services.jobs.moves",
    ),
    (
        architecture.imports_point_inward,
        {"core.jobs.job": "import crawlyard.engine.http.fetch"},
        "core.jobs.job imports engine.http.fetch",
    ),
    (
        architecture.imports_point_inward,
        {"engine.crawl": "from crawlyard.store import queries"},
        "engine.crawl imports store.queries",
    ),
    (
        architecture.imports_point_inward,
        {"services.workers.run": "from crawlyard.store.db.in_memory import open_in_memory"},
        "services.workers.run imports store.db.in_memory",
    ),
    (
        architecture.imports_point_inward,
        {
            "services.workers.worker.worker": "from crawlyard.messaging.local_dispatcher "
            "import LocalDispatcher"
        },
        "services.workers.worker.worker imports messaging.local_dispatcher",
    ),
    (
        architecture.imports_point_inward,
        {"store.jobs.jobs": "from crawlyard.messaging.memory_bus import MemoryBus"},
        "store.jobs.jobs imports messaging.memory_bus",
    ),
    (
        architecture.imports_point_inward,
        {"services.demo": "from crawlyard.demo.site import DemoSite"},
        "services.demo imports demo.site",
    ),
    (
        architecture.imports_point_inward,
        {"bridges.firecrawl.crawl": "from crawlyard.services.jobs.jobs import Jobs"},
        "bridges.firecrawl.crawl imports services.jobs.jobs",
    ),
    (
        architecture.imports_point_inward,
        {"web.wire": "from crawlyard.cli import main"},
        "web.wire imports cli.main",
    ),
    (
        architecture.imports_point_inward,
        {
            "engine.extract.page.parse_pool": "from typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n    from crawlyard.yard import Yard"
        },
        "engine.extract.page.parse_pool imports yard",
    ),
    (
        architecture.imports_point_inward,
        {"helpers.misc": ""},
        "helpers.misc: the architecture knows no helpers",
    ),
    (
        architecture.basics_import_nothing_of_ours,
        {"clock": "from crawlyard.errors import Invalid"},
        "clock imports errors",
    ),
    (
        architecture.core_is_pure,
        {"core.jobs.job": "from crawlyard.ids import new_id"},
        "core.jobs.job imports crawlyard.ids.new_id",
    ),
    (
        architecture.core_is_pure,
        {"core.jobs.job": "import asyncio"},
        "core.jobs.job imports asyncio",
    ),
    (architecture.core_is_pure, {"core.jobs.job": "import xxhash"}, "core.jobs.job imports xxhash"),
    (
        architecture.dependencies_are_at_home,
        {"engine.crawl": "import uvicorn"},
        "engine.crawl imports uvicorn, whose home is web.server or web.websockets",
    ),
    (
        architecture.dependencies_are_at_home,
        {"engine.crawl": "import requests"},
        "engine.crawl imports requests, whose home is none",
    ),
    (architecture.dependencies_are_at_home, {"ids": ""}, "ids needs no uuid_utils"),
    (
        architecture.modules_are_short,
        {"core.jobs.job": "x = 1\n" * 601},
        "core.jobs.job has 601 lines",
    ),
    (
        architecture.functions_are_short,
        {"core.jobs.job": f"async def f() -> None:\n{LONG}"},
        "core.jobs.job.f has 62 lines",
    ),
    (
        architecture.imports_make_no_cycle,
        {
            "core.a": "from crawlyard.core import b",
            "core.b": "from crawlyard.core.c import x",
            "core.c": "import crawlyard.core.a",
        },
        "core.a → core.b → core.c → core.a",
    ),
    (
        architecture.imports_make_no_cycle,
        {
            "core.a": "if TYPE_CHECKING:\n    from crawlyard.core.b import x",
            "core.b": "from crawlyard.core import a",
        },
        "core.a → core.b → core.a",
    ),
    (
        architecture.imports_make_no_cycle,
        {
            "cli.a": "with lazily():\n    from crawlyard.cli import b",
            "cli.b": "from crawlyard.cli import a",
        },
        "cli.a → cli.b → cli.a",
    ),
    (
        architecture.imports_stand_at_the_top,
        {"core.jobs.job": "def f() -> None:\n    import os"},
        "core.jobs.job.f imports",
    ),
    (
        architecture.imports_stand_at_the_top,
        {"services.jobs.moves": "from importlib import import_module"},
        "services.jobs.moves loads modules by name",
    ),
    (
        architecture.time_is_passed_in,
        {"services.jobs.moves": "from datetime import datetime\nx = datetime.now(UTC)"},
        "services.jobs.moves reads a clock: datetime.now(…",
    ),
    (architecture.time_is_passed_in, {"web.app": "import time"}, "web.app imports time"),
    (
        architecture.time_is_passed_in,
        {"web.app": "from time import sleep"},
        "web.app imports time",
    ),
    (
        architecture.time_is_passed_in,
        {"engine.crawl": "async def f() -> None:\n    await asyncio.sleep(0.5)"},
        "engine.crawl sleeps by itself",
    ),
    (
        architecture.nothing_is_unfinished,
        {"core.jobs.job": "# TODO: later"},
        "core.jobs.job: TODO",
    ),
    (
        architecture.nothing_is_unfinished,
        {"core.jobs.job": "def f() -> None:\n    raise NotImplementedError"},
        "core.jobs.job: raise NotImplementedError",
    ),
    (
        architecture.what_is_public_is_documented,
        {"core.jobs.job": "x = 1"},
        "core.jobs.job has no docstring",
    ),
    (
        architecture.what_is_public_is_documented,
        {"core.jobs.job": '"""Jobs."""\nclass Job: ...'},
        "core.jobs.job.Job has no docstring",
    ),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_source_keeps_to_the_rule_that(rule: Rule) -> None:
    assert list(rule(SOURCE)) == []


@pytest.mark.parametrize(
    ("rule", "texts", "message"),
    BROKEN,
    ids=[f"{rule.__name__}: {message}" for rule, _, message in BROKEN],
)
def test_a_rule_notices_when_it_is_broken(rule: Rule, texts: dict[str, str], message: str) -> None:
    names = [module.name for module in SOURCE.modules]  # an imported name must exist

    broken = Tree(dict.fromkeys(names, "") | texts)

    assert message in list(rule(broken))


def test_every_rule_was_seen_to_fail() -> None:
    assert {rule for rule, _, _ in BROKEN} == set(RULES)


def test_a_noun_without_its_folder_or_module_is_noticed() -> None:
    texts = {module.name: "" for module in SOURCE.modules}
    del texts["services.stats"]

    assert list(architecture.folders_are_nouns(Tree(texts))) == ["services.stats is missing"]


def test_the_documentation_has_the_table_of_nouns() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \|.*\| ([\w, ]+) \|$", ARCHITECTURE.read_text("utf-8"), re.MULTILINE
    )

    assert {noun: tuple(layers.split(", ")) for noun, layers in rows} == architecture.NOUNS


def test_benchmarks_import_each_other_in_no_circle() -> None:
    tree = Tree.of(Path(__file__).parents[1] / "bench")

    assert "child" in tree.edges(next(module for module in tree.modules if module.name == "pace"))
    assert list(architecture.imports_make_no_cycle(tree)) == []


def test_scripts_of_the_dashboard_import_each_other_in_no_circle() -> None:
    files = sorted(SCRIPTS.rglob("*.js"))
    texts = {file.relative_to(SCRIPTS).as_posix(): file.read_text("utf-8") for file in files}

    edges = script_edges(texts)

    assert "parts/palette.js" in edges["core/shell.js"]  # imported when it is opened
    assert "core/shared.js" in edges["core/live.js"]  # the address of a worker
    assert list(cycles(edges)) == []


def test_a_circle_of_scripts_is_noticed_however_a_script_is_imported() -> None:
    texts = {
        "core/all.js": 'export * from "./shell.js";',
        "core/shell.js": 'await import("../parts/palette.js")',
        "parts/palette.js": 'import {\n  get,\n} from "../core/all.js";',
    }

    assert list(cycles(script_edges(texts))) == [
        "core/all.js → core/shell.js → parts/palette.js → core/all.js"
    ]


def test_every_dependency_that_is_declared_has_a_home() -> None:
    project = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    declared = [*project["dependencies"]]
    declared += [
        requirement
        for name in extras.keys() - {"bench", "docs", "test"}
        for requirement in extras[name]
    ]
    import_names = {"google_re2": "re2", "backports.zstd": "backports", "pyyaml": "yaml"}
    import_names["markdown_it_py"] = "markdown_it"
    plain = [line.partition(">")[0].partition("[")[0].replace("-", "_") for line in declared]

    named = {import_names.get(name, name) for name in plain}

    # tzdata is data, and Lightpanda a program
    assert named - {"tzdata", "lightpanda"} == set(architecture.HOMES)
