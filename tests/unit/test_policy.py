"""Permissions: roles, credentials, grants, quotas and the settings of a yard."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawlyard.core.access.credential import (
    SECRET_BYTES,
    TOUCH_EVERY,
    CredentialKind,
    format_secret,
    kind_of,
    permits_named,
    prefix_of,
)
from crawlyard.core.access.policy import (
    FIELD_OF,
    SectionName,
    ceilings_of,
    days_of,
    grants_of,
    not_granted,
    section_read,
    withheld,
)
from crawlyard.core.access.user import (
    LOCAL,
    NO_QUOTA,
    PERMITS_OF,
    Actor,
    Grant,
    Grants,
    Permit,
    Quota,
    QuotaAsk,
    Role,
    day_of,
    find_spent_part,
    find_start_hold,
    is_limited,
)
from crawlyard.core.jobs.limits import LIMIT_NAMES, Limits, Usage, clamp_limits
from crawlyard.core.jobs.spec import JobSpec
from crawlyard.errors import Invalid
from crawlyard.services.access.policy import needed_grants
from tests.builders import NOW, a_spec
from tests.builders_serve import a_credential, a_user

whole = st.none() | st.integers(1, 1000)
limits = st.builds(
    Limits,
    pages=whole,
    bytes=whole,
    errors=whole,
    duration_s=st.none() | st.floats(1, 9 * 86_400.0),
)


@given(limits, limits, limits)
def test_no_limit_is_above_a_ceiling(job_limits: Limits, first: Limits, second: Limits) -> None:
    within = clamp_limits(job_limits, first, second)
    for name in LIMIT_NAMES:
        every = [getattr(each, name) for each in (job_limits, first, second)]
        numbers = [value for value in every if value is not None]
        assert getattr(within, name) == (min(numbers) if numbers else None)
    assert clamp_limits(within, first, second) == within


def test_what_was_read_reads_the_same_again() -> None:
    cases: list[tuple[SectionName, dict[str, object]]] = [
        (SectionName.GRANTS, {"addresses": "true"}),
        (SectionName.CEILINGS, {"pages": "20k", "bytes": "1GiB", "duration_s": "1h30m"}),
        (SectionName.RETENTION, {"retention_days": 7, "events_days": 0}),
        (SectionName.DEFAULTS, {"delay": "2s", "limits": {"pages": "1k"}, "tags": "a"}),
    ]
    for name, value in cases:
        read = section_read(name, value)
        assert section_read(name, read) == read, name


def test_an_empty_section_grants_nothing_and_limits_nothing() -> None:
    assert grants_of({}) == Grants(addresses=False, private=False, ignore_robots=False)
    assert ceilings_of({}) == Limits()
    assert days_of({}, "retention_days", timedelta(days=3)) == timedelta(days=3)


def test_a_section_says_what_holds() -> None:
    every = {"addresses": True, "private": True, "ignore_robots": True}
    assert grants_of(section_read(SectionName.GRANTS, every)) == Grants()
    assert days_of({"events_days": 0.0}, "events_days", timedelta(days=3)) is None
    assert days_of({"events_days": 0.5}, "events_days", None) == timedelta(hours=12)
    ceilings = ceilings_of(section_read(SectionName.CEILINGS, {"duration_s": "2m"}))
    assert ceilings == Limits(duration_s=120)


def test_what_is_one_jobs_own_is_no_default(subtests: pytest.Subtests) -> None:
    for field in ["urls", "sitemaps", "name", "webhooks"]:
        value = {field: "a" if field == "name" else ["https://a.example/"]}
        with subtests.test(field=field), pytest.raises(Invalid, match=field):
            section_read(SectionName.DEFAULTS, value)


def test_no_default_is_a_credential_as_everybody_may_read_them() -> None:
    proxies = {"proxies": ["http://198.41.0.4:3128"]}
    assert section_read(SectionName.DEFAULTS, proxies) == proxies
    for value in ({"headers": {"Cookie": "a"}}, {"proxies": ["http://me:s3cret@198.41.0.4:3128"]}):
        with pytest.raises(Invalid, match="credential") as refused:
            section_read(SectionName.DEFAULTS, value)
        assert "s3cret" not in str(refused.value)


SEES_AND_CHANGES = {
    (Role.VIEWER, "eve"): (True, False),
    (Role.VIEWER, "adam"): (False, False),
    (Role.OPERATOR, "eve"): (True, True),
    (Role.OPERATOR, "adam"): (False, False),
    (Role.ADMIN, "eve"): (True, True),
    (Role.ADMIN, "adam"): (True, True),
}


def test_what_eve_may_depends_on_her_role_and_on_whose_it_is() -> None:
    for (role, owner), rights in SEES_AND_CHANGES.items():
        eve = Actor(id="eve", role=role)
        assert (eve.may_see(owner), eve.may_change(owner)) == rights, (role, owner)


def test_the_user_of_the_embedded_store_may_do_everything() -> None:
    assert (LOCAL.id, LOCAL.role) == ("local", Role.ADMIN)


def test_each_grant_is_a_field_of_the_grants_and_of_a_spec() -> None:
    assert [grant.value for grant in Grant] == list(Grants.__struct_fields__)
    assert set(FIELD_OF) == set(Grant)
    assert set(FIELD_OF.values()) <= set(JobSpec.__struct_fields__)


def test_needed_grants_follow_from_the_fields_of_a_spec() -> None:
    cases: list[tuple[dict[str, Any], tuple[Grant, ...]]] = [
        ({}, ()),
        ({"allow_addresses": ("10.0.0.0/8",)}, (Grant.ADDRESSES,)),
        ({"ignore_robots": True, "allow_private": True}, (Grant.PRIVATE, Grant.IGNORE_ROBOTS)),
    ]
    for fields, expected in cases:
        assert needed_grants(a_spec(**fields)) == expected, fields


def test_what_is_not_granted_is_withheld() -> None:
    granted = Grants(addresses=True, private=False, ignore_robots=False)
    assert withheld(set(Grant), granted) == (Grant.PRIVATE, Grant.IGNORE_ROBOTS)
    assert withheld((Grant.ADDRESSES,), granted) == ()
    assert withheld((), Grants(addresses=False)) == ()


def test_missing_grants_are_named_by_the_fields_of_the_spec() -> None:
    missing = not_granted((Grant.PRIVATE, Grant.IGNORE_ROBOTS))
    assert missing == "allow_private, ignore_robots: not granted on this server"
    assert not_granted(()) == ""


def test_the_local_user_vouches_only_for_itself() -> None:
    assert LOCAL.vouches_for("local")
    assert not LOCAL.vouches_for("ada")
    assert not Actor(id="local", role=Role.ADMIN).vouches_for("local")


def test_an_actor_is_an_operator_with_all_grants_by_default() -> None:
    assert Actor(id="ada").role is Role.OPERATOR
    assert Grants() == Grants(addresses=True, private=True, ignore_robots=True)


MOMENT = timedelta(microseconds=1)


def test_it_is_good_until_it_expires_or_is_revoked() -> None:
    ends = NOW + timedelta(hours=1)
    assert a_credential().good(NOW + timedelta(days=3650))
    assert a_credential(expires_at=ends).good(ends - MOMENT)
    assert not a_credential(expires_at=ends).good(ends)
    assert not a_credential(revoked_at=NOW).good(NOW)


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


def test_tokens_and_users_are_permitted_by_scopes_of_their_names_alone() -> None:
    accounts = {Permit.TOKENS_READ, Permit.TOKENS_WRITE, Permit.USERS_READ}
    beside = [permit for permit in Permit if permit not in accounts]
    areas = [f"{permit.partition(':')[0]}:*" for permit in beside if ":" in permit]
    assert permits_named([*beside, *areas]).isdisjoint(accounts)
    assert permits_named(["tokens:*", "users:*"]) == accounts


def test_a_secret_says_what_it_is_for_and_shows_no_more() -> None:
    for kind in CredentialKind:
        secret = format_secret(kind, bytes(range(SECRET_BYTES)))
        assert kind_of(secret) is kind
        assert prefix_of(secret) == secret[:12]
        assert len(secret) == 4 + 43
    assert kind_of("cyx_AAECAwQFBgc") is None


def test_a_job_waits_while_a_part_of_the_quota_is_used_up() -> None:
    for quota, running, used, expected in [
        (NO_QUOTA, 10**6, 10**9, None),
        (Quota(pending=0), 10**6, 10**9, None),
        (Quota(running=2), 1, 0, None),
        (Quota(running=2), 2, 0, "running"),
        (Quota(running=2), 3, 0, "running"),
        (Quota(running=0), 0, 0, "running"),
        (Quota(pages_per_day=10), 5, 9, None),
        (Quota(pages_per_day=10), 0, 10, "pages_per_day"),
        (Quota(pages_per_day=0), 0, 0, "pages_per_day"),
        (Quota(running=1, pages_per_day=10), 1, 10, "running"),
        (Quota(running=1, pages_per_day=10), 0, 10, "pages_per_day"),
        (Quota(bytes_per_day=1_000), 0, 9, None),
        (Quota(bytes_per_day=1_000), 0, 10, "bytes_per_day"),
        (Quota(pages_per_day=11, bytes_per_day=1_000), 0, 10, "bytes_per_day"),
        (Quota(running=1, bytes_per_day=1_000), 1, 10, "running"),
    ]:
        assert find_start_hold(quota, running, Usage(pages=used, bytes=100 * used)) == expected, (
            quota,
            running,
            used,
        )


def test_a_quota_is_spent_per_day_and_a_claim_ignores_the_pending_limit() -> None:
    quota = Quota(running=0, pages_per_day=10)
    assert find_spent_part(quota, Usage(pages=9)) is None
    assert find_spent_part(quota, Usage(pages=10)) == "pages_per_day"
    assert not is_limited(NO_QUOTA)
    assert not is_limited(Quota(pending=1))
    assert is_limited(Quota(running=0))
    assert is_limited(Quota(pages_per_day=0))
    assert is_limited(Quota(bytes_per_day=0))


def test_a_day_is_one_of_utc() -> None:
    tokyo = timezone(timedelta(hours=9))
    morning = datetime(2026, 1, 2, 8, 59, tzinfo=tokyo)
    assert day_of(morning).isoformat() == "2026-01-01"
    assert day_of(morning.astimezone(UTC) + timedelta(minutes=1)).isoformat() == "2026-01-02"


def test_a_quota_request_is_converted_to_a_quota() -> None:
    fields = {"running": 2, "bytes_per_day": None, "ceilings": {"duration_s": 60}}
    quota = msgspec.convert(fields, QuotaAsk).quota
    assert quota == Quota(running=2, ceilings=Limits(duration_s=60))
