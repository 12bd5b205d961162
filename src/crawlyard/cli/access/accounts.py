"""`crawlyard tokens | users | whoami`: who may do what."""

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec import Struct

from crawlyard.cli import values
from crawlyard.cli.options import Basics, Common, an_id, choice, flat, option
from crawlyard.cli.stdout import write_line
from crawlyard.core.access.user import Role
from crawlyard.lazy import lazily

if TYPE_CHECKING:
    from crawlyard.cli import invoke
    from crawlyard.cli.access import reports
else:
    reports = lazily("crawlyard.cli.access.reports")
    invoke = lazily("crawlyard.cli.invoke")

tokens_app, users_app = typer.Typer(), typer.Typer()

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
Limit = Annotated[int, option(values.count, "--limit", "N", "How many at most; 0 is all; else 50.")]
NewRole = Annotated[Role, choice("--role", of=Role, text="What they may do", default=Role.OPERATOR)]
OtherRole = Annotated[Role | None, choice("--role", of=Role, text="What they may do")]


class Quota(Struct, frozen=True, kw_only=True):
    """What a user may have at most; ``none`` is as much as they like."""

    running: Annotated[
        object, option(_or_none(values.count), "--max-running", "N", "Jobs at once; more wait.")
    ] = None
    pending: Annotated[
        object, option(_or_none(values.count), "--max-pending", "N", "Jobs that wait.")
    ] = None
    per_day: Annotated[
        object, option(_or_none(values.count), "--max-pages-per-day", "N", "Of UTC days.")
    ] = None
    bytes_per_day: Annotated[
        object, option(_or_none(values.size), "--max-bytes-per-day", "SIZE", "Of UTC days.")
    ] = None
    pages: Annotated[object, option(_or_none(values.count), "--max-pages", "N", "Of one job.")] = (
        None
    )
    bytes: Annotated[
        object, option(_or_none(values.size), "--max-bytes", "SIZE", "Of one job.")
    ] = None
    duration: Annotated[
        object, option(_or_none(values.duration), "--max-duration", "DURATION", "Of one job.")
    ] = None
    errors: Annotated[
        object, option(_or_none(values.count), "--max-errors", "N", "Of one job.")
    ] = None

    def given(self) -> Mapping[str, object]:
        """Return what was said, as the API writes a quota."""
        own = {
            "running": self.running,
            "pending": self.pending,
            "pages_per_day": self.per_day,
            "bytes_per_day": self.bytes_per_day,
        }
        length = self.duration
        ceilings = {
            "pages": self.pages,
            "bytes": self.bytes,
            "duration_s": length.total_seconds() if isinstance(length, timedelta) else length,
            "errors": self.errors,
        }
        told = _said(own)
        return told | ({"ceilings": _said(ceilings)} if _said(ceilings) else {})


def _said(given: Mapping[str, object]) -> dict[str, object]:
    return {
        n: None if value == values.NONE else value
        for n, value in given.items()
        if value is not None
    }


@tokens_app.callback(invoke_without_command=True)
def tokens_root(context: typer.Context) -> None:
    """Give out tokens, by which programs prove who they are, and take them back.

    crawlyard tokens create laptop
    crawlyard tokens revoke laptop
    """
    if context.invoked_subcommand is None:
        write_line(context.get_help())


@users_app.callback(invoke_without_command=True)
def users_root(context: typer.Context) -> None:
    """Make users, and say what they may do.

    crawlyard users create ada --role viewer
    crawlyard users set ada --max-running 2
    """
    if context.invoked_subcommand is None:
        write_line(context.get_help())


@tokens_app.command("list")
@flat
def list_tokens(*, limit: Limit = 50, common: Common) -> None:
    """List tokens, newest first; their secrets are not kept.

    crawlyard tokens list
    crawlyard tokens list --json
    """
    invoke.run(common, partial(reports.tokens, limit=limit, common=common))


@tokens_app.command("create")
@flat
def create_token(
    name: Name,
    *,
    user: Owner = None,
    scope: Scopes = None,
    expires: Lasts = None,
    common: Common,
) -> None:
    """Make a token; its secret is written this once.

    crawlyard tokens create laptop
    crawlyard tokens create report --scope jobs:read --scope results:read --expires 30d
    crawlyard tokens create ci --user ada > token.txt
    """
    doing = partial(
        reports.create_token,
        name=name,
        user=user,
        scopes=scope or (),
        lasts=expires,
        common=common,
    )
    invoke.run(common, doing, creates=True)


@tokens_app.command("revoke")
@flat
def revoke_tokens(tokens: Tokens, *, basics: Basics) -> None:
    """Revoke tokens at once, and the sessions that were had by them.

    crawlyard tokens revoke laptop
    """
    invoke.run(basics, partial(reports.revoke, words=tokens))


@users_app.command("list")
@flat
def list_users(*, limit: Limit = 50, common: Common) -> None:
    """List users by id.

    crawlyard users list
    crawlyard users list -o csv
    """
    invoke.run(common, partial(reports.users, limit=limit, common=common))


@users_app.command("create")
@flat
def create_user(user: User, *, role: NewRole = Role.OPERATOR, quota: Quota, common: Common) -> None:
    """Make a user; give them a token by `crawlyard tokens create`.

    crawlyard users create ada
    crawlyard users create guest --role viewer
    crawlyard users create bob --max-running 2 --max-pages-per-day 10000
    """
    doing = partial(
        reports.create_user,
        user_id=user,
        role=role,
        quota=quota.given(),
        common=common,
    )
    invoke.run(common, doing, creates=True)


@users_app.command("set")
@flat
def set_user(user: User, *, role: OtherRole = None, quota: Quota, common: Common) -> None:
    """Change what a user may do, or have at most; 'none' takes a quota away.

    crawlyard users set ada --role admin
    crawlyard users set bob --max-running 4 --max-pages none
    """
    doing = partial(
        reports.change_user,
        user_id=user,
        role=role,
        quota=quota.given(),
        common=common,
    )
    invoke.run(common, doing)


@users_app.command("disable")
@flat
def disable_users(users: UserIds, *, common: Common) -> None:
    """Let nobody sign in as these users any more; what is theirs stays.

    crawlyard users disable bob
    """
    doing = partial(reports.disable, ids=users, disabled=True, common=common)
    invoke.run(common, doing)


@users_app.command("enable")
@flat
def enable_users(users: UserIds, *, common: Common) -> None:
    """Let disabled users sign in again.

    crawlyard users enable bob
    """
    doing = partial(reports.disable, ids=users, disabled=False, common=common)
    invoke.run(common, doing)


@flat
def whoami(*, common: Common) -> None:
    """Show who you are to the yard, and what you may have.

    crawlyard whoami
    crawlyard whoami --server http://127.0.0.1:8700 --json
    """
    invoke.run(common, partial(reports.whoami, common=common))
