"""`crawlyard tokens | users | settings | whoami`: who may do what."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec import Struct, defstruct
from msgspec.structs import asdict

from crawlyard.cli import values
from crawlyard.cli.invoke import action
from crawlyard.cli.jobs.crawl_options import reader_of
from crawlyard.cli.options import Basics, IdempotencyKey, Limit, an_id, choice, flag, group, option
from crawlyard.cli.render.output import Column, View, fields_of, instant
from crawlyard.cli.stdout import write_line
from crawlyard.core.access.user import Role
from crawlyard.core.answer import as_dict
from crawlyard.core.endpoints.endpoint import every
from crawlyard.core.fields import Field
from crawlyard.core.fields import fields_of as declared
from crawlyard.core.jobs.limits import LIMITS, Limits
from crawlyard.core.merge_patch import merged_object
from crawlyard.errors import Forbidden, Invalid, NotFound, Unavailable
from crawlyard.lazy import lazily

with lazily():
    from crawlyard.core.access import policy
if TYPE_CHECKING:
    from crawlyard.cli.session import Session
    from crawlyard.core.access.answers import NewTokenOut, SectionOut, TokenOut, UserOut

tokens_app = group(
    """Give out tokens, by which programs prove who they are, and take them back.

    crawlyard tokens create laptop
    crawlyard tokens revoke laptop
    """
)
users_app = group(
    """Make users, and say what they may do.

    crawlyard users create ada --role viewer
    crawlyard users set ada --max-running 2
    """
)
settings_app = group(
    """Show and change what the users of a yard may ask for.

    crawlyard settings grants
    crawlyard settings grants --addresses --no-private
    """
)

_or_none = values.none_or

Name = Annotated[str, typer.Argument(metavar="NAME", help="Where it is used.", show_default=False)]
Tokens = Annotated[
    list[str],
    typer.Argument(
        parser=an_id, metavar="TOKEN", help="Ids, names or prefixes.", show_default=False
    ),
]
User = Annotated[str, typer.Argument(metavar="USER", help="Their id.", show_default=False)]
UserIds = Annotated[
    list[str], typer.Argument(metavar="USER", help="Their ids.", show_default=False)
]
Owner = Annotated[str | None, option(values.line, "--user", "USER", "Another user's; for admins.")]
Scopes = Annotated[
    list[str] | None,
    option(values.line, "--scope", "SCOPE", "What it is good for: jobs:read, jobs:*. Repeatable."),
]
Lasts = Annotated[
    timedelta | None, option(values.duration, "--expires", "DURATION", "Good for so long; else on.")
]
NewRole = Annotated[Role, choice("--role", of=Role, text="What they may do", default=Role.OPERATOR)]
OtherRole = Annotated[Role | None, choice("--role", of=Role, text="What they may do")]


class _Quota(Struct, frozen=True, kw_only=True):
    """What a user may have at most; ``none`` is as much as they like."""

    running: Annotated[
        object, option(_or_none(values.count), "--max-running", "N", "Jobs at once; more wait.")
    ] = None
    pending: Annotated[
        object, option(_or_none(values.count), "--max-pending", "N", "Jobs that wait.")
    ] = None
    pages_per_day: Annotated[
        object, option(_or_none(values.count), "--max-pages-per-day", "N", "Of UTC days.")
    ] = None
    bytes_per_day: Annotated[
        object, option(_or_none(values.size), "--max-bytes-per-day", "SIZE", "Of UTC days.")
    ] = None

    def given(self) -> Any:
        """Return what was said, as the API writes a quota."""
        said = {
            name: None if value == values.NONE else value
            for name, value in asdict(self).items()
            if value is not None
        }
        ceilings = {field: said.pop(name) for name, field in LIMITS.items() if name in said}
        return said | ({"ceilings": ceilings} if ceilings else {})


if TYPE_CHECKING:

    class Quota(_Quota, frozen=True, kw_only=True):
        """What a user may have at most, with the limits of one job."""
else:

    def _ceiling(field: Field) -> tuple[str, Any, None]:
        read = _or_none(reader_of(field))
        given = option(read, field.flag, field.metavar, "Of one job.")
        return field.name.removesuffix("_s"), Annotated[object, given], None

    Quota = defstruct(
        "Quota",
        [_ceiling(field) for field in declared(Limits).values()],
        bases=(_Quota,),
        frozen=True,
        kw_only=True,
    )


Addresses = Annotated[
    bool | None,
    flag(
        "--addresses/--no-addresses",
        text="Allow jobs and webhooks to open addresses with --allow-address.",
    ),
]
Private = Annotated[
    bool | None,
    flag(
        "--private/--no-private", text="Allow jobs to open all private addresses (--allow-private)."
    ),
]
IgnoreRobots = Annotated[
    bool | None,
    flag(
        "--ignore-robots/--no-ignore-robots",
        text="Allow jobs to ignore robots.txt (--ignore-robots).",
    ),
]


def _quota_words(user: "UserOut") -> str:
    told = as_dict(user.quota, without={"ceilings"}) | as_dict(user.quota.ceilings)
    return ", ".join(f"{name} {value}" for name, value in told.items() if value is not None)


_TOKENS: "View[TokenOut]" = View(
    key=lambda token: token.id,
    columns=(
        Column(name="STATE", value=lambda t: "revoked" if t.revoked_at else "good"),
        Column(name="ID", value=lambda t: t.id),
        Column(name="USER", value=lambda t: t.user),
        Column(name="NAME", value=lambda t: t.name, wide=True),
        Column(name="PREFIX", value=lambda t: t.prefix),
        Column(name="SCOPES", value=lambda t: ",".join(t.scopes), wide=True, least=110),
        Column(name="USED", value=lambda t: instant(t, "last_used_at")),
    ),
)
_MADE: "View[NewTokenOut]" = View(
    key=lambda made: made.token or "",
    columns=(),
    more=lambda made: fields_of(made, without={"scopes"}),
)
_USERS: "View[UserOut]" = View(
    key=lambda user: user.id,
    more=lambda u: [*fields_of(u, without={"quota"}), ("quota", _quota_words(u))],
    columns=(
        Column(name="STATE", value=lambda u: "disabled" if u.disabled_at else "active"),
        Column(name="ID", value=lambda u: u.id),
        Column(name="ROLE", value=lambda u: u.role),
        Column(name="QUOTA", value=_quota_words, wide=True),
    ),
)
_GRANTS: "View[SectionOut]" = View(
    key=lambda section: section.section,
    columns=(),
    more=lambda section: [
        *((n.replace("_", " "), "yes" if v else "no") for n, v in section.effective.items()),
        *fields_of(section, {"updated_at", "updated_by"}),
    ],
)


@tokens_app.command("list")
@action()
async def list_tokens(session: "Session", *, limit: Limit = None) -> None:
    """List tokens, newest first; their secrets are not kept.

    crawlyard tokens list
    crawlyard tokens list --json
    """
    found = every(session.surface.tokens.list, limit=session.most(limit))
    shown = await session.listed(found, _TOKENS)
    session.tell_rest(shown, limit, "there is no token yet", "newest")


@tokens_app.command("create")
@action(creates=True, scopes="--scope", expires_in_s="--expires")
async def create_token(
    session: "Session",
    name: Name,
    *,
    user: Owner = None,
    scope: Scopes = None,
    expires: Lasts = None,
    idempotency_key: IdempotencyKey = None,
) -> None:
    """Make a token; its secret is written this once.

    crawlyard tokens create laptop
    crawlyard tokens create report --scope jobs:read --scope results:read --expires 30d
    crawlyard tokens create ci --user ada > token.txt
    """
    lasts_s = None if expires is None else expires.total_seconds()
    made = await session.surface.tokens.create(
        name,
        user=user,
        scopes=tuple(scope or ()),
        expires_in_s=lasts_s,
        idempotency_key=idempotency_key,
    )
    if made.token is None:  # its first answer was lost, and a secret is not kept for a second
        message = f"token {made.name} was made, and its secret was lost on the way"
        raise Unavailable(f"{message}; {session.hint(f'tokens revoke {made.id}')}, and try again")
    session.tell(f"token {made.name} of {made.user}, {made.id}; it is not shown again:")
    if session.common.asked:
        await session.show(made, _MADE)
    else:
        write_line(made.token)


@tokens_app.command("revoke")
@action(basics=Basics)
async def revoke_tokens(session: "Session", tokens: Tokens) -> None:
    """Revoke tokens at once, and the sessions that were had by them.

    crawlyard tokens revoke laptop
    """
    for word in tokens:
        try:
            token = await _token(session, word)
        except Forbidden:  # without tokens:read, a token can still revoke itself, by its id
            await session.surface.tokens.revoke(word)
            session.tell(f"revoked: {word}")
            continue
        await session.surface.tokens.revoke(token.id)
        session.tell(f"revoked: {token.name} of {token.user}, {token.id}")


async def _token(session: "Session", word: str) -> "TokenOut":
    known = every(session.surface.tokens.list)
    good = [token async for token in known if token.revoked_at is None]
    found = [t for t in good if word in (t.id, t.name, t.prefix) or t.id.endswith(word)]
    if not found:
        raise NotFound(f"there is no token {word}")
    if len(found) > 1:
        raise Invalid("token", f"more than one is called {word!r}; give its id")
    return found[0]


@users_app.command("list")
@action()
async def list_users(session: "Session", *, limit: Limit = None) -> None:
    """List users by id.

    crawlyard users list
    crawlyard users list -o csv
    """
    found = every(session.surface.users.list, limit=session.most(limit))
    session.tell_rest(await session.listed(found, _USERS), limit, "")


@users_app.command("create")
@action(creates=True, id="USER")
async def create_user(
    session: "Session",
    user: User,
    *,
    role: NewRole = Role.OPERATOR,
    idempotency_key: IdempotencyKey = None,
    quota: Quota,
) -> None:
    """Make a user; give them a token by `crawlyard tokens create`.

    crawlyard users create ada
    crawlyard users create guest --role viewer
    crawlyard users create bob --max-running 2 --max-pages-per-day 10000
    """
    made = await session.surface.users.create(
        user, role, quota.given(), idempotency_key=idempotency_key
    )
    session.tell(f"made: {made.id}, {made.role}")
    session.tell(f"give them a token: {session.hint(f'tokens create NAME --user {made.id}')}")
    await _written(session, made)


@users_app.command("set")
@action()
async def set_user(session: "Session", user: User, *, role: OtherRole = None, quota: Quota) -> None:
    """Change what a user may do, or have at most; 'none' takes a quota away.

    crawlyard users set ada --role admin
    crawlyard users set bob --max-running 4 --max-pages none
    """
    await change_user(session, user, role, quota.given())


async def change_user(
    session: "Session", user_id: str, role: Role | None, quota: Mapping[str, object]
) -> None:
    """Change role or quota of a user; what is not named of their quota stays."""
    if role is None and not quota:
        raise Invalid("users set", "expected something to change: --role, --max-running, …")
    changes: dict[str, Any] = {"role": role}
    if quota:
        old = await session.surface.users.get(user_id)
        whole = merged_object(as_dict(old.quota), quota)
        changes |= {"quota": whole, "version": old.version}
    changed = await session.surface.users.edit(user_id, **changes)
    session.tell(f"changed: {changed.id}, {changed.role}")
    await _written(session, changed)


@users_app.command("disable")
@action()
async def disable_users(session: "Session", users: UserIds) -> None:
    """Let nobody sign in as these users any more; what is theirs stays.

    crawlyard users disable bob
    """
    await _switched(session, users, "disabled")


@users_app.command("enable")
@action()
async def enable_users(session: "Session", users: UserIds) -> None:
    """Let disabled users sign in again.

    crawlyard users enable bob
    """
    await _switched(session, users, "enabled")


async def _switched(session: "Session", users: Sequence[str], word: str) -> None:
    for user_id in users:
        changed = await session.surface.users.edit(user_id, disabled=word == "disabled")
        session.tell(f"{word}: {changed.id}")
        await _written(session, changed)


async def _written(session: "Session", user: "UserOut") -> None:
    if session.common.asked:
        await session.show(user, _USERS)


@action()
async def whoami(session: "Session") -> None:
    """Show who you are to the yard, and what you may have.

    crawlyard whoami
    crawlyard whoami --server http://127.0.0.1:8700 --json
    """
    await session.show((await session.surface.account.me()).user, _USERS)


@settings_app.command("grants")
@action(creates=lambda given: any(value is not None for value in given.values()))
async def grants(
    session: "Session",
    *,
    addresses: Addresses = None,
    private: Private = None,
    ignore_robots: IgnoreRobots = None,
) -> None:
    """Show or change what jobs over the API may ask for; options not given keep their value.

    crawlyard settings grants
    crawlyard settings grants --addresses --server http://127.0.0.1:8700
    crawlyard settings grants --no-private --no-ignore-robots

    Only an admin can change grants. Revoking a grant pauses the jobs that need it. Without
    --server, the command line needs no grants.
    """
    asked = {"addresses": addresses, "private": private, "ignore_robots": ignore_robots}
    await change_grants(session, {name: v for name, v in asked.items() if v is not None})


async def change_grants(session: "Session", changes: Mapping[str, bool]) -> None:
    """Show what jobs may ask for, after *changes* if there are any."""
    section = policy.SectionName.GRANTS
    found = await session.surface.settings.get(section)
    if changes:
        value = {**found.effective, **changes}
        found = await session.surface.settings.put(section, value, version=found.version)
        given = [name for name, granted in found.effective.items() if granted]
        session.tell(f"granted: {', '.join(given) or 'nothing'}")
    if session.common.asked or not changes:
        await session.show(found, _GRANTS)
