"""What all stores say where a name is taken, or a thing is used by others."""

from collections.abc import Sequence

from crawlyard.errors import Conflict

_NAMED = 20  # schedules that a message names


def taken(kind: str, name: str) -> Conflict:
    """Return the refusal of a second *kind* (template, schedule) of that name."""
    return Conflict(f"there is a {kind} {name} already; give this one another name")


def in_use(template_id: str, schedules: Sequence[str]) -> Conflict:
    """Return the refusal to delete a template that *schedules*, by their names, use."""
    named = ", ".join(schedules[:_NAMED])
    more = f" and {len(schedules) - _NAMED} more" if schedules[_NAMED:] else ""
    users = "schedule" if len(schedules) == 1 else "schedules"
    return Conflict(f"template {template_id} is used by {users} {named}{more}; delete those first")
