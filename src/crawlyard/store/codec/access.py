"""Rows of users and their credentials."""

import json
from typing import Any

from crawlyard.core.access.credential import Credential, CredentialKind
from crawlyard.core.access.quota import limited
from crawlyard.core.access.user import Permit, Quota, Role, User
from crawlyard.store.codec.base import Row, decoder_of, to_json

_QUOTA = decoder_of(Quota)


def user_row(user: User) -> dict[str, Any]:
    """Return all columns of a row of `users`."""
    return {
        "id": user.id,
        "role": user.role.value,
        "quota": to_json(user.quota),
        "limited": limited(user.quota),
        "disabled_at": user.disabled_at,
        "version": user.version,
        "created_at": user.created_at,
        "updated_at": user.updated_at,
    }


def user_of(row: Row) -> User:
    """Return the user of a row of `users`."""
    return User(
        id=row["id"],
        role=Role(row["role"]),
        quota=quota_of(row),
        disabled_at=row["disabled_at"],
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def quota_of(row: Row) -> Quota:
    """Return the quota of a row of `users`."""
    return _QUOTA.decode(row["quota"])


def credential_row(credential: Credential) -> dict[str, Any]:
    """Return all columns of a row of `credentials`."""
    permits = credential.permits
    return {
        "id": credential.id,
        "kind": credential.kind.value,
        "user_id": credential.user_id,
        "label": credential.label,
        "prefix": credential.prefix,
        "digest": credential.digest,
        "permits": None if permits is None else to_json(sorted(permits)),
        "parent_id": credential.parent_id,
        "created_at": credential.created_at,
        "expires_at": credential.expires_at,
        "used_at": credential.used_at,
        "revoked_at": credential.revoked_at,
    }


def credential_of(row: Row) -> Credential:
    """Return the credential of a row of `credentials`."""
    permits = row["permits"]
    return Credential(
        id=row["id"],
        kind=CredentialKind(row["kind"]),
        user_id=row["user_id"],
        label=row["label"],
        prefix=row["prefix"],
        digest=row["digest"],
        permits=None if permits is None else frozenset(Permit(p) for p in json.loads(permits)),
        parent_id=row["parent_id"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        used_at=row["used_at"],
        revoked_at=row["revoked_at"],
    )
