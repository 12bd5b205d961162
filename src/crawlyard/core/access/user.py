"""Who acts: every record has an owner, and every service method takes its actor."""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum, auto

from msgspec import Struct, field

from crawlyard.core.jobs.limits import Limits
from crawlyard.errors import Invalid

MAX_USER_ID = 48

NO_DATE = datetime(1970, 1, 1, tzinfo=UTC)
"""When the user `local` was made, as stored: the schema makes it, at no known instant."""


class Role(StrEnum):
    """What a user may do."""

    VIEWER = auto()  # looks
    OPERATOR = auto()  # looks and acts on what is his
    ADMIN = auto()  # acts on everything


class Permit(StrEnum):
    """What a token may be good for; a role has some of them, a token perhaps fewer."""

    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    RESULTS_READ = "results:read"
    TEMPLATES_READ = "templates:read"
    TEMPLATES_WRITE = "templates:write"
    SCHEDULES_READ = "schedules:read"
    SCHEDULES_WRITE = "schedules:write"
    WEBHOOKS_READ = "webhooks:read"
    WEBHOOKS_WRITE = "webhooks:write"
    WORKERS_READ = "workers:read"
    WORKERS_WRITE = "workers:write"
    ADMIN = "admin"


_READS = frozenset(permit for permit in Permit if permit.endswith(":read"))
_OPERATES = frozenset(Permit) - {Permit.ADMIN, Permit.WORKERS_WRITE}

PERMITS_OF: Mapping[Role, frozenset[Permit]] = {
    Role.VIEWER: _READS,
    Role.OPERATOR: _OPERATES,
    Role.ADMIN: frozenset(Permit),
}
"""What each role permits."""


class Actor(Struct, frozen=True, kw_only=True):
    """A user, as the services see one."""

    id: str
    role: Role = Role.OPERATOR
    trusted: bool = False  # he works on the store's own files: what his flags say is granted

    def may_see(self, owner: str) -> bool:
        """Tell whether what *owner* has may be shown to this actor."""
        return self.role is Role.ADMIN or self.id == owner

    def may_change(self, owner: str) -> bool:
        """Tell whether what *owner* has may be changed by this actor."""
        return self.role is Role.ADMIN or (self.role is Role.OPERATOR and self.id == owner)

    def vouches_for(self, owner: str) -> bool:
        """Tell whether what this actor says of a thing of *owner*'s needs no grant: his own."""
        return self.trusted and self.id == owner


LOCAL = Actor(id="local", role=Role.ADMIN, trusted=True)
"""The user of the embedded store: who can read its files may do everything.

The same user over the API is not trusted: whoever has his token may not have the files.
"""


class Quota(Struct, frozen=True, kw_only=True):
    """What a user may have at most; ``None`` is as much as he likes."""

    running: int | None = None  # jobs at once: more wait
    pending: int | None = None  # jobs that wait: more are refused
    pages_per_day: int | None = None  # of UTC days: once used up, his jobs wait
    bytes_per_day: int | None = None  # of response bodies, on the wire; as above
    ceilings: Limits = field(default_factory=Limits)  # of one job: what it asks beyond is cut

    def __post_init__(self) -> None:
        for name in ("running", "pending", "pages_per_day", "bytes_per_day"):
            value: int | None = getattr(self, name)
            if value is not None and value < 0:
                raise Invalid(f"quota.{name}", f"expected at least 0, got {value}")


NO_QUOTA = Quota()


class User(Struct, frozen=True, kw_only=True):
    """An account. Its id is its name as well: what owners and actors are called by.

    Raises:
        Invalid: the id is none.
    """

    id: str
    role: Role = Role.OPERATOR
    quota: Quota = NO_QUOTA
    disabled_at: datetime | None = None  # since then nobody signs in as this user
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
        """Return the user as one who acts."""
        return Actor(id=self.id, role=self.role)


class Grant(StrEnum):
    """What the settings of a yard grant, or do not: each is a field of `Grants`."""

    ADDRESSES = auto()  # allow_addresses: these addresses, although they are not public
    PRIVATE = auto()  # allow_private: all that are not public
    IGNORE_ROBOTS = auto()  # ignore_robots: what robots.txt forbids


class Grants(Struct, frozen=True, kw_only=True):
    """What a yard lets a spec ask for: what opens a way inside, or sets a site's wishes aside.

    The embedded store grants all of it: whoever can read its files can open the
    same addresses without us.
    """

    addresses: bool = True  # --allow-address
    private: bool = True  # --allow-private
    ignore_robots: bool = True  # --ignore-robots


NO_GRANTS = Grants(addresses=False, private=False, ignore_robots=False)
"""What a yard that others reach grants until its admin says otherwise."""
