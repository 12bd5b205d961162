"""Runtime settings and grants: fields of each section, and their effect.

Admins change these settings while the server runs. A section is stored as a JSON object. A field
that it leaves out falls back to the server's own settings, or to the built-in default.
"""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from enum import StrEnum, auto
from types import MappingProxyType
from typing import Annotated, Any

from msgspec import Struct, field

from crawlyard.core.access.sharing import Visibility
from crawlyard.core.access.user import Grant, Grants
from crawlyard.core.fields import answer_name
from crawlyard.core.jobs.limits import LIMIT_NAMES, Limits
from crawlyard.core.jobs.spec_json import FIELDS, spec_with, values_of
from crawlyard.core.parse import boolean, number, unknown
from crawlyard.core.secret_names import is_secret
from crawlyard.errors import Invalid

MOST_DAYS = 3650.0
"""The longest retention, as in the server's own settings."""

RETENTIONS = (
    "paused_ttl_days",
    "retention_days",
    "events_days",
    "audit_days",
    "operations_days",
    "credentials_days",
    "usage_days",
)
"""The fields of the section `retention`, named as in the server's own settings."""

_GRANTS = tuple(grant.value for grant in Grant)

_NO_DEFAULTS = frozenset({"urls", "sitemaps", "name", "session", "unique_key", "webhooks"})
"""Fields of a spec that describe one job, so they cannot have a default."""

_ANY_URL = ("https://example.com/",)
"""A spec needs a URL."""


class SectionName(StrEnum):
    """Sections of the settings, as stored and in paths."""

    GRANTS = auto()  # access to non-public addresses, and ignoring robots.txt
    CEILINGS = auto()  # upper limits of one job of any user; higher limits are lowered
    RETENTION = auto()  # retention periods
    DEFAULTS = auto()  # default spec fields of jobs submitted over the API
    SHARING = auto()  # visibility of jobs to other users, and share links


class Section(Struct, frozen=True, kw_only=True):
    """One section of the settings, as stored."""

    name: Annotated[str, answer_name("section")]
    value: Mapping[str, object] = field(default_factory=dict)  # JSON
    version: int = 0  # 0: never written
    updated_at: datetime | None = None
    actor: Annotated[str, answer_name("updated_by")] = ""  # a user's id; empty: never written


def section_read(name: SectionName, value: Mapping[str, object]) -> dict[str, object]:
    """Return a section in canonical form.

    Raises:
        Invalid: a field is unknown, or its value is invalid.
    """
    return _READERS[name](value)


def grants_of(value: Mapping[str, object]) -> Grants:
    """Return the grants of a stored section; what it does not name is not granted."""
    return Grants(**{name: bool(value.get(name, False)) for name in _GRANTS})


def ceilings_of(value: Mapping[str, object]) -> Limits:
    """Return the ceilings set by a stored section."""
    limits: dict[str, Any] = {name: value.get(name) for name in LIMIT_NAMES}
    return Limits(**limits)


def shares_links(value: Mapping[str, object]) -> bool:
    """Return whether a stored section allows share links; by default, it does."""
    return value.get("links", True) is True


def shows_to_everyone(value: Mapping[str, object]) -> bool:
    """Return whether a stored section lets users see what others share; by default, not."""
    return value.get("visibility") == Visibility.EVERYONE


def days_of(
    value: Mapping[str, object], name: str, otherwise: timedelta | None
) -> timedelta | None:
    """Return how long a stored section says to keep something; ``None`` means forever.

    *name* is one of `RETENTIONS`; if the section does not set it, *otherwise* is returned.
    """
    days = value.get(name)
    if not isinstance(days, (int, float)):
        return otherwise
    return timedelta(days=days) if days else None


def _read_grants(value: Mapping[str, object]) -> dict[str, object]:
    _check_names(value, _GRANTS)
    return {name: _read(name, boolean, value.get(name, False)) for name in _GRANTS}


