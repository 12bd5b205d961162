"""`crawlyard api`: arbitrary requests to a server."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import parse_qsl

from msgspec import Struct

from crawlyard.cli.login import server_named, token_for
from crawlyard.cli.loop import finish, show_tracebacks
from crawlyard.cli.options import Basics, argument, flag, flat, option
from crawlyard.cli.stdout import write
from crawlyard.errors import CrawlyardError, Invalid
from crawlyard.export.jsonl import dumps
from crawlyard.lazy import lazily

# help needs neither
with lazily():
    from crawlyard.api import connection, server
if TYPE_CHECKING:
    from crawlyard.api.connection import Connection

# paths outside the versioned API
_BESIDE = ("/api/", "/healthz", "/readyz", "/metrics", "/problems/")

Method = Annotated[str, argument("METHOD", "HTTP method: GET, POST, PATCH, …")]
Path = Annotated[str, argument("PATH", "Path below /api/v1, such as jobs.")]
Fields = Annotated[
    list[str] | None,
    option(str, "-F", "NAME=VALUE", "Body field; for GET, a query parameter. Repeatable."),
]
Input = Annotated[str, option(str, "--input", "FILE", "JSON body from FILE; '-' for stdin.")]
Paginate = Annotated[bool, flag("--paginate", text="Fetch all pages of a list, as JSON Lines.")]
Include = Annotated[bool, flag("--include", "-i", text="Also print status and headers.")]


@flat()
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
    """Send a request to the HTTP API of a server, and print the response.

    crawlyard api GET jobs -F state=running -F limit=5
    crawlyard api POST jobs -F 'urls=["https://docs.example.org/"]' -F limits.pages=50
    crawlyard api PATCH jobs/ID --input changes.json
    crawlyard api GET events --paginate

    Changes do not check the current version: the command sends If-Match: *.
    """
    request = Request.of(method.upper(), path, field or (), input)
    call(request, basics, paginate=paginate, include=include)


class Request(Struct, frozen=True, kw_only=True):
    """Arguments of `crawlyard api`."""

    method: str
    path: str  # below /api/v1, or outside the API: /healthz
    params: Mapping[str, object]  # a list repeats the name
    body: object

    @classmethod
    def of(cls, method: str, path: str, fields: Sequence[str], source: str) -> "Request":
        """Return the request with *fields* as ``name=value``, or the body in the file *source*.

        *path* may have a query; *fields* of a GET override its parameters.

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

    def arguments(self, **params: object) -> dict[str, Any]:
        """Return the arguments beside method and path; *params* override those of the request.

        A change applies to the latest version.
        """
        changes = self.method in {"PATCH", "PUT", "DELETE"}
        return {
            "params": {**self.params, **params},
            "body": self.body,
            "headers": {"If-Match": "*"} if changes else {},
        }


def _below(path: str) -> str:
    """Return *path* below the API; a path outside it keeps its slash."""
    path = path.removeprefix("/api/v1/")
    return path if path.startswith(_BESIDE) else path.lstrip("/")


def _params(query: str) -> dict[str, object]:
    """Return the parameters of a query; a repeated name has all its values, in order."""
    values: dict[str, list[str]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        values.setdefault(name, []).append(value)
    return {name: texts[0] if len(texts) == 1 else texts for name, texts in values.items()}


def call(request: Request, basics: Basics, *, paginate: bool, include: bool) -> None:
    """Send one request, or fetch all pages of a list, and print the response."""
    with show_tracebacks(debug=basics.debug):
        url = server_named(basics)
        if not url:
            raise Invalid("--server", "expected the URL of a server, here or in CRAWLYARD_SERVER")
        if paginate and (request.method != "GET" or include):
            raise Invalid("--paginate", "requires GET, and excludes --include")
        finish(_call(url, request, paginate=paginate, include=include))


async def _call(url: str, request: Request, *, paginate: bool, include: bool) -> int:
    target = server.Server(url=url, token=token_for(url))
    async with connection.Connection(target) as there:
        try:
            if paginate:
                await _all(there, request)
                return 0
            answer = await there.send(request.method, request.path, **request.arguments())
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


async def _all(there: "Connection", request: Request) -> None:
    """Write the items of all pages of a list, one per line."""
    page_request = request.arguments()
    while True:
        answer = await there.send(request.method, request.path, **page_request)
        items, cursor = _page(answer.content)
        if items is None:
            raise Invalid("--paginate", f"expected a list at {request.path}")
        for item in items:
            write(dumps(item).encode() + b"\n")
        if cursor is None:
            return
        page_request = request.arguments(cursor=cursor)


def _page(content: bytes) -> tuple[list[object] | None, object]:
    """Return the items of a list page, and the next cursor; ``None``: it is not a list."""
    try:
        note = json.loads(content)
    except ValueError:
        note = None
    items = note.get("items") if isinstance(note, dict) else None
    return (items, note.get("next_cursor")) if isinstance(items, list) else (None, None)


def _body(method: str, fields: Sequence[str], source: str) -> object:
    if source and fields:
        raise Invalid("--input", "expected either --input or -F")
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
    """Return the object that ``name=value`` words describe; ``a.b=value`` is nested."""
    members: dict[str, object] = {}
    for word in fields:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise Invalid("-F", f"expected NAME=VALUE, got {word!r}")
        *groups, last = name.split(".")
        within = members
        for group in groups:
            inner = within.setdefault(group, {})
            if not isinstance(inner, dict):
                raise Invalid("-F", f"{group} is both a value and an object in {word!r}")
            within = inner
        within[last] = _value(value)
    return members


def _value(text: str) -> object:
    """Return *text* parsed as JSON, or as it is if it is not JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text
