from crawlyard import LOCAL, Actor, Grants, Role

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


def test_a_user_acts_on_what_is_hers_unless_said_otherwise() -> None:
    assert Actor(id="eve").role is Role.OPERATOR


def test_the_user_of_the_embedded_store_may_do_everything() -> None:
    assert (LOCAL.id, LOCAL.role) == ("local", Role.ADMIN)


def test_the_embedded_store_grants_what_a_spec_asks_for() -> None:
    assert Grants() == Grants(addresses=True, private=True, ignore_robots=True)
