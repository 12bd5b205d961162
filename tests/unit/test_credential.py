"""What a credential proves, for how long, and what it permits: the rules alone."""

from datetime import timedelta

import pytest

from crawlyard.core.access.credential import (
    SECRET_BYTES,
    TOUCH_EVERY,
    CredentialKind,
    kind_of,
    permits_named,
    prefix_of,
    spelled,
)
from crawlyard.core.access.user import PERMITS_OF, Permit, Role
from crawlyard.errors import Invalid
from tests.builders import NOW
from tests.builders_serve import a_credential, a_user

MOMENT = timedelta(microseconds=1)


def test_it_is_good_until_it_expires_or_is_revoked() -> None:
    ends = NOW + timedelta(hours=1)
    assert a_credential().good(NOW + timedelta(days=3650))
    assert a_credential(expires_at=ends).good(ends - MOMENT)
    assert not a_credential(expires_at=ends).good(ends)
    assert not a_credential().revoked(NOW).good(NOW)


def test_it_is_revoked_once() -> None:
    first = a_credential().revoked(NOW)
    assert first.revoked(NOW + MOMENT).revoked_at == NOW


def test_it_permits_what_both_its_scopes_and_the_role_of_its_user_do() -> None:
    scopes = frozenset({Permit.JOBS_READ, Permit.JOBS_WRITE})
    viewer, operator = a_user(role=Role.VIEWER), a_user(role=Role.OPERATOR)
    assert a_credential(permits=scopes).permits_of(operator) == scopes
    assert a_credential(permits=scopes).permits_of(viewer) == {Permit.JOBS_READ}
    assert a_credential(permits=frozenset()).permits_of(operator) == frozenset()
    assert a_credential().permits_of(viewer) == PERMITS_OF[Role.VIEWER]


def test_its_use_is_noted_once_a_minute() -> None:
    used = a_credential(used_at=NOW)
    assert a_credential().stale(NOW)
    assert not used.stale(NOW + TOUCH_EVERY - MOMENT)
    assert used.stale(NOW + TOUCH_EVERY)


def test_scopes_are_named_one_by_one_or_by_area() -> None:
    assert permits_named(["jobs:*", "admin"]) == {
        Permit.JOBS_READ,
        Permit.JOBS_WRITE,
        Permit.ADMIN,
    }
    for word in ("jobs", "*", "jobs:*:*", "Jobs:read", ""):
        with pytest.raises(Invalid, match="expected some of jobs:read, "):
            permits_named([word])


def test_a_secret_says_what_it_is_for_and_shows_no_more() -> None:
    for kind in CredentialKind:
        secret = spelled(kind, bytes(range(SECRET_BYTES)))
        assert kind_of(secret) is kind
        assert prefix_of(secret) == secret[:12]
        assert len(secret) == 4 + 43
    assert kind_of("cyx_AAECAwQFBgc") is None
