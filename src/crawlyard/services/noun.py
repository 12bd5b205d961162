"""Base class of the nouns of the surface, and shared helpers."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from crawlyard.core.access.credential import Caller
from crawlyard.core.access.user import PERMITS_OF, Actor, Permit, Role
from crawlyard.core.endpoints.endpoint import Words
from crawlyard.errors import Forbidden, Invalid
from crawlyard.services.jobs.terms import words_of

if TYPE_CHECKING:
    from crawlyard.services.services import Services


class Noun:
    """One noun of an instance, such as its jobs, for one actor.

    *permits*: those of their credential; ``None``: all of their role. *caller* has the credential;
    ``None``: none was needed.
    """

    _here = True  # in this process, which can run jobs; False: the instance is elsewhere

    def __init__(
        self,
        services: "Services",
        actor: Actor,
        permits: frozenset[Permit] | None = None,
        caller: Caller | None = None,
    ) -> None:
        self._services = services
        self._actor = actor
        self._limited = permits is not None
        self._permits = PERMITS_OF[actor.role] if permits is None else permits
        self._caller = caller

    def _check_admin(self, why: str = "") -> None:
        if self._actor.role is not Role.ADMIN:
            raise Forbidden(f"{self._actor.id} is no admin" + (f": {why}" if why else ""))


def parse_expand(
    expand: Words, needs: Mapping[str, Permit], permits: frozenset[Permit]
) -> frozenset[str]:
    """Return the fields to expand; *needs* has all possible fields, and the permit for each.

    Raises:
        Invalid: *expand* names something else.
        Forbidden: a permit is missing.
    """
    names = words_of(expand)
    unknown = next((name for name in names if name not in needs), None)
    if unknown is not None:
        raise Invalid("expand", f"expected {', '.join(needs)}, got {unknown!r}")
    missing = sorted({needs[name] for name in names} - permits)
    if missing:
        raise Forbidden(f"expand needs {', '.join(missing)}, which you do not have")
    return frozenset(names)
