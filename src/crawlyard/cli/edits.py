"""`field=value` words, as changes to a job's spec."""

from collections.abc import Callable, Mapping, Sequence

from crawlyard.cli import values
from crawlyard.core.jobs.priority import Priority
from crawlyard.errors import Invalid
from crawlyard.web.wire.jobs import JobOut

_LIMITS: Mapping[str, Callable[[str], object]] = {
    "pages": values.count,
    "bytes": values.size,
    "duration_s": values.span_s,
    "errors": values.count,
}
_SCALARS: Mapping[str, Callable[[str], object]] = {
    "name": values.line,
    "priority": Priority.of,
    "max_depth": values.count,
    "delay_s": values.span_s,
    "per_host": values.count,
    "concurrency": values.count,
    "retention_s": values.retention,
    "spread": values.spread,
}
_CLEARED: Mapping[str, object] = {"name": "", "max_depth": None, "retention_s": None}

_LISTS = ("tags", "worker_tags", "include", "exclude")

_ALL = (*_SCALARS, *_LISTS, *(f"limits.{name}" for name in _LIMITS))
FIELDS: Mapping[str, str] = {name.removesuffix("_s"): name for name in _ALL}
"""What can be set in a job, by the words for it."""


def changes_of(assignments: Sequence[str], job: JobOut) -> dict[str, object]:
    """Return the fields of the job's spec that the assignments change, with their new values.

    In a list, ``+VALUE`` adds to what is there and ``-VALUE`` takes away; values
    without a sign replace it. Of several values for anything else, the last holds.

    Raises:
        Invalid: a field is none that can be set, or its value cannot be read.
    """
    asked: dict[str, list[str]] = {}
    for assignment in assignments:
        field, equals, value = assignment.partition("=")
        name = field.strip().lower().replace("-", "_").removesuffix("_s")
        if not equals or name not in FIELDS:
            known = ", ".join(FIELDS)
            raise Invalid(field.strip() or assignment, f"expected FIELD=VALUE with one of {known}")
        asked.setdefault(name, []).append(value.strip())
    lists = {name: job.tags if name == "tags" else getattr(job.spec, name) for name in _LISTS}
    changes: dict[str, object] = {}
    for word, given in asked.items():
        name = FIELDS[word]
        if name in lists:
            changes[name] = _listed(lists[name], given)
        elif name in _SCALARS:
            cleared = given[-1] == values.NONE and name in _CLEARED
            changes[name] = _CLEARED[name] if cleared else _read(word, _SCALARS[name], given[-1])
        else:
            parser = _LIMITS[name.removeprefix("limits.")]
            changes[name] = None if given[-1] == values.NONE else _read(word, parser, given[-1])
    return changes


def _listed(current: Sequence[str], given: Sequence[str]) -> tuple[str, ...]:
    plain = [value for value in given if not value.startswith(("+", "-"))]
    items = dict.fromkeys(current if not plain else (v for v in plain if v != values.NONE))
    for value in given:
        if value.startswith("+"):
            items[value[1:]] = None
        elif value.startswith("-"):
            items.pop(value[1:], None)
    return tuple(items)


def _read(name: str, parser: Callable[[str], object], value: str) -> object:
    try:
        return parser(value)
    except ValueError as error:
        raise Invalid(name, str(error)) from error
