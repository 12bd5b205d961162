"""Authentication and authorization: tokens, sessions, links, users."""

from datetime import timedelta
from typing import Any

from crawlyard.core.access.credential import LINK_LASTS
from crawlyard.core.access.user import LOCAL, Permit, Role
from crawlyard.core.endpoints.idempotency import StoredReply
from tests.web.rig import BASE, Rig, problem

SAME_ORIGIN = {"Origin": BASE, "Content-Type": "application/json"}


async def signed_in(rig: Rig, code: str) -> str:
    answer = await rig.post("auth/login", {"code": code}, by=None)
    assert answer.status_code == 200, answer.text
    cookie: str = answer.headers["set-cookie"].partition(";")[0]
    return cookie


async def test_a_request_without_valid_credentials_gets_401_with_www_authenticate(rig: Rig) -> None:
    answer = await rig.get("jobs", by=None)
    assert problem(answer) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    for credential in ["Bearer cyt_wrong", "Basic abc", "Bearer", "cyt_x"]:
        answer = await rig.get("jobs", by=None, headers={"Authorization": credential})
        assert problem(answer) == (401, "unauthenticated"), credential


async def test_a_token_is_shown_once_and_kept_as_its_hash(rig: Rig) -> None:
    token = (await rig.post("tokens", {"name": "ci"})).json()
    assert token["token"].startswith("cyt_")
    assert "token" not in (await rig.get(f"tokens/{token['id']}")).json()
    credential = await rig.yard.store.credentials.get(token["id"])
    assert token["token"] not in repr(credential)
    assert (await rig.get("auth/me", secret=token["token"])).json()["user"]["id"] == LOCAL.id


async def test_a_revoked_token_and_its_sessions_prove_nothing_at_once(rig: Rig) -> None:
    token = (await rig.post("tokens", {"name": "ci"})).json()
    cookie = await signed_in(rig, token["token"])

    revoked = await rig.ask("DELETE", f"tokens/{token['id']}")

    assert revoked.status_code == 204
    assert problem(await rig.get("jobs", secret=token["token"])) == (401, "unauthenticated")
    answer = await rig.get("jobs", by=None, headers={"Cookie": cookie})
    assert problem(answer) == (401, "unauthenticated")


async def test_a_token_expires(rig: Rig) -> None:
    token = (await rig.post("tokens", {"name": "ci", "expires_in_s": 60})).json()
    before = await rig.get("auth/me", secret=token["token"])
    await rig.clock.advance(timedelta(seconds=60))
    assert before.status_code == 200
    assert problem(await rig.get("auth/me", secret=token["token"])) == (401, "unauthenticated")


async def test_a_session_ends_with_the_token_that_it_was_had_by(rig: Rig) -> None:
    token = (await rig.post("tokens", {"name": "ci", "expires_in_s": 60})).json()
    cookie = await signed_in(rig, token["token"])
    await rig.clock.advance(timedelta(seconds=60))
    answer = await rig.get("auth/me", by=None, headers={"Cookie": cookie})
    assert problem(answer) == (401, "unauthenticated")


async def test_a_link_signs_in_once_and_not_for_long(rig: Rig) -> None:
    first, second = [await rig.site.yard.services.access.link(LOCAL.id) for _ in range(2)]

    cookie = await signed_in(rig, first.secret)

    assert (await rig.get("jobs", by=None, headers={"Cookie": cookie})).status_code == 200
    again = await rig.post("auth/login", {"code": first.secret}, by=None)
    assert problem(again) == (401, "unauthenticated")
    await rig.clock.advance(LINK_LASTS)
    late = await rig.post("auth/login", {"code": second.secret}, by=None)
    assert problem(late) == (401, "unauthenticated")


async def test_login_ignores_an_idempotency_key(rig: Rig) -> None:
    body = {"code": rig.secrets[LOCAL.id]}

    for by in (None, LOCAL.id, None):
        answer = await rig.post("auth/login", body, by=by, headers={"Idempotency-Key": "k1"})
        assert answer.status_code == 200, by
        assert "set-cookie" in answer.headers, by
        assert "idempotency-replayed" not in answer.headers, by


async def test_a_session_is_no_token_and_a_link_neither(rig: Rig) -> None:
    link = await rig.site.yard.services.access.link(LOCAL.id)
    cookie = await signed_in(rig, rig.secrets[LOCAL.id])
    session = cookie.partition("=")[2]
    assert problem(await rig.get("jobs", secret=session)) == (401, "unauthenticated")
    assert problem(await rig.get("jobs", secret=link.secret)) == (401, "unauthenticated")


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(rig: Rig) -> None:
    answer = await rig.post("auth/login", {"code": rig.secrets[LOCAL.id]}, by=None)
    attributes = answer.headers["set-cookie"].lower()
    assert "httponly" in attributes
    assert "samesite=lax" in attributes


