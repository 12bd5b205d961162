"""`expand`: what a job belongs to and a schedule's last ticks, added to an answer."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, TypeVar

from fastapi import Depends, Query, Request

from crawlyard.core.access.user import Permit
from crawlyard.errors import Forbidden, Invalid
from crawlyard.web.asking import SiteOf, proved
from crawlyard.web.filters.filtering import Values, of_parameter, words

T = TypeVar("T")

Asked = frozenset[str]


def _expansion(needs: Mapping[str, Permit]) -> Callable[..., Awaitable[Asked]]:
    """Return a dependency that reads `expand`; *needs* has its words and what each one takes."""
    told = f"Adds `expanded` with what is named: {', '.join(f'`{name}`' for name in needs)}."

    async def asked(
        request: Request,
        site: SiteOf,
        expand: Annotated[Values, Query(max_length=len(needs), description=told)] = None,
    ) -> Asked:
        found = words("expand", expand)
        unknown = next((word for word in found if word not in needs), None)
        with of_parameter("expand"):
            if unknown is not None:
                raise Invalid("expand", f"expected {', '.join(needs)}, got {unknown!r}")
        if found:
            caller = await proved(request, site)
            missing = sorted({needs[word] for word in found} - caller.permits)
            if missing:
                raise Forbidden(f"expand needs {', '.join(missing)}, which you do not have")
        return frozenset(found)

    return asked


ScheduleExpansion = Annotated[Asked, Depends(_expansion({"recent": Permit.JOBS_READ}))]
