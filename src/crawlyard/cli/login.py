"""Server and sign-in of commands: `login`, `logout`, `--server`."""

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from crawlyard.cli.loop import finish, show_tracebacks
from crawlyard.cli.options import Basics, argument, flat
from crawlyard.errors import Invalid, Unauthenticated
from crawlyard.lazy import lazily

# not needed for an instance on this machine
with lazily():
    import getpass
    import tomllib

    from crawlyard.api import far, server

SERVER = "CRAWLYARD_SERVER"
DEFAULT_URL = "http://127.0.0.1:8700"

_KEYS = frozenset({"server", "token"} | {"context", "contexts", "servers"})
_OURS_ALONE = 0o600

Url = Annotated[
    str,
    argument("URL", f"Server URL; default --server, the last login, or {DEFAULT_URL}."),
]


@flat()
def login(url: Url = "", *, basics: Basics) -> None:
    """Sign in to a server with a token, from a prompt or stdin.

    crawlyard login http://127.0.0.1:8700
    crawlyard login https://yard.example.org < token.txt

    Later commands use this server until `crawlyard logout`. These take precedence: --server,
    --data-dir, CRAWLYARD_SERVER, and a data directory or database that is set in the
    environment or in crawlyard.toml.

    The URL and the token are stored in ~/.config/crawlyard/config.toml, readable only by you.
    A new login replaces them. CRAWLYARD_TOKEN, or a file named by CRAWLYARD_TOKEN_FILE,
    overrides the stored token.
    """
    with show_tracebacks(debug=basics.debug):
        if basics.data_dir is not None:
            raise Invalid("--data-dir", "a data directory needs no sign-in; leave it out")
        if url:
            server.check_url(url, "URL")
        if url and basics.server and _key(url) != _key(basics.server):
            raise Invalid("--server", f"expected one server, got {url} as well")
        finish(_login(url or server_named(basics) or DEFAULT_URL, quiet=basics.quiet))


async def _login(url: str, *, quiet: bool) -> int:
    _read()  # a foreign file is refused before the token prompt
    token = _prompt_token(url)
    async with far.connect(url, token) as surface:
        me = await surface.account.me()
    _write(Login(server=_key(url), token=token))
    if not quiet:
        sys.stderr.write(f"signed in to {url} as {me.user.id} ({me.user.role})\n")
        if os.environ.get(SERVER):
            sys.stderr.write(f"  {SERVER} is set and takes precedence\n")
        else:
            sys.stderr.write("  commands use it until: crawlyard logout\n")
    return 0


def _prompt_token(url: str) -> str:
    there = sys.stdin.isatty()
    token = getpass.getpass(f"Token for {url}: ") if there else sys.stdin.readline()
    if not token.strip():
        raise Invalid(
            "token", "expected a token on stdin; create one: crawlyard tokens create NAME"
        )
    return token.strip()


@flat()
def logout(*, basics: Basics) -> None:
    """Delete the stored server and token of the last login; the token stays valid.

    crawlyard logout
    """
    with show_tracebacks(debug=basics.debug):
        stored = _read()
        if basics.server and _key(basics.server) != stored.server:
            raise Unauthenticated(f"not signed in to {basics.server}")
        try:
            config_file().unlink()
        except FileNotFoundError:
            raise Unauthenticated("not signed in to any server") from None
    if not basics.quiet:
        sys.stderr.write(f"signed out of {stored.server or 'all servers'}\n")
        sys.stderr.write("  the token stays valid until: crawlyard tokens revoke NAME\n")


# --- which server


def server_asked(basics: Basics) -> tuple[str, str]:
    """Return the server URL from an option or the environment, and the name of its source.

    Both are empty if there is none. With ``--data-dir``, the URL is empty: the instance is local.

    Raises:
        Invalid: options name a server and a data directory.
    """
    if basics.server and basics.data_dir is not None:
        raise Invalid("--server", "expected either --server or --data-dir")
    if basics.server:
        return basics.server, "--server"
    if basics.data_dir is not None:
        return "", "--data-dir"
    url = os.environ.get(SERVER, "")
    return url, SERVER if url else ""


def server_named(basics: Basics, *, here: bool = False) -> str:
    """Return the URL of the server to use; empty: the instance is on this machine.

    *here*: the settings name a place on this machine, which takes precedence
    over the last login, but not over options and ``CRAWLYARD_SERVER``.

    Raises:
        Invalid: it is not a URL, options name a data directory as well, or the stored login
            login cannot be read.
    """
    url, by = server_asked(basics)
    if url:
        server.check_url(url, by)
    return url if by or here else _read().server


def token_for(url: str, *, optional: bool = False) -> str:
    """Return the token for the server at *url*; empty if there is none and it is *optional*.

    Raises:
        Unauthenticated: there is none.
    """
    token = server.environment_token()
    if not token:
        stored = _read()
        token = stored.token if stored.server == _key(url) else ""
    if not token and not optional:
        raise Unauthenticated(f"no token for {url}; sign in with: crawlyard login {url}")
    return token


# --- the file


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """The server that commands use, and the token for it."""

    server: str = ""
    token: str = field(default="", repr=False)


def config_file() -> Path:
    """Return where the last login is kept."""
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "crawlyard" / "config.toml"


def _read() -> Login:
    file = config_file()
    try:
        document = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return Login()
    except (OSError, ValueError) as error:
        raise Invalid(str(file), f"cannot be read: {error}") from None
    try:
        # earlier versions stored tokens of several servers, and the name of the current one
        named = document.get("contexts", {}).get(document.get("context"), {})
        server = str(document.get("server", named.get("server", "")))
        entry = document.get("servers", {}).get(server, {})
        token = str(document.get("token", entry.get("token", "")))
        foreign = not document.keys() <= _KEYS
    except (AttributeError, TypeError):
        foreign = True
    if foreign:
        raise Invalid(str(file), "expected server and token; delete it and sign in again")
    return Login(server=server, token=token)


def _write(login: Login) -> None:
    """Store *login* and nothing else, atomically."""
    file = config_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _OURS_ALONE)
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        os.fchmod(handle, _OURS_ALONE)
        # a JSON string is also a basic string of TOML
        out.write(f"server = {json.dumps(login.server)}\ntoken = {json.dumps(login.token)}\n")
        out.flush()
        os.fsync(handle)
    new.replace(file)


def _key(url: str) -> str:
    return url.rstrip("/")
