"""Users, as one of them sees them: admins see and change all, others see themselves."""

from typing import Annotated

from msgspec import Meta

from crawlyard.core.access.quota_ask import QuotaAsk
from crawlyard.core.access.user import MAX_USER_ID, Permit, Role
from crawlyard.core.answers.access.access import UserOut
from crawlyard.core.endpoint import ANYBODY, Cursor, IfMatch, Limit, Slice, endpoint, sliced
from crawlyard.services.noun import Noun

UserId = Annotated[str, Meta(min_length=1, max_length=MAX_USER_ID, examples=["ada"])]


class Accounts(Noun):
    """Finds users, and for admins makes and changes them."""

    @endpoint("GET /users", ANYBODY)
    async def list(self, *, limit: Limit = 50, cursor: Cursor = None) -> Slice[UserOut]:
        """List users by id; who is no admin sees himself."""
        found = await self._services.users.list(self._actor, after=cursor or "", limit=limit + 1)
        return sliced(found, limit, UserOut.of, lambda user: user.id)

    @endpoint(
        "POST /users",
        Permit.ADMIN,
        status=201,
        example={"id": "grace", "role": "operator", "quota": {"running": 4}},
    )
    async def create(
        self,
        id: UserId,  # noqa: A002 - the name of the member
        role: Role = Role.OPERATOR,
        quota: QuotaAsk = QuotaAsk(),  # noqa: B008 - it cannot change
    ) -> UserOut:
        """Make a user; give him a token by `POST /tokens`."""
        return UserOut.of(await self._services.users.create(self._actor, id, role, quota.quota))

    @endpoint("GET /users/{user_id}", ANYBODY)
    async def get(self, user_id: str) -> UserOut:
        """Return a user."""
        return UserOut.of(await self._services.users.get(self._actor, user_id))

    @endpoint("PATCH /users/{user_id}", Permit.ADMIN, example={"role": "viewer"})
    async def edit(
        self,
        user_id: str,
        *,
        role: Role | None = None,
        quota: Annotated[QuotaAsk | None, Meta(description="It replaces the one before.")] = None,
        disabled: bool | None = None,
        version: IfMatch = None,
    ) -> UserOut:
        """Change role or quota of a user, or disable him: what he shows proves nothing then."""
        user = await self._services.users.update(
            self._actor,
            user_id,
            role=role,
            quota=None if quota is None else quota.quota,
            disabled=disabled,
            version=version,
        )
        return UserOut.of(user)
