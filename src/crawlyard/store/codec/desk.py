"""Rows of saved views, bulk operations, settings, and replies kept for idempotency keys."""

import json
from typing import Any

from crawlyard.core.access.policy import Section
from crawlyard.core.access.view import SavedView
from crawlyard.core.idempotency import Reply
from crawlyard.core.operation import Failure, Operation, OperationKind, OperationState
from crawlyard.store.codec.base import Row, decoder_of, to_json

_FAILURES = decoder_of(tuple[Failure, ...])

_OF_VIEW = SavedView.__struct_fields__
_OF_OPERATION = tuple(
    n for n in Operation.__struct_fields__ if n not in {"kind", "state", "request", "failures"}
)


def view_row(view: SavedView) -> dict[str, Any]:
    """Return all columns of a row of `views`."""
    return {name: getattr(view, name) for name in _OF_VIEW}


def view_of(row: Row) -> SavedView:
    """Return the view of a row of `views`."""
    return SavedView(**{name: row[name] for name in _OF_VIEW})


def operation_row(operation: Operation) -> dict[str, Any]:
    """Return all columns of a row of `operations`."""
    row = {name: getattr(operation, name) for name in _OF_OPERATION}
    return row | {
        "kind": operation.kind.value,
        "state": operation.state.value,
        "request": to_json(operation.request),
        "failures": to_json(operation.failures),
    }


def operation_of(row: Row) -> Operation:
    """Return the operation of a row of `operations`."""
    return Operation(
        **{name: row[name] for name in _OF_OPERATION},
        kind=OperationKind(row["kind"]),
        state=OperationState(row["state"]),
        request=json.loads(row["request"]),
        failures=_FAILURES.decode(row["failures"]),
    )


def section_row(section: Section) -> dict[str, Any]:
    """Return all columns of a row of `settings`."""
    return {
        "name": section.name,
        "value": to_json(section.value),
        "version": section.version,
        "updated_at": section.updated_at,
        "actor": section.actor,
    }


def section_of(row: Row) -> Section:
    """Return the section of a row of `settings`."""
    return Section(
        name=row["name"],
        value=json.loads(row["value"]),
        version=row["version"],
        updated_at=row["updated_at"],
        actor=row["actor"],
    )


def answer_row(reply: Reply) -> dict[str, Any]:
    """Return the columns of `replies` that hold the answer."""
    return {"status": reply.status, "headers": to_json(reply.headers), "body": reply.body}


def reply_row(reply: Reply) -> dict[str, Any]:
    """Return all columns of a row of `replies`."""
    asked: dict[str, Any] = {
        "asker": reply.asker,
        "key": reply.key,
        "request": reply.request,
        "created_at": reply.created_at,
    }
    return asked | answer_row(reply)


def reply_of(row: Row) -> Reply:
    """Return the reply of a row of `replies`."""
    return Reply(
        asker=row["asker"],
        key=row["key"],
        request=row["request"],
        status=row["status"],
        headers=tuple((name, value) for name, value in json.loads(row["headers"])),
        body=row["body"],
        created_at=row["created_at"],
    )
