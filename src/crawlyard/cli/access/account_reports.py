"""What commands do to users and tokens, and tell of them."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from crawlyard.cli.options import Common
from crawlyard.cli.render.output import Column, View
from crawlyard.cli.render.sheets import listed, show
from crawlyard.cli.session import Session
from crawlyard.cli.stdout import write_line
from crawlyard.core.answers.access.access import QuotaOut, TokenOut, UserOut
from crawlyard.core.answers.access.settings import SectionOut
from crawlyard.core.answers.base import as_dict
from crawlyard.errors import Invalid, NotFound, Unavailable

_ALL = 2**31


async def whoami(session: Session, *, common: Common) -> int:
    """Show who asks."""
    found = await session.clients.accounts().me()
    return await show(session, found, _user_facts(found), common, key=found.id)


async def tokens(session: Session, *, limit: int, common: Common) -> int:
    """List tokens, newest first."""
    found = await session.clients.accounts().tokens(limit or _ALL)
    await listed(session, found, _TOKENS, common)
    if not found:
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
    made = await session.clients.accounts().create_token(name, user, scopes, lasts)
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
        await session.clients.accounts().revoke_token(token.id)
        session.tell(f"revoked: {token.name} of {token.user}, {token.id}")
    return 0


async def users(session: Session, *, limit: int, common: Common) -> int:
    """List users by id."""
    found = await session.clients.accounts().users(limit or _ALL)
    await listed(session, found, _USERS, common)
    return 0


async def create_user(
    session: Session, *, user_id: str, role: str, quota: Mapping[str, object], common: Common
) -> int:
    """Make a user."""
    made = await session.clients.accounts().create_user(user_id, role, quota)
    session.tell(f"made: {made.id}, {made.role}")
    session.tell(f"give him a token: {session.hint(f'tokens create NAME --user {made.id}')}")
    return await _written(session, made, common)


async def change_user(
    session: Session,
    *,
    user_id: str,
    role: str | None,
    quota: Mapping[str, object],
    common: Common,
) -> int:
    """Change role or quota of a user; what is not named of his quota stays."""
    if role is None and not quota:
        raise Invalid("users set", "expected something to change: --role, --max-running, …")
    changes: dict[str, object] = {} if role is None else {"role": role}
    if quota:
        old = as_dict((await session.clients.accounts().user(user_id)).quota)
        changes["quota"] = _over(old, quota)
    changed = await session.clients.accounts().change_user(user_id, changes)
    session.tell(f"changed: {changed.id}, {changed.role}")
    return await _written(session, changed, common)


async def disable(session: Session, *, ids: Sequence[str], disabled: bool, common: Common) -> int:
    """Let nobody sign in as these users any more, or again."""
    for user_id in ids:
        changed = await session.clients.accounts().change_user(user_id, {"disabled": disabled})
        session.tell(f"{'disabled' if disabled else 'enabled'}: {changed.id}")
        await _written(session, changed, common)
    return 0


async def grants(session: Session, *, changes: Mapping[str, object], common: Common) -> int:
    """Show what jobs may ask for, after *changes* if there are any."""
    accounts = session.clients.accounts()
    if not changes:
        found = await accounts.grants()
        return await show(session, found, _grant_facts(found), common, key=found.section)
    found = await accounts.change_grants(changes)
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
    every = await session.clients.accounts().tokens(_ALL)
    good = [token for token in every if token.revoked_at is None]
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
