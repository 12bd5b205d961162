"""Stores for users with their daily usage, and for credentials by digest."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import date, datetime

from sqlalchemy import ColumnElement, Connection, and_, bindparam, or_, select, update

from crawlyard.core.access.credential import Credential, CredentialKind
from crawlyard.core.access.policy import SectionName, shows_to_everyone
from crawlyard.core.access.user import User
from crawlyard.core.events.event import Event
from crawlyard.core.jobs.limits import Usage
from crawlyard.errors import Conflict, NotFound
from crawlyard.store.access.usage import USAGE, usage_in, used
from crawlyard.store.codec.base import object_of
from crawlyard.store.codec.records import CREDENTIALS, USERS
from crawlyard.store.db.bulk_rows import delete_first, insert_new
from crawlyard.store.db.database import StorePart, reads, writes
from crawlyard.store.db.rows import add_row, by_code_points, equal, put_version
from crawlyard.store.jobs.job_rows import add_events
from crawlyard.store.queries import Proof
from crawlyard.store.tables.access import credentials, days, users
from crawlyard.store.tables.desk import settings


class UserStore(StorePart):
    """User accounts and their daily usage."""

    @writes
    def add(self, conn: Connection, user: User, event: Event) -> None:
        """Add a new user and the event.

        Raises:
            Conflict: the id is taken.
        """
        add_row(conn, users, USERS.row(user), "a user")
        add_events(conn, [event])

    @reads
    def get(self, conn: Connection, user_id: str) -> User:
        """Return a user.

        Raises:
            NotFound: no user has that id.
        """
        return USERS.get(conn, select(users).where(users.c.id == user_id), f"user {user_id}")

    @writes
    def save(self, conn: Connection, user: User, event: Event) -> None:
        """Replace version ``user.version - 1`` and add the event.

        Raises:
            Conflict: the stored version is another.
        """
        put_version(conn, users, USERS.row(user), f"user {user.id} is")
        add_events(conn, [event])

    @reads
    def find(self, conn: Connection, after: str, limit: int) -> list[User]:
        """Return at most *limit* users with an id above *after*, sorted by id."""
        id_ = by_code_points(conn, users.c.id)
        return USERS.all(conn, select(users).where(id_ > after).order_by(id_).limit(limit))

    @reads
    def day(self, conn: Connection, owner: str, day: date) -> Usage:
        """Return the pages, bytes and errors that the jobs of *owner* used on *day* (UTC)."""
        its = select(*USAGE).where(used.c.owner == owner, used.c.day == day)
        return usage_in(conn.execute(its).mappings().one())

    @reads
    def days(self, conn: Connection, owner: str | None, since: date) -> Mapping[date, Usage]:
        """Return the usage of each day from *since* on, of *owner* or of all users together.

        Days without usage are left out.
        """
        query = select(used.c.day, *USAGE).where(used.c.day >= since)
        if owner is not None:
            query = query.where(used.c.owner == owner)
        rows = conn.execute(query.group_by(used.c.day).order_by(used.c.day)).mappings()
        return {row["day"]: usage_in(row) for row in rows}

    @writes
    def forget_days(self, conn: Connection, before: date, rows: int = 1000) -> int:
        """Delete up to *rows* daily usage rows of days before *before*; return how many."""
        return delete_first(conn, (days.c.owner, days.c.day), days.c.day < before, rows)


class CredentialStore(StorePart):
    """Issued credentials, found by the digest of their secret."""

    @writes
    def add(self, conn: Connection, credential: Credential, event: Event | None = None) -> None:
        """Add a new credential, and the event if one is given.

        Raises:
            Conflict: the id or digest is taken, or the credential it was created with is revoked.
            NotFound: the user is gone.
        """
        if credential.parent_id is not None:
            _check_parent(conn, credential.parent_id)
        _insert(conn, credential)
        add_events(conn, [event] if event else [])

    async def get_by_digest(self, digest: str) -> Proof | None:
        """Return the credential with this digest, valid or not, and its user, if there is one.

        Every request asks for its own: between commits, the answer is cached.
        """
        with suppress(NotFound):
            return await self._database.read_cached(_proof, digest)
        return None

    @reads
    def get(self, conn: Connection, credential_id: str) -> Credential:
        """Return a credential.

        Raises:
            NotFound: no credential has that id.
        """
        query = select(credentials).where(credentials.c.id == credential_id)
        return CREDENTIALS.get(conn, query, f"credential {credential_id}")

    @reads
    def find(
        self,
        conn: Connection,
        user_id: str | None,
        kind: CredentialKind,
        before: str | None,
        limit: int,
        job_id: str | None = None,
    ) -> list[Credential]:
        """Return at most *limit* credentials of *kind* with ids below *before*, newest first.

        *user_id* ``None`` means all users, *before* ``None`` the newest credentials, and *job_id*
        ``None`` those for any job.
        """
        filters = equal((credentials.c.kind, kind.value), (credentials.c.user_id, user_id))
        query = select(credentials).where(*filters)
        if before is not None:
            query = query.where(credentials.c.id < before)
        if job_id is not None:  # a user has few that could match: no index is worth its writes
            query = query.where(credentials.c.target.contains(job_id, autoescape=True))
        return CREDENTIALS.all(conn, query.order_by(credentials.c.id.desc()).limit(limit))

    @writes
    def touch(self, conn: Connection, credential_id: str, now: datetime) -> None:
        """Record that a credential was used at *now*; an earlier instant changes nothing."""
        earlier = or_(credentials.c.used_at.is_(None), credentials.c.used_at < now)
        same = (credentials.c.id == credential_id, earlier)
        conn.execute(update(credentials).where(*same).values(used_at=now))

    @writes
    def revoke(
        self, conn: Connection, credential_id: str, now: datetime, event: Event | None = None
    ) -> None:
        """Permanently revoke a credential and all credentials that were created with it."""
        # Its own row first: a transaction that adds a child credential either has ended before, and
        # its row is seen below, or finds the parent revoked.
        revoked = _revoke(conn, credentials.c.id == credential_id, now)
        _revoke(conn, credentials.c.parent_id == credential_id, now)
        if event is not None and revoked:
            add_events(conn, [event])

    @writes
    def spend(self, conn: Connection, link: str, session: Credential, event: Event) -> bool:
        """Revoke a login link and add *session* and the event, in one transaction.

        Return ``False``, and add nothing, if the link was already used or has expired.
        """
        now, ends = session.created_at, credentials.c.expires_at
        good = and_(
            credentials.c.id == link,
            credentials.c.kind == CredentialKind.LINK.value,
            or_(ends.is_(None), ends > now),
        )
        if not _revoke(conn, good, now):
            return False
        _insert(conn, session)
        add_events(conn, [event])
        return True

    @writes
    def sweep(self, conn: Connection, before: datetime, rows: int = 1000) -> int:
        """Delete up to *rows* credentials revoked or expired before *before*; return how many."""
        over = or_(credentials.c.revoked_at < before, credentials.c.expires_at < before)
        return delete_first(conn, (credentials.c.id,), over, rows)


# both tables have columns of the same names: those of the user are labelled
_PROOF = (
    select(
        *credentials.c,
        *(column.label(f"its_{column.name}") for column in users.c),
        select(settings.c.value)
        .where(settings.c.name == SectionName.SHARING.value)
        .scalar_subquery()
        .label("sharing"),
    )
    .join_from(credentials, users)
    .where(credentials.c.digest == bindparam("digest"))
)


def _proof(conn: Connection, digest: str) -> Proof:
    """Raise `NotFound` for an unknown digest: only what is returned is cached."""
    row = conn.execute(_PROOF, {"digest": digest}).mappings().first()
    if row is None:
        raise NotFound("no credential has that digest")
    user = USERS.record({column.name: row[f"its_{column.name}"] for column in users.c})
    return Proof(
        credential=CREDENTIALS.record(row),
        user=user,
        sees_shared=shows_to_everyone(object_of(row["sharing"] or "{}") or {}),
    )


def _check_parent(conn: Connection, parent_id: str) -> None:
    """Lock the parent of a credential, so that it isn't revoked until the transaction ends.

    Raises:
        Conflict: the parent is revoked.
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
    if not insert_new(conn, credentials, [CREDENTIALS.row(credential)]):
        raise Conflict(f"a credential {credential.id}, or one with its digest, already exists")


def _revoke(conn: Connection, which: ColumnElement[bool], now: datetime) -> int:
    """Revoke the credentials that are not revoked yet; return how many."""
    good = credentials.c.revoked_at.is_(None)
    return conn.execute(update(credentials).where(which, good).values(revoked_at=now)).rowcount
