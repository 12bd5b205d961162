"""Which part of a body is to blame, where a service speaks of the thing that it is about."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from crawlyard.errors import Invalid

_NO_OTHER: Mapping[str, str] = {}


@contextmanager
def blaming(
    own: Collection[str], inside: str, renamed: Mapping[str, str] = _NO_OTHER
) -> Iterator[None]:
    """Let `Invalid` name the members of a body.

    Its field stays where it begins with one of *own*, or is called as *renamed* says; all
    others are in the member *inside*: ``limits.pages`` is ``overrides.limits.pages``.
    """
    try:
        yield
    except Invalid as error:
        head, dot, rest = error.field.partition(".")
        if head in renamed:
            field = f"{renamed[head]}{dot}{rest}"
        else:
            field = error.field if head in own else f"{inside}.{error.field}"
        if field == error.field:
            raise
        raise Invalid(field, said(error), error.position) from None


def said(error: Invalid) -> str:
    """Return what is wrong, without the name of the field."""
    return str(error).removeprefix(f"{error.field}: ")
