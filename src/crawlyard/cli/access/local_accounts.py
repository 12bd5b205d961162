"""Users and tokens of a yard that is open in this process."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from crawlyard.core.access.policy import SectionName
from crawlyard.core.access.quota_ask import quota_asked
from crawlyard.core.access.user import Actor, Role
from crawlyard.core.answers.access.access import NewTokenOut, TokenOut, UserOut
from crawlyard.core.answers.access.settings import SectionOut
from crawlyard.services.access.accounts import Accounts
from crawlyard.services.access.sections import Sections
from crawlyard.services.access.tokens import Tokens
from crawlyard.yard import Yard


class LocalAccounts:
    """Calls the services of a yard that is open in this process."""

    def __init__(self, yard: Yard, actor: Actor) -> None:
        self._tokens = Tokens(yard.services, actor)
        self._users = Accounts(yard.services, actor)
        self._settings = Sections(yard.services, actor)
        self._actor = actor

    async def me(self) -> UserOut:
        """Return who asks."""
        return await self.user(self._actor.id)

    async def tokens(self, limit: int) -> list[TokenOut]:
        """Return tokens, newest first, at most *limit*."""
        return (await self._tokens.list(limit=limit)).items

    async def create_token(
        self, name: str, user: str | None, scopes: Sequence[str], lasts: timedelta | None
    ) -> NewTokenOut:
        """Make a token; its secret is shown this once."""
        expires_in_s = None if lasts is None else lasts.total_seconds()
        return await self._tokens.create(
            name, user=user, scopes=tuple(scopes), expires_in_s=expires_in_s
        )

    async def revoke_token(self, token_id: str) -> None:
        """Revoke a token at once."""
        await self._tokens.revoke(token_id)

    async def users(self, limit: int) -> list[UserOut]:
        """Return users by id, at most *limit*."""
        return (await self._users.list(limit=limit)).items

    async def user(self, user_id: str) -> UserOut:
        """Return a user."""
        return await self._users.get(user_id)

    async def create_user(self, user_id: str, role: str, quota: Mapping[str, object]) -> UserOut:
        """Make a user; *quota* is as the API writes it."""
        return await self._users.create(user_id, Role(role), quota_asked(quota))

    async def change_user(self, user_id: str, changes: Mapping[str, object]) -> UserOut:
        """Change role, quota (as a whole) or ``disabled``."""
        asked: dict[str, Any] = dict(changes)
        if "role" in asked:
            asked["role"] = Role(asked["role"])
        if "quota" in asked:
            asked["quota"] = quota_asked(asked["quota"])
        return await self._users.edit(user_id, **asked)

    async def grants(self) -> SectionOut:
        """Return the section of the settings that says what jobs may ask for."""
        return await self._settings.get(SectionName.GRANTS)

    async def change_grants(self, changes: Mapping[str, object]) -> SectionOut:
        """Change some of the grants."""
        old = await self.grants()
        value = {**old.effective, **changes}
        return await self._settings.put(SectionName.GRANTS, value, version=old.version)
