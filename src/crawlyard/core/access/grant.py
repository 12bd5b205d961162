"""What a spec asks for that has to be granted: a way inside, or a site's wishes set aside."""

from collections.abc import Collection, Mapping

from crawlyard.core.access.user import Grant, Grants
from crawlyard.core.jobs.spec import JobSpec

FIELD_OF: Mapping[Grant, str] = {
    Grant.ADDRESSES: "allow_addresses",
    Grant.PRIVATE: "allow_private",
    Grant.IGNORE_ROBOTS: "ignore_robots",
}
"""The field of a spec that asks for it."""


def asked_for(spec: JobSpec) -> tuple[Grant, ...]:
    """Return what *spec* asks for, in the order of `Grant`."""
    return tuple(grant for grant, field in FIELD_OF.items() if getattr(spec, field))


def withheld(needed: Collection[Grant], granted: Grants) -> tuple[Grant, ...]:
    """Return what of *needed* is not granted, in the order of `Grant`."""
    return tuple(g for g in Grant if g in needed and not getattr(granted, g.value))


def how_to_grant(missing: Collection[Grant]) -> str:
    """Return what an admin can do about what is missing."""
    options = " ".join(f"--{grant.value.replace('_', '-')}" for grant in Grant if grant in missing)
    return f"an admin can grant it: crawlyard settings grants {options}"


def not_granted(missing: Collection[Grant]) -> str:
    """Return what is said of what is missing, for whoever asks for it; empty: nothing is."""
    if not missing:
        return ""
    return f"{', '.join(FIELD_OF[grant] for grant in missing)}: not granted on this server"
