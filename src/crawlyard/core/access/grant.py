"""Grants: which spec fields need one, and which of them are missing.

Grants open non-public addresses, or allow a job to ignore robots.txt.
"""

from collections.abc import Collection, Mapping

from crawlyard.core.access.user import Grant, Grants
from crawlyard.core.jobs.spec import JobSpec

FIELD_OF: Mapping[Grant, str] = {
    Grant.ADDRESSES: "allow_addresses",
    Grant.PRIVATE: "allow_private",
    Grant.IGNORE_ROBOTS: "ignore_robots",
}
"""The spec field that needs each grant."""


def needed_grants(spec: JobSpec) -> tuple[Grant, ...]:
    """Return the grants that *spec* needs, in the order of `Grant`."""
    return tuple(grant for grant, field in FIELD_OF.items() if getattr(spec, field))


def withheld(needed: Collection[Grant], granted: Grants) -> tuple[Grant, ...]:
    """Return which of *needed* are not granted, in the order of `Grant`."""
    return tuple(g for g in Grant if g in needed and not getattr(granted, g.value))


def how_to_grant(missing: Collection[Grant]) -> str:
    """Return a sentence that says how an admin can grant what is missing."""
    options = " ".join(f"--{grant.value.replace('_', '-')}" for grant in Grant if grant in missing)
    return f"an admin can grant it: crawlyard settings grants {options}"


def not_granted(missing: Collection[Grant]) -> str:
    """Return a message that names the fields not granted; empty if none is missing."""
    if not missing:
        return ""
    return f"{', '.join(FIELD_OF[grant] for grant in missing)}: not granted on this server"
