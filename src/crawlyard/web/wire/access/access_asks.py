"""What is asked about access."""

from typing import Annotated

from pydantic import Field

from crawlyard.core.access.credential import MAX_LABEL
from crawlyard.core.access.user import MAX_USER_ID, Quota, Role
from crawlyard.core.jobs.limits import Limits
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


class CeilingsAsk(Ask):
    """Ceilings of one job; null is none."""

    pages: Annotated[int | None, Field(ge=1, le=10**15)] = None
    bytes: Annotated[int | None, Field(ge=1, le=10**18)] = None
    duration_s: Annotated[float | None, Field(gt=0, le=10**9)] = None
    errors: Annotated[int | None, Field(ge=1, le=10**15)] = None

    @property
    def limits(self) -> Limits:
        """Return what is asked for."""
        return Limits(
            pages=self.pages, bytes=self.bytes, duration_s=self.duration_s, errors=self.errors
        )


class QuotaAsk(Ask):
    """What a user may have at most; null is as much as he likes."""

    running: Annotated[int | None, Field(ge=0, le=10**6)] = None
    pending: Annotated[int | None, Field(ge=0, le=10**9)] = None
    pages_per_day: Annotated[int | None, Field(ge=0, le=10**15)] = None
    bytes_per_day: Annotated[int | None, Field(ge=0, le=10**18)] = None
    ceilings: CeilingsAsk = CeilingsAsk()

    @property
    def quota(self) -> Quota:
        """Return what is asked for."""
        return Quota(
            running=self.running,
            pending=self.pending,
            pages_per_day=self.pages_per_day,
            bytes_per_day=self.bytes_per_day,
            ceilings=self.ceilings.limits,
        )


class UserAsk(Ask):
    """A user to be made."""

    model_config = example(
        id="grace", role="operator", quota={"running": 4, "pages_per_day": 100_000}
    )

    id: Annotated[str, Field(min_length=1, max_length=MAX_USER_ID, examples=["ada"])]
    role: Role = Role.OPERATOR
    quota: QuotaAsk = QuotaAsk()


class UserPatch(Ask):
    """What is to be changed of a user; a quota replaces the one before."""

    model_config = example(role="viewer")

    role: Role | None = None
    quota: QuotaAsk | None = None
    disabled: bool | None = None
