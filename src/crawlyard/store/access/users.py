"""The accounts, and what each has used. The secrets that were given out, by their digests."""

from collections.abc import Mapping
from datetime import date, datetime
from functools import partial

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, update

from crawlyard.core.access.credential import Credential, CredentialKind
from crawlyard.core.access.user import User
from crawlyard.core.event import Event
from crawlyard.core.jobs.limits import Usage
from crawlyard.errors import Conflict, NotFound
from crawlyard.store.codec.access import credential_of, credential_row, user_of, user_row
from crawlyard.store.db.bulk_rows import delete_first, insert_new
from crawlyard.store.db.database import Database
from crawlyard.store.db.name_order import plainly
from crawlyard.store.jobs.job_rows import tell
from crawlyard.store.queries import Proof
from crawlyard.store.tables.access import credentials, days, users


class UserStore(Struct, frozen=True):
    """The accounts, and what each has used."""

    _database: Database

    async def add(self, user: User, event: Event) -> None:
        """Remember a new user.

        Raises:
            Conflict: the id is taken.
        """
        await self._database.write(partial(_add_user, user=user, event=event))

    async def get(self, user_id: str) -> User:
        """Return a user.

        Raises:
            NotFound: there is none of that id.
        """
        return await self._database.read(partial(_user, user_id=user_id))

    async def save(self, user: User, event: Event) -> None:
        """Replace version ``user.version - 1`` and add the event.

        Raises:
            Conflict: the stored version is another.
        """
        await self._database.write(partial(_save_user, user=user, event=event))

    async def find(self, after: str, limit: int) -> list[User]:
        """Return users with an id above *after*, in the order of their ids, at most *limit*."""
        return await self._database.read(partial(_users, after=after, limit=limit))

    async def day(self, owner: str, day: date) -> Usage:
        """Return what the jobs of *owner* have used on a day, of UTC: pages, bytes and errors."""
        return await self._database.read(partial(_day, owner=owner, day=day))

    async def days(self, owner: str | None, since: date) -> Mapping[date, Usage]:
        """Return what was used on each day from *since* on, of one owner or all together.

        Days without anything are left out.
        """
        return await self._database.read(partial(_days, owner=owner, since=since))

    async def forget_days(self, before: date, rows: int = 1000) -> int:
        """Delete what was used on up to *rows* days before *before*; return how many."""
        return await self._database.write(partial(_forget_days, before=before, rows=rows))


def _add_user(conn: Connection, user: User, event: Event) -> None:
    if not insert_new(conn, users, [user_row(user)]):
        raise Conflict(f"there is a user {user.id} already")
    tell(conn, [event])


def _user(conn: Connection, user_id: str) -> User:
    row = conn.execute(select(users).where(users.c.id == user_id)).mappings().first()
    if row is None:
        raise NotFound(f"no user {user_id}")
    return user_of(row)


def _save_user(conn: Connection, user: User, event: Event) -> None:
    row = user_row(user)
    del row["id"], row["created_at"]
    same = (users.c.id == user.id, users.c.version == user.version - 1)
    if not conn.execute(update(users).where(*same).values(row)).rowcount:
        raise Conflict(f"user {user.id} is not at version {user.version - 1} any more")
    tell(conn, [event])


def _users(conn: Connection, after: str, limit: int) -> list[User]:
    id_ = plainly(conn, users.c.id)
    found = select(users).where(id_ > after).order_by(id_).limit(limit)
    return [user_of(row) for row in conn.execute(found).mappings()]


def _day(conn: Connection, owner: str, day: date) -> Usage:
    same = (days.c.owner == owner, days.c.day == day)
    row = conn.execute(select(days).where(*same)).first()
    return Usage(pages=row.pages, bytes=row.bytes, errors=row.errors) if row else Usage()


def _days(conn: Connection, owner: str | None, since: date) -> Mapping[date, Usage]:
    counted = (func.sum(c).label(c.name) for c in (days.c.pages, days.c.bytes, days.c.errors))
    found = select(days.c.day, *counted).where(days.c.day >= since)
    if owner is not None:
        found = found.where(days.c.owner == owner)
    rows = conn.execute(found.group_by(days.c.day).order_by(days.c.day))
    return {
        # sums of Postgres are of a type without an end
        row.day: Usage(pages=int(row.pages), bytes=int(row.bytes), errors=int(row.errors))
        for row in rows
    }


def _forget_days(conn: Connection, before: date, rows: int) -> int:
    return delete_first(conn, (days.c.owner, days.c.day), days.c.day < before, rows)


