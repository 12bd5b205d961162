"""Which server a command asks: the one that is named, or nobody, where the yard is here."""

import os
import shlex
from typing import TYPE_CHECKING

from crawlyard.cli import kept
from crawlyard.cli.options import Basics
from crawlyard.errors import Invalid
from crawlyard.lazy import lazily

if TYPE_CHECKING:
    from crawlyard import client
else:  # a command on a yard that is here needs no client
    client = lazily("crawlyard.client")

SERVER = "CRAWLYARD_SERVER"
CONTEXT = "CRAWLYARD_CONTEXT"


def server_asked(basics: Basics) -> tuple[str, str]:
    """Return the URL that an option or the environment names, and which of them does.

    Nothing, if none does, or one says that it is here: options go first.

    Raises:
        Invalid: two options say different things, or there is no such context.
    """
    if basics.server and basics.context:
        raise Invalid("--context", "expected it, or --server, not both")
    if basics.server:
        return basics.server, "--server"
    if basics.context:
        return _named(basics.context, "--context"), "--context"
    if basics.data_dir is not None:
        return "", "--data-dir"
    if os.environ.get(SERVER):
        return os.environ[SERVER], SERVER
    name = os.environ.get(CONTEXT, "")
    return (_named(name, CONTEXT), CONTEXT) if name else ("", "")


def server_named(basics: Basics, *, here: bool = False) -> str:
    """Return the URL of the server that is to be asked; nothing: the yard is here.

    *here* tells that the settings name a place of this machine, which goes before the
    context in use, though not before what the user says himself.

    Raises:
        Invalid: as for `server_asked`, or it is not a URL, or what is kept cannot be read.
    """
    url, by = server_asked(basics)
    if url:
        client.check_url(url, by)
    return url if by or here else kept.read().server


def option_for(basics: Basics) -> str:
    """Return the option that names the server again, with a blank in front."""
    if basics.server:
        return f" --server {shlex.quote(basics.server)}"
    return f" --context {shlex.quote(basics.context)}" if basics.context else ""


def _named(name: str, source: str) -> str:
    if name == kept.HERE:
        return ""
    contexts = kept.read().contexts
    if name not in contexts:
        names = ", ".join((kept.HERE, *contexts))
        raise Invalid(source, f"there is no context {name!r}; there are: {names}")
    return contexts[name]
