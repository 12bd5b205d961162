"""What `login`, `logout` and `api` do: each asks one server."""

import getpass
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from msgspec import Struct

from crawlyard.cli import logins
from crawlyard.cli.options import Basics
from crawlyard.cli.servers import server_named
from crawlyard.cli.session import finish, traced
from crawlyard.cli.stdout import write
from crawlyard.client import AsyncClient, Server, check_url
from crawlyard.errors import CrawlyardError, Invalid, Unauthenticated
from crawlyard.export.jsonl import dumps

DEFAULT_URL = "http://127.0.0.1:8700"

_BESIDE = ("/api/", "/healthz", "/readyz", "/metrics", "/problems/")  # below no version


def login(url: str, basics: Basics) -> None:
    """Ask for a token, try it, and keep it."""
    with traced(debug=basics.debug):
        if url:
            check_url(url, "URL")
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


class Request(Struct, frozen=True, kw_only=True):
    """What is sent."""

    method: str
    path: str  # below /api/v1, unless it is of the root: /healthz
    params: Mapping[str, object]  # a list: the name comes several times
    body: object

    @classmethod
    def of(cls, method: str, path: str, fields: Sequence[str], source: str) -> "Request":
        """Return the request with *fields* as ``name=value``, or with the body that a file has.

        *path* may have a query; of what asks by *fields* as well, these are what counts.

        Raises:
            Invalid: both are given, or one cannot be read.
        """
        asks = method in {"GET", "DELETE"}
        below, _, query = _below(path).partition("?")
        return cls(
            method=method,
            path=below,
            params=_params(query) | (_fields(fields) if asks else {}),
            body=_body(method, fields, source),
        )

    def rest(self, **params: object) -> dict[str, Any]:
        """Return what goes with method and path; *params* beside its own, or instead of them.

        What is changed is meant as it is then.
        """
        changes = self.method in {"PATCH", "PUT", "DELETE"}
        return {
            "params": {**self.params, **params},
            "body": self.body,
            "headers": {"If-Match": "*"} if changes else {},
        }


def _below(path: str) -> str:
    """Return *path* as it is below the API; what stands beside that keeps its slash."""
    path = path.removeprefix("/api/v1/")
    return path if path.startswith(_BESIDE) else path.lstrip("/")


def _params(query: str) -> dict[str, object]:
    """Return what a query asks; of a name that comes again, all values in their order."""
    given: dict[str, list[str]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        given.setdefault(name, []).append(value)
    return {name: found[0] if len(found) == 1 else found for name, found in given.items()}


def call(request: Request, basics: Basics, *, paginate: bool, include: bool) -> None:
    """Send one request, or ask for a list to its end, and write what comes."""
    with traced(debug=basics.debug):
        url = server_named(basics)
        if not url:
            raise Invalid("--server", "expected the URL of a yard; CRAWLYARD_SERVER names one too")
        if paginate and (request.method != "GET" or include):
            raise Invalid("--paginate", "goes with GET, and without --include")
        finish(_call(url, request, paginate=paginate, include=include))


async def _call(url: str, request: Request, *, paginate: bool, include: bool) -> int:
    server = Server(url=url, token=logins.token_for(url))
    async with AsyncClient(server=server) as client:
        try:
            if paginate:
                await _all(client, request)
                return 0
            answer = await client.request(request.method, request.path, **request.rest())
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


async def _all(client: AsyncClient, request: Request) -> None:
    """Write the items of all pages of a list, a line each."""
    asked = request.rest()
    while True:
        answer = await client.request(request.method, request.path, **asked)
        items, cursor = _page(answer.content)
        if items is None:
            raise Invalid("--paginate", f"expected a list behind {request.path}")
        for item in items:
            write(dumps(item).encode() + b"\n")
        if cursor is None:
            return
        asked = request.rest(cursor=cursor)


def _page(content: bytes) -> tuple[list[object] | None, object]:
    """Return the items of a page of a list, and the cursor of the next; ``None``: it is none."""
    try:
        told = json.loads(content)
    except ValueError:
        told = None
    items = told.get("items") if isinstance(told, dict) else None
    return (items, told.get("next_cursor")) if isinstance(items, list) else (None, None)


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
