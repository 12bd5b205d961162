"""Users, credentials and what the server keeps, for tests."""

import hashlib
from datetime import timedelta
from typing import Any

from crawlyard.core.access.credential import Credential, CredentialKind
from crawlyard.core.access.policy import Section
from crawlyard.core.access.user import Quota, User
from crawlyard.core.access.view import SavedView
from crawlyard.core.endpoints.idempotency import StoredReply
from crawlyard.core.events.event import Event, EventName
from crawlyard.core.jobs.job_log import Level, LogLine
from crawlyard.core.operations.operation import Operation, OperationKind
from crawlyard.core.workers.status import WorkerReport
from crawlyard.ids import new_id
from crawlyard.store.store import Store
from tests.builders import NOW


def a_user(**fields: Any) -> User:
    defaults: dict[str, Any] = {"id": "ada", "created_at": NOW, "updated_at": NOW}
    return User(**(defaults | fields))


def about(user: User, name: EventName = EventName.USER_CREATED) -> Event:
    return Event(name=name, subject=user.id, owner=user.id, at=NOW, actor="local")


async def kept_user(store: Store, **fields: Any) -> User:
    """Return a user that the store has."""
    user = a_user(**fields)
    await store.users.add(user, about(user))
    return user


async def quoted(store: Store, user_id: str = "ada", **quota: Any) -> User:
    """Return a user that the store has, with a quota."""
    return await kept_user(store, id=user_id, quota=Quota(**quota))


def a_credential(kind: CredentialKind = CredentialKind.TOKEN, **fields: Any) -> Credential:
    """Return a credential of the local user."""
    id_ = new_id()
    defaults: dict[str, Any] = {
        "id": id_,
        "user_id": "local",
        "prefix": "cyt_abcdefgh",
        "digest": hashlib.sha256(id_.encode()).hexdigest(),
        "created_at": NOW,
    }
    return Credential(kind=kind, **(defaults | fields))


async def stored_credential(
    store: Store, kind: CredentialKind = CredentialKind.TOKEN, **fields: Any
) -> Credential:
    """Return a credential that the store has."""
    credential = a_credential(kind, **fields)
    await store.credentials.add(credential)
    return credential


def of_token(token: Credential, name: EventName = EventName.TOKEN_CREATED) -> Event:
    return Event(name=name, subject=token.id, owner=token.user_id, at=NOW, actor="local")


def a_view(**fields: Any) -> SavedView:
    """Return a saved view of the local user's."""
    defaults: dict[str, Any] = {
        "id": new_id(),
        "owner": "local",
        "name": "mine",
        "created_at": NOW,
        "updated_at": NOW,
    }
    return SavedView(**(defaults | fields))


def a_retry(*job_ids: str) -> dict[str, object]:
    """Return the request of an operation that tries jobs again."""
    return {
        "action": "retry",
        "reason": "",
        "priority": None,
        "scope": "all",
        "kinds": [],
        "ids": list(job_ids),
    }


def an_operation(**fields: Any) -> Operation:
    """Return a running operation without a lease."""
    defaults: dict[str, Any] = {
        "id": new_id(),
        "owner": "local",
        "kind": OperationKind.JOBS,
        "request": {"action": "pause"},
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Operation(**(defaults | fields))


def a_section(**fields: Any) -> Section:
    """Return the first version of a section of the settings."""
    defaults: dict[str, Any] = {
        "name": "crawling",
        "value": {"workers": 4},
        "version": 1,
        "updated_at": NOW,
        "actor": "local",
    }
    return Section(**(defaults | fields))


def a_reply(**fields: Any) -> StoredReply:
    """Return the reply to a request that is under way."""
    defaults: dict[str, Any] = {
        "asker": "0192",
        "key": "k1",
        "request": "ab" * 32,
        "created_at": NOW,
    }
    return StoredReply(**(defaults | fields))


def a_report(**fields: Any) -> WorkerReport:
    """Return what a worker says of itself."""
    defaults: dict[str, Any] = {
        "id": "host:1:x",
        "host": "host",
        "pid": 1,
        "version": "0.1.0",
        "slots": 4,
        "started_at": NOW,
        "beat_at": NOW,
    }
    return WorkerReport(**(defaults | fields))


def a_line(message: str = "hello", level: Level = Level.INFO, **fields: Any) -> LogLine:
    """Return a line of a log that has no number yet."""
    defaults: dict[str, Any] = {"at": NOW, "level": level, "message": message}
    return LogLine(**(defaults | fields))


def some_lines(count: int, first: int = 1) -> tuple[LogLine, ...]:
    """Return lines whose messages are numbers, from *first* on."""
    return tuple(a_line(str(n), at=NOW + timedelta(seconds=n)) for n in range(first, first + count))
