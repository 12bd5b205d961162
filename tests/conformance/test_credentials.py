"""`CredentialStore`: secrets by their digests; what is revoked proves nothing any more."""

import asyncio
from datetime import timedelta

import pytest
from msgspec.structs import replace

from crawlyard.core.access.credential import Credential, CredentialKind
from crawlyard.core.access.user import Permit
from crawlyard.core.events.event import EventName
from crawlyard.errors import Conflict, NotFound
from crawlyard.store.queries import EventQuery, Proof
from crawlyard.store.store import Store
from tests.builders import NOW
from tests.builders_serve import a_credential, kept_user, of_token, stored_credential
from tests.conformance.conftest import Backend
from tests.web.rig import hide_jobs_of_others

LATER = NOW + timedelta(seconds=3)
TOKEN, SESSION, LINK = CredentialKind.TOKEN, CredentialKind.SESSION, CredentialKind.LINK


async def revoked_at(store: Store, *credentials: Credential) -> list[object]:
    return [(await store.credentials.get(c.id)).revoked_at for c in credentials]


async def event_names(store: Store, token: Credential) -> list[str]:
    return [e.name for e in await store.events.events(EventQuery(subject=token.id))]


async def test_a_credential_comes_back_as_it_was_added(store: Store) -> None:
    await kept_user(store)
    token = a_credential(
        user_id="ada",
        label="Ünter »CI«",
        permits=frozenset({Permit.JOBS_READ, Permit.ADMIN}),
        parent_id="0192",
        expires_at=NOW + timedelta(days=1),
        used_at=NOW,
        revoked_at=LATER,
    )
    bare = a_credential(LINK, permits=frozenset())

    await store.credentials.add(token, of_token(token))
    await store.credentials.add(bare)

    assert await store.credentials.get(token.id) == token
    assert await store.credentials.get(bare.id) == bare
    assert await event_names(store, token) == ["token.created"]


async def test_what_is_shown_is_known_by_its_digest_good_or_not(store: Store) -> None:
    await hide_jobs_of_others(store)
    user = await kept_user(store)
    token = await stored_credential(store, user_id="ada")
    await stored_credential(store)
    before = await store.credentials.get_by_digest(token.digest)  # cached until a commit
    await store.credentials.revoke(token.id, NOW)

    proof = await store.credentials.get_by_digest(token.digest)
    none = await store.credentials.get_by_digest("ff" * 32)

    assert before == Proof(credential=token, user=user, sees_shared=False)
    assert proof == Proof(credential=replace(token, revoked_at=NOW), user=user, sees_shared=False)
    assert none is None


async def test_an_id_and_a_digest_are_taken_once(store: Store) -> None:
    token = await stored_credential(store)

    for other in (a_credential(id=token.id), a_credential(digest=token.digest)):
        with pytest.raises(Conflict):
            await store.credentials.add(other, of_token(other))

    assert await store.credentials.find(None, TOKEN, None, 10) == [token]
    assert await event_names(store, token) == []


async def test_an_absent_user_has_no_credentials(store: Store) -> None:
    with pytest.raises(NotFound, match="no user absent"):
        await stored_credential(store, user_id="absent")

    with pytest.raises(NotFound, match="no credential 0192"):
        await store.credentials.get("0192")


async def test_the_newest_of_a_kind_come_first(store: Store) -> None:
    await kept_user(store)
    first, two, three = (
        await stored_credential(store),
        await stored_credential(store, user_id="ada"),
        await stored_credential(store),
    )
    await stored_credential(store, SESSION)

    find = store.credentials.find

    assert await find(None, TOKEN, None, 10) == [three, two, first]
    assert await find(None, TOKEN, None, 2) == [three, two]
    assert await find(None, TOKEN, three.id, 10) == [two, first]
    assert await find("local", TOKEN, None, 10) == [three, first]
    assert await find("ada", SESSION, None, 10) == []


async def test_its_last_use_is_noted(store: Store) -> None:
    token, other = await stored_credential(store), await stored_credential(store)

    for at in (NOW, LATER, NOW):  # a late note is no step back
        await store.credentials.touch(token.id, at)

    assert await store.credentials.get(token.id) == replace(token, used_at=LATER)
    assert await store.credentials.get(other.id) == other


