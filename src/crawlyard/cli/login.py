"""`crawlyard login | logout | api`: who you are to a server, and any request to it."""

from typing import TYPE_CHECKING, Annotated

import typer

from crawlyard.cli.options import Basics, flag, flat, option
from crawlyard.lazy import lazily

if TYPE_CHECKING:
    from crawlyard.cli import signing_in
else:
    signing_in = lazily("crawlyard.cli.signing_in")

Url = Annotated[
    str,
    typer.Argument(
        metavar="URL",
        help="Of the yard; else --server, else http://127.0.0.1:8700.",
        show_default=False,
    ),
]
Method = Annotated[
    str, typer.Argument(metavar="METHOD", help="GET, POST, PATCH, …", show_default=False)
]
Path = Annotated[
    str, typer.Argument(metavar="PATH", help="Below /api/v1, such as jobs.", show_default=False)
]
Fields = Annotated[
    list[str] | None,
    option(str, "-F", "NAME=VALUE", "A member of the body; of GET, a parameter. Repeatable."),
]
Input = Annotated[str, option(str, "--input", "FILE", "The body, as JSON; '-' is stdin.")]
Paginate = Annotated[
    bool, flag("--paginate", text="GET a list to its end; an item a line, as JSON Lines.")
]
Include = Annotated[bool, flag("--include", "-i", text="Status and headers as well.")]


@flat
def login(url: Url = "", *, basics: Basics) -> None:
    """Sign in to a yard with a token, which is asked for, or read from stdin.

    crawlyard login http://127.0.0.1:8700
    crawlyard login https://yard.example.org < token.txt

    It is kept in ~/.config/crawlyard/config.toml, which nobody else may read. A token in
    CRAWLYARD_TOKEN, or in the file that CRAWLYARD_TOKEN_FILE names, goes before it.
    """
    signing_in.login(url, basics)


@flat
def logout(url: Url = "", *, basics: Basics) -> None:
    """Forget the token for a yard.

    crawlyard logout http://127.0.0.1:8700
    """
    raise typer.Exit(signing_in.logout(url, basics))


@flat
def api(
    method: Method,
    path: Path,
    *,
    field: Fields = None,
    input: Input = "",  # noqa: A002 - the name of the option
    paginate: Paginate = False,
    include: Include = False,
    basics: Basics,
) -> None:
    """Send any request to a yard, and write its answer.

    crawlyard api GET jobs -F state=running -F limit=5
    crawlyard api POST jobs -F 'urls=["https://docs.example.org/"]' -F limits.pages=50
    crawlyard api PATCH jobs/ID --input changes.json
    crawlyard api GET events --paginate

    Of what changes something, the latest version is meant (If-Match: *).
    """
    request = signing_in.Request.of(method.upper(), path, field or (), input)
    signing_in.call(request, basics, paginate=paginate, include=include)
