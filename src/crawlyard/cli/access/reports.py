"""What commands do to users and tokens, and tell of them."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from crawlyard.cli.options import Common
from crawlyard.cli.render.output import Column, View
from crawlyard.cli.render.sheets import listed, show
from crawlyard.cli.session import Session
from crawlyard.cli.stdout import write_line
from crawlyard.core.access.policy import SectionName
from crawlyard.core.access.quota import quota_asked
from crawlyard.core.access.user import Role
from crawlyard.core.answers.access import QuotaOut, SectionOut, TokenOut, UserOut
from crawlyard.core.answers.base import as_dict
from crawlyard.core.endpoint import every
from crawlyard.errors import Invalid, NotFound, Unavailable


async def whoami(session: Session, *, common: Common) -> int:
    """Show who asks."""
    found = (await session.surface.account.me()).user
    return await show(session, found, _user_facts(found), common, key=found.id)


async def tokens(session: Session, *, limit: int, common: Common) -> int:
    """List tokens, newest first."""
    found = every(session.surface.tokens.list, limit=limit or None)
    if not await listed(session, found, _TOKENS, common):
        session.tell("there is no token yet")
    return 0


async def create_token(
    session: Session,
    *,
    name: str,
    user: str | None,
    scopes: Sequence[str],
    lasts: timedelta | None,
    common: Common,
) -> int:
    """Make a token, and write its secret: a line that a program can read."""
    expires_in_s = None if lasts is None else lasts.total_seconds()
    made = await session.surface.tokens.create(
        name, user=user, scopes=tuple(scopes), expires_in_s=expires_in_s
    )
    if made.token is None:  # its first answer was lost, and a secret is not kept for a second
        message = f"token {made.name} was made, and its secret was lost on the way"
        raise Unavailable(f"{message}; {session.hint(f'tokens revoke {made.id}')}, and try again")
    session.tell(f"token {made.name} of {made.user}, {made.id}; it is not shown again:")
    if common.quiet or not common.asked:
        write_line(made.token)
        return 0
    told = [*as_dict(made, without={"object", "scopes"}).items()]
    facts = [(key.replace("_", " "), value) for key, value in told]
    return await show(session, made, facts, common, key=made.token)


async def revoke(session: Session, *, words: Sequence[str]) -> int:
    """Revoke tokens at once."""
    for word in words:
        token = await _token(session, word)
        await session.surface.tokens.revoke(token.id)
        session.tell(f"revoked: {token.name} of {token.user}, {token.id}")
    return 0


async def users(session: Session, *, limit: int, common: Common) -> int:
    """List users by id."""
    found = every(session.surface.users.list, limit=limit or None)
    await listed(session, found, _USERS, common)
    return 0


async def create_user(
    session: Session, *, user_id: str, role: Role, quota: Mapping[str, object], common: Common
) -> int:
    """Make a user."""
    made = await session.surface.users.create(user_id, role, quota_asked(quota))
    session.tell(f"made: {made.id}, {made.role}")
    session.tell(f"give them a token: {session.hint(f'tokens create NAME --user {made.id}')}")
    return await _written(session, made, common)


async def change_user(
    session: Session,
    *,
    user_id: str,
    role: Role | None,
    quota: Mapping[str, object],
    common: Common,
) -> int:
    """Change role or quota of a user; what is not named of their quota stays."""
    if role is None and not quota:
        raise Invalid("users set", "expected something to change: --role, --max-running, …")
    changes: dict[str, Any] = {"role": role}
    if quota:
        old = await session.surface.users.get(user_id)
        both = _over(as_dict(old.quota), quota)
        changes |= {"quota": quota_asked(both), "version": old.version}
    changed = await session.surface.users.edit(user_id, **changes)
    session.tell(f"changed: {changed.id}, {changed.role}")
    return await _written(session, changed, common)


async def disable(session: Session, *, ids: Sequence[str], disabled: bool, common: Common) -> int:
    """Let nobody sign in as these users any more, or again."""
    for user_id in ids:
        changed = await session.surface.users.edit(user_id, disabled=disabled)
        session.tell(f"{'disabled' if disabled else 'enabled'}: {changed.id}")
        await _written(session, changed, common)
    return 0


async def grants(session: Session, *, changes: Mapping[str, object], common: Common) -> int:
    """Show what jobs may ask for, after *changes* if there are any."""
    found = await session.surface.settings.get(SectionName.GRANTS)
    if changes:
        value = {**found.effective, **changes}
        found = await session.surface.settings.put(SectionName.GRANTS, value, version=found.version)
        given = [name for name, granted in found.effective.items() if granted]
        session.tell(f"granted: {', '.join(given) or 'nothing'}")
        if not common.asked:
            return 0
    return await show(session, found, _grant_facts(found), common, key=found.section)


def _grant_facts(found: SectionOut) -> list[tuple[str, object]]:
    told = as_dict(found, {"updated_at", "updated_by"})
    return [
        *((n.replace("_", " "), "yes" if v else "no") for n, v in found.effective.items()),
        *((name.replace("_", " "), value) for name, value in told.items()),
    ]


async def _written(session: Session, user: UserOut, common: Common) -> int:
    if not common.asked:
        return 0
    return await show(session, user, _user_facts(user), common, key=user.id)


async def _token(session: Session, word: str) -> TokenOut:
    known = every(session.surface.tokens.list)
    good = [token async for token in known if token.revoked_at is None]
    found = [t for t in good if word in (t.id, t.name, t.prefix) or t.id.endswith(word)]
    if not found:
        raise NotFound(f"there is no token {word}")
    if len(found) > 1:
        raise Invalid("token", f"more than one is called {word!r}; give its id")
    return found[0]


def _over(old: Mapping[str, object], new: Mapping[str, object]) -> dict[str, object]:
    ceilings, own = old.get("ceilings"), new.get("ceilings")
    both = {**old, **new}
    if isinstance(ceilings, Mapping) and isinstance(own, Mapping):
        both["ceilings"] = {**ceilings, **own}
    return both


def _user_facts(user: UserOut) -> list[tuple[str, object]]:
    told = as_dict(user, without={"object", "quota"})
    return [
        *((name.replace("_", " "), value) for name, value in told.items()),
        ("quota", _quota_words(user.quota)),
    ]


def _quota_words(quota: QuotaOut) -> str:
    told = as_dict(quota, without={"ceilings"}) | as_dict(quota.ceilings)
    return ", ".join(f"{name} {value}" for name, value in told.items() if value is not None)


_TOKENS: View[TokenOut] = View(
    key=lambda token: token.id,
    columns=(
        Column(name="STATE", value=lambda t: "revoked" if t.revoked_at else "good"),
        Column(name="ID", value=lambda t: t.id),
        Column(name="USER", value=lambda t: t.user),
        Column(name="NAME", value=lambda t: t.name, wide=True),
        Column(name="PREFIX", value=lambda t: t.prefix),
        Column(name="SCOPES", value=lambda t: ",".join(t.scopes), wide=True, least=110),
        Column(
            name="USED",
            value=lambda t: as_dict(t, {"last_used_at"})["last_used_at"],
        ),
    ),
)
_USERS: View[UserOut] = View(
    key=lambda user: user.id,
    columns=(
        Column(name="STATE", value=lambda u: "disabled" if u.disabled_at else "active"),
        Column(name="ID", value=lambda u: u.id),
        Column(name="ROLE", value=lambda u: u.role),
        Column(name="QUOTA", value=lambda u: _quota_words(u.quota), wide=True),
    ),
)
