"""What all stores say where a name is taken, or a thing is used by others."""

from collections.abc import Iterable

from crawlyard.errors import Conflict

_NAMED = 20  # schedules that a message names


def taken(kind: str, name: str) -> Conflict:
    """Return the refusal of a second *kind* (template, schedule) of that name."""
    return Conflict(f"there is a {kind} {name} already; give this one another name")


def in_use(template_id: str, users: Iterable[tuple[str, str]], seen_by: str | None) -> Conflict:
    """Return the refusal to delete a template that schedules, by their owners and names, use.

    Those of others than *seen_by* are counted and not named; ``None`` sees all.
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
