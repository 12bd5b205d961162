# made of asynchronous/account.py by `python -m tests.sync_client`; a test compares it
"""Who may do what: users, tokens, and oneself."""

from collections.abc import Generator, Mapping, Sequence

from crawlyard.client.synchronous.calls import Calls
from crawlyard.client.transport import if_match, part, without_none
from crawlyard.core.answers.access.access import MeOut, NewTokenOut, TokenOut, UserOut


class Tokens:
    """Makes, lists and revokes tokens."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(self, *, limit: int | None = None) -> Generator[TokenOut]:
        """Yield your tokens, an admin's all, newest first."""
        return self._calls.every(TokenOut, "tokens", limit=limit)

    def get(self, token_id: str) -> TokenOut:
        """Return a token, without its secret."""
        return self._calls.one(TokenOut, "GET", f"tokens/{part(token_id)}")

    def create(
        self,
        name: str,
        *,
        user: str | None = None,
        scopes: Sequence[str] = (),
        expires_in_s: float | None = None,
    ) -> NewTokenOut:
        """Make a token, as an admin also another user's; its secret is shown this once."""
        given = {"name": name, "user": user, "scopes": [*scopes], "expires_in_s": expires_in_s}
        return self._calls.one(NewTokenOut, "POST", "tokens", body=without_none(given))

    def revoke(self, token_id: str) -> None:
        """Revoke a token at once."""
        self._calls.send("DELETE", f"tokens/{part(token_id)}")


class Users:
    """Makes, finds and changes accounts, for admins."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def me(self) -> MeOut:
        """Return who asks, and what he may do."""
        return self._calls.one(MeOut, "GET", "auth/me")

    def list(self, *, limit: int | None = None) -> Generator[UserOut]:
        """Yield users by id; who is no admin sees himself."""
        return self._calls.every(UserOut, "users", limit=limit)

    def get(self, user_id: str) -> UserOut:
        """Return a user."""
        return self._calls.one(UserOut, "GET", f"users/{part(user_id)}")

    def create(
        self, user_id: str, *, role: str = "operator", quota: Mapping[str, object] | None = None
    ) -> UserOut:
        """Make a user."""
        body = without_none({"id": user_id, "role": role, "quota": quota})
        return self._calls.one(UserOut, "POST", "users", body=body)

    def edit(
        self, user_id: str, changes: Mapping[str, object], *, version: int | None = None
    ) -> UserOut:
        """Change ``role``, ``quota`` (as a whole) or ``disabled``."""
        path = f"users/{part(user_id)}"
        return self._calls.one(UserOut, "PATCH", path, body=changes, headers=if_match(version))
