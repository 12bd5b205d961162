"""What is asked about access."""

from typing import Annotated

from pydantic import Field

from crawlyard.core.access.credential import MAX_LABEL
from crawlyard.core.access.user import MAX_USER_ID
from crawlyard.web.wire.base import Ask, example


class SignInAsk(Ask):
    """A token, or the code of a sign-in link."""

    model_config = example(code="cyl_…")

    code: Annotated[str, Field(min_length=1, max_length=200, examples=["cyl_…"])]


class TokenAsk(Ask):
    """A token to be made."""

    model_config = example(
        name="nightly import", scopes=["jobs:write", "results:read"], expires_in_s=7_776_000
    )

    name: Annotated[str, Field(min_length=1, max_length=MAX_LABEL, examples=["nightly import"])]
    user: Annotated[
        str | None, Field(max_length=MAX_USER_ID, description="Another user's, for admins.")
    ] = None
    scopes: Annotated[
        tuple[Annotated[str, Field(max_length=50)], ...],
        Field(
            max_length=50,
            description="What it is good for, `jobs:*` too; none: all that the role has.",
            examples=[["jobs:read", "results:read"]],
        ),
    ] = ()
    expires_in_s: Annotated[
        float | None, Field(gt=0, le=3650 * 86_400, description="Null: it does not expire.")
    ] = None
