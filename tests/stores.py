"""A plugin: on which stores a test runs by default, besides SQLite in memory.

Every store runs the same statements. What can differ is how a file or a server is locked,
written and read by several at once; the rest is run there as well, but marked slow.
"""

import pytest

FILES = frozenset({"checkpoint", "damaged", "dispatch", "kill", "leases", "record", "upkeep"})
"""Of `tests/conformance`: what runs on a SQLite file by default."""

POSTGRES = frozenset(
    {"checkpoint", "counts", "damaged", "dispatch", "leases", "record", "retry_failed"}
    | {"slots", "ticks"}
)
"""The same, on Postgres."""

_BY_DEFAULT = {"sqlite": FILES, "postgres": POSTGRES}
"""The subjects that run on a store by default; in memory, those that run on no file."""


@pytest.hookimpl(tryfirst=True)  # before the slow ones are left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what runs on another store than those that are its default."""
    for item in items:
        spec = getattr(item, "callspec", None)  # of a test with parameters
        store = spec.params.get("backend") if spec is not None else None
        default = _BY_DEFAULT.get(store) if isinstance(store, str) else None
        elsewhere = default is not None and not _is_of(item, default)
        if elsewhere or (store == "memory" and _is_of(item, FILES)):
            item.add_marker("slow")


def _is_of(item: pytest.Item, subjects: frozenset[str]) -> bool:
    folder, stem = item.path.parent.name, item.path.stem
    return folder == "conformance" and stem.removeprefix("test_") in subjects
