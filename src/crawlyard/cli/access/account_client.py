"""What the command line asks of a yard about users, their tokens and what is granted."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from crawlyard.core.answers.access.access import NewTokenOut, TokenOut, UserOut
from crawlyard.core.answers.access.settings import SectionOut


class AccountClient(Protocol):
    """Makes and changes users and tokens. What is not the user's to do is `Forbidden`."""

    async def me(self) -> UserOut:
        """Return who asks."""
        ...

    async def tokens(self, limit: int) -> list[TokenOut]:
        """Return tokens, newest first, at most *limit*."""
        ...

    async def create_token(
        self, name: str, user: str | None, scopes: Sequence[str], lasts: timedelta | None
    ) -> NewTokenOut:
        """Make a token; its secret is shown this once."""
        ...

    async def revoke_token(self, token_id: str) -> None:
        """Revoke a token at once."""
        ...

    async def users(self, limit: int) -> list[UserOut]:
        """Return users by id, at most *limit*."""
        ...

    async def user(self, user_id: str) -> UserOut:
        """Return a user."""
        ...

    async def create_user(self, user_id: str, role: str, quota: Mapping[str, object]) -> UserOut:
        """Make a user; *quota* is as the API writes it."""
        ...

    async def change_user(self, user_id: str, changes: Mapping[str, object]) -> UserOut:
        """Change role, quota (as a whole) or ``disabled``."""
        ...

    async def grants(self) -> SectionOut:
        """Return the section of the settings that says what jobs may ask for."""
        ...

    async def change_grants(self, changes: Mapping[str, object]) -> SectionOut:
        """Change some of the grants. Raises `Stale` if somebody else was faster."""
        ...