async def test_a_page_of_another_site_cannot_ask_in_a_browsers_name(rig: Rig) -> None:
    cookie = await signed_in(rig, rig.secrets[LOCAL.id])
    for headers, status in [
        (SAME_ORIGIN, 201),
        ({"Sec-Fetch-Site": "same-origin", "Content-Type": "application/json"}, 201),
        ({"Content-Type": "application/json"}, 403),
        ({"Origin": "http://evil.example", "Content-Type": "application/json"}, 403),
        (SAME_ORIGIN | {"Sec-Fetch-Site": "cross-site"}, 403),
        (SAME_ORIGIN | {"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": BASE, "Content-Type": "text/plain"}, 415),
    ]:
        answer = await rig.ask(
            "POST",
            "jobs",
            by=None,
            headers=headers | {"Cookie": cookie},
            content=b'{"urls": ["https://example.com/"]}',
        )
        assert answer.status_code == status, headers


async def test_signing_out_ends_the_session(rig: Rig) -> None:
    cookie = await signed_in(rig, rig.secrets[LOCAL.id])
    out = await rig.post("auth/logout", by=None, headers=SAME_ORIGIN | {"Cookie": cookie})
    assert out.status_code == 204
    after = await rig.get("auth/me", by=None, headers={"Cookie": cookie})
    assert problem(after) == (401, "unauthenticated")


async def test_a_token_is_good_for_no_more_than_its_scopes(rig: Rig) -> None:
    reader = await rig.token(LOCAL.id, frozenset({Permit.JOBS_READ}))
    assert (await rig.get("jobs", secret=reader)).status_code == 200
    refused = await rig.post("jobs", {"urls": ["https://example.com/"]}, secret=reader)
    assert problem(refused) == (403, "forbidden")
    assert "jobs:write" in refused.json()["detail"]


async def test_a_token_with_scopes_cannot_make_tokens_or_keep_views(rig: Rig) -> None:
    reader = await rig.token(LOCAL.id, frozenset({Permit.JOBS_READ, Permit.JOBS_WRITE}))
    token = await rig.post("tokens", {"name": "x", "scopes": ["jobs:read"]}, secret=reader)
    view = await rig.post("views", {"name": "x"}, secret=reader)
    assert problem(token) == (403, "forbidden")
    assert problem(view) == (403, "forbidden")


async def test_a_token_lists_tokens_and_users_by_scopes_made_for_that(rig: Rig) -> None:
    await rig.user("ada")
    adas = (await rig.get("tokens", by="ada")).json()["items"][0]["id"]
    locals_token = (await rig.get("auth/me")).json()["credential_id"]
    beside = [permit for permit in Permit if permit.partition(":")[0] not in {"tokens", "users"}]

    narrow = await rig.token(LOCAL.id, frozenset(beside))
    for method, path in [
        ("GET", "tokens"),
        ("GET", f"tokens/{locals_token}"),
        ("DELETE", f"tokens/{locals_token}"),
        ("GET", "users"),
        ("GET", f"users/{LOCAL.id}"),
    ]:
        answer = await rig.ask(method, path, secret=narrow)
        assert problem(answer) == (403, "forbidden"), (method, path)

    areas = frozenset({Permit.TOKENS_READ, Permit.TOKENS_WRITE, Permit.USERS_READ})
    for permits, visible, status in [
        (areas, {LOCAL.id}, 404),
        (areas | {Permit.ADMIN}, {LOCAL.id, "ada"}, 200),
    ]:
        secret = await rig.token(LOCAL.id, permits)
        tokens = (await rig.get("tokens", secret=secret)).json()["items"]
        users = (await rig.get("users", secret=secret)).json()["items"]
        assert {token["user"] for token in tokens} == visible, permits
        assert {user["id"] for user in users} == visible, permits
        assert (await rig.get("users/ada", secret=secret)).status_code == status, permits
        assert (await rig.get(f"tokens/{adas}", secret=secret)).status_code == status, permits
        revoked = await rig.ask("DELETE", f"tokens/{adas}", secret=secret)
        assert revoked.status_code == (204 if status == 200 else 404), permits


async def test_the_form_for_tokens_offers_scopes_to_who_may_see_tokens(rig: Rig) -> None:
    narrow = await rig.token(LOCAL.id, frozenset({Permit.JOBS_READ, Permit.ADMIN}))
    for secret, sees in [(rig.secrets[LOCAL.id], True), (narrow, False)]:
        headers = {"Cookie": await signed_in(rig, secret)}
        page = await rig.get("/settings/tokens", by=None, headers=headers)
        assert page.status_code == 200
        assert ('<option value="tokens:write">' in page.text) is sees
        assert ('href="/settings/tokens"' in page.text) is sees
        assert ('href="/settings/users"' in page.text) is sees


async def test_any_token_may_revoke_itself_and_so_may_a_session_had_by_it(rig: Rig) -> None:
    other = (await rig.get("auth/me")).json()["credential_id"]
    for way in ("token", "session"):
        secret = await rig.token(LOCAL.id, frozenset({Permit.WORKERS_READ}))
        own = (await rig.get("auth/me", secret=secret)).json()["credential_id"]
        session: dict[str, Any] = {"secret": secret}
        if way == "session":
            session = {
                "by": None,
                "headers": SAME_ORIGIN | {"Cookie": await signed_in(rig, secret)},
            }

        refusal = await rig.ask("DELETE", f"tokens/{other}", **session)
        revoked = await rig.ask("DELETE", f"tokens/{own}", **session)

        assert problem(refusal) == (403, "forbidden"), way
        assert revoked.status_code == 204, way
        assert problem(await rig.get("auth/me", secret=secret)) == (401, "unauthenticated"), way


