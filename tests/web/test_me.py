"""The current user over HTTP."""

from datetime import timedelta

from crawlyard.core.access.user import LOCAL, Permit
from crawlyard.services.surface import Surface
from tests.web.rig import Rig


async def test_a_user_that_was_always_there_has_no_dates_until_it_is_changed(rig: Rig) -> None:
    await rig.user("ada")

    local = (await rig.get("auth/me")).json()["user"]
    ada = (await rig.get("auth/me", by="ada")).json()["user"]
    quota = {"quota": {"running": 2}}
    await rig.ask("PATCH", f"users/{LOCAL.id}", json=quota, headers={"If-Match": "*"})
    changed = (await rig.get(f"users/{LOCAL.id}")).json()

    assert (local["created_at"], local["updated_at"]) == (None, None)
    assert ada["created_at"] == ada["updated_at"] is not None
    assert changed["created_at"] is None
    assert changed["updated_at"] is not None


async def test_in_the_process_of_a_yard_nothing_has_to_be_shown(rig: Rig) -> None:
    surface = Surface(rig.yard.services, LOCAL)
    me = await surface.account.me()
    token = await surface.tokens.create("ci", expires_in_s=60)
    assert (me.user.id, me.kind, me.credential_id, me.expires_at) == (LOCAL.id, "", "", None)
    assert me.scopes == tuple(sorted(Permit))
    assert token.expires_at == token.created_at + timedelta(seconds=60)
