"""Users: roles, permits, quotas and grants.

Every record has an owner, and every service method takes the actor.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from enum import StrEnum, auto
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct, defstruct, field
from msgspec.structs import asdict

from crawlyard.core.fields import fields_of
from crawlyard.core.jobs.limits import Limits, Usage
from crawlyard.errors import Invalid

MAX_USER_ID = 48

NO_DATE = datetime(1970, 1, 1, tzinfo=UTC)
"""The stored creation time of the user `local`, which the schema creates at no known time."""


class Role(StrEnum):
    """Roles of users, each with a set of permits."""

    VIEWER = auto()  # reads
    OPERATOR = auto()  # reads, and changes what is theirs
    ADMIN = auto()  # reads and changes everything


class Permit(StrEnum):
    """Permits. A role has a set of them; a token may have fewer."""

    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    RESULTS_READ = "results:read"
    TEMPLATES_READ = "templates:read"
    TEMPLATES_WRITE = "templates:write"
    SCHEDULES_READ = "schedules:read"
    SCHEDULES_WRITE = "schedules:write"
    WEBHOOKS_READ = "webhooks:read"
    WEBHOOKS_WRITE = "webhooks:write"
    SESSIONS_READ = "sessions:read"
    SESSIONS_WRITE = "sessions:write"
    WORKERS_READ = "workers:read"
    WORKERS_WRITE = "workers:write"
    TOKENS_READ = "tokens:read"
    TOKENS_WRITE = "tokens:write"
    USERS_READ = "users:read"
    ADMIN = "admin"


_READS = frozenset(permit for permit in Permit if permit.endswith(":read"))
_OPERATES = frozenset(Permit) - {Permit.ADMIN, Permit.WORKERS_WRITE}

PERMITS_OF: Mapping[Role, frozenset[Permit]] = {
    Role.VIEWER: _READS | {Permit.TOKENS_WRITE},  # viewers have tokens too
    Role.OPERATOR: _OPERATES,
    Role.ADMIN: frozenset(Permit),
}
"""The permits of each role."""


class Actor(Struct, frozen=True, kw_only=True):
    """A user as seen by the services."""

    id: str
    role: Role = Role.OPERATOR
    trusted: bool = False  # works on the store's own files: needs no grants
    sees_shared: bool = False  # sees jobs that other users share, by a setting

    def may_see(self, owner: str) -> bool:
        """Return whether this actor may see what belongs to *owner*."""
        return self.role is Role.ADMIN or self.id == owner

    def may_change(self, owner: str) -> bool:
        """Return whether this actor may change what belongs to *owner*."""
        return self.role is Role.ADMIN or (self.role is Role.OPERATOR and self.id == owner)

    def vouches_for(self, owner: str) -> bool:
        """Return whether they are trusted and are *owner*: then no grants are needed."""
        return self.trusted and self.id == owner


LOCAL = Actor(id="local", role=Role.ADMIN, trusted=True)
"""The user of the embedded store: anyone who can read its files may do everything.

The same user is not trusted over the API: a token does not imply access to the files.
"""


class Quota(Struct, frozen=True, kw_only=True):
    """A user's quota; ``None`` means no limit."""

    running: int | None = None  # jobs at once; further ones wait
    pending: int | None = None  # waiting jobs; further ones are refused
    pages_per_day: int | None = None  # per UTC day; once used up, the user's jobs wait
    bytes_per_day: int | None = None  # of response bodies, on the wire; as above
    ceilings: Limits = field(default_factory=Limits)  # for one job; higher limits are lowered

    def __post_init__(self) -> None:
        for name in ("running", "pending", "pages_per_day", "bytes_per_day"):
            value: int | None = getattr(self, name)
            if value is not None and value < 0:
                raise Invalid(f"quota.{name}", f"expected at least 0, got {value}")


NO_QUOTA = Quota()

DAILY: Mapping[str, str] = {"pages_per_day": "pages", "bytes_per_day": "bytes"}
"""The daily parts of a quota, and the usage that each one counts."""


