"""JSON Merge Patch: partial updates of JSON objects.

Source: RFC 7396, JSON Merge Patch.
"""

from collections.abc import Mapping


def merge_patch(target: object, patch: object) -> object:
    """Return *target* with *patch* applied; neither is modified.

    Objects are merged, null removes a member, and any other value replaces what was there.
    """
    if not isinstance(patch, Mapping):
        return patch
    return merge_object(target if isinstance(target, Mapping) else {}, patch)


def merge_object(target: Mapping[str, object], patch: Mapping[str, object]) -> dict[str, object]:
    """Return the object *target* with the object *patch* applied, as `merge_patch` does."""
    merged_members = dict(target)
    for name, value in patch.items():
        if value is None:
            merged_members.pop(name, None)
        else:
            merged_members[name] = merge_patch(merged_members.get(name), value)
    return merged_members


def patch_between(old: Mapping[str, object], new: Mapping[str, object]) -> dict[str, object]:
    """Return the patch from *old* to *new*; a null member of *new* is removed as well."""
    patch: dict[str, object] = {name: None for name in old if name not in new}
    for name, value in new.items():
        before = old.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            inner = patch_between(before, value)
            patch |= {name: inner} if inner else {}
        elif value != before:
            patch[name] = value
    return patch