async def test_who_has_signed_in_keeps_all_that_their_role_has(rig: Rig) -> None:
    await rig.user("vera", Role.VIEWER)
    for user in (LOCAL.id, "vera"):
        own = (await rig.post("tokens", {"name": "lost"}, by=user)).json()["id"]
        link = await rig.site.yard.services.access.link(user)
        headers = SAME_ORIGIN | {"Cookie": await signed_in(rig, link.secret)}
        for method, path, status in [
            ("GET", "users", 200),
            ("GET", "tokens", 200),
            ("GET", f"tokens/{own}", 200),
            ("DELETE", f"tokens/{own}", 204),
        ]:
            answer = await rig.ask(method, path, by=None, headers=headers)
            assert answer.status_code == status, (user, method, path)


async def test_a_token_that_expires_makes_none_that_outlives_it(rig: Rig) -> None:
    first = (await rig.post("tokens", {"name": "ci", "expires_in_s": 60})).json()
    same = (await rig.post("tokens", {"name": "x"}, secret=first["token"])).json()
    longer = {"name": "y", "expires_in_s": 3600}
    cut = (await rig.post("tokens", longer, secret=first["token"])).json()
    assert same["expires_at"] == cut["expires_at"] == first["expires_at"]


async def test_a_repeated_answer_has_no_secret(rig: Rig) -> None:
    key = {"Idempotency-Key": "k1"}
    first = await rig.post("tokens", {"name": "ci"}, headers=key)

    again = await rig.post("tokens", {"name": "ci"}, headers=key)

    assert again.json() == first.json() | {"token": None}
    credential = (await rig.get("auth/me")).json()["credential_id"]
    reply = await rig.yard.store.replies.begin(
        StoredReply(asker=credential, key="k1", request="x", created_at=rig.clock.now()),
        rig.clock.now() - timedelta(hours=1),
        rig.clock.now() - timedelta(hours=1),
    )
    assert reply is not None
    assert first.json()["token"].encode() not in reply.body


async def test_what_a_disabled_user_shows_proves_nothing(rig: Rig) -> None:
    await rig.user("ada")
    disabled = await rig.ask("PATCH", "users/ada", json={"disabled": True})
    assert disabled.json()["disabled_at"]
    assert problem(await rig.get("jobs", by="ada")) == (401, "unauthenticated")
    await rig.ask("PATCH", "users/ada", json={"disabled": False})
    assert (await rig.get("jobs", by="ada")).status_code == 200


async def test_users_are_the_admins_to_change(rig: Rig) -> None:
    await rig.user("ada")

    response = await rig.post("users", {"id": "bob"}, by="ada")
    answer = await rig.get("users", by="ada")
    own = await rig.ask("PATCH", "users/local", json={"role": "viewer"})

    assert problem(response) == (403, "forbidden")
    assert [user["id"] for user in answer.json()["items"]] == ["ada"]
    assert problem(await rig.get("users/local", by="ada")) == (404, "not_found")
    assert problem(own) == (409, "invalid_transition")


async def test_what_is_wrong_with_a_change_of_a_user_is_named(rig: Rig) -> None:
    headers = {"Content-Type": "application/json"}
    for body, pointers in [
        (b"", [""]),
        (b'{"role": "king"}', ["/role"]),
        (b'{"disabled": 1}', ["/disabled"]),
        (b'{"quota": {"running": -1, "paging": 2}}', ["/quota/paging", "/quota/running"]),
        (b'{"quota": {"pending": true}}', ["/quota/pending"]),
        (
            b'{"quota": {"ceilings": {"pages": 0, "bytes": "5"}}}',
            ["/quota/ceilings/bytes", "/quota/ceilings/pages"],
        ),
    ]:
        answer = await rig.ask("PATCH", f"users/{LOCAL.id}", content=body, headers=headers)
        assert problem(answer) == (422, "validation_failed"), body
        assert sorted(error["pointer"] for error in answer.json()["errors"]) == pointers, body
        assert (await rig.get(f"users/{LOCAL.id}")).json()["version"] == 1, body


async def test_only_an_admin_creates_tokens_for_other_users(rig: Rig) -> None:
    await rig.user("ada")
    await rig.user("bob")

    for other in ("local", "bob"):
        refused = await rig.post("tokens", {"name": "x", "user": other}, by="ada")
        assert problem(refused) == (403, "forbidden")
    own = await rig.post("tokens", {"name": "x", "user": "ada"}, by="ada")
    response = await rig.post("tokens", {"name": "x", "user": "bob"})

    assert (own.status_code, response.status_code) == (201, 201)
    assert (await rig.get("auth/me", secret=response.json()["token"])).json()["user"]["id"] == "bob"
