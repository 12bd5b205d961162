"""Who acts: every record has an owner, and every service method takes its actor."""

from dataclasses import dataclass
from enum import StrEnum, auto


class Role(StrEnum):
    """What a user may do."""

    VIEWER = auto()  # looks
    OPERATOR = auto()  # looks and acts on what is his
    ADMIN = auto()  # acts on everything


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """A user, as the services see one."""

    id: str
    role: Role = Role.OPERATOR

    def may_see(self, owner: str) -> bool:
        """Tell whether what *owner* has may be shown to this actor."""
        return self.role is Role.ADMIN or self.id == owner

    def may_change(self, owner: str) -> bool:
        """Tell whether what *owner* has may be changed by this actor."""
        return self.role is Role.ADMIN or (self.role is Role.OPERATOR and self.id == owner)


LOCAL = Actor(id="local", role=Role.ADMIN)
"""The user of the embedded store: who can read its files may do everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grants:
    """What a yard lets a spec ask for: what opens a way inside, or sets a site's wishes aside.

    The embedded store grants all of it: whoever can read its files can open the
    same addresses without us.
    """

    addresses: bool = True  # --allow-address
    private: bool = True  # --allow-private
    ignore_robots: bool = True  # --ignore-robots
