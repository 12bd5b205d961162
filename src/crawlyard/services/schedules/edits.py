"""Edits of schedules, checked before anything is changed."""

import math
from collections.abc import Collection, Mapping
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from crawlyard.core.jobs.spec_json import FIELDS
from crawlyard.core.parse import is_list, shown
from crawlyard.core.schedules.records import EDITABLE
from crawlyard.core.schedules.schedule import CrawlSchedule
from crawlyard.core.templates.secrets import HIDDEN
from crawlyard.core.templates.template import check_name
from crawlyard.errors import Invalid

_REPLANS = frozenset({"when", "zone", "jitter", "starts_at", "ends_at", "runs_left"})
_WHAT = frozenset({"template_id", "template_version", "params", "overrides"})
_DEEPEST = 10  # levels of nested objects and lists
_PARAMS = "params."


class Edit(Struct, frozen=True, kw_only=True):
    """A partial update of a schedule: new field values, and params and overrides to merge in.

    *unset* lists the paths to remove: ``params.NAME`` or a field of the spec.

    Raises:
        Invalid: a value cannot be stored.
    """

    changes: Mapping[str, object]  # of `ScheduleDraft`; `template_id` for `template`
    params: Mapping[str, object] = field(default_factory=dict)
    overrides: Mapping[str, object] = field(default_factory=dict)
    unset: Collection[str] = ()
    trusted: bool = False  # the actor vouches for the edit: see `Actor.vouches_for`

    def __post_init__(self) -> None:
        if "name" in self.changes:
            check_words("name", self.changes["name"])
        for name in ("params", "overrides"):
            check_object(name, self.changes.get(name, {}))
            check_object(name, getattr(self, name))

    @property
    def replans(self) -> bool:
        """Return whether the edit can change when the schedule is due."""
        return bool(self.changes.keys() & _REPLANS)

    @property
    def says_what(self) -> bool:
        """Return whether the edit changes what is crawled."""
        return bool(self.changes.keys() & _WHAT or self.params or self.overrides or self.unset)

    @property
    def changed(self) -> list[str]:
        """Return the names of the fields that the edit changes, sorted."""
        also = {name for name in ("params", "overrides") if getattr(self, name)}
        also |= {"params" if path.startswith(_PARAMS) else "overrides" for path in self.unset}
        named = {"template" if name == "template_id" else name for name in self.changes}
        return sorted(named | also)

    def of(self, old: CrawlSchedule) -> CrawlSchedule:
        """Return *old* with the changes applied; its next instant is not recomputed.

        Raises:
            Invalid: a value is not valid, or a path to unset is not set.
        """
        given: dict[str, Any] = dict(self.changes)
        if given.get("pause_after", old.pause_after) != old.pause_after:
            given["fresh_beat"] = old.beat + 1  # restart the count of failures
        trusted = old.trusted and (self.trusted or not self.says_what)
        new = replace(old, **given, trusted=trusted)
        params, overrides = self.objects(new.params, new.overrides)
        return replace(new, params=params, overrides=overrides)

    def objects(
        self, params: Mapping[str, object], overrides: Mapping[str, object]
    ) -> tuple[dict[str, object], dict[str, object]]:
        """Return *params* and *overrides* with the new values merged in and unset paths removed.

        Raises:
            Invalid: a path to unset is not set.
        """
        params = {**params, **self.params}
        overrides = _beside(overrides, self.overrides)
        for path in self.unset:
            if path.startswith(_PARAMS):
                params = _without(params, path.removeprefix(_PARAMS), path)
            else:
                overrides = _without(overrides, _spelled(overrides, path), path)
        return params, overrides


def check_editable(fields: Collection[str]) -> None:
    """Check the names of the fields to change.

    Raises:
        Invalid: a name is not a field of `ScheduleDraft`.
    """
    unknown = sorted(set(fields) - EDITABLE)
    if unknown:
        known = ", ".join(sorted(EDITABLE))
        raise Invalid(unknown[0], f"cannot be changed in a schedule; what can: {known}")


def check_words(name: str, value: object) -> None:
    """Check the name of a schedule; *value* may be of any type.

    Raises:
        Invalid: it is not a valid name.
    """
    if not isinstance(value, str):
        raise Invalid(name, f"expected text, got {shown(value)}")
    check_name(value)


def check_object(name: str, value: object) -> None:
    """Check that *value* is a JSON object without the placeholder of a hidden secret.

    Raises:
        Invalid: it is not; the field is the path of the offending value.
    """
    if not isinstance(value, Mapping):
        raise Invalid(name, f"expected an object, got {shown(value)}")
    _check(name, value, _DEEPEST)


def _check(path: str, value: object, deep: int) -> None:
    if not deep:
        raise Invalid(path, f"expected at most {_DEEPEST} levels")
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if not isinstance(name, str):
                raise Invalid(path, f"expected names that are text, got {shown(name)}")
            _check(f"{path}.{name}", inner, deep - 1)
    elif is_list(value):
        for index, inner in enumerate(value):
            _check(f"{path}.{index}", inner, deep - 1)
    elif value == HIDDEN:
        expected = f"{HIDDEN} stands for a value that was hidden; give the value itself"
        raise Invalid(path, expected)
    elif not (value is None or isinstance(value, (str, int, float))):
        raise Invalid(path, f"expected what JSON can hold, got {shown(value)}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise Invalid(path, f"expected a finite number, got {value}")


def _beside(form: Mapping[str, object], more: Mapping[str, object]) -> dict[str, object]:
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
