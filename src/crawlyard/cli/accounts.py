"""`crawlyard tokens | users | settings | whoami`: who may do what."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Struct, defstruct
from msgspec.structs import asdict

from crawlyard.cli import values
from crawlyard.cli.invoke import PlainCommands, action
from crawlyard.cli.jobs.crawl_options import reader_of
from crawlyard.cli.options import (
    Basics,
    IdempotencyKey,
    Limit,
    an_id,
    argument,
    choice,
    flag,
    group,
    option,
)
from crawlyard.cli.render.output import Column, View, column, fields_of
from crawlyard.cli.stdout import write_line
from crawlyard.core.access import policy
from crawlyard.core.access.user import Role
from crawlyard.core.answer import as_dict
from crawlyard.core.endpoints.endpoint import every
from crawlyard.core.fields import Field
from crawlyard.core.fields import fields_of as declared
from crawlyard.core.jobs.limits import LIMITS, Limits
from crawlyard.core.merge_patch import merged_object
from crawlyard.errors import Forbidden, Invalid, NotFound, Unavailable

if TYPE_CHECKING:
    from crawlyard.cli.session import Session
    from crawlyard.core.access.answers import NewTokenOut, SectionOut, TokenOut, UserOut

tokens_app = group(
    """Create and revoke API tokens.

    crawlyard tokens create laptop
    crawlyard tokens revoke laptop
    """
)
users_app = group(
    """Create users, set their roles and quotas.

    crawlyard users create ada --role viewer
    crawlyard users set ada --max-running 2
    """
)
settings_app = group(
    """Show and change what users may request.

    crawlyard settings grants
    crawlyard settings grants --addresses --no-private
    """
)

_or_none = values.none_or

Name = Annotated[str, argument("NAME", "Where it is used.")]
Tokens = Annotated[list[str], argument("TOKEN", "Ids, names or prefixes.", an_id)]
User = Annotated[str, argument("USER", "Their id.")]
UserIds = Annotated[list[str], argument("USER", "Their ids.")]
Owner = Annotated[str | None, option(values.line, "--user", "USER", "Another user's; for admins.")]
Scopes = Annotated[
    list[str] | None,
    option(values.line, "--scope", "SCOPE", "What it permits: jobs:read, jobs:*. Repeatable."),
]
Lasts = Annotated[
    float | None,
    option(values.span_s, "--expires", "DURATION", "How long it is valid; else without end."),
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
        quota = {
            name: None if value == values.NONE else value
            for name, value in asdict(self).items()
            if value is not None
        }
        ceilings = {field: quota.pop(name) for name, field in LIMITS.items() if name in quota}
        return quota | ({"ceilings": ceilings} if ceilings else {})


if TYPE_CHECKING:

    class Quota(_Quota, frozen=True, kw_only=True):
        """What a user may have at most, with the limits of one job."""
else:

    def _ceiling(field: Field) -> tuple[str, Any, None]:
        read = _or_none(reader_of(field))
        ceiling = option(read, field.flag, field.metavar, "Of one job.")
        return field.name.removesuffix("_s"), Annotated[object, ceiling], None

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
    limits = as_dict(user.quota, without={"ceilings"}) | as_dict(user.quota.ceilings)
    return ", ".join(f"{name} {value}" for name, value in limits.items() if value is not None)


_TOKENS: "View[TokenOut]" = View(
    key=lambda token: token.id,
    columns=(
        Column(name="STATE", value=lambda t: "revoked" if t.revoked_at else "good"),
        column("ID"),
        column("USER"),
        column("NAME", wide=True),
        column("PREFIX"),
        Column(name="SCOPES", value=lambda t: ",".join(t.scopes), wide=True, least=110),
        column("USED", "last_used_at"),
    ),
)
_MADE: "View[NewTokenOut]" = View(
    key=lambda new_token: new_token.token or "",
    columns=(),
    more=lambda new_token: fields_of(new_token, without={"scopes"}),
)
_USERS: "View[UserOut]" = View(
    key=lambda user: user.id,
    more=lambda u: [*fields_of(u, without={"quota"}), ("quota", _quota_words(u))],
    columns=(
        Column(name="STATE", value=lambda u: "disabled" if u.disabled_at else "active"),
        column("ID"),
        column("ROLE"),
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


async def _token_id(session: "Session", word: str) -> str:
    """Return the id of a valid token by its id, the end of that, its name or its prefix."""
    try:
        tokens = [token async for token in every(session.surface.tokens.list)]
    except Forbidden:  # without tokens:read, a token can still revoke itself, by its id
        return word
    matches = [
        token.id
        for token in tokens
        if token.revoked_at is None
        and (word in (token.name, token.prefix) or token.id.endswith(word))
    ]
    if not matches:
        raise NotFound(f"there is no token {word}")
    if len(matches) > 1:
        raise Invalid("token", f"more than one is called {word!r}; give its id")
    return matches[0]


tokens = PlainCommands(app=tokens_app, noun="tokens", view=lambda _: _TOKENS, find=_token_id)
users = PlainCommands(app=users_app, noun="users", view=lambda _: _USERS)


@tokens.list("there is no token yet")
def list_tokens(*, limit: Limit = None) -> None:
    """List tokens, newest first, without their secrets.

    crawlyard tokens list
    crawlyard tokens list --json
    """


@tokens_app.command("create")
@action(creates=True)
async def create_token(
    session: "Session",
    name: Name,
    *,
    user: Owner = None,
    scopes: Scopes = None,
    expires_in_s: Lasts = None,
    idempotency_key: IdempotencyKey = None,
) -> None:
    """Make a token; its secret is written this once.

    crawlyard tokens create laptop
    crawlyard tokens create report --scope jobs:read --scope results:read --expires 30d
    crawlyard tokens create ci --user ada > token.txt
    """
    new_token = await session.surface.tokens.create(
        name,
        user=user,
        scopes=tuple(scopes or ()),
        expires_in_s=expires_in_s,
        idempotency_key=idempotency_key,
    )
    if new_token.token is None:  # its first answer was lost, and a secret is not kept for a second
        message = f"token {new_token.name} was made, and its secret was lost on the way"
        raise Unavailable(
            f"{message}; {session.hint(f'tokens revoke {new_token.id}')}, and try again"
        )
    session.tell(
        f"token {new_token.name} of {new_token.user}, {new_token.id}; it is not shown again:"
    )
    if session.common.asked:
        await session.show(new_token, _MADE)
    else:
        write_line(new_token.token)


@tokens.change("revoked", basics=Basics)
def revoke(token: Tokens) -> None:
    """Revoke tokens at once, and end the sessions opened with them.

    crawlyard tokens revoke laptop
    """


@users.list("")
def list_users(*, limit: Limit = None) -> None:
    """List users by id.

    crawlyard users list
    crawlyard users list -o csv
    """


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
    created = await session.surface.users.create(
        user, role, quota.given(), idempotency_key=idempotency_key
    )
    session.tell(f"made: {created.id}, {created.role}")
    session.tell(f"give them a token: {session.hint(f'tokens create NAME --user {created.id}')}")
    await _written(session, created)


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
async def disable_users(session: "Session", user: UserIds) -> int:
    """Refuse the credentials of users; their jobs and templates stay.

    crawlyard users disable bob
    """
    disable = partial(session.surface.users.edit, disabled=True)
    return await users.each(session, user, disable, "disabled")


@users_app.command("enable")
@action()
async def enable_users(session: "Session", user: UserIds) -> int:
    """Accept the credentials of disabled users again.

    crawlyard users enable bob
    """
    enable = partial(session.surface.users.edit, disabled=False)
    return await users.each(session, user, enable, "enabled")


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
@action(creates=lambda options: any(value is not None for value in options.values()))
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
    changes = {"addresses": addresses, "private": private, "ignore_robots": ignore_robots}
    await change_grants(session, {name: v for name, v in changes.items() if v is not None})


async def change_grants(session: "Session", changes: Mapping[str, bool]) -> None:
    """Show what jobs may ask for, after *changes* if there are any."""
    section = policy.SectionName.GRANTS
    saved = await session.surface.settings.get(section)
    if changes:
        value = {**saved.effective, **changes}
        saved = await session.surface.settings.put(section, value, version=saved.version)
        granted_names = [name for name, granted in saved.effective.items() if granted]
        session.tell(f"granted: {', '.join(granted_names) or 'nothing'}")
    if session.common.asked or not changes:
        await session.show(saved, _GRANTS)