def _read_ceilings(value: Mapping[str, object]) -> dict[str, object]:
    _check_names(value, LIMIT_NAMES)
    try:
        limits = spec_with(values_of({"limits": value}) | {"urls": _ANY_URL}).limits
    except Invalid as error:
        raise error.map(
            lambda fault: Invalid(fault.field.removeprefix("limits."), fault.message)
        ) from None
    return {name: FIELDS[f"limits.{name}"].write(getattr(limits, name)) for name in LIMIT_NAMES}


def _read_retention(value: Mapping[str, object]) -> dict[str, object]:
    _check_names(value, RETENTIONS)
    return {
        name: None if value.get(name) is None else _read(name, _days, value[name])
        for name in RETENTIONS
    }


def _read_sharing(value: Mapping[str, object]) -> dict[str, object]:
    _check_names(value, ("links", "visibility"))
    return {
        "links": _read("links", boolean, value.get("links", True)),
        "visibility": _read("visibility", _visibility, value.get("visibility", Visibility.OWNER)),
    }


def _visibility(value: object) -> str:
    if value not in list(Visibility):
        raise ValueError(f"expected {' or '.join(Visibility)}, got {value!r}")
    return str(value)


def _days(value: object) -> float:
    days = number(value)
    if not 0 <= days <= MOST_DAYS:
        raise ValueError(f"expected 0 to {MOST_DAYS:g} days (0: for ever), got {days:g}")
    return days


def _read_defaults(value: Mapping[str, object]) -> dict[str, object]:
    values = values_of(value)
    for path in values:
        if path in _NO_DEFAULTS:
            raise Invalid(path, "cannot have a default: each job sets it for itself")
    for name, _ in values.get("headers", ()):
        if is_secret(name):
            hint = "all users can read these settings; put it into a template"
            raise Invalid("headers", f"{name} looks like a credential, and {hint}")
    for url in values.get("proxies", ()):
        if "@" in url:
            hint = "all users can read these settings; put it into a template"
            raise Invalid("proxies", f"a login in a proxy URL is a credential, and {hint}")
    spec_with(values | {"urls": _ANY_URL})
    form: dict[str, Any] = {}
    for path, field_value in values.items():
        group, _, name = path.rpartition(".")
        place = form.setdefault(group, {}) if group else form
        place[name] = FIELDS[path].write(field_value)
    return form


_READERS: Mapping[SectionName, Callable[[Mapping[str, object]], dict[str, object]]] = (
    MappingProxyType(
        {
            SectionName.GRANTS: _read_grants,
            SectionName.CEILINGS: _read_ceilings,
            SectionName.RETENTION: _read_retention,
            SectionName.DEFAULTS: _read_defaults,
            SectionName.SHARING: _read_sharing,
        }
    )
)


def _check_names(value: Mapping[str, object], field_names: tuple[str, ...]) -> None:
    strange = [
        unknown(str(name), str(name), field_names, "field")
        for name in value
        if name not in field_names
    ]
    if strange:
        raise Invalid.of(strange)


def _read(name: str, read: Callable[[object], object], value: object) -> object:
    try:
        return read(value)
    except ValueError as error:
        raise Invalid(name, str(error)) from None


# --- grants: open non-public addresses, or allow a job to ignore robots.txt

FIELD_OF: Mapping[Grant, str] = {
    Grant.ADDRESSES: "allow_addresses",
    Grant.PRIVATE: "allow_private",
    Grant.IGNORE_ROBOTS: "ignore_robots",
}
"""The spec field that needs each grant."""


def withheld(needed: Collection[Grant], granted: Grants) -> tuple[Grant, ...]:
    """Return which of *needed* are not granted, in the order of `Grant`."""
    return tuple(g for g in Grant if g in needed and not getattr(granted, g.value))


def how_to_grant(missing: Collection[Grant]) -> str:
    """Return a sentence that says how an admin can grant what is missing."""
    names = ", ".join(grant.value for grant in Grant if grant in missing)
    return f"an admin can grant it in the settings (grants: {names})"


def not_granted(missing: Collection[Grant]) -> str:
    """Return a message that names the fields not granted; empty if none is missing."""
    if not missing:
        return ""
    return f"{', '.join(FIELD_OF[grant] for grant in missing)}: not granted on this server"
