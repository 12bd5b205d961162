"""What commands do to contexts, and tell of them."""

import asyncio
import os
import re
import sys
from dataclasses import replace

from pydantic import BaseModel

from crawlyard.cli import kept, output
from crawlyard.cli.options import Basics, Common
from crawlyard.cli.output import Column, View
from crawlyard.cli.servers import CONTEXT, SERVER
from crawlyard.client import Server
from crawlyard.errors import Invalid, NotFound

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Context(BaseModel):
    """One context."""

    name: str
    server: str | None  # null: none, the yard is here
    current: bool
    signed_in: bool  # a token for it is kept


def contexts(common: Common) -> None:
    """List the contexts, the local one first, the others by name."""
    known = kept.read()
    named = [(kept.HERE, ""), *sorted(known.contexts.items())]
    current = known.current if known.server else kept.HERE
    found = [
        Context(
            name=name,
            server=url or None,
            current=name == current,
            signed_in=url in known.tokens,
        )
        for name, url in named
    ]
    style = common.style_on(terminal=sys.stdout.isatty())
    out, quiet, fields = output.console_on(sys.stdout), common.quiet, common.fields
    items = output.each(found)
    asyncio.run(output.write_all(items, _CONTEXTS, style, out, quiet=quiet, fields=fields))


def use(name: str, basics: Basics) -> None:
    """Let commands ask a server from now on.

    Raises:
        NotFound: there is no such context.
    """
    known = kept.read()
    if name != kept.HERE:
        _check_there(known, name)
    kept.write(replace(known, current=name))
    _tell(basics, f"commands ask {_place(known.contexts.get(name, ''))}")
    for variable in (SERVER, CONTEXT):
        if os.environ.get(variable):
            _tell(basics, f"  but {variable} is set, and goes before it")


def add(name: str, url: str, basics: Basics, *, use: bool) -> None:
    """Give a server a name.

    Raises:
        Invalid: the name or the URL is none, or the name is taken for another server.
    """
    if not _NAME.fullmatch(name) or name == kept.HERE:
        expected = f"expected letters, digits, '.', '_' and '-', and not {kept.HERE}"
        raise Invalid("name", f"{expected}; got {name!r}")
    server = Server(url=url, token="")
    known = kept.read()
    if known.contexts.get(name, kept.key(url)) != kept.key(url):
        raise Invalid("name", f"{name} is {known.contexts[name]}; remove it first")
    known = known.with_context(name, server.url)
    kept.write(replace(known, current=name) if use else known)
    _tell(basics, f"{name} is {kept.key(url)}{', and commands ask it' if use else ''}")
    if kept.key(url) not in known.tokens:
        _tell(basics, f"  sign in: crawlyard login {url}")


def remove(name: str, basics: Basics) -> None:
    """Forget the name of a server.

    Raises:
        NotFound: there is no such context.
    """
    known = kept.read()
    _check_there(known, name)
    kept.write(known.with_context(name, None))
    _tell(basics, f"removed: {name}")
    if known.current == name:
        _tell(basics, f"  commands ask {_place('')}")


def _check_there(known: kept.Kept, name: str) -> None:
    if name not in known.contexts:
        raise NotFound(f"there is no context {name}")


def _place(url: str) -> str:
    return url or "no server: the yard is on this machine"


def _tell(basics: Basics, sentence: str) -> None:
    if not basics.quiet:
        sys.stderr.write(f"{sentence}\n")


_CONTEXTS: View[Context] = View(
    key=lambda context: context.name,
    columns=(
        Column(name="USE", value=lambda c: c.current, shown=lambda c: "*" if c.current else ""),
        Column(name="NAME", value=lambda c: c.name),
        Column(name="SERVER", value=lambda c: c.server or "", wide=True),
        Column(
            name="SIGNED IN",
            value=lambda c: c.signed_in,
            shown=lambda c: "yes" if c.signed_in else "",
        ),
    ),
)
