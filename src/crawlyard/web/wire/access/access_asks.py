"""What is asked about access."""

from typing import Annotated

from pydantic import Field

from crawlyard.web.wire.base import Ask, example


class SignInAsk(Ask):
    """A token, or the code of a sign-in link."""

    model_config = example(code="cyl_…")

    code: Annotated[str, Field(min_length=1, max_length=200, examples=["cyl_…"])]
