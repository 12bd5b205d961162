"""`crawlyard shares …`: links that show a job to people without an account."""

from typing import TYPE_CHECKING, Annotated

from crawlyard.cli.invoke import PlainCommands
from crawlyard.cli.options import Basics, Limit, an_id, argument, group
from crawlyard.cli.render.output import Column, View, column, fields_of

if TYPE_CHECKING:
    from crawlyard.core.access.answers import NewShareOut, ShareOut

app = group(
    """List and revoke share links: addresses that show a job to anyone.

    crawlyard jobs share ID
    crawlyard shares list
    crawlyard shares revoke ID
    """
)

Ids = Annotated[list[str], argument("SHARE", "Share link ids.", an_id)]
Id = Annotated[str, argument("SHARE", "Share link id.", an_id)]

_SHARES: "View[ShareOut]" = View(
    key=lambda share: share.id,
    columns=(
        Column(name="STATE", value=lambda s: "revoked" if s.revoked_at else "active"),
        column("ID"),
        column("JOB", "job_id"),
        column("USER"),
        column("NAME", wide=True),
        column("EXPIRES", "expires_at"),
        column("USED", "last_used_at"),
    ),
    more=fields_of,
)
CREATED: "View[NewShareOut]" = View(
    key=lambda share: share.share_url or "", columns=(), more=fields_of
)

shares = PlainCommands(app=app, noun="shares", view=lambda _: _SHARES)


@shares.list("no share links yet")
def list_shares(*, limit: Limit = None) -> None:
    """List share links, newest first, without their tokens.

    crawlyard shares list
    crawlyard shares list --json
    """


@shares.show()
def show(share: Id) -> None:
    """Show a share link, without its token.

    crawlyard shares show ID
    """


@shares.change("revoked", basics=Basics)
def revoke(share: Ids) -> None:
    """Revoke share links at once: their addresses are unknown from then on.

    crawlyard shares revoke ID
    """
