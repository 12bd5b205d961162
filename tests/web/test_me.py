"""Who asks, over HTTP."""

from crawlyard.core.access.user import LOCAL
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
