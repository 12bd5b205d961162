"""User service: accounts with roles and quotas."""

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from crawlyard.clock import Clock
from crawlyard.core.access.user import LOCAL, NO_QUOTA, Actor, Quota, Role, User
from crawlyard.core.event import Event, EventName
from crawlyard.errors import Conflict, Forbidden, IllegalMove, NotFound, Version, check_version
from crawlyard.store.store import Store

_TRIES = 8  # attempts per change: after a lost race it is reread; more losses mean a bug


class Users:
    """Creates, finds and changes accounts; users who are not admins only see their own."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def create(
        self, actor: Actor, user_id: str, role: Role = Role.OPERATOR, quota: Quota = NO_QUOTA
    ) -> User:
        """Create a user.

        Raises:
            Invalid: the id is not valid.
            Forbidden: the actor is not an admin.
            Conflict: a user has that id already.
        """
        self._check_admin(actor)
        now = self._clock.now()
        user = User(id=user_id, role=role, quota=quota, created_at=now, updated_at=now)
        await self._store.users.add(user, _told(EventName.USER_CREATED, user, actor))
        return user

    async def get(self, actor: Actor, user_id: str) -> User:
        """Return a user.

        Raises:
            NotFound: no such user, or the actor may not see them.
        """
        if not actor.may_see(user_id):
            raise NotFound(f"no user {user_id}")
        return await self._store.users.get(user_id)

    async def list(self, actor: Actor, *, after: str = "", limit: int = 50) -> Sequence[User]:
        """Return users with ids above *after*, by id; the actor alone unless an admin."""
        if actor.role is not Role.ADMIN:
            own = await self._store.users.get(actor.id)
            return [own] if own.id > after else []
        return await self._store.users.find(after, limit)

    async def update(
        self,
        actor: Actor,
        user_id: str,
        *,
        role: Role | None = None,
        quota: Quota | None = None,
        disabled: bool | None = None,
        version: Version = None,
    ) -> User:
        """Change the given fields of a user, and return the user.

        The credentials of a disabled user are not accepted.

        Raises:
            NotFound: no such user.
            Forbidden: the actor is not an admin.
            IllegalMove: an admin would disable or demote themselves, so that nobody might be
                left to change users; or it is the user `local`, whom access to the store's
                files makes an admin in any case.
            Stale: the user is not at *version*.
        """
        self._check_admin(actor)

        def change(old: User) -> User:
            now = self._clock.now()
            since = old.disabled_at
            if disabled is not None:
                since = (since or now) if disabled else None
            return replace(
                old,
                role=old.role if role is None else role,
                quota=old.quota if quota is None else quota,
                disabled_at=since,
                version=old.version + 1,
                updated_at=now,
            )

        if user_id == LOCAL.id and (disabled or role not in (None, Role.ADMIN)):
            raise IllegalMove("the user local is always an admin: who reads the store's files is")
        if user_id == actor.id and (disabled or role not in (None, Role.ADMIN)):
            raise IllegalMove("an admin cannot take his own rights away; let another admin do it")
        return await self._change(actor, user_id, change, version)

    async def _change(
        self, actor: Actor, user_id: str, change: Callable[[User], User], version: Version
    ) -> User:
        for _ in range(_TRIES):
            old = await self._store.users.get(user_id)
            check_version(f"user {user_id}", old.version, version)
            new = change(old)
            try:
                await self._store.users.save(new, _told(EventName.USER_UPDATED, new, actor))
            except Conflict:
                continue
            return new
        raise Conflict(f"user {user_id} keeps changing; try again")

    def _check_admin(self, actor: Actor) -> None:
        if actor.role is not Role.ADMIN:
            raise Forbidden(f"{actor.id} is no admin")


def _told(name: EventName, user: User, actor: Actor) -> Event:
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