class CredentialStore(Struct, frozen=True):
    """The secrets that were given out, by their digests."""

    _database: Database

    async def add(self, credential: Credential, event: Event | None = None) -> None:
        """Remember a new one.

        Raises:
            Conflict: its id or digest is taken.
            NotFound: its user is gone.
        """
        await self._database.write(partial(_add, credential=credential, event=event))

    async def shown(self, digest: str) -> Proof | None:
        """Return what a secret with this digest is, good or not; ``None``: there is none."""
        return await self._database.read(partial(_shown, digest=digest))

    async def get(self, credential_id: str) -> Credential:
        """Return one.

        Raises:
            NotFound: there is none of that id.
        """
        return await self._database.read(partial(_get, credential_id=credential_id))

    async def find(
        self, user_id: str | None, kind: CredentialKind, before: str | None, limit: int
    ) -> list[Credential]:
        """Return those of a user, or of all, with ids below *before*, newest first."""
        asked = [credentials.c.kind == kind.value]
        if user_id is not None:
            asked.append(credentials.c.user_id == user_id)
        if before is not None:
            asked.append(credentials.c.id < before)
        return await self._database.read(partial(_find, asked=asked, limit=limit))

    async def touch(self, credential_id: str, now: datetime) -> None:
        """Note that it was used."""
        await self._database.write(partial(_touch, credential_id=credential_id, now=now))

    async def revoke(self, credential_id: str, now: datetime, event: Event | None = None) -> None:
        """Make it, and what was had by it, prove nothing any more; once it is so, it stays so."""
        work = partial(_revoke, credential_id=credential_id, now=now, event=event)
        await self._database.write(work)

    async def spend(self, link: str, session: Credential) -> bool:
        """Revoke the link of this id and add *session*, together; ``False``: it was spent."""
        return await self._database.write(partial(_spend, link=link, session=session))

    async def sweep(self, before: datetime, rows: int = 1000) -> int:
        """Delete up to *rows* that were revoked or expired before *before*; return how many."""
        return await self._database.write(partial(_sweep, before=before, rows=rows))


def _add(conn: Connection, credential: Credential, event: Event | None) -> None:
    if credential.parent_id is not None:
        _check_parent(conn, credential.parent_id)
    _insert(conn, credential)
    tell(conn, [event] if event else [])


def _check_parent(conn: Connection, parent_id: str) -> None:
    """Keep what a credential is had by from being revoked until the transaction ends.

    Raises:
        Conflict: it is revoked.
    """
    parent = select(credentials.c.kind, credentials.c.revoked_at).where(
        credentials.c.id == parent_id
    )
    row = conn.execute(parent.with_for_update(read=True)).first()
    if row is not None and row.revoked_at is not None:
        raise Conflict(f"{row.kind} {parent_id} is revoked")


def _insert(conn: Connection, credential: Credential) -> None:
    user = select(users.c.id).where(users.c.id == credential.user_id)  # none is ever deleted
    if conn.scalar(user) is None:
        raise NotFound(f"no user {credential.user_id}")
    if not insert_new(conn, credentials, [credential_row(credential)]):
        raise Conflict(f"there is a credential {credential.id} already, or one of its digest")


def _shown(conn: Connection, digest: str) -> Proof | None:
    # both have columns of the same names: those of the user are told apart
    theirs = [c.label(f"its_{c.name}") for c in users.c]
    found = select(*credentials.c, *theirs).join_from(credentials, users)
    row = conn.execute(found.where(credentials.c.digest == digest)).mappings().first()
    if row is None:
        return None
    user = user_of({c.name: row[f"its_{c.name}"] for c in users.c})
    return Proof(credential=credential_of(row), user=user)


def _get(conn: Connection, credential_id: str) -> Credential:
    found = select(credentials).where(credentials.c.id == credential_id)
    row = conn.execute(found).mappings().first()
    if row is None:
        raise NotFound(f"no credential {credential_id}")
    return credential_of(row)


def _find(conn: Connection, asked: list[ColumnElement[bool]], limit: int) -> list[Credential]:
    found = select(credentials).where(*asked).order_by(credentials.c.id.desc()).limit(limit)
    return [credential_of(row) for row in conn.execute(found).mappings()]


def _touch(conn: Connection, credential_id: str, now: datetime) -> None:
    earlier = or_(credentials.c.used_at.is_(None), credentials.c.used_at < now)
    same = (credentials.c.id == credential_id, earlier)
    conn.execute(update(credentials).where(*same).values(used_at=now))


def _revoke(conn: Connection, credential_id: str, now: datetime, event: Event | None) -> None:
    # Its own row first: whoever adds what is had by it has ended then, and is seen below,
    # or comes too late.
    first = _revoked(conn, credentials.c.id == credential_id, now)
    _revoked(conn, credentials.c.parent_id == credential_id, now)
    if event is not None and first:
        tell(conn, [event])


def _revoked(conn: Connection, which: ColumnElement[bool], now: datetime) -> int:
    """Revoke what is not revoked yet; return how many that were."""
    good = credentials.c.revoked_at.is_(None)
    return conn.execute(update(credentials).where(which, good).values(revoked_at=now)).rowcount


def _spend(conn: Connection, link: str, session: Credential) -> bool:
    now, ends = session.created_at, credentials.c.expires_at
    good = and_(
        credentials.c.id == link,
        credentials.c.kind == CredentialKind.LINK.value,
        or_(ends.is_(None), ends > now),
    )
    if not _revoked(conn, good, now):
        return False
    _insert(conn, session)
    return True


def _sweep(conn: Connection, before: datetime, rows: int) -> int:
    over = or_(credentials.c.revoked_at < before, credentials.c.expires_at < before)
    return delete_first(conn, (credentials.c.id,), over, rows)
