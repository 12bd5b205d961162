"""Paths to remove from the params and overrides of a schedule, for ``--unset``."""

from collections.abc import Collection, Mapping

from crawlyard.core.jobs.spec_json import FIELDS
from crawlyard.errors import Invalid

_PARAMS = "params."


def without(
    params: Mapping[str, object], overrides: Mapping[str, object], unset: Collection[str]
) -> tuple[Mapping[str, object], Mapping[str, object]]:
    """Return *params* and *overrides* without the paths *unset*: ``params.NAME`` or a spec field.

    Raises:
        Invalid: a path is not set.
    """
    for path in unset:
        if path.startswith(_PARAMS):
            params = _without(params, path.removeprefix(_PARAMS), path)
        else:
            overrides = _without(overrides, _spelled(overrides, path), path)
    return params, overrides


def beside(form: Mapping[str, object], more: Mapping[str, object]) -> dict[str, object]:
    """Return *form* updated with *more*; an object that is in both is merged one level deep."""
    both = {**form, **more}
    for name, value in more.items():
        before = form.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            both[name] = {**before, **value}
    return both


def _spelled(form: Mapping[str, object], path: str) -> str:
    """Return the path of a field in the spelling that *form* uses, of the two that it may have."""
    ways = next(([f.path, f.also] for f in FIELDS.values() if path in (f.path, f.also)), [])
    return next((way for way in (path, *ways) if way and _has(form, way)), path)


def _has(form: Mapping[str, object], path: str) -> bool:
    head, dot, rest = path.partition(".")
    inner = form.get(head)
    return head in form and (not dot or (isinstance(inner, Mapping) and _has(inner, rest)))


def _without(form: Mapping[str, object], path: str, told: str) -> dict[str, object]:
    """Return *form* without the value at *path*, and without an object left empty by that.

    Raises:
        Invalid: *path* is not set; the field is *told*.
    """
    if not _has(form, path):
        there = ", ".join(form) or "nothing"
        raise Invalid(told, f"cannot be taken away, it is not set; what is: {there}")
    head, dot, rest = path.partition(".")
    left, inner = dict(form), form[head]
    if dot and isinstance(inner, Mapping) and (kept := _without(inner, rest, told)):
        left[head] = kept
    else:
        del left[head]
    return left
