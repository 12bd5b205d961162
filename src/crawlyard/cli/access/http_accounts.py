"""Users and tokens of a yard that is asked over HTTP."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from crawlyard.client import AsyncClient
from crawlyard.core.access.policy import SectionName
from crawlyard.core.answers.access.access import NewTokenOut, TokenOut, UserOut
from crawlyard.core.answers.access.settings import SectionOut


class HttpAccounts:
    """Asks the users and tokens of a server; each method is a request."""

    def __init__(self, client: AsyncClient) -> None:
        self._tokens = client.tokens
        self._users = client.users
        self._settings = client.settings

    async def me(self) -> UserOut:
        """Return who asks."""
        return (await self._users.me()).user

    async def tokens(self, limit: int) -> list[TokenOut]:
        """Return tokens, newest first, at most *limit*."""
        return [token async for token in self._tokens.list(limit=limit)]

    async def create_token(
        self, name: str, user: str | None, scopes: Sequence[str], lasts: timedelta | None
    ) -> NewTokenOut:
        """Make a token; its secret is shown this once."""
        expires_in_s = None if lasts is None else lasts.total_seconds()
        return await self._tokens.create(name, user=user, scopes=scopes, expires_in_s=expires_in_s)

    async def revoke_token(self, token_id: str) -> None:
        """Revoke a token at once."""
        await self._tokens.revoke(token_id)

    async def users(self, limit: int) -> list[UserOut]:
        """Return users by id, at most *limit*."""
        return [user async for user in self._users.list(limit=limit)]

    async def user(self, user_id: str) -> UserOut:
        """Return a user."""
        return await self._users.get(user_id)

    async def create_user(self, user_id: str, role: str, quota: Mapping[str, object]) -> UserOut:
        """Make a user; *quota* is as the API writes it."""
        return await self._users.create(user_id, role=role, quota=quota)

    async def change_user(self, user_id: str, changes: Mapping[str, object]) -> UserOut:
        """Change role, quota (as a whole) or ``disabled``."""
        return await self._users.edit(user_id, changes)

    async def grants(self) -> SectionOut:
        """Return the section of the settings that says what jobs may ask for."""
        return await self._settings.get(SectionName.GRANTS)

    async def change_grants(self, changes: Mapping[str, object]) -> SectionOut:
        """Change some of the grants."""
        old = await self.grants()
        value = {**old.effective, **changes}
        return await self._settings.put(SectionName.GRANTS, value, version=old.version)
