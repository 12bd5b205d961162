"""`UserStore` and `CredentialStore` over dictionaries."""

# ruff: noqa: D102  # the Protocols in store/base say what each method does

from collections.abc import Mapping
from datetime import date, datetime

from msgspec import Struct
from msgspec.structs import replace

from crawlyard.core.credential import Credential, CredentialKind
from crawlyard.core.event import Event
from crawlyard.core.limits import Usage
from crawlyard.core.user import User
from crawlyard.errors import Conflict, NotFound
from crawlyard.store.base import Proof
from crawlyard.store.memory.shelf import Shelf
from crawlyard.store.text import scrubbed


class MemoryUsers(Struct, frozen=True):
    """`UserStore` in memory."""

    _shelf: Shelf

    async def add(self, user: User, event: Event) -> None:
        if user.id in self._shelf.users:
            raise Conflict(f"there is a user {user.id} already")
        self._shelf.users[user.id] = user
        self._shelf.tell(event)

    async def get(self, user_id: str) -> User:
        user = self._shelf.users.get(user_id)
        if user is None:
            raise NotFound(f"no user {user_id}")
        return user

    async def save(self, user: User, event: Event) -> None:
        before = self._shelf.users.get(user.id)
        if before is None or before.version != user.version - 1:
            raise Conflict(f"user {user.id} is not at version {user.version - 1} any more")
        self._shelf.users[user.id] = user
        self._shelf.tell(event)

    async def find(self, after: str, limit: int) -> list[User]:
        found = (u for u in self._shelf.users.values() if u.id > after)
        return sorted(found, key=lambda u: u.id)[:limit]

    async def day(self, owner: str, day: date) -> Usage:
        return self._shelf.days.get((owner, day), Usage())

    async def days(self, owner: str | None, since: date) -> Mapping[date, Usage]:
        sums: dict[date, Usage] = {}
        for (whose, day), used in sorted(self._shelf.days.items(), key=lambda item: item[0][1]):
            if owner in (None, whose) and day >= since:
                sums[day] = sums.get(day, Usage()).plus(used)
        return sums

    async def forget_days(self, before: date, rows: int = 1000) -> int:
        gone = [key for key in self._shelf.days if key[1] < before][:rows]
        for key in gone:
            del self._shelf.days[key]
        return len(gone)


class MemoryCredentials(Struct, frozen=True):
    """`CredentialStore` in memory."""

    _shelf: Shelf

    async def add(self, credential: Credential, event: Event | None = None) -> None:
        parent = self._shelf.credentials.get(credential.parent_id or "")
        if parent is not None and parent.revoked_at is not None:
            raise Conflict(f"{parent.kind} {parent.id} is revoked")
        self._keep(credential)
        self._shelf.tell(*([event] if event else []))

    async def shown(self, digest: str) -> Proof | None:
        for credential in self._shelf.credentials.values():
            if credential.digest == digest:
                user = self._shelf.users[credential.user_id]
                return Proof(credential=credential, user=user)
        return None

    async def get(self, credential_id: str) -> Credential:
        credential = self._shelf.credentials.get(credential_id)
        if credential is None:
            raise NotFound(f"no credential {credential_id}")
        return credential

    async def find(
        self, user_id: str | None, kind: CredentialKind, before: str | None, limit: int
    ) -> list[Credential]:
        found = (
            c
            for c in self._shelf.credentials.values()
            if c.kind is kind and user_id in (None, c.user_id) and (before is None or c.id < before)
        )
        return sorted(found, key=lambda c: c.id, reverse=True)[:limit]

    async def touch(self, credential_id: str, now: datetime) -> None:
        known = self._shelf.credentials.get(credential_id)
        if known is not None and (known.used_at is None or known.used_at < now):
            self._shelf.credentials[credential_id] = replace(known, used_at=now)

    async def revoke(self, credential_id: str, now: datetime, event: Event | None = None) -> None:
        kept = self._shelf.credentials
        known = kept.get(credential_id)
        for credential in [c for c in kept.values() if credential_id in (c.id, c.parent_id)]:
            kept[credential.id] = credential.revoked(now)
        if event is not None and known is not None and known.revoked_at is None:
            self._shelf.tell(event)

    async def spend(self, link: str, session: Credential) -> bool:
        known = self._shelf.credentials.get(link)
        if known is None or known.kind is not CredentialKind.LINK:
            return False
        if not known.good(session.created_at):
            return False
        self._keep(session)
        self._shelf.credentials[link] = known.revoked(session.created_at)
        return True

    async def sweep(self, before: datetime, rows: int = 1000) -> int:
        kept = self._shelf.credentials
        gone = [c.id for c in kept.values() if _over(c, before)][:rows]
        for credential_id in gone:
            del kept[credential_id]
        return len(gone)

    def _keep(self, credential: Credential) -> None:
        kept = self._shelf.credentials
        if credential.id in kept or any(c.digest == credential.digest for c in kept.values()):
            raise Conflict(f"there is a credential {credential.id} already, or one of its digest")
        if credential.user_id not in self._shelf.users:
            raise NotFound(f"no user {credential.user_id}")
        kept[credential.id] = scrubbed(credential)


def _over(credential: Credential, before: datetime) -> bool:
    ends = (credential.revoked_at, credential.expires_at)
    return any(end is not None and end < before for end in ends)
