"""Values in URLs: one that is given again, or after a comma, is an alternative."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

from pydantic import Field

from crawlyard.core.answers.problems import FieldErrorOut
from crawlyard.core.jobs.filter import MAX_WORD, MOST_VALUES
from crawlyard.errors import Invalid
from crawlyard.web.errors.problems import Problem

LONGEST_ITEM = MOST_VALUES * MAX_WORD
"""Of one parameter, which may hold all values between commas."""

Values = list[Annotated[str, Field(max_length=LONGEST_ITEM)]] | None


def words(name: str, given: Sequence[str] | None) -> list[str]:
    """Return the values of parameter *name*, whose items may be several between commas.

    Raises:
        Problem: they are too many, or one of them is too long.
    """
    found = [word for item in given or () for part in item.split(",") if (word := part.strip())]
    with of_parameter(name):
        if len(found) > MOST_VALUES:
            raise Invalid(name, f"expected at most {MOST_VALUES} values, got {len(found)}")
        if any(len(word) > MAX_WORD for word in found):
            raise Invalid(name, f"expected at most {MAX_WORD} characters")
    return found


@contextmanager
def of_parameter(name: str) -> Iterator[None]:
    """Let what is wrong with a value be answered as the fault of parameter *name*.

    Raises:
        Problem: in place of `Invalid`.
    """
    try:
        yield
    except Invalid as error:
        said = str(error).removeprefix(f"{error.field}: ")
        one = FieldErrorOut(parameter=name, code="invalid", detail=said, position=error.position)
        detail = f"{name}: {said}"
        raise Problem("validation_failed", detail, more={"errors": (one,)}) from None
