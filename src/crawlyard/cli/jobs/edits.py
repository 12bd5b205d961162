"""Assignments such as `field=value`, as changes to a job's spec."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from crawlyard.cli import values
from crawlyard.cli.jobs.crawl_options import reader_of
from crawlyard.core.fields import Field, fields_of
from crawlyard.core.jobs import spec_json
from crawlyard.core.jobs.answers import JobOut
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.errors import Invalid

FIELDS: Mapping[str, Field] = {
    path.removesuffix("_s"): field
    for path, field in fields_of(JobSpec).items()
    if field.about.editable
}
"""Fields that can be set in a job, by their words."""


def changes_of(assignments: Sequence[str], job: JobOut) -> dict[str, Any]:
    """Return the changes to the job's spec that the assignments describe, as a merge patch.

    In a list, ``+VALUE`` adds a value and ``-VALUE`` removes it; values
    without a sign replace it. Of several values for any other field, the last applies.

    Raises:
        Invalid: fields cannot be set, or their values cannot be read; it names all of them.
    """
    errors: list[Invalid] = []
    assignments_by_word: dict[str, list[str]] = {}
    for assignment in assignments:
        field, equals, value = assignment.partition("=")
        name = field.strip().lower().replace("-", "_").removesuffix("_s")
        if not equals or name not in FIELDS:
            names = ", ".join(FIELDS)
            message = f"expected FIELD=VALUE with one of {names}"
            errors.append(Invalid(field.strip() or assignment, message))
            continue
        assignments_by_word.setdefault(name, []).append(value.strip())
    patch: dict[str, Any] = {}
    for word, texts in assignments_by_word.items():
        changed = FIELDS[word]
        group, _, name = changed.path.rpartition(".")
        place = patch.setdefault(group, {}) if group else patch
        try:
            place[name] = spec_json.FIELDS[changed.path].write(
                _new_value(word, changed, texts, job)
            )
        except Invalid as error:
            errors.append(error)
    if errors:
        raise Invalid.of(errors)
    return patch


def _new_value(word: str, field: Field, texts: Sequence[str], job: JobOut) -> object:
    if field.many:
        return _change_list(getattr(job.spec, field.name), texts)
    if texts[-1] == values.NONE and (field.about.null or field.kind is str):
        return field.default
    return _read(word, reader_of(field), texts[-1])


def _change_list(current: Sequence[str], texts: Sequence[str]) -> tuple[str, ...]:
    plain = [value for value in texts if not value.startswith(("+", "-"))]
    items = dict.fromkeys(current if not plain else (v for v in plain if v != values.NONE))
    for value in texts:
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
