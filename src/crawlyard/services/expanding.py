"""`expand`: what can be added to an answer, and what that takes."""

from collections.abc import Mapping

from crawlyard.core.access.user import Permit
from crawlyard.core.endpoint import Words
from crawlyard.errors import Forbidden, Invalid
from crawlyard.services.jobs.terms import words_of


def expanded_by(
    expand: Words, needs: Mapping[str, Permit], permits: frozenset[Permit]
) -> frozenset[str]:
    """Return what is to be added; *needs* has all that can be, and what each one takes.

    Raises:
        Invalid: it names something else.
        Forbidden: *permits* do not have what it takes.
    """
    names = words_of(expand)
    unknown = next((name for name in names if name not in needs), None)
    if unknown is not None:
        raise Invalid("expand", f"expected {', '.join(needs)}, got {unknown!r}")
    missing = sorted({needs[name] for name in names} - permits)
    if missing:
        raise Forbidden(f"expand needs {', '.join(missing)}, which you do not have")
    return frozenset(names)
