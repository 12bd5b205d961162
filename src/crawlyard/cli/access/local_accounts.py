"""Users and tokens of a yard that is open in this process."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from crawlyard.core.access.credential import permits_named
from crawlyard.core.access.policy import SectionName
from crawlyard.core.access.user import Actor
from crawlyard.core.answers.access.access import NewTokenOut, TokenOut, UserOut
from crawlyard.core.answers.access.settings import SectionOut
from crawlyard.services.access.credentials import Credentials
from crawlyard.services.access.users import Users
from crawlyard.web.wire.access.access_asks import UserAsk, UserPatch
from crawlyard.yard import Yard


class LocalAccounts:
    """Calls the services of a yard that is open in this process."""

    def __init__(self, yard: Yard, actor: Actor) -> None:
        self._access = Credentials(yard.store, yard.clock)
        self._users = Users(yard.store, yard.clock)
        self._settings = yard.site_settings
        self._actor = actor

    async def me(self) -> UserOut:
        """Return who asks."""
        return await self.user(self._actor.id)

    async def tokens(self, limit: int) -> list[TokenOut]:
        """Return tokens, newest first, at most *limit*."""
        return [TokenOut.of(t) for t in await self._access.tokens(self._actor, limit=limit)]

    async def create_token(
        self, name: str, user: str | None, scopes: Sequence[str], lasts: timedelta | None
    ) -> NewTokenOut:
        """Make a token; its secret is shown this once."""
        permits = permits_named(scopes) if scopes else None
        given = await self._access.create_token(
            self._actor, name, user_id=user, permits=permits, lasts=lasts
        )
        return NewTokenOut.given(given)

    async def revoke_token(self, token_id: str) -> None:
        """Revoke a token at once."""
        await self._access.revoke_token(self._actor, token_id)

    async def users(self, limit: int) -> list[UserOut]:
        """Return users by id, at most *limit*."""
        return [UserOut.of(user) for user in await self._users.list(self._actor, limit=limit)]

    async def user(self, user_id: str) -> UserOut:
        """Return a user."""
        return UserOut.of(await self._users.get(self._actor, user_id))

    async def create_user(self, user_id: str, role: str, quota: Mapping[str, object]) -> UserOut:
        """Make a user; *quota* is as the API writes it."""
        ask = UserAsk.model_validate({"id": user_id, "role": role, "quota": quota})
        user = await self._users.create(self._actor, ask.id, ask.role, ask.quota.quota)
        return UserOut.of(user)

    async def change_user(self, user_id: str, changes: Mapping[str, object]) -> UserOut:
        """Change role, quota (as a whole) or ``disabled``."""
        ask = UserPatch.model_validate(changes)
        user = await self._users.update(
            self._actor,
            user_id,
            role=ask.role,
            quota=None if ask.quota is None else ask.quota.quota,
            disabled=ask.disabled,
        )
        return UserOut.of(user)

    async def grants(self) -> SectionOut:
        """Return the section of the settings that says what jobs may ask for."""
        return SectionOut.of(await self._settings.get(self._actor, SectionName.GRANTS))

    async def change_grants(self, changes: Mapping[str, object]) -> SectionOut:
        """Change some of the grants."""
        old = await self.grants()
        value = {**old.effective, **changes}
        setting = await self._settings.update(
            self._actor, SectionName.GRANTS, value, version=old.version
        )
        return SectionOut.of(setting)
