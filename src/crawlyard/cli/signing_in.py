"""What `login`, `logout` and `api` do: each asks one server."""

import getpass
import json
import os
import sys
from collections.abc import Mapping, Sequence

from crawlyard.cli import logins
from crawlyard.cli.options import Basics
from crawlyard.cli.session import finish, server_named, traced
from crawlyard.cli.stdout import write
from crawlyard.client import AsyncClient, Server
from crawlyard.errors import CrawlyardError, Invalid, Unauthenticated

DEFAULT_URL = "http://127.0.0.1:8700"


def login(url: str, basics: Basics) -> None:
    """Ask for a token, try it, and keep it."""
    with traced(debug=basics.debug):
        finish(_login(url or server_named(basics) or DEFAULT_URL, quiet=basics.quiet))


async def _login(url: str, *, quiet: bool) -> int:
    server = Server(url=url, token=_asked(url))
    async with AsyncClient(server=server) as client:
        me = await client.users.me()
    logins.keep(url, server.token)
    if not quiet:
        sys.stderr.write(f"signed in to {url} as {me.user.id} ({me.user.role})\n")
        sys.stderr.write(f"  use it: crawlyard jobs list --server {url}\n")
    return 0


def _asked(url: str) -> str:
    there = sys.stdin.isatty()
    token = getpass.getpass(f"Token for {url}: ") if there else sys.stdin.readline()
    if not token.strip():
        raise Invalid("token", "expected one on stdin; `crawlyard tokens create NAME` makes one")
    return token.strip()


def logout(url: str, basics: Basics) -> int:
    """Forget the token for a server; it stays good."""
    with traced(debug=basics.debug):
        named = url or server_named(basics) or DEFAULT_URL
        if not logins.forget(named):
            raise Unauthenticated(f"there is no token for {named} to be forgotten")
    if not basics.quiet:
        said = f"the token for {named} is forgotten; to revoke it: crawlyard tokens revoke NAME\n"
        sys.stderr.write(said)
    return 0


def call(
    method: str, path: str, fields: Sequence[str], source: str, basics: Basics, *, include: bool
) -> None:
    """Send one request, and write its answer as it comes."""
    with traced(debug=basics.debug):
        url = server_named(basics)
        if not url:
            raise Invalid("--server", "expected the URL of a yard; CRAWLYARD_SERVER names one too")
        body = _body(method, fields, source)
        params = _fields(fields) if method in {"GET", "DELETE"} else {}
        finish(_call(url, method, path, params, body, include=include))


async def _call(
    url: str,
    method: str,
    path: str,
    params: Mapping[str, object],
    body: object,
    *,
    include: bool,
) -> int:
    server = Server(url=url, token=logins.token_for(url))
    async with AsyncClient(server=server) as client:
        below = path.removeprefix("/api/v1/")
        headers = {"If-Match": "*"} if method in {"PATCH", "PUT", "DELETE"} else {}
        try:
            answer = await client.request(method, below, params=params, body=body, headers=headers)
        except CrawlyardError as error:
            if error.problem:
                write(json.dumps(dict(error.problem), indent=2).encode() + b"\n")
            raise
    if include:
        head = [f"HTTP {answer.status_code}", *(f"{n}: {v}" for n, v in answer.headers.items()), ""]
        write("".join(f"{line}\n" for line in head).encode())
    write(answer.content)
    if answer.content and not answer.content.endswith(b"\n"):
        write(b"\n")
    return 0


def _body(method: str, fields: Sequence[str], source: str) -> object:
    if source and fields:
        raise Invalid("--input", "expected it, or -F, not both")
    if source:
        try:
            text = sys.stdin.read() if source == "-" else _read(source)
            return json.loads(text)
        except ValueError as error:
            raise Invalid("--input", f"expected JSON: {error}") from None
    if method in {"GET", "DELETE"} or not fields:
        return None
    return _fields(fields)


def _read(source: str) -> str:
    with open(os.fspath(source), encoding="utf-8") as file:  # noqa: PTH123 - a name of the user's
        return file.read()


def _fields(fields: Sequence[str]) -> dict[str, object]:
    """Return what ``name=value`` words say; ``a.b=value`` is within an object."""
    told: dict[str, object] = {}
    for word in fields:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise Invalid("-F", f"expected NAME=VALUE, got {word!r}")
        *groups, last = name.split(".")
        within = told
        for group in groups:
            inner = within.setdefault(group, {})
            if not isinstance(inner, dict):
                raise Invalid("-F", f"{group} is a value and an object in {word!r}")
            within = inner
        within[last] = _value(value)
    return told


def _value(text: str) -> object:
    """Return a value as JSON has it, and text where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return text
