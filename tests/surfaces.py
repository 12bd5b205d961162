"""The surface of a yard for a user, as `crawlyard.open` gives it."""

from crawlyard.api.near import NearSurface
from crawlyard.core.access.user import LOCAL, Actor
from crawlyard.services.surface import Surface
from crawlyard.yard import Yard


def as_user(yard: Yard, actor: Actor = LOCAL) -> Surface:
    """Return the surface of a yard for a user, who is trusted with all if none is named."""
    return NearSurface(yard.services, actor)
