"""`crawlyard sessions …`: logins at sites, for crawls."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from crawlyard.cli import values
from crawlyard.cli.failures import DECLINED
from crawlyard.cli.invoke import PlainCommands, action
from crawlyard.cli.options import Yes, argument, flag, group, option
from crawlyard.cli.render.output import View, at, column, id_of
from crawlyard.cli.sites import logins
from crawlyard.cli.sites.logins import LoginMethod, SecretRef
from crawlyard.core.access.site_session import LoginKind
from crawlyard.errors import Invalid, NotFound

if TYPE_CHECKING:
    from crawlyard.cli.session import Session
    from crawlyard.core.access.answers import SessionOut

app = group(
    """Log in to sites, for crawls that need a login.

    crawlyard sessions login shop form:https://shop.example.org/login --user ada
    crawlyard crawl https://shop.example.org/ --session shop
    """
)

Name = Annotated[
    str,
    argument("NAME", "Session name.", values.line),
]


def _login(word: str) -> LoginMethod:
    try:
        return LoginMethod.of(word)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


How = Annotated[
    LoginMethod | None,
    argument(
        "[HOW]",
        "basic:USER, bearer, cookies:FILE or form:URL; default: as at the last login.",
        _login,
    ),
]
Url = Annotated[str, option(str, "--url", "URL", "Any URL of the site; not needed for a form.")]
User = Annotated[str, option(str, "--user", "NAME", "User name for the login form.")]
FormFields = Annotated[
    list[str] | None,
    option(
        str,
        "--field",
        "N=V",
        "Another field of the form; V may be env:NAME or file:PATH. Repeatable.",
    ),
]
Submit = Annotated[
    str, option(str, "--submit", "CSS", "CSS selector of the form or its button, if ambiguous.")
]
Allowed = Annotated[
    list[str] | None,
    option(
        values.line,
        "--allow-address",
        "ADDR",
        "Allow connections to a private address. Repeatable.",
    ),
]
Proxies = Annotated[
    list[str] | None,
    option(str, "--proxy", "URL", "Log in through this proxy. Repeatable."),
]
AllowPrivate = Annotated[
    bool, flag("--allow-private", text="Allow connections to all private addresses.")
]


def sessions_view(now: datetime) -> "View[SessionOut]":
    """Return the view of sessions, with times relative to *now*."""
    return View(
        key=lambda session: session.name,
        table=("NAME", "VERSION", "KIND", "SENT TO", "MADE", "USED"),
        columns=(
            column("NAME"),
            column("VERSION", right=True),
            column("KIND"),
            column("URL", wide=True),
            column("USER"),
            column("SENT TO", "origins", wide=True),
            column("COOKIES"),
            at("MADE", "made_at", now),
            at("USED", "used_at", now),
            column("USED BY"),
            column("CREATED AT"),
            id_of(lambda s: s.id),
        ),
    )


plain = PlainCommands(app=app, noun="sessions", view=sessions_view)


@plain.list("no sessions yet", empty=True)
def list_() -> None:
    """List your sessions, without their credentials.

    crawlyard sessions list
    """


@plain.show()
def show(name: Name) -> None:
    """Show a session, without its credentials.

    crawlyard sessions show shop
    """


@app.command()
@action(
    creates=True,
    allow_addresses="--allow-address",
    fields="--field",
    cookies="HOW",
    proxies="--proxy",
)
async def login(
    session: "Session",
    name: Name,
    how: How = None,
    *,
    url: Url = "",
    user: User = "",
    secret: SecretRef = "",
    field: FormFields = None,
    submit: Submit = "",
    allow_address: Allowed = None,
    allow_private: AllowPrivate = False,
    proxy: Proxies = None,
) -> None:
    """Log in to a site: create a session, or renew it.

    crawlyard sessions login shop form:https://shop.example.org/login --user ada
    crawlyard sessions login wiki basic:ada --url https://wiki.example.org --secret env:WIKI
    crawlyard sessions login mail cookies:cookies.txt

    After a renewal, continue jobs that were paused by a logout with `crawlyard jobs resume`.
    """
    if how is None:
        before = await _before(session, name)
        how = LoginMethod(kind=LoginKind(before.kind), url=before.url, user=before.user)
        url, user, submit = url or before.url, user or before.user, submit or before.submit
    arguments = logins.login_arguments(
        how, url=url, user=user, secret=secret, fields=field or (), submit=submit
    )
    if allow_address or allow_private:
        arguments |= {"allow_addresses": tuple(allow_address or ()), "allow_private": allow_private}
    if proxy:
        arguments |= {"proxies": tuple(proxy)}
    renewed = await session.surface.sessions.login(name, **arguments)
    session.tell(f"logged in: {renewed.name}@{renewed.version} for {', '.join(renewed.origins)}")
    await session.write_changed_records([renewed], sessions_view(session.clock.now()))


async def _before(session: "Session", name: str) -> "SessionOut":
    """Return the existing session, if it can be renewed without further options."""
    try:
        before = await session.surface.sessions.get(name)
    except NotFound:
        raise Invalid("HOW", f"there is no session {name} yet: say how to log in") from None
    if before.kind == LoginKind.COOKIES:
        raise Invalid("HOW", "expected cookies:FILE with new cookies")
    return before


@app.command()
@action()
async def delete(session: "Session", name: Name, *, yes: Yes = False) -> None:
    """Delete a session; jobs that use it are paused at their next start.

    crawlyard sessions delete shop --yes
    """
    current = await session.surface.sessions.get(name)
    if not yes and not session.confirm(
        f"Delete session {name}?", [f"for {', '.join(current.origins)}"]
    ):
        raise typer.Exit(DECLINED)
    await session.surface.sessions.delete(name, version=current.version)
    session.tell(f"deleted: {name}")
