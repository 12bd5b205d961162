"""What is asked of a store about users, and what proves who they are."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Protocol

from msgspec import Struct

from crawlyard.core.credential import Credential, CredentialKind
from crawlyard.core.event import Event
from crawlyard.core.limits import Usage
from crawlyard.core.user import User


class Proof(Struct, frozen=True, kw_only=True):
    """A credential that was shown, and the user whose it is."""

    credential: Credential
    user: User


class UserStore(Protocol):
    """The accounts, and what each has used."""

    async def add(self, user: User, event: Event) -> None:
        """Remember a new user.

        Raises:
            Conflict: the id is taken.
        """
        ...

    async def get(self, user_id: str) -> User:
        """Return a user.

        Raises:
            NotFound: there is none of that id.
        """
        ...

    async def save(self, user: User, event: Event) -> None:
        """Replace version ``user.version - 1`` and add the event.

        Raises:
            Conflict: the stored version is another.
        """
        ...

    async def find(self, after: str, limit: int) -> list[User]:
        """Return users with an id above *after*, in the order of their ids, at most *limit*."""
        ...

    async def day(self, owner: str, day: date) -> Usage:
        """Return what the jobs of *owner* have used on a day, of UTC: pages, bytes and errors."""
        ...

    async def days(self, owner: str | None, since: date) -> Mapping[date, Usage]:
        """Return what was used on each day from *since* on, of one owner or all together.

        Days without anything are left out.
        """
        ...

    async def forget_days(self, before: date, rows: int = 1000) -> int:
        """Delete what was used on up to *rows* days before *before*; return how many."""
        ...


class CredentialStore(Protocol):
    """The secrets that were given out, by their digests."""

    async def add(self, credential: Credential, event: Event | None = None) -> None:
        """Remember a new one.

        Raises:
            Conflict: its id or digest is taken.
            NotFound: its user is gone.
        """
        ...

    async def shown(self, digest: str) -> Proof | None:
        """Return what a secret with this digest is, good or not; ``None``: there is none."""
        ...

    async def get(self, credential_id: str) -> Credential:
        """Return one.

        Raises:
            NotFound: there is none of that id.
        """
        ...

    async def find(
        self, user_id: str | None, kind: CredentialKind, before: str | None, limit: int
    ) -> list[Credential]:
        """Return those of a user, or of all, with ids below *before*, newest first."""
        ...

    async def touch(self, credential_id: str, now: datetime) -> None:
        """Note that it was used."""
        ...

    async def revoke(self, credential_id: str, now: datetime, event: Event | None = None) -> None:
        """Make it, and what was had by it, prove nothing any more; once it is so, it stays so."""
        ...

    async def spend(self, link: str, session: Credential) -> bool:
        """Revoke the link of this id and add *session*, together; ``False``: it was spent."""
        ...

    async def sweep(self, before: datetime, rows: int = 1000) -> int:
        """Delete up to *rows* that were revoked or expired before *before*; return how many."""
        ...