class TestRevoke:
    async def test_what_was_had_by_it_goes_with_it(self, store: Store) -> None:
        token, other = await stored_credential(store), await stored_credential(store)
        own = [await stored_credential(store, SESSION, parent_id=token.id) for _ in range(2)]
        siblings = await stored_credential(store, SESSION, parent_id=other.id)

        await store.credentials.revoke(token.id, NOW, of_token(token, EventName.TOKEN_REVOKED))

        assert await revoked_at(store, token, *own) == [NOW, NOW, NOW]
        assert await revoked_at(store, other, siblings) == [None, None]
        assert await event_names(store, token) == ["token.revoked"]

    async def test_a_session_that_ends_takes_its_token_not_with_it(self, store: Store) -> None:
        token = await stored_credential(store)
        session = await stored_credential(store, SESSION, parent_id=token.id)

        await store.credentials.revoke(session.id, NOW)

        assert await revoked_at(store, token, session) == [None, NOW]

    async def test_concurrent_revocations_store_one_event(self, store: Store) -> None:
        token = await stored_credential(store)
        event = of_token(token, EventName.TOKEN_REVOKED)

        await asyncio.gather(*(store.credentials.revoke(token.id, NOW, event) for _ in range(5)))
        await store.credentials.revoke(token.id, LATER, event)

        assert await revoked_at(store, token) == [NOW]
        assert await event_names(store, token) == ["token.revoked"]

    async def test_revoking_an_unknown_token_stores_no_event(self, store: Store) -> None:
        token = a_credential()

        await store.credentials.revoke(token.id, NOW, of_token(token, EventName.TOKEN_REVOKED))

        assert await event_names(store, token) == []

    async def test_nothing_is_had_by_what_is_revoked(self, store: Store) -> None:
        token = await stored_credential(store)
        await store.credentials.revoke(token.id, NOW)

        with pytest.raises(Conflict, match=f"token {token.id} is revoked"):
            await stored_credential(store, SESSION, parent_id=token.id)

        assert await store.credentials.find(None, SESSION, None, 10) == []

    async def test_no_session_that_is_had_at_the_same_time_survives(
        self, store: Store, backend: Backend
    ) -> None:
        token = await stored_credential(store)
        other = await backend.open()

        async def add_child(number: int) -> None:
            if number == 10:
                await other.credentials.revoke(token.id, NOW)
            else:
                await stored_credential(store, SESSION, parent_id=token.id)

        await asyncio.gather(*(add_child(n) for n in range(20)), return_exceptions=True)
        if backend.sql:
            await other.close()

        sessions = await store.credentials.find(None, SESSION, None, 100)
        assert {s.revoked_at for s in sessions} <= {NOW}
        assert await revoked_at(store, token) == [NOW]


class TestSpend:
    async def test_a_link_is_spent_once_by_twenty_at_once(
        self, store: Store, backend: Backend
    ) -> None:
        link, other = await stored_credential(store, LINK), await backend.open()
        sessions = [a_credential(SESSION, parent_id=link.id) for _ in range(20)]

        won = await asyncio.gather(
            *(
                (store, other)[n % 2].credentials.spend(link.id, s, of_token(s))
                for n, s in enumerate(sessions)
            )
        )
        if backend.sql:
            await other.close()

        assert sorted(won) == [False] * 19 + [True]
        remaining = await store.credentials.find(None, SESSION, None, 100)
        assert remaining == [sessions[won.index(True)]]
        assert await revoked_at(store, link) == [NOW]

    async def test_a_link_that_has_expired_is_not_spent(self, store: Store) -> None:
        late = await stored_credential(store, LINK, expires_at=NOW)
        in_time = await stored_credential(store, LINK, expires_at=NOW + timedelta(microseconds=1))

        async def spend(link: Credential) -> bool:
            session = a_credential(SESSION, parent_id=link.id)
            return await store.credentials.spend(link.id, session, of_token(session))

        assert not await spend(late)
        assert await spend(in_time)

    async def test_only_a_link_is_spent(self, store: Store) -> None:
        token = await stored_credential(store)

        assert not await store.credentials.spend(token.id, a_credential(SESSION), of_token(token))
        assert not await store.credentials.spend("0192", a_credential(SESSION), of_token(token))

        assert await revoked_at(store, token) == [None]
        assert await store.credentials.find(None, SESSION, None, 10) == []

    async def test_a_session_that_cannot_be_kept_leaves_the_link_good(self, store: Store) -> None:
        link, session = (
            await stored_credential(store, LINK),
            await stored_credential(store, SESSION),
        )

        with pytest.raises(Conflict):
            await store.credentials.spend(link.id, session, of_token(session))

        assert await revoked_at(store, link) == [None]


async def test_what_ended_long_ago_is_swept(store: Store) -> None:
    old = NOW - timedelta(microseconds=1)
    for fields in (
        {"revoked_at": old},
        {"expires_at": old},
        {"revoked_at": old, "expires_at": NOW},
    ):
        await stored_credential(store, SESSION, **fields)
    remaining = [
        await stored_credential(store, SESSION, **fields)
        for fields in ({"revoked_at": NOW}, {"expires_at": NOW}, {})
    ]

    few = await store.credentials.sweep(NOW, 2)
    rest = await store.credentials.sweep(NOW)

    assert (few, rest) == (2, 1)
    assert await store.credentials.find(None, SESSION, None, 10) == remaining[::-1]
    assert await store.credentials.sweep(NOW) == 0
