"""Conflicts that stores share: a name that is taken, an object that is in use."""

from collections.abc import Iterable

from crawlyard.errors import Conflict

_NAMED = 20  # most schedules that a message names


def taken(kind: str, name: str) -> Conflict:
    """Return the error for a second *kind* (template, schedule) with the same name."""
    return Conflict(f"there is a {kind} {name} already; give this one another name")


def in_use(template_id: str, users: Iterable[tuple[str, str]], seen_by: str | None) -> Conflict:
    """Return the error for deleting a template that schedules use, given as (owner, name).

    Schedules of users other than *seen_by* are counted, not named; ``None`` sees all.
    """
    every = list(users)
    names = sorted(name for owner, name in every if seen_by in (None, owner))
    hidden = len(every) - len(names)
    kind = "schedule" if len(every) == 1 else "schedules"
    parts = [f"{kind} {', '.join(names[:_NAMED])}"] if names else []
    if names[_NAMED:]:
        parts.append(f"{len(names) - _NAMED} more")
    if hidden:
        parts.append(f"{hidden} of other users" if names else f"{hidden} {kind} of other users")
    used = f"template {template_id} is used by {' and '.join(parts)}"
    return Conflict(f"{used}; delete those first")
