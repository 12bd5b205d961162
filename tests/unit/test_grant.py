"""What a spec asks for that has to be granted, and what is said where it is not."""

from typing import Any

from crawlyard.core.access.grant import FIELD_OF, needed_grants, not_granted, withheld
from crawlyard.core.access.user import LOCAL, Actor, Grant, Grants, Role
from crawlyard.core.jobs.spec import JobSpec
from tests.builders import a_spec


def test_each_grant_is_a_field_of_the_grants_and_of_a_spec() -> None:
    assert [grant.value for grant in Grant] == list(Grants.__struct_fields__)
    assert set(FIELD_OF) == set(Grant)
    assert set(FIELD_OF.values()) <= set(JobSpec.__struct_fields__)


def test_what_a_spec_asks_for_is_read_from_its_fields() -> None:
    cases: list[tuple[dict[str, Any], tuple[Grant, ...]]] = [
        ({}, ()),
        ({"allow_addresses": ("10.0.0.0/8",)}, (Grant.ADDRESSES,)),
        ({"ignore_robots": True, "allow_private": True}, (Grant.PRIVATE, Grant.IGNORE_ROBOTS)),
    ]
    for asked, expected in cases:
        assert needed_grants(a_spec(**asked)) == expected, asked


def test_what_is_not_granted_is_withheld() -> None:
    granted = Grants(addresses=True, private=False, ignore_robots=False)
    assert withheld(set(Grant), granted) == (Grant.PRIVATE, Grant.IGNORE_ROBOTS)
    assert withheld((Grant.ADDRESSES,), granted) == ()
    assert withheld((), Grants(addresses=False)) == ()


def test_what_is_missing_is_told_by_the_fields_of_the_spec() -> None:
    told = not_granted((Grant.PRIVATE, Grant.IGNORE_ROBOTS))
    assert told == "allow_private, ignore_robots: not granted on this server"
    assert not_granted(()) == ""


def test_who_works_on_the_stores_files_vouches_for_his_own_things_alone() -> None:
    assert LOCAL.vouches_for("local")
    assert not LOCAL.vouches_for("ada")
    assert not Actor(id="local", role=Role.ADMIN).vouches_for("local")