def is_limited(quota: Quota) -> bool:
    """Return whether *quota* has a limit that can hold back jobs; if not, claims skip the check."""
    return any(getattr(quota, part) is not None for part in ("running", *DAILY))


def find_start_hold(quota: Quota, running: int, today: Usage) -> str | None:
    """Return which part of *quota* prevents another job from starting; ``None`` if none does.

    The user has *running* jobs already; *today* is their usage on the day `day_of` now.
    """
    if quota.running is not None and running >= quota.running:
        return "running"
    return find_spent_part(quota, today)


def start_room(quota: Quota, running: int, today: Usage) -> int | None:
    """Return how many more jobs *quota* lets start, as `find_start_hold`; ``None``: any number."""
    if find_start_hold(quota, running, today) is not None:
        return 0
    return None if quota.running is None else quota.running - running


def find_spent_part(quota: Quota, today: Usage) -> str | None:
    """Return which daily part of *quota* is used up, so that running jobs must stop too.

    ``None`` if none is.
    """
    for part, used in DAILY.items():
        most: int | None = getattr(quota, part)
        if most is not None and getattr(today, used) >= most:
            return part
    return None


def day_of(now: datetime) -> date:
    """Return the UTC day on which quotas count usage at *now*."""
    return now.astimezone(UTC).date()


if TYPE_CHECKING:
    CeilingsAsk = Limits
else:
    CeilingsAsk = defstruct(
        "CeilingsAsk",
        [
            (
                limit_field.name,
                Annotated[
                    limit_field.kind, Meta(gt=limit_field.about.above, le=limit_field.about.most)
                ]
                | None,
                None,
            )
            for limit_field in fields_of(Limits).values()
        ],
        namespace={"__doc__": "Ceilings of one job, as they are asked for; null is none."},
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
    )


class QuotaAsk(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A requested quota: values within bounds, unknown fields refused."""

    running: Annotated[int, Meta(ge=0, le=10**6)] | None = None
    pending: Annotated[int, Meta(ge=0, le=10**9)] | None = None
    pages_per_day: Annotated[int, Meta(ge=0, le=10**15)] | None = None
    bytes_per_day: Annotated[int, Meta(ge=0, le=10**18)] | None = None
    ceilings: CeilingsAsk = CeilingsAsk()

    @property
    def quota(self) -> Quota:
        """The form as a `Quota`, whose ceilings are `Limits`."""
        return Quota(**asdict(self) | {"ceilings": Limits(**asdict(self.ceilings))})


class User(Struct, frozen=True, kw_only=True):
    """An account. Its id is also its name, by which owners and actors are referred to.

    Raises:
        Invalid: the id is not valid.
    """

    id: str
    role: Role = Role.OPERATOR
    quota: Quota = NO_QUOTA
    disabled_at: datetime | None = None  # sign-in is disabled from then on
    version: int = 1
    created_at: datetime
    updated_at: datetime

    def __post_init__(self) -> None:
        allowed = self.id.isascii() and all(c.isalnum() or c in "._-@+" for c in self.id)
        if not allowed or not self.id or len(self.id) > MAX_USER_ID:
            expected = f"expected 1 to {MAX_USER_ID} letters, digits or . _ - @ +"
            raise Invalid("id", f"{expected}, got {self.id!r}")

    @property
    def actor(self) -> Actor:
        """The user as an actor that is not trusted with files."""
        return Actor(id=self.id, role=self.role)


class Grant(StrEnum):
    """Grants in the settings of a server: each member is a field of `Grants`."""

    ADDRESSES = auto()  # allow_addresses: these non-public addresses
    PRIVATE = auto()  # allow_private: all non-public addresses
    IGNORE_ROBOTS = auto()  # ignore_robots: URLs that robots.txt forbids


class Grants(Struct, frozen=True, kw_only=True):
    """Grants of a server to job specs: non-public addresses, and ignoring robots.txt.

    The embedded store grants all of it: anyone who can read its files can open the same addresses
    without Crawlyard.
    """

    addresses: bool = True  # --allow-address
    private: bool = True  # --allow-private
    ignore_robots: bool = True  # --ignore-robots
