"""`crawlyard tokens | users | settings | whoami`: users and permissions."""

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
from crawlyard.core.access import policy
from crawlyard.core.access.user import Role
from crawlyard.core.answer import as_dict
from crawlyard.core.endpoints.endpoint import every
from crawlyard.core.fields import Field
from crawlyard.core.fields import fields_of as declared
from crawlyard.core.jobs.limits import LIMITS, Limits
from crawlyard.core.merge_patch import merge_object
from crawlyard.errors import Forbidden, Invalid, NotFound

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

Name = Annotated[str, argument("NAME", "Name of the token, such as the machine that uses it.")]
Tokens = Annotated[list[str], argument("TOKEN", "Token ids, names or prefixes.", an_id)]
User = Annotated[str, argument("USER", "User id.")]
UserIds = Annotated[list[str], argument("USER", "User ids.")]
Owner = Annotated[
    str | None, option(values.line, "--user", "USER", "Create it for this user (admins only).")
]
Scopes = Annotated[
    list[str] | None,
    option(values.line, "--scope", "SCOPE", "Permission, such as jobs:read or jobs:*. Repeatable."),
]
Lasts = Annotated[
    float | None,
    option(values.span_s, "--expires", "DURATION", "Expire after DURATION; default never."),
]
NewRole = Annotated[Role, choice("--role", of=Role, text="Role", default=Role.OPERATOR)]
OtherRole = Annotated[Role | None, choice("--role", of=Role, text="New role")]


class _Quota(Struct, frozen=True, kw_only=True):
    """Quota of a user; ``none`` means no limit."""

    running: Annotated[
        object,
        option(
            _or_none(values.count),
            "--max-running",
            "N",
            "Maximum number of concurrent jobs; others wait.",
        ),
    ] = None
    pending: Annotated[
        object,
        option(
            _or_none(values.count),
            "--max-pending",
            "N",
            "Maximum number of waiting jobs; others are refused.",
        ),
    ] = None
    pages_per_day: Annotated[
        object,
        option(
            _or_none(values.count),
            "--max-pages-per-day",
            "N",
            "Maximum number of pages per UTC day.",
        ),
    ] = None
    bytes_per_day: Annotated[
        object,
        option(
            _or_none(values.size),
            "--max-bytes-per-day",
            "SIZE",
            "Maximum number of bytes per UTC day.",
        ),
    ] = None

    def to_api(self) -> Any:
        """Return the options of the command line as a quota of the API."""
        quota = {
            name: None if value == values.NONE else value
            for name, value in asdict(self).items()
            if value is not None
        }
        ceilings = {field: quota.pop(name) for name, field in LIMITS.items() if name in quota}
        return quota | ({"ceilings": ceilings} if ceilings else {})


if TYPE_CHECKING:

    class Quota(_Quota, frozen=True, kw_only=True):
        """Quota of a user, with the limits of one job."""
else:

    def _ceiling(field: Field) -> tuple[str, Any, None]:
        read = _or_none(reader_of(field))
        ceiling = option(read, field.flag, field.metavar, "Upper bound of this limit for each job.")
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
        text="Let jobs and webhooks connect to private addresses (--allow-address).",
    ),
]
Private = Annotated[
    bool | None,
    flag(
        "--private/--no-private",
        text="Let jobs connect to all private addresses (--allow-private).",
    ),
]
IgnoreRobots = Annotated[
    bool | None,
    flag(
        "--ignore-robots/--no-ignore-robots",
        text="Let jobs ignore robots.txt (--ignore-robots).",
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
    """Return the id of a valid token by its id, the end of its id, its name or its prefix."""
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
        raise Invalid("token", f"more than one token matches {word!r}; give its id")
    return matches[0]


tokens = PlainCommands(app=tokens_app, noun="tokens", view=lambda _: _TOKENS, find=_token_id)
users = PlainCommands(app=users_app, noun="users", view=lambda _: _USERS)


@tokens.list("no tokens yet")
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
    """Create a token; its secret is shown only once.

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
    sentence = f"token {new_token.name} of {new_token.user}, {new_token.id}; it is not shown again:"
    await session.show_secret("token", new_token, _MADE, sentence)


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
    """Create a user; create a token for them with `crawlyard tokens create`.

    crawlyard users create ada
    crawlyard users create guest --role viewer
    crawlyard users create bob --max-running 2 --max-pages-per-day 10000
    """
    created = await session.surface.users.create(
        user, role, quota.to_api(), idempotency_key=idempotency_key
    )
    session.tell(f"created: {created.id}, {created.role}")
    session.tell(
        f"create a token: {session.full_command(f'tokens create NAME --user {created.id}')}"
    )
    await _write_user(session, created)


@users_app.command("set")
@action()
async def set_user(session: "Session", user: User, *, role: OtherRole = None, quota: Quota) -> None:
    """Change the role or quota of a user; 'none' removes a limit.

    crawlyard users set ada --role admin
    crawlyard users set bob --max-running 4 --max-pages none
    """
    await change_user(session, user, role, quota.to_api())


async def change_user(
    session: "Session", user_id: str, role: Role | None, quota: Mapping[str, object]
) -> None:
    """Change role or quota of a user; other parts of their quota stay."""
    if role is None and not quota:
        raise Invalid("users set", "expected something to change: --role, --max-running, …")
    changes: dict[str, Any] = {"role": role}
    if quota:
        old = await session.surface.users.get(user_id)
        whole = merge_object(as_dict(old.quota), quota)
        changes |= {"quota": whole, "version": old.version}
    changed = await session.surface.users.edit(user_id, **changes)
    session.tell(f"changed: {changed.id}, {changed.role}")
    await _write_user(session, changed)


@users_app.command("disable")
@action()
async def disable_users(session: "Session", user: UserIds) -> int:
    """Disable users: refuse their credentials; their jobs and templates stay.

    crawlyard users disable bob
    """
    disable = partial(session.surface.users.edit, disabled=True)
    return await users.change_each(session, user, disable, "disabled")


@users_app.command("enable")
@action()
async def enable_users(session: "Session", user: UserIds) -> int:
    """Enable users: accept their credentials again.

    crawlyard users enable bob
    """
    enable = partial(session.surface.users.edit, disabled=False)
    return await users.change_each(session, user, enable, "enabled")


async def _write_user(session: "Session", user: "UserOut") -> None:
    if session.common.writes_records:
        await session.show(user, _USERS)


@action()
async def whoami(session: "Session") -> None:
    """Show the signed-in user, their role and quota.

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
    """Show or change grants: permissions of jobs that are submitted to a server.

    crawlyard settings grants
    crawlyard settings grants --addresses --server http://127.0.0.1:8700
    crawlyard settings grants --no-private --no-ignore-robots

    Changes only the given grants, and requires an admin. Revoking a grant pauses the jobs that
    need it. Commands without --server need no grants.
    """
    changes = {"addresses": addresses, "private": private, "ignore_robots": ignore_robots}
    await change_grants(session, {name: v for name, v in changes.items() if v is not None})


async def change_grants(session: "Session", changes: Mapping[str, bool]) -> None:
    """Show the grants, after applying *changes* if there are any."""
    section = policy.SectionName.GRANTS
    saved = await session.surface.settings.get(section)
    if changes:
        value = {**saved.effective, **changes}
        saved = await session.surface.settings.put(section, value, version=saved.version)
        granted_names = [name for name, granted in saved.effective.items() if granted]
        session.tell(f"granted: {', '.join(granted_names) or 'nothing'}")
    if session.common.writes_records or not changes:
        await session.show(saved, _GRANTS)
