"""Users and their quotas; admins see and change all users, others see only themselves."""

from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from crawlyard.core.access.answers import MeOut, UserOut
from crawlyard.core.access.user import LOCAL, MAX_USER_ID, Actor, Permit, QuotaAsk, Role, User
from crawlyard.core.endpoints.endpoint import (
    ANYBODY,
    Cursor,
    IdempotencyKey,
    IfMatch,
    Limit,
    Slice,
    endpoint,
    make_slice,
)
from crawlyard.core.events.event import RESERVED_ACTORS, Event, EventName
from crawlyard.errors import IllegalMove, Invalid, NotFound, check_version
from crawlyard.services.noun import Noun
from crawlyard.services.races import retry_on_race

UserId = Annotated[str, Meta(min_length=1, max_length=MAX_USER_ID, examples=["ada"])]


_MAX_USERS = 1_000  # read to find the admins among them


class Account(Noun):
    """The authenticated user's own account."""

    @endpoint("GET /auth/me", ANYBODY, noun="account", group="auth")
    async def me(self) -> MeOut:
        """Return the authenticated user and their permits."""
        users = self._services.store.users
        first_users = await users.find("", _MAX_USERS)
        admins = [user.id for user in first_users if _is_public_admin(user)]
        if self._caller is None:
            return MeOut.of(await users.get(self._actor.id), self._permits, None, admins)
        caller = self._caller
        return MeOut.of(caller.user, self._permits, caller.credential, admins)


def _is_public_admin(user: User) -> bool:
    """Return whether *user* is an active admin to refer users to; `local` has no public name."""
    return user.role is Role.ADMIN and user.disabled_at is None and user.id != LOCAL.id


class Users(Noun):
    """Lists users; admins can create and change them."""

    @endpoint("GET /users", Permit.USERS_READ)
    async def list(self, *, limit: Limit = 50, cursor: Cursor = None) -> Slice[UserOut]:
        """List users by id; without the permit `admin`, only yourself."""
        users, after = self._services.store.users, cursor or ""
        if Permit.ADMIN in self._permits:
            visible = [*await users.find(after, limit + 1)]
        else:
            own = await users.get(self._actor.id)
            visible = [own] if own.id > after else []
        return make_slice(visible, limit, UserOut.of, lambda user: user.id)

    @endpoint(
        "POST /users",
        Permit.ADMIN,
        status=201,
        example={"id": "grace", "role": "operator", "quota": {"running": 4}},
    )
    async def create(
        self,
        id: UserId,  # noqa: A002 - the name of the JSON field
        role: Role = Role.OPERATOR,
        quota: QuotaAsk = QuotaAsk(),  # noqa: B008 - it is immutable
        *,
        idempotency_key: IdempotencyKey = None,  # noqa: ARG002 - the callers of this method use it
    ) -> UserOut:
        """Create a user; `POST /tokens` makes a token for them.

        Raises:
            Conflict: a user has that id already.
        """
        self._check_admin()
        if id in RESERVED_ACTORS:
            raise Invalid("id", f"{id} stands for Crawlyard itself in events; choose another id")
        now = self._services.clock.now()
        user = User(id=id, role=role, quota=quota.quota, created_at=now, updated_at=now)
        event = _user_event(EventName.USER_CREATED, user, self._actor)
        await self._services.store.users.add(user, event)
        return UserOut.of(user)

    @endpoint("GET /users/{user_id}", Permit.USERS_READ)
    async def get(self, user_id: str) -> UserOut:
        """Return a user with role and quota."""
        if user_id != self._actor.id and Permit.ADMIN not in self._permits:
            raise NotFound(f"no user {user_id}")
        return UserOut.of(await self._services.store.users.get(user_id))

    @endpoint("PATCH /users/{user_id}", Permit.ADMIN, example={"role": "viewer"})
    async def edit(
        self,
        user_id: str,
        *,
        role: Role | None = None,
        quota: Annotated[QuotaAsk | None, Meta(description="It replaces the one before.")] = None,
        disabled: bool | None = None,
        version: IfMatch = None,
    ) -> UserOut:
        """Change the role or quota of a user, or disable them, which invalidates their credentials.

        Raises:
            IllegalMove: admins would disable or demote themselves, so that no admin might be left
                to change users; or it is the user `local`, whom access to the store's files
                makes an admin in any case.
        """
        self._check_admin()
        if disabled or role not in (None, Role.ADMIN):
            _check_may_lose_rights(self._actor, user_id)
        users = self._services.store.users

        async def save_edit() -> User:
            old, now = await users.get(user_id), self._services.clock.now()
            check_version(f"user {user_id}", old.version, version)
            disabled_at = old.disabled_at
            if disabled is not None:
                disabled_at = (disabled_at or now) if disabled else None
            new = replace(
                old,
                role=role or old.role,
                quota=old.quota if quota is None else quota.quota,
                disabled_at=disabled_at,
                version=old.version + 1,
                updated_at=now,
            )
            await users.save(new, _user_event(EventName.USER_UPDATED, new, self._actor))
            return new

        return UserOut.of(await retry_on_race(save_edit, f"user {user_id} keeps changing"))


def _check_may_lose_rights(actor: Actor, user_id: str) -> None:
    if user_id == LOCAL.id:
        raise IllegalMove(
            "the user local is always an admin, as it has access to the store's files"
        )
    if user_id == actor.id:
        raise IllegalMove("admins cannot disable or demote themselves; another admin can")


def _user_event(name: EventName, user: User, actor: Actor) -> Event:
    return Event(
        name=name,
        subject=user.id,
        owner=user.id,
        at=user.updated_at,
        actor=actor.id,
        data={
            "role": user.role.value,
            "disabled": user.disabled_at is not None,
            "version": user.version,
        },
    )
